"""The words of NLVR's sentences: one spelling for what means the same, numbers as digits, slips of the pen mended.

Its sentences were typed by crowd workers: "atleast", "ablue", "squere", "cirlce", "grey square" for a box. The words
known here come from the sentences of dev and from general English; a word that is not known becomes the nearest one,
or `<unknown>`.
"""

from __future__ import annotations

import re
from functools import cache

Words = tuple[str, ...]

PADDING, START, UNKNOWN = "<padding>", "<start>", "<unknown>"

# The word that is kept: the other spellings that become it. An empty word is left out.
SAME = {
    "": "the of that which who grey gray closely there some its their being then",
    "with": "has have having had contain contains containing ha including includes include consists holds hold",
    "is": "are be was were",
    "box": "boxes grid",
    "item": "items object objects shape shapes thing things figure figures objets",
    "block": "blocks brick bricks cube cubes",
    "tower": "towers stack stacks pile",
    "square": "squares",
    "triangle": "triangles",
    "circle": "circles ball balls",
    "color": "colour colors colours colored coloured hue",
    "edge": "edges side sides wall walls border borders boundary",
    "corner": "corners",
    "base": "bottom bottoms bases floor ground foundation",
    "top": "tops",
    "above": "over atop",
    "below": "under beneath underneath",
    "touching": "touch touches touched",
    "each": "every",
    "small": "smaller smallest little tiny",
    "big": "large larger largest bigger biggest",
    "medium": "middling",
    "different": "differing distinct differ various",
    "no": "none zero neither nothing",
    "1": "one single",
    "2": "two pair",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
    "2nd": "second",
    "3rd": "third",
    "4th": "fourth forth",
    "1st": "first",
    "multiple": "many several",
    "high": "height heights tall taller tallest highest",
    "stacked": "stacking piled",
    "exactly": "precisely exact",
    "less": "fewer",
    "least": "minimum",
    "most": "maximum",
    "same": "identical",
}
KEPT = (
    "a an all and any another as at base between black blue but by can color directly each edge either ends even ever"
    " except exactly from in it last left less least like line low lowest middle more most near nearly next no not"
    " number odd on only or other out right row same small than them these this to together"
    " touching up when where without yellow"
)

GLUED = {"atleast": "at least", "atmost": "at most"}
WORDS: tuple[str, ...] = (
    PADDING,
    START,
    UNKNOWN,
    *sorted({*KEPT.split(), *(word for word in SAME if word)}),
)
IDS = {word: number for number, word in enumerate(WORDS)}

_CANONICAL = {
    **{word: word for word in WORDS[3:]},
    **{other: word for word, others in SAME.items() for other in others.split()},
}


def tokens(sentence: str) -> tuple[str, ...]:
    """Return the words of a sentence in their one spelling, such as `("is", "1", "tower", "with", …)`."""
    text = re.sub(r"\bgr[ea]y (square|circle)(s?)\b", r"box", sentence.lower())
    found = re.findall(r"[a-z0-9]+", text)
    if found:
        found[0] = _with_first_letter(found[0])
    words: list[str] = []
    for raw in found:
        for word in GLUED.get(raw, raw).split():
            words += _known(word)
    return tuple(words)


def token_ids(words: tuple[str, ...]) -> list[int]:
    """Return the numbers of words, `<start>` first."""
    return [IDS[START], *(IDS.get(word, IDS[UNKNOWN]) for word in words)]


def _with_first_letter(word: str) -> str:
    """Return the first word of a sentence with its first letter, which some sentences of NLVR have lost."""
    if word in _CANONICAL:
        return word
    lost = [other for other in (*_CANONICAL, *GLUED) if other[1:] == word]
    return min(lost, default=word)


@cache
def _known(word: str) -> tuple[str, ...]:
    if word in _CANONICAL:
        found = _CANONICAL[word]
        return (found,) if found else ()
    for cut in range(1, len(word)):  # two words without the space: "ablue"
        parts = word[:cut], word[cut:]
        if all(part in _CANONICAL for part in parts) and len(parts[1]) > 2:
            return tuple(_CANONICAL[part] for part in parts if _CANONICAL[part])
    allowed = 0 if len(word) < 4 else 1 if len(word) < 6 else 2
    near = [(_distance(word, other), other) for other in _CANONICAL if abs(len(other) - len(word)) <= allowed]
    best = min(near, default=(allowed + 1, ""))
    if best[0] > allowed:
        return (UNKNOWN,)
    return (_CANONICAL[best[1]],) if _CANONICAL[best[1]] else ()


def _distance(a: str, b: str) -> int:
    """Return the number of letters to put in, take out, change, or swap with their neighbour."""
    rows = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            change = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, change)
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]
