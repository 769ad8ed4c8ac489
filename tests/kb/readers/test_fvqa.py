import gzip
import json
from pathlib import Path

import pytest

from kb.errors import KnowledgeError
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


def test_broken_json_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    for content in (b'{"a": ', gzip.compress(b'{"a": "b"}' * 99)[:-9]):
        path.write_bytes(content)
        with pytest.raises(KnowledgeError, match="is not whole JSON"):
            list(read(path, source="fvqa"))


def test_recognition() -> None:
    assert looks_like_table("Head\trelation\ttail\tkb_source\tsurface\r")
    assert not looks_like_table("head\trelation\ttail")
    assert looks_like_json('{"x": {"e1_label": "a", "e2_label": "b"')
    assert not looks_like_json('{"head": "a"}')
