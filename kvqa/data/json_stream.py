"""Large JSON documents, one record at a time: the list under a key, or the members of an object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from kvqa.data.files import open_text
from kvqa.errors import InputError

CHUNK = 1 << 20
"""Characters read at a time."""
AFTER_VALUE = tuple(",]}: \t\r\n")


class _Window:
    """A part of a JSON text, from the place that is read on; it grows until the next value is whole."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.text = ""
        self.at = 0
        self.decoder = json.JSONDecoder()

    def more(self) -> bool:
        """Read on; twice as much as is waiting, so that a long value is not copied over and over."""
        self.text, self.at = self.text[self.at :], 0
        added = self.stream.read(max(CHUNK, len(self.text)))
        self.text += added
        return bool(added)

    def sign(self) -> str:
        """Return the next character that is no white space, "" at the end; it is not passed over."""
        while True:
            while self.at < len(self.text):
                if not self.text[self.at].isspace():
                    return self.text[self.at]
                self.at += 1
            if not self.more():
                return ""

    def take(self, allowed: str) -> str:
        """Return the next character and pass over it.

        Raises:
            InputError: if it is not one of `allowed`.
        """
        sign = self.sign()
        if not sign or sign not in allowed:
            found = repr(sign) if sign else "the end of the file"
            raise InputError(f"found {found} where one of {' '.join(allowed)} belongs")
        self.at += 1
        return sign

    def value(self) -> Any:
        """Return the next value and pass over it."""
        self.sign()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if not self.more():
                    raise InputError(f"not whole JSON ({error.msg})") from None
                continue
            if self.text[end : end + 1] in AFTER_VALUE or not self.more():  # else a number might go on
                self.at = end
                return value


def list_items(path: Path, key: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield place (`questions 7`) and content of each item of a list, without holding the whole list.

    Args:
        path: JSON document, plain or gzip.
        key: The list is the value under this key of the document's object; None if the document is the list.

    Raises:
        InputError: if the document is not whole JSON of that form.
    """
    with open_text(path) as stream:
        window, number = _Window(stream), 0
        try:
            if key is not None:
                _seek(window, key)
            for number, item in enumerate(_items(window), start=1):
                yield f"{key or 'record'} {number}", item
        except InputError as error:
            raise InputError(f"{path}, after {key or 'record'} {number}: {error}; fetch the file again") from None


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield key and value of each member of the JSON object in `path`, without holding the whole object.

    Raises:
        InputError: if the document is not whole JSON of that form.
    """
    with open_text(path) as stream:
        window, last = _Window(stream), "the start"
        try:
            for key in _keys(window):
                last = key
                yield key, window.value()
        except InputError as error:
            raise InputError(f"{path}, after {last}: {error}; fetch the file again") from None


def _seek(window: _Window, key: str) -> None:
    """Go to the value under `key` of the object that begins here."""
    for name in _keys(window):
        if name == key:
            return
        window.value()
    raise InputError(f"the key {key!r} is missing")


def _keys(window: _Window) -> Iterator[str]:
    """Yield the keys of the object that begins here; who asks for the next has passed over the value."""
    window.take("{")
    if window.sign() == "}":
        return
    while True:
        key = window.value()
        if not isinstance(key, str):
            raise InputError(f"found {key!r} where a key belongs")
        window.take(":")
        yield key
        if window.take(",}") == "}":
            return


def _items(window: _Window) -> Iterator[Any]:
    """Yield the items of the list that begins here."""
    window.take("[")
    if window.sign() == "]":
        return
    while True:
        yield window.value()
        if window.take(",]") == "]":
            return
