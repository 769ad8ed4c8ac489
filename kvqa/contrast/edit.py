"""A sentence in tokens, and one edit of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacy.language import Language

VOWELS = "aeiou"
NEEDS_A_LOOK = "the picture has to be looked at"

_SCOPE = re.compile(
    r"\b(?:or|either|neither|nor|if|unless|not|no|none|never|without|one|some|any|other|another|each|every|all|both|"
    r"several|most|least|few|half|lot|couple|pair|may|might|could|except|but|only|just|same|more|less|fewer|than|as|"
    r"equal|total|different|single|lone|while|who|whose|images|pictures|photos|photographs)\b|n't\b|n’t\b|[,;:]",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\b(?:\d+|zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen)\b", re.IGNORECASE
)
_AND = re.compile(r"\band\b|&|\+", re.IGNORECASE)
_INDEFINITE = re.compile(r"\b(?:an?)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a mark, with its place in the text."""

    text: str
    start: int
    end: int

    @property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()


@dataclass(frozen=True)
class Sentence:
    """What is edited.

    Attributes:
        text: A sentence or a question.
        tokens: Its tokens.
        truth: Whether it is true of its picture (for a question: whether the answer is yes); None if that is not known
            or the answer is something else.
        record: The record that it stands in.
    """

    text: str
    tokens: tuple[Token, ...]
    truth: bool | None
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of the text replaced by another.

    Attributes:
        kind: Name of the edit.
        start: First character of the piece.
        end: Behind its last character.
        after: What stands there instead.
        truth: Whether the edited sentence is true, where that follows; None where a person must say.
        reason: Why the truth follows, or why it does not.
        changes: Fields of the record that change with the sentence.
    """

    kind: str
    start: int
    end: int
    after: str
    truth: bool | None = None
    reason: str = NEEDS_A_LOOK
    changes: tuple[tuple[str, Any], ...] = ()

    def apply(self, text: str) -> str:
        """Return the edited text."""
        return text[: self.start] + self.after + text[self.end :]


def tokenise(text: str) -> tuple[Token, ...]:
    """Return the tokens of spaCy's rules for English; no model is needed."""
    return tuple(Token(token.text, token.idx, token.idx + len(token.text)) for token in _english()(text))


@cache
def _english() -> Language:
    import spacy

    return spacy.blank("en")


def free_of_scope(rest: str, *, conjunction: bool, indefinite: bool) -> bool:
    """Say whether `rest` holds no word that could change what a quantifier before it means.

    Args:
        rest: The text behind the quantifier.
        conjunction: Whether "and" is harmless there.
        indefinite: Whether "a" and "an" are harmless there.
    """
    return not (
        _SCOPE.search(rest)
        or _NUMBER.search(rest)
        or (not conjunction and _AND.search(rest))
        or (not indefinite and _INDEFINITE.search(rest))
    )


def like(word: str, pattern: str) -> str:
    """Return `word` with a capital if `pattern` has one: `like("two", "One")` gives `"Two"`."""
    return word[:1].upper() + word[1:] if pattern[:1].isupper() else word


def with_article(sentence: Sentence, place: int, word: str) -> tuple[int, str]:
    """Return where to start replacing token `place` by `word`, and the text, with "a" or "an" before it put right."""
    token = sentence.tokens[place]
    before = sentence.tokens[place - 1] if place else None
    if before is None or before.lower not in ("a", "an"):
        return token.start, like(word, token.text)
    article = like("an" if word[:1].lower() in VOWELS else "a", before.text)
    return before.start, article + sentence.text[before.end : token.start] + word
