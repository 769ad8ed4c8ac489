"""Example: one question about one picture, with what is known about its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvqa.errors import InputError
from kvqa.vision.regions import Regions

Fact = tuple[str, str, str]
"""A fact by its identity, as `kb.triple.Triple.key`: head, relation, tail."""


@dataclass(frozen=True)
class Example:
    """A question, what is seen in its picture, and, for training and scoring, its answers and facts.

    Attributes:
        question_id: Identity within its data set.
        question: The question in plain words.
        image: File name of the picture.
        regions: What is seen in it.
        answers: Accepted spellings of the answer; the first is the reference that scores are counted against.
        facts: The gold facts that support the answer.
        meta: Whatever else the data set says about the question, such as `answer_source` (image or kb).
    """

    question_id: str
    question: str
    image: str
    regions: Regions
    answers: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)


def check_question(text: str, *, max_chars: int = 2000) -> str:
    """Return `text` with white space collapsed to single spaces and stripped.

    Raises:
        InputError: if nothing is left, the text holds a NUL character or broken bytes, or is longer than
            `max_chars` characters.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("the question holds bytes that are no text; give it in UTF-8") from None
    if "\x00" in text:
        raise InputError(f"the question {text[:40]!r} holds a NUL character; give it as plain text")
    if len(text) > max_chars:
        raise InputError(f"the question has {len(text)} characters, more than {max_chars}; ask a shorter one")
    question = " ".join(text.split())
    if not question:
        raise InputError("the question is empty; ask something about the picture")
    return question
