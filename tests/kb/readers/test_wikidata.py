import json
from pathlib import Path

from kb.readers import licence_of, read_source
from kb.readers.reject import Reject
from kb.readers.wikidata import looks_like_dump, read
from kb.triple import Alias, Triple

PATH = Path(__file__).parents[2] / "fixtures" / "kb" / "wikidata.json"


def test_statements_and_names() -> None:
    alias, broken, *facts, unknown = read_source(PATH)
    assert alias == Alias("zither", "table harp", source="wikidata", line=2)
    assert isinstance(broken, Reject)
    assert broken.line == 4
    assert broken.reason.startswith("not JSON")
    assert facts == [
        Triple("zither", "InstanceOf", "string instrument", source="wikidata", line=2),
        Triple("zither", "played in", "Bavaria", source="wikidata", line=2),
        Triple("zither", "inception", "1784-05", source="wikidata", line=2),
    ]
    assert unknown == Reject(2, "Q999 is not in the dump", "Q901 P361 Q999")


def test_items_without_a_label_are_left_out() -> None:
    facts = [item for item in read(PATH, source="w", language="de") if isinstance(item, Triple)]
    assert [(fact.head, fact.relation, fact.tail) for fact in facts] == [
        ("Zither", "P9001", "Bavaria"),
        ("Zither", "inception", "1784-05"),
        ("Bavaria", "InstanceOf", "Freistaat"),
        ("Freistaat", "IsA", "Bavaria"),
    ]


def test_odd_values_do_no_harm(tmp_path: Path) -> None:
    def statement(kind: str, value: object, **more: object) -> dict[str, object]:
        return {"mainsnak": {"datavalue": {"type": kind, "value": value}}, "rank": "normal"} | more

    times = [("+0044-03-15T00:00:00Z", 11), ("-0044-03-15T00:00:00Z", 9), ("+2001-00-00T00:00:00Z", 7), ("soon", 11)]
    claims = {
        "P570": [statement("time", {"time": time, "precision": precision}) for time, precision in times],
        "P31": [statement("wikibase-entityid", value) for value in ({"numeric-id": 1}, {"id": "Q\t1"}, None, [])],
        "bad": [statement("wikibase-entityid", {"id": "Q1"})],
        "P50": "no list",
    }
    lines = [{"id": "Q1", "labels": {"en": {"value": " x \t"}}, "claims": claims}, {"id": "X"}, [1], {"labels": {}}]
    path = tmp_path / "w.json"
    path.write_text("\n".join(map(json.dumps, lines)))
    items = list(read(path, source="w"))
    facts = [(item.relation, item.tail) for item in items if isinstance(item, Triple)]
    assert facts == [("date of death", "44-03-15"), ("date of death", "44 BC"), ("InstanceOf", "x")]
    assert [item.line for item in items if isinstance(item, Reject)] == [2, 3, 4]


def test_recognition_of_a_first_line_that_is_very_long() -> None:
    assert looks_like_dump('[\n{"type":"item","id":"Q31","labels":{"en":' + "x" * 1000)
    assert looks_like_dump('{"id": "P31", "claims": [')
    assert not looks_like_dump('{"id": "1-n", "w": ["dog"]}')
    assert licence_of("wikidata") == "CC0 1.0"
