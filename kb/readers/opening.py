"""Opening a text file, plain or packed, so that one bad byte costs one line and not the file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from kb.errors import KnowledgeError
from kb.readers.packing import DAMAGED, unpacked
from kb.readers.reject import MAX_TEXT, Reject

MAX_LINE = 1 << 20
"""Longest line in bytes; a longer one is a Reject and is not kept in memory."""

STDIN = Path("-")
"""The path that stands for standard input; `spool_stdin` turns it into a file."""

_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line without its line end; `number` counts from 1."""

    number: int
    text: str


class Damage(NamedTuple):
    """Why nothing more can be read from a packed file."""

    reason: str


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for reading bytes, unpacking gzip, bz2, xz and zstd, whatever the file is called.

    Reading may raise one of `kb.readers.packing.DAMAGED`; `damage` puts it into words.

    Raises:
        KnowledgeError: if there is no such file, it is a folder, or it may not be read.
    """
    try:
        raw = path.open("rb")
    except FileNotFoundError as error:
        raise KnowledgeError(f"there is no file {path}; check the path of the source") from error
    except IsADirectoryError as error:
        raise KnowledgeError(f"{path} is a folder; give one file as a source") from error
    except (OSError, ValueError) as error:
        raise KnowledgeError(f"cannot read {path}: {error}; check the path and its permissions") from error
    with raw, unpacked(raw) as stream:
        yield stream


@contextmanager
def open_text(path: Path, *, max_line: int = MAX_LINE) -> Iterator[Iterator[Line | Reject]]:
    r"""Give the lines of a UTF-8 file, plain or packed, one after the other.

    A line that is not UTF-8 or longer than `max_line` bytes comes as a Reject in its place. When a packed stream ends
    early or is damaged, all whole lines before that point come first, then one Reject. Only "\n" and "\r\n" end a line.

    Raises:
        KnowledgeError: as `open_binary`.
    """
    with open_binary(path) as stream:
        yield _lines(_chunks(stream), max_line)


def first_text(path: Path, size: int = _CHUNK) -> str:
    """Return at most the first `size` bytes of the unpacked file as text, bad bytes replaced.

    Raises:
        KnowledgeError: as `open_binary`, or if the file is damaged from its first byte on.
    """
    with open_binary(path) as stream:
        gathered = b""
        for chunk in _chunks(stream):
            if isinstance(chunk, Damage):
                if not gathered:
                    raise KnowledgeError(f"cannot read {path}: {chunk.reason}")
                break
            gathered += chunk
            if len(gathered) >= size:
                break
    return gathered[:size].removeprefix(_BOM).decode("utf-8", errors="replace")


@contextmanager
def spool_stdin(stream: IO[bytes] | None = None) -> Iterator[Path]:
    """Copy standard input into a temporary file, which is gone after the `with` block, and give its path.

    A source is looked at more than once (format, checksum, labels before facts), which a pipe does not allow. The file
    is called `stdin`, and so is the source that `kb.readers.source_name` names after it. Whoever takes paths from a
    user writes, for the path `-` (`STDIN`):

        with spool_stdin() as path:
            build_kb([path], ...)

    Args:
        stream: What to copy instead of standard input.

    Raises:
        KnowledgeError: if the temporary folder has no room for it.
    """
    with tempfile.TemporaryDirectory(prefix="kvqa-") as folder:
        path = Path(folder) / "stdin"
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(stream or sys.stdin.buffer, file)
        except OSError as error:
            advice = "free space, or set TMPDIR to a folder with room"
            raise KnowledgeError(f"cannot keep standard input in {folder}: {error}; {advice}") from error
        yield path


def damage(error: BaseException) -> Damage:
    """Say in words what one of `kb.readers.packing.DAMAGED` means for the file."""
    if isinstance(error, EOFError):
        return Damage("the packed file ends early; fetch the file again")
    return Damage(f"the file is damaged from here on ({error}); fetch the file again")


def _chunks(stream: IO[bytes]) -> Iterator[bytes | Damage]:
    # read1 returns what is unpacked so far, so nothing before the damage is lost.
    read = getattr(stream, "read1", stream.read)
    while True:
        try:
            chunk = read(_CHUNK)
        except DAMAGED as error:
            yield damage(error)
            return
        if not chunk:
            return
        yield chunk


def _lines(chunks: Iterable[bytes | Damage], max_line: int) -> Iterator[Line | Reject]:
    number = 0
    for block in _blocks(chunks, max_line):
        if isinstance(block, Reject):
            number += 1
            yield Reject(number, block.reason, block.text)
            continue
        block = block.removeprefix(_BOM) if number == 0 else block
        try:
            lines = block.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            for line in block.split(b"\n"):
                number += 1
                yield _decode(number, line)
            continue
        if b"\r" in block:
            lines = [line.removesuffix("\r") for line in lines]
        yield from map(Line, range(number + 1, number + 1 + len(lines)), lines)
        number += len(lines)


def _blocks(chunks: Iterable[bytes | Damage], max_line: int) -> Iterator[bytes | Reject]:
    """Cut the bytes at line ends: blocks of whole lines without the last line end, and Rejects of line 0.

    A block, unlike a line, is large enough to be decoded in one call, and decoding is most of the work on a line.
    """
    pending: list[bytes] = []  # the beginning of a line, in pieces
    size = 0
    for chunk in chunks:
        if isinstance(chunk, Damage):
            yield Reject(0, chunk.reason, _start(pending))
            return
        first, newline, rest = chunk.partition(b"\n")
        # A line that is known to be too long is not kept.
        if size <= max_line:
            pending.append(first)
        size += len(first)
        if newline:
            yield _whole(pending, size, max_line)
            whole, newline, last = rest.rpartition(b"\n")
            if newline:
                yield whole
            pending, size = [last], len(last)
    if size:
        yield _whole(pending, size, max_line)


def _whole(pieces: list[bytes], size: int, max_line: int) -> bytes | Reject:
    if size <= max_line:
        return b"".join(pieces)
    return Reject(0, f"the line is longer than {max_line} bytes", _start(pieces))


def _start(pieces: list[bytes]) -> str:
    # A character has at most four bytes.
    return b"".join(pieces[:2])[: 4 * MAX_TEXT].decode("utf-8", errors="replace")


def _decode(number: int, line: bytes) -> Line | Reject:
    try:
        return Line(number, line.decode("utf-8").removesuffix("\r"))
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 at byte {error.start} of the line"
        return Reject(number, reason, line.decode("utf-8", errors="replace"))
