"""Edits of how many: number words, and "exactly", "at least", "at most" before them.

"Exactly two", "at least two" and so on each allow a set of counts. If a sentence says no more than that the count of
something lies in the set I, then it being true (or false) leaves the counts K = I (or all others), and a variant with
the set J is true if K lies in J, false if K and J have nothing in common, and open otherwise. Whether the sentence says
no more is judged by its form: "There are …", "The left image contains …", and nothing behind the number that could
take scope over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kvqa.contrast.edit import NEEDS_A_LOOK, Edit, Sentence, free_of_scope, like

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
EVERY = frozenset(range(60))
"""Counts to reason over; far beyond the largest number that is edited."""

_COMPARATORS = {
    "exactly": "exactly",
    "at least": "at least",
    "no fewer than": "at least",
    "no less than": "at least",
    "at most": "at most",
    "no more than": "at most",
    "more than": "more than",
    "fewer than": "fewer than",
    "less than": "fewer than",
}
_QUANTITY = re.compile(
    rf"(?:\b(?P<comparator>{'|'.join(_COMPARATORS)})\s+)?\b(?P<number>{'|'.join(WORDS[1:])}|\d{{1,2}})\b", re.IGNORECASE
)
_IMAGE = r"(?:image|picture|photo|photograph)"
_SIDE = rf"(?:left(?:\s*-?hand)?|right(?:\s*-?hand)?)\s+{_IMAGE}|{_IMAGE}\s+on\s+the\s+(?:left|right)"
_SHOWS = r"(?:contains?|shows?|has|have|depicts?|features?|includes?|displays?)"
_COUNTS_SOMETHING = re.compile(
    rf"^\s*(?:(?:in\s+the\s+(?:{_SIDE})\s*,?\s*)?there\s+(?:is|are)|(?:is|are)\s+there|"
    rf"the\s+(?:{_SIDE})\s+{_SHOWS}|does\s+the\s+(?:{_SIDE})\s+{_SHOWS})\s*$",
    re.IGNORECASE,
)
_NO_COUNT_BEHIND = re.compile(r"^\s*(?:of\b|another\b|hundred\b|thousand\b|million\b|[-/:.%]\S|\S*['’]s\b|way\b)")
_ADDS_A_CLAIM = re.compile(r"\b(?:with|being)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in a sentence, with the comparator before it if there is one."""

    comparator: str | None
    number: int
    written: str
    start: int
    number_start: int
    end: int


def count_edits(sentence: Sentence) -> Iterator[Edit]:
    """Give the number one more and one less, and the other comparators, for each quantity of the sentence.

    A step between one and two is left out: the noun behind it would have to change its form.
    """
    for quantity in quantities(sentence.text):
        for number in (quantity.number + 1, quantity.number - 1):
            if quantity.number >= 2 and 2 <= number < len(WORDS):
                truth, reason = derive(sentence, quantity, quantity.comparator, number)
                yield Edit(
                    "number", quantity.number_start, quantity.end, _written(number, quantity.written), truth, reason
                )
        if quantity.comparator is not None:
            for comparator in ("exactly", "at least", "at most"):
                if comparator != quantity.comparator:
                    truth, reason = derive(sentence, quantity, comparator, quantity.number)
                    after = like(comparator, sentence.text[quantity.start]) + " "
                    yield Edit("quantifier", quantity.start, quantity.number_start, after, truth, reason)


def quantities(text: str) -> list[Quantity]:
    """Return the quantities of `text`.

    Large numbers and those that count nothing, as in "one of" or "one another", are left out.
    """
    found = []
    for match in _QUANTITY.finditer(text):
        written = match["number"]
        number = int(written) if written.isdigit() else WORDS.index(written.lower())
        comparator = _COMPARATORS[" ".join(match["comparator"].lower().split())] if match["comparator"] else None
        skipped = number >= len(WORDS) or text[: match.start("number")][-1:] in ("-", ".", "/", ":", "#", "$")
        if not skipped and not _NO_COUNT_BEHIND.match(text[match.end() :]):
            found.append(Quantity(comparator, number, written, match.start(), match.start("number"), match.end()))
    return found


def allowed(comparator: str, number: int) -> frozenset[int]:
    """Return the counts of which the comparator and the number are true."""
    tests = {
        "exactly": lambda count: count == number,
        "at least": lambda count: count >= number,
        "at most": lambda count: count <= number,
        "more than": lambda count: count > number,
        "fewer than": lambda count: count < number,
    }
    return frozenset(filter(tests[comparator], EVERY))


def derive(sentence: Sentence, quantity: Quantity, comparator: str | None, number: int) -> tuple[bool | None, str]:
    """Return whether the sentence is true with another comparator or number, and why; None where that is open."""
    if sentence.truth is None:
        return None, "the original has no truth value"
    if quantity.comparator is None or comparator is None:
        return None, "a bare number may mean exactly or at least"
    rest = sentence.text[quantity.end :].rstrip(" .?!")
    # What a false sentence with "and" is false of is not known; an indefinite could stand for another thing each time.
    if not _COUNTS_SOMETHING.match(sentence.text[: quantity.start]) or not free_of_scope(
        rest, conjunction=sentence.truth, indefinite=False
    ):
        return None, "the sentence may say more than how many"
    if not sentence.truth and _ADDS_A_CLAIM.search(rest):
        return None, "the original may be false for another reason than the count"
    before, after = allowed(quantity.comparator, quantity.number), allowed(comparator, number)
    possible = before if sentence.truth else EVERY - before
    if possible <= after:
        return True, "every count that the original allows is allowed"
    if not possible & after:
        return False, "no count that the original allows is allowed"
    return None, NEEDS_A_LOOK


def _written(number: int, pattern: str) -> str:
    return str(number) if pattern.isdigit() else like(WORDS[number], pattern)
