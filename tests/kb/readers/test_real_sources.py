"""The readers on published graphs, where the environment variable KVQA_DATA names their folder."""

import os
from collections import Counter
from pathlib import Path

import pytest

from kb.readers import Triple, detect_format, read_source

pytestmark = pytest.mark.skipif(
    "KVQA_DATA" not in os.environ, reason="KVQA_DATA, the folder of the real data sets, is not set"
)
ROOT = Path(os.environ.get("KVQA_DATA", "/nonexistent"), "data")


@pytest.mark.parametrize(
    ("file", "facts", "relation", "count"),
    [
        ("kg/CN-100K.valid.tsv.gz", 1_200, "AtLocation", 230),
        ("kg/CN-82K.test.tsv.gz", 10_240, "IsA", 1_517),
        ("kg/conceptnet4_en.tsv.gz", 218_853, "RelatedTo", 15_870),
        ("kg/haspart_kb.tsv.gz", 49_847, "HasPart", 49_847),
        ("kg/pattern_commonsense.tsv.gz", 9_206, "PropertyOf", 2_704),
        ("kg/visual_attributes.tsv.gz", 81_878, "MadeOf", 4_814),
        ("fvqa/facts.tsv.gz", 4_172, "Category", 603),
    ],
)
def test_tables(file: str, facts: int, relation: str, count: int) -> None:
    items = list(read_source(ROOT / file))
    assert {type(item) for item in items} == {Triple}
    assert len(items) == facts
    assert Counter(item.relation for item in items if isinstance(item, Triple))[relation] == count


def test_wordnet() -> None:
    path = ROOT / "kg/oewn_synsets.jsonl.gz"
    assert detect_format(path) == "wordnet"
    found = Counter(item.relation if isinstance(item, Triple) else "reject" for item in read_source(path))
    assert found["reject"] == 0
    assert (found["IsA"], found["PartOf"], found["DefinedAs"]) == (74_225, 5_041, 107_525)
    edges = Counter(item.relation for item in read_source(path, format="wordnet-edges") if isinstance(item, Triple))
    assert edges == {"IsA": 74_225, "PartOf": 5_041}
