import bz2
import gzip
import io
import lzma
from pathlib import Path

import pytest
import zstandard

from kb.errors import KnowledgeError
from kb.readers import READERS, Alias, Reject, Triple, detect_format, read_source, source_name, spool_stdin

PACKERS = (gzip.compress, bz2.compress, lzma.compress, zstandard.compress)
FIXTURES = Path(__file__).parents[2] / "fixtures" / "kb"
SAMPLES = {
    "triples": [
        "dog\tIsA\tanimal\n",
        "dog,IsA,animal\n",
        "junk\n\ndog\tIsA\tanimal\n",
        "head,relation,tail\na,b,c d.\n",
    ],
    "jsonl": ['{"head": "a", "relation": "b", "tail": "c"}\n', 'junk\n{"h": "a", "r": "b", "t": "c"}\n'],
    "wordnet": ['{"id": "1-n", "w": ["dog"], "hypernym": ["1-n"]}\n'],
    "fvqa": ["head\trelation\ttail\tkb_source\tsurface\n", '{"id1":\n {"e1_label": "a", "r": "b", "e2_label": "c"}}'],
    "turtle": ["# a\nPREFIX : <http://e/>\n:a :b :c .\n"],
    "ntriples": ["# a, b, c\n<http://e/a> <http://e/b> _:c .\n", '_:a <http://e/b> "x, y, z"@en . # no'],
    "sentences": ["Cats, dogs and mice, too, eat.\nThey sleep.\n"],
}
for file, name in {
    "conceptnet-assertions.csv": "conceptnet",
    "atomic2020.tsv": "atomic",
    "atomic_v1.csv": "atomic",
    "facts.nt": "ntriples",
    "facts.nq": "ntriples",
    "facts.ttl": "turtle",
    "wikidata.json": "wikidata",
    "wn-lmf.xml": "wordnet",
    "synsets.jsonl": "wordnet",
    "sentences.txt": "sentences",
}.items():
    SAMPLES.setdefault(name, []).append((FIXTURES / file).read_text(encoding="utf-8"))


def test_each_format_has_a_sample() -> None:
    # N-Quads are read as N-Triples; the edges are a part of WordNet.
    assert SAMPLES.keys() == READERS.keys() - {"nquads", "wordnet-edges"}


@pytest.mark.parametrize(("name", "sample"), [(name, text) for name, texts in SAMPLES.items() for text in texts])
def test_formats_are_told_by_content(tmp_path: Path, name: str, sample: str) -> None:
    path = tmp_path / "file.dat"
    path.write_text(sample)
    assert detect_format(path) == name
    plain = list(read_source(path))
    assert all(isinstance(item, Triple | Alias | Reject) for item in plain)
    for pack in PACKERS:
        path.write_bytes(pack(sample.encode()))
        assert detect_format(path) == name
        assert list(read_source(path)) == plain


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"some prose\nand more\n", r"cannot tell the format .*--format triples\|jsonl\|conceptnet"),
        (b'[{"head": "a", "relation": "b", "tail": "c"}]', "cannot tell the format"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "cannot tell the format"),
        ("\ufeffdog\tIsA\tanimal".encode("utf-16"), "cannot tell the format .*UTF-16; write it again as UTF-8"),
        (b"<html><p>head,relation,tail</p></html>", "cannot tell the format"),
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
    with pytest.raises(KnowledgeError, match=r"unknown format 'rdf' .*allowed: auto, triples, jsonl, conceptnet"):
        read_source(path, format="rdf")
    with pytest.raises(KnowledgeError, match="read as 'jsonl'; leave it out"):
        read_source(path, format="jsonl", columns="hrt")
    with pytest.raises(KnowledgeError, match=r"--language de is for conceptnet, wikidata, .* read as 'triples'"):
        read_source(path, language="de")
    with pytest.raises(KnowledgeError, match=r"--min-weight 2 is for conceptnet, but .* read as 'triples'"):
        read_source(path, min_weight=2)
    with pytest.raises(KnowledgeError, match="unknown column order 'htr'"):
        read_source(path, columns="htr")
    for format in ("auto", "jsonl"):
        with pytest.raises(KnowledgeError, match="no file"):
            read_source(tmp_path / "none.jsonl", format=format)


def test_source_name() -> None:
    names = ["facts.tsv", "a.b.JSONL.gz", "x.gz", "plain", ".tsv", "w.json.bz2", "d.nt.xz", "d.ttl.zst", "l.xml.ZSTD"]
    assert [source_name(Path("folder") / name) for name in names] == [
        "facts",
        "a.b",
        "x",
        "plain",
        ".tsv",
        "w",
        "d",
        "d",
        "l",
    ]


def test_columns_by_name(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("id,what,does,which\n1,dog,chases,cat\n2,cow\n3,cat,eats,mouse,too\n")
    fact, short, long = read_source(path, columns="head=what,relation=does,tail=4")
    assert fact == Triple("dog", "chases", "cat", source="f", line=2)
    assert [item.reason for item in (short, long) if isinstance(item, Reject)] == [
        "has 2 columns instead of 4",
        "has 5 columns, the header line has 4",
    ]
    with pytest.raises(KnowledgeError, match="no column 'object' for --columns; its first line names: id, what, does"):
        list(read_source(path, columns="head=what,relation=does,tail=object"))
    path.write_text("1,dog,chases,cat\n")
    (fact,) = read_source(path, columns="head=2,relation=3,tail=4")
    assert fact == Triple("dog", "chases", "cat", source="f", line=1)


def test_standard_input() -> None:
    with spool_stdin(io.BytesIO(gzip.compress(b"dog\tIsA\tanimal\n"))) as path:
        assert list(read_source(path)) == [Triple("dog", "IsA", "animal", source="stdin", line=1)]
    assert not path.exists()
