import json
from pathlib import Path

from kb.readers.reject import Reject
from kb.readers.wordnet import read, read_edges
from kb.triple import Triple

SYNSETS = [
    {"id": "1-n", "w": ["dog", "domestic dog"], "hypernym": ["3-n"], "mero_part": ["4-n"]},
    {"id": "2-n", "w": ["animal", "beast"]},
    {"id": "3-n", "w": ["canine"], "hypernym": ["2-n"]},
    {"id": "4-n", "w": ["flag"]},
    {"id": "5-v", "w": ["trot"], "hypernym": ["6-v"]},
    {"id": "6-v", "w": ["walk"]},
    {"id": "7-n", "w": ["dog"], "hypernym": ["1-n"]},
    {"id": "8-a", "w": ["big"], "hypernym": ["2-n"]},
]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([*lines, *map(json.dumps, SYNSETS)]), encoding="utf-8")
    return path


def test_noun_edges_also_to_later_synsets(tmp_path: Path) -> None:
    assert list(read_edges(write(tmp_path / "wn.jsonl"), source="wn")) == [
        Triple("dog", "IsA", "canine", source="wn", line=1),
        Triple("flag", "PartOf", "dog", source="wn", line=1),
        Triple("canine", "IsA", "animal", source="wn", line=3),
    ]


def test_all_facts(tmp_path: Path) -> None:
    synset = {
        "id": "9-n",
        "w": ["oak", "oak", "oak tree"],
        "d": "a tree",
        "mero_substance": ["4-n"],
        "similar": ["2-n"],
    }
    found = list(read(write(tmp_path / "wn.jsonl", json.dumps(synset)), source="wn"))
    assert found[:4] == [
        Triple("flag", "SubstanceOf", "oak", source="wn", line=1),
        Triple("oak", "SimilarTo", "animal", source="wn", line=1),
        Triple("oak", "Synonym", "oak tree", source="wn", line=1),
        Triple("oak", "DefinedAs", "a tree", source="wn", line=1),
    ]
    assert Triple("trot", "MannerOf", "walk", source="wn", line=6) in found
    assert Triple("animal", "Synonym", "beast", source="wn", line=3) in found


def test_broken_records_are_reported(tmp_path: Path) -> None:
    path = write(
        tmp_path / "wn.jsonl",
        '{"id": "x-n", "w": ["cat"], "hypernym": ["none-n", 7, "2-n"], "mero_part": "4-n"}',
        '{"id": "y-n", "w": []}',
        '{"w": ["z"]}',
        "{",
    )
    found = list(read_edges(path, source="wn"))
    assert Triple("cat", "IsA", "animal", source="wn", line=1) in found
    reasons = [item.reason for item in found if isinstance(item, Reject)]
    assert reasons[:4] == [
        "IsA points to the unknown synset 'none-n'",
        "IsA points to the unknown synset 7",
        "has no list of words under 'w'",
        "has no text under 'id'",
    ]
    assert reasons[4].startswith("not JSON")
    assert len([item for item in found if isinstance(item, Triple)]) == 4
