"""What a reader gives back for a line that it could not use."""

from __future__ import annotations

from dataclasses import dataclass

MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Reject:
    """A line or record that is no fact. It is reported, never raised: one broken line does not stop a file.

    Attributes:
        line: Line (from 1) or record number in the source.
        reason: What is wrong with it, in words.
        text: The line itself, cut to `MAX_TEXT` characters.
    """

    line: int
    reason: str
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text[:MAX_TEXT])
