"""Opening a text file, plain or gzip, so that one bad byte costs one line and not the file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

from kb.errors import KnowledgeError
from kb.readers.reject import Reject

MAX_LINE = 1 << 20
"""Longest line in bytes; a longer one is a Reject and is not kept in memory."""

_CHUNK = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line without its line end; `number` counts from 1."""

    number: int
    text: str


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for reading bytes; gzip is recognised by its first bytes, whatever the file is called.

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
    with raw:
        packed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield cast(IO[bytes], unpacked)


@contextmanager
def open_text(path: Path) -> Iterator[Iterator[Line | Reject]]:
    r"""Give the lines of a UTF-8 file, plain or gzip, one after the other.

    A line that is not UTF-8 or longer than `MAX_LINE` comes as a Reject in its place. When a gzip stream ends early
    or is damaged, all whole lines before that point come first, then one Reject. Only "\n" and "\r\n" end a line.

    Raises:
        KnowledgeError: as `open_binary`.
    """
    with open_binary(path) as stream:
        yield _decoded(_raw_lines(_chunks(stream)))


def first_text(path: Path, size: int = _CHUNK) -> str:
    """Return at most the first `size` bytes of the unpacked file as text, bad bytes replaced.

    Raises:
        KnowledgeError: as `open_binary`, or if the file is damaged from its first byte on.
    """
    with open_binary(path) as stream:
        gathered = b""
        for chunk in _chunks(stream):
            if isinstance(chunk, _Damage):
                if not gathered:
                    raise KnowledgeError(f"cannot read {path}: {chunk.reason}")
                break
            gathered += chunk
            if len(gathered) >= size:
                break
    return gathered[:size].removeprefix(_BOM).decode("utf-8", errors="replace")


class _Damage(NamedTuple):
    reason: str


def _chunks(stream: IO[bytes]) -> Iterator[bytes | _Damage]:
    # read1 returns what is unpacked so far, so nothing before the damage is lost.
    read = getattr(stream, "read1", stream.read)
    while True:
        try:
            chunk = read(_CHUNK)
        except EOFError:
            yield _Damage("the gzip stream ends early; fetch the file again")
            return
        except (OSError, zlib.error) as error:
            yield _Damage(f"the file is damaged from here on ({error}); fetch the file again")
            return
        if not chunk:
            return
        yield chunk


def _raw_lines(chunks: Iterable[bytes | _Damage]) -> Iterator[bytes | tuple[bytes, _Damage]]:
    pending = b""
    for chunk in chunks:
        if isinstance(chunk, _Damage):
            yield pending, chunk
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines
        # One byte more than allowed is enough to know that the line is too long.
        pending = pending[: MAX_LINE + 1]
    if pending:
        yield pending


def _decoded(lines: Iterable[bytes | tuple[bytes, _Damage]]) -> Iterator[Line | Reject]:
    for number, line in enumerate(lines, start=1):
        if isinstance(line, tuple):
            rest, damage = line
            yield Reject(number, damage.reason, rest.decode("utf-8", errors="replace"))
        elif len(line) > MAX_LINE:
            yield Reject(number, f"the line is longer than {MAX_LINE} bytes", line.decode("utf-8", errors="replace"))
        else:
            yield _decode(number, line.removeprefix(_BOM) if number == 1 else line)


def _decode(number: int, line: bytes) -> Line | Reject:
    try:
        return Line(number, line.decode("utf-8").removesuffix("\r"))
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 at byte {error.start} of the line"
        return Reject(number, reason, line.decode("utf-8", errors="replace"))
