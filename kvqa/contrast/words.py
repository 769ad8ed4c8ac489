"""Edits of single words: colours, sizes, places; and left and right exchanged together with the two pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

from kvqa.contrast.edit import Edit, Sentence, like, with_article

COLOURS = ("black", "blue", "brown", "gray", "green", "orange", "pink", "purple", "red", "white", "yellow")
_COLOUR_WORDS = frozenset({*COLOURS, "grey"})
_PAIRS = {
    "size": ["large small", "big little", "tall short", "long short", "huge tiny", "wide narrow", "thick thin"],
    "spatial": ["left right", "above below", "inside outside", "over under", "top bottom", "up down",
                "leftmost rightmost", "upper lower", "indoors outdoors"],
}  # fmt: skip
_PHRASES = (("in front of", "behind"), ("behind", "in front of"), ("on top of", "under"), ("underneath", "on top of"))

_IMAGE = r"(?:images?|pictures?|photos?|photographs?)"
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_SIDE_OF_PAIR = re.compile(
    rf"\b(?:the\s+)?(left|right)(?:\s*-?hand)?(?:\s+side)?\s+{_IMAGE}\b|\b{_IMAGE}\s+(?:on|to)\s+the\s+(left|right)\b",
    re.IGNORECASE,
)
_ORDER = re.compile(r"\b(?:first|second|last|next)\b", re.IGNORECASE)
_URLS = ("left_url", "right_url")


def _opposites(kind: str) -> dict[str, str]:
    """Return each word of the pairs with its opposite; of several the first."""
    table: dict[str, str] = {}
    for pair in _PAIRS[kind]:
        one, other = pair.split()
        table.setdefault(one, other)
        table.setdefault(other, one)
    return table


SIZES, PLACES = _opposites("size"), _opposites("spatial")


def colour_edits(sentence: Sentence, chance: Random) -> Iterator[Edit]:
    """Give another colour for each colour word."""
    for place, token in enumerate(sentence.tokens):
        if token.lower in _COLOUR_WORDS:
            others = [colour for colour in COLOURS if colour != token.lower.replace("grey", "gray")]
            start, after = with_article(sentence, place, chance.choice(others))
            yield Edit("attribute", start, token.end, after)


def size_edits(sentence: Sentence) -> Iterator[Edit]:
    """Give the opposite of each word of size."""
    yield from _opposite_edits(sentence, SIZES, "attribute")


def spatial_edits(sentence: Sentence) -> Iterator[Edit]:
    """Give the opposite of each word or phrase of place, one at a time."""
    taken: set[int] = set()
    for phrase, opposite in _PHRASES:
        for match in re.finditer(rf"\b{phrase}\b", sentence.text, re.IGNORECASE):
            taken.update(range(match.start(), match.end()))
            yield Edit("spatial", match.start(), match.end(), like(opposite, match.group()))
    for edit in _opposite_edits(sentence, PLACES, "spatial"):
        if edit.end - 1 not in taken:
            yield edit


def exchange_edits(sentence: Sentence) -> Iterator[Edit]:
    """Give the sentence with left and right exchanged, about the two pictures exchanged: its label stays.

    Only where every "left" and "right" tells one picture from the other, and the record names both pictures.
    """
    sides = {match.start() for match in _SIDE.finditer(sentence.text)}
    of_pair = {match.start(group) for match in _SIDE_OF_PAIR.finditer(sentence.text)
               for group in (1, 2) if match.start(group) >= 0}  # fmt: skip
    if (
        not sides
        or sides != of_pair
        or _ORDER.search(sentence.text)
        or not all(name in sentence.record for name in _URLS)
    ):
        return
    text = _SIDE.sub(lambda match: like(PLACES[match.group().lower()], match.group()), sentence.text)
    left, right = (sentence.record[name] for name in _URLS)
    yield Edit(
        "exchange-images",
        0,
        len(sentence.text),
        text,
        sentence.truth,
        "left and right change places in the sentence and in the pair of pictures",
        (("left_url", right), ("right_url", left)),
    )


def _opposite_edits(sentence: Sentence, table: dict[str, str], kind: str) -> Iterator[Edit]:
    for place, token in enumerate(sentence.tokens):
        if token.lower in table:
            start, after = with_article(sentence, place, table[token.lower])
            yield Edit(kind, start, token.end, after)
