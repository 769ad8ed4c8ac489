"""OK-VQA's ten answers from the soft labels that many repositories pass on instead of the annotations.

OK-VQA has five annotators, each of whom stands twice among the ten answers, so an answer occurs 2, 4, 6, 8 or 10 times.
A soft label is `min(1, occurrences / 3)`: 0.667 says two of the ten, 1 says four or more. How the rest of the ten
falls on several answers of label 1 is not known, but does not matter: no protocol tells four from more.
What does matter: the official value of two occurrences is 0.6, not 0.667.
"""

from __future__ import annotations

from collections.abc import Mapping

from kvqa.errors import InputError

TEN = 10
TWO_OF_TEN, FOUR_OR_MORE = 0.667, 1.0


def ten_answers(labels: Mapping[str, float]) -> list[str]:
    """Return ten answers that give every protocol the same score as the ones that the labels were made of.

    Args:
        labels: Answer to 0.667 or 1.

    Raises:
        InputError: if no ten answers give these labels.
    """
    twice = [answer for answer, label in labels.items() if abs(label - TWO_OF_TEN) < 1e-3]
    often = [answer for answer, label in labels.items() if label == FOUR_OR_MORE]
    spare = TEN - 2 * len(twice) - 4 * len(often)
    if len(twice) + len(often) < len(labels) or spare < 0 or (spare and not often):
        raise InputError(f"no ten answers give the soft labels {dict(labels)}; a label is 0.667 (2 of 10) or 1 (4 up)")
    answers = [answer for answer in often for _ in range(4)] + [answer for answer in twice for _ in range(2)]
    return [*often[:1] * spare, *answers]
