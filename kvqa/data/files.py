"""Reading the files of a data set, so that a broken record is named with its file and what was expected."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from kvqa.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file, unpacking gzip by its first bytes, whatever its suffix.

    Raises:
        InputError: if the file cannot be opened, or reading it inside the block fails.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
        # utf-8-sig: some tables were saved with a byte order mark
        with (
            cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig"))
            if packed
            else path.open(encoding="utf-8-sig") as stream
        ):
            yield stream
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}); fetch the file again") from None


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and text of every line that is not blank, without its end.

    Raises:
        InputError: if the file cannot be read.
    """
    with open_text(path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield place (`line 7`) and content of each JSON object in a file with one a line.

    Raises:
        InputError: naming the line that is no JSON object.
    """
    for number, line in lines(path):
        place = f"line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, {place}: not JSON ({error}); expected one object a line") from None
        yield place, record


@contextmanager
def record_at(path: Path, place: str) -> Iterator[None]:
    """Name file and place in every complaint about a record.

    Raises:
        InputError: for any InputError, KeyError, IndexError, TypeError or ValueError inside the block.
    """
    try:
        yield
    except KeyError as error:
        raise InputError(f"{path}, {place}: the key {error} is missing") from None
    except (IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}, {place}: {' '.join(str(error).split())}") from None


def text(record: Any, key: str) -> str:
    """Return the text under `key`, white space collapsed.

    Raises:
        InputError: if there is another kind of value, or nothing but white space.
        KeyError: if the key is missing.
    """
    value = _field(record, key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key} is {_shown(value)}; expected a text")
    return " ".join(value.split())


def whole(record: Any, key: str) -> int:
    """Return the whole number under `key`.

    Raises:
        InputError: if there is another kind of value.
        KeyError: if the key is missing.
    """
    value = _field(record, key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{key} is {_shown(value)}; expected a whole number")
    return value


def texts(record: Any, key: str, count: int | None = None) -> tuple[str, ...]:
    """Return the list of texts under `key`.

    Raises:
        InputError: if there is another kind of value, or not `count` of them.
        KeyError: if the key is missing.
    """
    value = _field(record, key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{key} is {_shown(value)}; expected a list of texts")
    if count is not None and len(value) != count:
        raise InputError(f"{key} has {len(value)} texts; expected {count}")
    return tuple(value)


def choice(value: Any, what: str, count: int) -> int:
    """Return `value` if it is a position among `count` choices.

    Raises:
        InputError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise InputError(f"{what} is {_shown(value)}; expected a whole number from 0 to {count - 1}")
    return value


def truth(value: Any) -> bool:
    """Return a truth value that is written as such or as the text "true" or "false" in any case.

    Raises:
        InputError: if it is neither.
    """
    known = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise InputError(f"label is {_shown(value)}; expected true or false")


def _field(record: Any, key: str) -> Any:
    if not isinstance(record, dict):
        raise InputError(f"{_shown(record)} is no record; expected an object with the key {key}")
    return record[key]


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
