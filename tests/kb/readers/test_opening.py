import gzip
from pathlib import Path

import pytest

from kb.errors import KnowledgeError
from kb.readers.opening import MAX_LINE, Line, first_text, open_text
from kb.readers.reject import MAX_TEXT, Reject


def lines_of(path: Path) -> list[Line | Reject]:
    with open_text(path) as lines:
        return list(lines)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_plain_and_packed_read_the_same(tmp_path: Path, pack: type[bytes]) -> None:
    path = write(tmp_path / "any.name", pack(b"\xef\xbb\xbfone\r\n\nthree\xe2\x80\xa8still\n4"))
    assert lines_of(path) == [Line(1, "one"), Line(2, ""), Line(3, "three\u2028still"), Line(4, "4")]


def test_wrong_encoding_costs_one_line(tmp_path: Path) -> None:
    first, bad, last = lines_of(write(tmp_path / "f", b"one\ntea\xe9\nthree\n"))
    assert (first, last) == (Line(1, "one"), Line(3, "three"))
    assert bad == Reject(2, "not UTF-8 at byte 3 of the line", "tea\ufffd")


@pytest.mark.parametrize("filler", [b"x" * (MAX_LINE + 1), b"x" * (3 * MAX_LINE)])
def test_overlong_line_costs_one_line(tmp_path: Path, filler: bytes) -> None:
    first, bad, last = lines_of(write(tmp_path / "f", b"one\n" + filler + b"\nthree"))
    assert (first, last) == (Line(1, "one"), Line(3, "three"))
    assert isinstance(bad, Reject)
    assert "longer than" in bad.reason
    assert len(bad.text) == MAX_TEXT


def test_truncated_gzip_loses_nothing_before_the_end(tmp_path: Path) -> None:
    content = b"".join(b"line %d of many\n" % number for number in range(20_000))
    packed = gzip.compress(content)
    *good, bad = lines_of(write(tmp_path / "f.gz", packed[: len(packed) // 2]))
    assert len(good) > 5_000
    assert good == [Line(number + 1, f"line {number} of many") for number in range(len(good))]
    assert isinstance(bad, Reject)
    assert bad.line == len(good) + 1
    assert "ends early" in bad.reason


def test_damaged_gzip_is_a_reject(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"one\ntwo\n"))
    packed[-8] ^= 0xFF  # the checksum
    *good, bad = lines_of(write(tmp_path / "f.gz", bytes(packed)))
    assert good == [Line(1, "one"), Line(2, "two")]
    assert isinstance(bad, Reject)
    assert "damaged" in bad.reason


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"no file .*none\.tsv"):
        lines_of(tmp_path / "none.tsv")
    with pytest.raises(KnowledgeError, match="is a folder"):
        lines_of(tmp_path)
    with pytest.raises(KnowledgeError, match="cannot read"):
        lines_of(Path("a\x00b"))


def test_first_text(tmp_path: Path) -> None:
    assert first_text(write(tmp_path / "f", b"\xef\xbb\xbfabc\xff"), size=6) == "abc"
    assert first_text(write(tmp_path / "g", gzip.compress(b"abc\xff"))) == "abc\ufffd"
    assert first_text(write(tmp_path / "h", b"")) == ""
    with pytest.raises(KnowledgeError, match="ends early"):
        first_text(write(tmp_path / "i", gzip.compress(b"abc")[:5]))
