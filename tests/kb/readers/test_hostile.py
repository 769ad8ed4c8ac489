"""What no reader may do, whatever the bytes: crash, lose a good line, or take a whole line into memory."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.errors import KnowledgeError
from kb.readers import READERS, Alias, Reject, Triple, read_source
from kb.readers.wikidata import MAX_LINE

CONCEPT = '/a/x\t/r/IsA\t/c/en/thing_{0}/n\t/c/en/end\t{{"weight": 1.0}}'
ITEM = {"mainsnak": {"datavalue": {"type": "wikibase-entityid", "value": {"id": "Q1000"}}}}
GOOD_LINES: dict[str, Callable[[int], str]] = {
    "triples": lambda number: f"thing {number}\tIsA\tend",
    "jsonl": lambda number: json.dumps({"head": f"thing {number}", "relation": "IsA", "tail": "end"}),
    "conceptnet": CONCEPT.format,
    "atomic": lambda number: f"thing {number}\tIsA\tend",
    "wordnet": lambda number: json.dumps({"id": f"{number}-n", "w": [f"thing {number}"], "hypernym": ["1000-n"]}),
    "wikidata": lambda number: (
        json.dumps({"id": f"Q{number + 1}", "labels": {"en": {"value": f"thing {number}"}}, "claims": {"P279": [ITEM]}})
        + ","
    ),
    "ntriples": lambda number: f"<http://e/thing_{number}> <http://e/IsA> <http://e/end> .",
    "turtle": lambda number: f"<http://e/thing_{number}> <http://e/IsA> <http://e/end> .",
    "fvqa": lambda number: f"thing_{number}\tIsA\tend\tconceptnet\t",
    "sentences": lambda number: f"thing {number}",
}
FIRST_LINES = {
    "wordnet": '{"id": "1000-n", "w": ["end"]}',
    "wikidata": '{"id": "Q1000", "labels": {"en": {"value": "end"}}}',
}
PACKERS = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.compress}
GARBAGE = st.one_of(
    st.binary(max_size=40),
    # What may open something that swallows the lines after it.
    st.sampled_from(
        [b'"', b'"""', b"'''", b"<", b"[", b"{", b"(", b"@prefix", b"a . ;", b'x "y', b"\x00", b"\xff\xfe"]
    ),
).map(lambda junk: junk.replace(b"\n", b""))
IN_TMP_PATH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def heads(path: Path, name: str) -> list[str]:
    columns = "hrt" if name == "triples" else "auto"
    items = list(read_source(path, format=name, columns=columns))
    assert all(isinstance(item, Triple | Alias | Reject) for item in items)
    return [item.head for item in items if isinstance(item, Triple)]


def test_each_format_of_lines_is_here() -> None:
    assert GOOD_LINES.keys() == READERS.keys() - {"nquads", "wordnet-edges"}


@pytest.mark.parametrize("name", GOOD_LINES)
@IN_TMP_PATH
@given(junk=st.lists(GARBAGE, max_size=6))
def test_no_good_line_is_lost(tmp_path: Path, name: str, junk: list[bytes]) -> None:
    lines = [FIRST_LINES.get(name, GOOD_LINES[name](99)).encode()]
    for number, garbage in enumerate(junk):
        lines += [garbage, GOOD_LINES[name](number).encode()]
    path = tmp_path / "file"
    path.write_bytes(b"\n".join(lines))
    assert {f"thing {number}" for number in range(len(junk))} <= set(heads(path, name))


@pytest.mark.parametrize("name", READERS)
@IN_TMP_PATH
@given(start=st.sampled_from([b"", b"<LexicalResource>", b"[{", b'{"', b"<http://a> ", b"@prefix "]), junk=st.binary())
def test_any_bytes_are_read_without_a_crash(tmp_path: Path, name: str, start: bytes, junk: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(start + junk)
    try:
        heads(path, name)
        list(read_source(path))
    except KnowledgeError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", GOOD_LINES)
@pytest.mark.parametrize("packer", PACKERS)
def test_a_packed_file_that_ends_early(tmp_path: Path, name: str, packer: str) -> None:
    plain = "\n".join([FIRST_LINES.get(name, GOOD_LINES[name](99)), *map(GOOD_LINES[name], range(100, 900))]).encode()
    # Packed in two parts, for bz2 and xz give nothing of a part that is not whole.
    half = plain.index(b"\n", len(plain) // 2)
    first, second = PACKERS[packer](plain[:half]), PACKERS[packer](plain[half:])
    path = tmp_path / "file"
    path.write_bytes(first + second[:-5])
    columns = "hrt" if name == "triples" else "auto"
    items = list(read_source(path, format=name, columns=columns))
    assert len([item for item in items if isinstance(item, Triple)]) >= 350
    assert [item.reason for item in items if isinstance(item, Reject) and "ends early" in item.reason] == [
        "the packed file ends early; fetch the file again"
    ]


@pytest.mark.parametrize("name", GOOD_LINES)
def test_a_line_of_ten_megabytes(tmp_path: Path, name: str) -> None:
    size = MAX_LINE + 1 if name == "wikidata" else 10 << 20
    path = tmp_path / "file"
    path.write_bytes(
        b"\n".join(
            [
                FIRST_LINES.get(name, GOOD_LINES[name](1)).encode(),
                GOOD_LINES[name](2).encode(),
                b"x" * size,
                GOOD_LINES[name](3).encode(),
            ]
        )
    )
    columns = "hrt" if name == "triples" else "auto"
    items = list(read_source(path, format=name, columns=columns))
    assert [item.line for item in items if isinstance(item, Reject) and "longer than" in item.reason] == [3]
    assert {"thing 2", "thing 3"} <= {item.head for item in items if isinstance(item, Triple)}


@pytest.mark.parametrize("name", READERS)
def test_empty_files_and_files_that_are_not_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    path.touch()
    assert [item for item in read_source(path, format=name) if not isinstance(item, Reject)] == []
    with pytest.raises(KnowledgeError, match="is empty"):
        read_source(path)
    with pytest.raises(KnowledgeError, match="there is no file"):
        read_source(tmp_path / "none", format=name)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("other", GOOD_LINES)
def test_the_format_of_another(tmp_path: Path, name: str, other: str) -> None:
    path = tmp_path / "file"
    path.write_text("\n".join(map(GOOD_LINES[other], range(60))))
    try:
        items = list(read_source(path, format=name))
    except KnowledgeError as error:
        assert name == "triples"
        assert "--columns" in str(error)  # what is said of a table whose columns cannot be told
    else:
        assert items
