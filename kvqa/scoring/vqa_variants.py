"""VQA accuracy as the field's code bases compute it: incompatible protocols, each with a name.

On the same predictions they differ by a point and more, so a figure without its protocol says little. All take the
prediction and the people's answers and return a score in [0, 1].
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kvqa.errors import InputError
from kvqa.scoring.vqa_accuracy import Accuracy, leave_one_out, official
from kvqa.scoring.vqa_normalise import digits_and_articles, normalise, strip_punctuation, tidy

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_PICA_DROPS = frozenset({"a", "an", "the", "to", ""})


def vqa_2018(prediction: str, answers: Sequence[str]) -> float:
    """Return the accuracy of the script's 2018 revision, copied by LAVIS and Prophet.

    The prediction is always normalised; the answers lose their punctuation only, and only if they are not all equal.
    So a true answer "two" or "the dog" among others can never be matched.
    """
    given = list(answers)
    if given.count(given[0]) < len(given):
        given = [strip_punctuation(answer) for answer in given]
    return leave_one_out(normalise(tidy(prediction)), given)


def mmf(prediction: str, answers: Sequence[str]) -> float:
    """Return the accuracy of facebookresearch/mmf (`EvalAIAnswerProcessor`): both sides are always normalised."""
    return leave_one_out(_mmf_normalise(prediction), [_mmf_normalise(answer) for answer in answers])


def squad(prediction: str, answers: Sequence[str]) -> float:
    """Return the accuracy of KAT and REVIVE: SQuAD normalisation, `min(1, matches / 3)`."""
    said = _squad_normalise(prediction)
    return min(sum(said == _squad_normalise(answer) for answer in answers) / 3, 1.0)


def aokvqa(prediction: str, answers: Sequence[str]) -> float:
    """Return the accuracy of A-OKVQA's direct answers: the exact string, `min(1, matches / 3)`."""
    return min(1.0, answers.count(prediction) / 3.0)


def pica(prediction: str, answers: Sequence[str]) -> float:
    """Return the accuracy that PICa's own code prints: `min(1, 0.3 · matches)`.

    The prediction is cleaned as PICa cleans GPT-3's text (no periods and commas, lower case, without a, an, the, to);
    the answers are taken as they are.
    """
    words = prediction.replace(".", "").replace(",", "").lower().split(" ")
    said = " ".join(word for word in words if word not in _PICA_DROPS)
    return min(1.0, float(answers.count(said)) * 0.3)


@lru_cache(maxsize=1 << 17)
def _mmf_normalise(text: str) -> str:
    """Return the spelling of MMF: commas and question marks go first, a genitive s stands apart, then as official."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return digits_and_articles(strip_punctuation(tidy(text)))


@lru_cache(maxsize=1 << 17)
def _squad_normalise(text: str) -> str:
    """Return the spelling of the SQuAD script: lower case, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


@dataclass(frozen=True)
class Protocol:
    """A way to score.

    Attributes:
        score: One prediction and its answers to a score in [0, 1].
        about: What it does and who uses it.
    """

    score: Accuracy
    about: str


PROTOCOLS: Mapping[str, Protocol] = {
    "official": Protocol(
        official,
        "VQA script of 2021: leave one of ten out; both sides normalised if the answers are not all equal",
    ),
    "vqa-2018": Protocol(
        vqa_2018,
        "VQA script of 2018 (LAVIS, Prophet): prediction always normalised; answers lose punctuation if not all equal",
    ),
    "mmf": Protocol(mmf, "MMF: both sides always normalised, leave one of ten out"),
    "squad": Protocol(squad, "KAT, REVIVE: SQuAD normalisation, min(1, matches / 3)"),
    "aokvqa": Protocol(aokvqa, "A-OKVQA: exact string, min(1, matches / 3)"),
    "pica": Protocol(pica, "PICa: min(1, 0.3 x matches), prediction cleaned, answers as they are"),
}
"""By the name that reports print; `official` is the default."""


def protocol_named(name: str) -> Protocol:
    """Return the protocol of that name.

    Raises:
        InputError: if there is none.
    """
    try:
        return PROTOCOLS[name]
    except KeyError:
        raise InputError(f"VQA accuracy has no protocol {name!r}; allowed: {', '.join(PROTOCOLS)}") from None
