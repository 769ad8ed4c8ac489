import gzip
from pathlib import Path

import pytest

from kb.errors import KnowledgeError
from kb.readers import READERS, Reject, Triple, detect_format, read_source, source_name

SAMPLES = {
    "triples": ["dog\tIsA\tanimal\n", "dog,IsA,animal\n", "junk\n\ndog\tIsA\tanimal\n"],
    "jsonl": ['{"head": "a", "relation": "b", "tail": "c"}\n', 'junk\n{"h": "a", "r": "b", "t": "c"}\n'],
    "wordnet": ['{"id": "1-n", "w": ["dog"], "hypernym": ["1-n"]}\n'],
    "fvqa": ["head\trelation\ttail\tkb_source\tsurface\n", '{"id1":\n {"e1_label": "a", "r": "b", "e2_label": "c"}}'],
}


def test_each_format_has_a_sample() -> None:
    assert SAMPLES.keys() == READERS.keys()


@pytest.mark.parametrize(("name", "sample"), [(name, text) for name, texts in SAMPLES.items() for text in texts])
def test_formats_are_told_by_content(tmp_path: Path, name: str, sample: str) -> None:
    path = tmp_path / "file.dat"
    path.write_text(sample)
    assert detect_format(path) == name
    path.write_bytes(gzip.compress(sample.encode()))
    assert detect_format(path) == name
    for item in read_source(path):
        assert isinstance(item, Triple | Reject)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"some prose\nand more\n", "cannot tell the format .*--format triples|jsonl|wordnet|fvqa"),
        (b'[{"head": "a", "relation": "b", "tail": "c"}]', "cannot tell the format"),
    ],
)
def test_what_is_no_source(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.tsv"
    path.write_bytes(content)
    with pytest.raises(KnowledgeError, match=message):
        read_source(path)


def test_names_and_options(tmp_path: Path) -> None:
    path = tmp_path / "CN-82K.train.tsv.gz"
    path.write_text("dog\tchews\tbone\n")
    (found,) = read_source(path, columns="rht")
    assert found == Triple("chews", "dog", "bone", source="CN-82K.train", line=1)
    (found,) = read_source(path, name="mine", format="triples")
    assert found == Triple("dog", "chews", "bone", source="mine", line=1)
    with pytest.raises(KnowledgeError, match=r"unknown format 'rdf' .*allowed: auto, triples, jsonl, wordnet, fvqa"):
        read_source(path, format="rdf")
    with pytest.raises(KnowledgeError, match="read as 'jsonl'; leave it out"):
        read_source(path, format="jsonl", columns="hrt")
    for format in ("auto", "jsonl"):
        with pytest.raises(KnowledgeError, match="no file"):
            read_source(tmp_path / "none.jsonl", format=format)


def test_source_name() -> None:
    names = ["facts.tsv", "a.b.JSONL.gz", "x.gz", "plain", ".tsv"]
    assert [source_name(Path("folder") / name) for name in names] == ["facts", "a.b", "x", "plain", ".tsv"]
