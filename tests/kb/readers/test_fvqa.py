import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kb.readers.fvqa import looks_like_json, looks_like_table, read
from kb.readers.reject import Reject
from kb.triple import Triple

TABLE = (
    "head\trelation\ttail\tkb_source\tsurface\n"
    "jazz_club\tIsA\tclub\tconceptnet\t[[jazz club]] is a [[club]] | [[A jazz club]] is a [[club]]\n"
    "Chair\ttransnbhd\tCategory:Chair_design\tdbpedia\t[[chair]] belongs to the category of [[Chair design]]\n"
    "train\tfast#f\tbike\twebchild\t\n"
    "bike\tfast#r\ttrain\twebchild\n"
    "Owl\tanimal_class\tList_of_birds\tdbpedia\tx\n"
)


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "facts.tsv.gz"
    path.write_bytes(gzip.compress(TABLE.encode()))
    jazz, chair, train, bad, owl = read(path, source="fvqa")
    assert jazz == Triple("jazz club", "IsA", "club", source="fvqa", line=2, surface="jazz club is a club")
    assert isinstance(chair, Triple)
    assert (chair.head, chair.relation, chair.tail) == ("Chair", "Category", "Chair design")
    assert train == Triple("train", "more fast than", "bike", source="fvqa", line=4)
    assert bad == Reject(5, "has 4 columns instead of 5", "bike\tfast#r\ttrain\twebchild")
    assert isinstance(owl, Triple)
    assert (owl.relation, owl.tail) == ("AnimalClass", "birds")


def test_published_json(tmp_path: Path) -> None:
    record = {"KB": "conceptnet", "e1": "/c/en/dog", "e1_label": "dog", "r": "/r/CapableOf", "e2_label": "bark"}
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"a": record | {"surface": "[[dogs]] can [[bark]]"}, "b": {"r": "x"}, "c": 7}))
    dog, no_head, no_record = read(path, source="fvqa")
    assert dog == Triple("dog", "CapableOf", "bark", source="fvqa", line=1, surface="dogs can bark")
    assert isinstance(no_head, Reject)
    assert no_head.reason == "head: is NoneType, not text"
    assert no_record == Reject(3, "is int, not an object", "c: 7")


RECORD = {"e1_label": "dog", "r": "/r/CapableOf", "e2_label": "bark", "surface": "x" * 100}


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (lambda whole: whole[: len(whole) // 2], "not JSON from here on: Unterminated string"),
        (lambda whole: gzip.compress(whole, 1)[: len(whole) // 200], "ends early"),
        (lambda whole: whole[: len(whole) // 2] + b"\xff" + whole, "not UTF-8"),
        (lambda whole: whole[:-1] + b"]", "not a JSON object from here on"),
        (lambda whole: whole[:-1] + b',"a":' + b"[" * 100_000, "nested too deep"),
    ],
)
def test_broken_json_keeps_what_comes_before(tmp_path: Path, cut: Callable[[bytes], bytes], reason: str) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(cut(json.dumps({f"fact {number}": RECORD for number in range(4000)}).encode()))
    *good, bad = read(path, source="fvqa")
    assert len(good) > 100
    assert {type(item) for item in good} == {Triple}
    assert isinstance(bad, Reject)
    assert bad.line == len(good) + 1
    assert reason in bad.reason


def test_json_that_is_no_object(tmp_path: Path) -> None:
    for content in ('{"a": ', "{", '{"a" 1}', "{1: 2}", '{"a": 1 "b": 2}'):
        (tmp_path / "facts.json").write_text(content)
        assert {type(item) for item in read(tmp_path / "facts.json", source="fvqa")} == {Reject}
    (tmp_path / "facts.json").write_text(" {} ")
    assert list(read(tmp_path / "facts.json", source="fvqa")) == []


def test_recognition() -> None:
    assert looks_like_table("Head\trelation\ttail\tkb_source\tsurface\r")
    assert not looks_like_table("head\trelation\ttail")
    assert looks_like_json('{"x": {"e1_label": "a", "e2_label": "b"')
    assert not looks_like_json('{"head": "a"}')
