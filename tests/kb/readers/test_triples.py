import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kb.errors import KnowledgeError
from kb.readers.columns import Columns
from kb.readers.packing import is_packed
from kb.readers.reject import Reject
from kb.readers.triples import read, separator_of
from kb.triple import Triple


def items(path: Path, content: bytes | str, columns: Columns = "auto") -> list[Triple | Reject]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read(path, source="test", columns=columns))


def facts(found: list[Triple | Reject]) -> list[tuple[str, str, str]]:
    return [(item.head, item.relation, item.tail) for item in found if isinstance(item, Triple)]


def test_head_first(tmp_path: Path) -> None:
    found = items(tmp_path / "f.tsv", "my_mug\tAtLocation\toffice\n\nsax\tis-a\twoodwind instrument\n")
    assert found == [
        Triple("my mug", "AtLocation", "office", source="test", line=1),
        Triple("sax", "IsA", "woodwind instrument", source="test", line=3),
    ]


def test_relation_first(tmp_path: Path) -> None:
    found = items(tmp_path / "f.txt", "ReceivesAction\thockey\tplay on ice\t1.0\nIsA\tbaseball\tsport\t0.5\n")
    assert facts(found) == [("hockey", "ReceivesAction", "play on ice"), ("baseball", "IsA", "sport")]


def test_header_with_surface(tmp_path: Path) -> None:
    content = 'id,object,subject,predicate,sentence\n1,rain,umbrella,UsedFor,"It is  for rain, mostly."\n2,a,b,IsA\n'
    assert items(tmp_path / "f.csv", content) == [
        Triple("umbrella", "UsedFor", "rain", source="test", line=2, surface="It is for rain, mostly."),
        Triple("b", "IsA", "a", source="test", line=3),
    ]


def test_header_only_and_empty(tmp_path: Path) -> None:
    assert items(tmp_path / "f.tsv", "head\trelation\ttail\n") == []
    assert items(tmp_path / "g.tsv", "") == []


def test_quotes_are_characters_in_tsv_and_marks_in_csv(tmp_path: Path) -> None:
    assert facts(items(tmp_path / "f.tsv", '"e"\tHasColor\twhite\n')) == [('"e"', "HasColor", "white")]
    assert facts(items(tmp_path / "f.csv", '"rock, paper",IsA,game\n')) == [("rock, paper", "IsA", "game")]


def test_broken_lines_are_reported_in_their_place(tmp_path: Path) -> None:
    content = (
        b"dog\tIsA\tanimal\nonly one\ndog\t\tanimal\ncat\tIs\x00A\tanimal\ncaf\xe9\tIsA\tplace\ncat\tIsA\tanimal\n"
    )
    found = items(tmp_path / "f.tsv", content)
    assert facts(found) == [("dog", "IsA", "animal"), ("cat", "IsA", "animal")]
    assert [(bad.line, bad.reason) for bad in found if isinstance(bad, Reject)] == [
        (2, "has 1 column instead of 3"),
        (3, "relation: the text is empty"),
        (4, "relation: the text holds a NUL character"),
        (5, "not UTF-8 at byte 3 of the line"),
    ]


def test_commas_and_quotes_that_break_a_csv(tmp_path: Path) -> None:
    one, two, three = items(tmp_path / "f.csv", 'dog,IsA,animal,really\n"dog,IsA,animal\ndog,IsA,animal\n')
    assert isinstance(one, Reject)
    assert "has 4 columns; put text with a comma in quotes" in one.reason
    assert isinstance(two, Reject)
    assert "not CSV" in two.reason
    assert facts([three]) == [("dog", "IsA", "animal")]
    _, wide = items(tmp_path / "g.csv", "head,relation,tail\na,IsA,b\na,IsA,b,c\n")
    assert isinstance(wide, Reject)
    assert "the header line has 3" in wide.reason


def test_open_order_is_an_error(tmp_path: Path) -> None:
    content = "".join(f"a{number}\tb{number}\tc\n" for number in range(100))
    with pytest.raises(KnowledgeError, match="--columns"):
        items(tmp_path / "f.tsv", content)
    assert facts(items(tmp_path / "f.tsv", content, "rht"))[0] == ("b0", "a0", "c")


def test_more_lines_than_the_sample(tmp_path: Path) -> None:
    found = items(tmp_path / "f.tsv", "".join(f"IsA\tthing {number}\tthing\n" for number in range(2_500)))
    assert [item.line for item in found if isinstance(item, Triple)] == list(range(1, 2_501))


def test_separator_of() -> None:
    assert separator_of(["a\tb\tc", "a,b,c,d", "a, b\tc, d\te"]) == "\t"
    assert separator_of(["a,b,c"]) == ","
    assert separator_of(["a b c", ""]) is None


GARBAGE = st.binary(max_size=60).map(lambda junk: junk.replace(b"\n", b""))
WORDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="_"), min_size=1, max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(GARBAGE, WORDS, WORDS), max_size=8), st.sampled_from(["f.tsv", "f.csv", "f.txt"]))
def test_no_garbage_hides_a_good_line(tmp_path: Path, parts: list[tuple[bytes, str, str]], name: str) -> None:
    assume(not parts or not is_packed(parts[0][0]))
    content = b"".join(junk + b"\n" + _line(name, head, tail) + b"\n" for junk, head, tail in parts)
    if name == "f.txt":  # garbage may hold more commas than the good lines hold tabs
        content = b"a\tIsA\tb\n" * 9 + content
    found = items(tmp_path / name, content, "hrt")
    first_good = 2 + content.count(b"\n") - 2 * len(parts)
    by_line = {item.line: item.key for item in found if isinstance(item, Triple)}
    for number, (_, head, tail) in enumerate(parts):
        assert by_line[first_good + 2 * number] == Triple(head, "IsA", tail).key


def _line(name: str, head: str, tail: str) -> bytes:
    if name != "f.csv":
        return f"{head}\tIsA\t{tail}".encode()
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="").writerow([head, "IsA", tail])
    return buffer.getvalue().encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["f.tsv", "f.csv", "f.txt"]))
def test_any_bytes_give_triples_or_rejects(tmp_path: Path, content: bytes, name: str) -> None:
    for item in items(tmp_path / name, content):
        assert isinstance(item, Triple | Reject)
