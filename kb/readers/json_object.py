"""One large JSON object, read member by member, so that it need not fit in memory nor be whole."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO

from kb.readers.opening import damage
from kb.readers.packing import DAMAGED

MAX_MEMBER = 1 << 24
"""Longest member in characters; what is longer is taken for a string or list that is never closed."""

_CHUNK = 1 << 18
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


class BrokenJsonError(ValueError):
    """What is wrong from some member on; the members before were good."""


def members(stream: IO[bytes]) -> Iterator[tuple[str, object]]:
    """Give name and value of each member of the object in `stream`, in order.

    Raises:
        BrokenJsonError: where the text stops being the UTF-8 JSON of an object, on iteration.
    """
    text = _Text(stream)
    text.expect("{")
    if text.peek() == "}":
        return
    while True:
        name = text.value()
        if not isinstance(name, str):
            raise BrokenJsonError(f"the name of a member is a JSON {type(name).__name__}, not text")
        text.expect(":")
        yield name, text.value()
        if text.peek() == "}":
            return
        text.expect(",")


class _Text:
    """The part of the text that has been read and not used."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is not white space, "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def expect(self, mark: str) -> None:
        """Step over `mark`."""
        found = self.peek()
        if found != mark:
            raise BrokenJsonError(
                f"not a JSON object from here on: {found!r} instead of {mark!r}" if found else _ENDS_EARLY
            )
        self._at += 1

    def value(self) -> object:
        """Return the next value."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise BrokenJsonError("the JSON is nested too deep") from error
            except ValueError as error:
                if self._ended:
                    raise BrokenJsonError(
                        f"not JSON from here on: {error}" if self._text[self._at :] else _ENDS_EARLY
                    ) from error
            else:
                # A number at the end of what was read may go on.
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            if len(self._text) - self._at > MAX_MEMBER:
                raise BrokenJsonError(f"not JSON from here on: no member ends within {MAX_MEMBER} characters")
            self._more()

    def _more(self) -> None:
        # Reading as much again as is there keeps the work on a long member linear.
        size = max(_CHUNK, len(self._text) - self._at)
        try:
            read = self._read(size)
            new = self._decoder.decode(read, final=not read)
        except DAMAGED as error:
            raise BrokenJsonError(damage(error).reason) from error
        except UnicodeDecodeError as error:
            raise BrokenJsonError(f"not UTF-8 from here on: {error.reason}") from error
        self._ended = not read
        self._text, self._at = self._text[self._at :] + new, 0


_ENDS_EARLY = "the JSON ends early; fetch the file again"
