from pathlib import Path

from kb.readers import read_source
from kb.readers.reject import Reject
from kb.relations import verbalise
from kb.triple import Triple

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kb"


def test_atomic_2020() -> None:
    *facts, short = read_source(FIXTURES / "atomic2020.tsv", name="atomic")
    assert facts == [
        Triple("PersonX waters the fern", "xNeed", "to fill the can", source="atomic", line=1),
        Triple("PersonX waters the fern", "HinderedBy", "PersonX has no something left.", source="atomic", line=3),
        Triple("PersonX gives something to PersonY", "isFilledBy", "a fern", source="atomic", line=4),
        Triple("watering can", "UsedFor", "water the fern", source="atomic", line=5),
        Triple("watering can", "AtLocation", "shed", source="atomic", line=6),
    ]
    assert short == Reject(7, "has 2 columns instead of 3", "PersonX waters\txNeed")
    need = facts[0]
    assert isinstance(need, Triple)
    sentence = "before PersonX waters the fern, PersonX needs to fill the can"
    assert verbalise(need.head, need.relation, need.tail) == sentence


def test_the_first_atomic() -> None:
    *facts, no_json, short = read_source(FIXTURES / "atomic_v1.csv", name="atomic")
    assert facts == [
        Triple("PersonX waters something", "xAttr", "caring", source="atomic", line=2),
        Triple("PersonX waters something", "xAttr", "patient", source="atomic", line=2),
        Triple("PersonX waters something", "xIntent", "to see it grow", source="atomic", line=2),
        Triple("PersonX sings", "oReact", "amused", source="atomic", line=3),
    ]
    assert isinstance(no_json, Reject)
    assert no_json.reason.startswith("oEffect: not JSON")
    assert short == Reject(5, "has 2 columns, the header line has 12", 'PersonX whistles,"[]"')
