"""Edits that deny: "There is a dog" to "There is no dog", "The left image shows …" to "… does not show …".

The denied sentence is true where the original is false and the other way round, if the quantifier or verb that is
denied has the whole sentence in its scope. Of "The dog is black" only the true one can be turned: where it is false,
there may be no dog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kvqa.contrast.edit import VOWELS, Edit, Sentence, free_of_scope

_THERE = re.compile(
    r"^\s*there\s+(?P<be>is|are)\s+(?P<some>an?|at\s+least\s+one|some|no)\s+"
    r"(?!(?:more|less|fewer|longer|one|other|of|total|lot|couple|few|number|variety|pair|group|bunch|half|minimum|maximum|"
    r"little|single|lone|two|three)\b)(?=\w)",
    re.IGNORECASE,
)
_VERBS = {
    "shows": "show", "contains": "contain", "has": "have", "depicts": "depict", "features": "feature",
    "includes": "include", "displays": "display",
}  # fmt: skip
_SIDE_SHOWS = re.compile(
    r"^\s*the\s+(?:(?:left|right)\s+(?:image|picture|photo)|(?:image|picture|photo)\s+on\s+the\s+(?:left|right))\s+"
    rf"(?P<verb>{'|'.join(_VERBS)})\s+",
    re.IGNORECASE,
)
_IS = re.compile(r"\b(?:is|are)\b(?!\s+not\b)", re.IGNORECASE)
_THE_IS = re.compile(r"^\s*the\s+[\w\s-]*?\b(?P<be>is|are)\b(?!\s+not\b)(?=\s+\w)", re.IGNORECASE)

_TURNED = "the denial is true exactly where the original is false"
_OPEN = "the denial may not reach the whole sentence"


def negation_edits(sentence: Sentence) -> Iterator[Edit]:
    """Give the sentence denied, if it has one of the known forms; questions are left alone."""
    text = sentence.text
    if text.rstrip().endswith("?"):
        return
    if match := _THERE.match(text):
        yield _there(sentence, match)
    elif match := _SIDE_SHOWS.match(text):
        rest = text[match.end() :].rstrip(" .!")
        turns = free_of_scope(rest, conjunction=False, indefinite=True)
        yield Edit(
            "negation",
            match.start("verb"),
            match.end("verb"),
            f"does not {_VERBS[match['verb'].lower()]}",
            *_judge(sentence.truth, turns),
        )
    elif (match := _THE_IS.match(text)) and len(_IS.findall(text)) == 1:
        rest = text[match.end() :].rstrip(" .!")
        subject = text[: match.start("be")]
        turns = all(free_of_scope(part, conjunction=False, indefinite=True) for part in (rest, subject))
        yield Edit("negation", match.end("be"), match.end("be"), " not", *_judge(sentence.truth, turns, only_true=True))


def _there(sentence: Sentence, match: re.Match[str]) -> Edit:
    """Deny "There is a …" or affirm "There is no …"."""
    rest = sentence.text[match.end() :].rstrip(" .!")
    turns = free_of_scope(rest, conjunction=False, indefinite=True)
    some = match["some"].lower()
    if some != "no":
        after = "no"
    elif match["be"].lower() == "are":
        after = "some"
    else:
        after = "an" if rest[:1].lower() in VOWELS else "a"
    return Edit("negation", match.start("some"), match.end("some"), after, *_judge(sentence.truth, turns))


def _judge(truth: bool | None, turns: bool, *, only_true: bool = False) -> tuple[bool | None, str]:
    """Return the truth of the denied sentence and why it follows or not."""
    if truth is None:
        return None, "the original has no truth value"
    if not turns:
        return None, _OPEN
    if only_true and not truth:
        return None, "the original may be false because what it speaks of is not there"
    return not truth, _TURNED
