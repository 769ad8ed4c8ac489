"""How the official VQA script brings answers to one spelling (GT-Vision-Lab/VQA, `vqaEval.py`), quirks included.

`normalise` is its punctuation step followed by its digit-and-article step. The quirks are reproduced, not repaired:

- whether a mark becomes a space or nothing is decided on the whole input, and one `1,000` anywhere decides it for all;
- the look-behind of the period pattern is a typo that never holds, so a period goes unless a digit follows; and the
  regular-expression flag stands where the count belongs, so at most 32 periods go;
- words are lower-cased before they are looked up, so the table's capitalised contractions never match.
"""

from __future__ import annotations

import re
from functools import lru_cache

MARKS = ';/[]"{}()=+\\_-><@`,?!'
_MARK = re.compile("[" + re.escape(MARKS) + "]")
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = int(re.UNICODE)

ARTICLES = frozenset({"a", "an", "the"})
_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
NUMBERS = {"none": "0", **{word: str(value) for value, word in enumerate(_DIGITS)}}

# The official table maps every spelling of these that lacks exactly one apostrophe. Its four capitalised entries
# and the two that map a word to itself have no effect and are left out.
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _contraction_table() -> dict[str, str]:
    """Return misspelt to spelt contraction, as the official script has them."""
    table = {"somebody'd": "somebodyd"}  # the other way round than the rest; so it stands in the official table
    for word in _CONTRACTIONS.split():
        for place, letter in enumerate(word):
            if letter == "'":
                table[word[:place] + word[place + 1 :]] = word
    return table


CONTRACTIONS = _contraction_table()


def tidy(text: str) -> str:
    """Return `text` with newlines and tabs as spaces, stripped: what the official script does to every answer."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def strip_punctuation(text: str) -> str:
    """Return `text` after the official script's punctuation step."""
    marks = set(_MARK.findall(text))
    if marks:
        all_go = _DIGIT_COMMA_DIGIT.search(text) is not None
        spaces = {ord(mark): "" if all_go or f"{mark} " in text or f" {mark}" in text else " " for mark in marks}
        text = text.translate(spaces)
    return _PERIOD.sub("", text, count=_MOST_PERIODS) if "." in text else text


def digits_and_articles(text: str) -> str:
    """Return `text` after the official script's second step: lower case, digits, no articles, contractions."""
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join([CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES])


@lru_cache(maxsize=1 << 17)
def normalise(text: str) -> str:
    """Return the spelling under which the official script compares answers: `"The 1,000 dogs!"` gives `"1000 dogs"`."""
    return digits_and_articles(strip_punctuation(text))
