"""KVQA: accuracy by number of hops and by kind of question, original and paraphrased (Shah et al. 2019)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kvqa.errors import InputError
from kvqa.scoring.files import Record, as_id, field, read_ids, read_json, read_records
from kvqa.scoring.ids import Handling, join
from kvqa.scoring.report import Report, percent

_HOPS = re.compile(r"\b(\d+|multi)-hop\b")
PARAPHRASED = "p"
"""Stands behind the number of a question in the id of its paraphrase."""
UNTYPED = "untyped"
"""Kind of a question beyond the end of its picture's list of kinds."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: its answer, its kinds, and whether it is a paraphrase."""

    answer: str
    kinds: tuple[str, ...]
    paraphrased: bool


def score_kvqa(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "exact",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return the accuracy in percent with two decimals: overall, by hops, by kind, original and paraphrased.

    The data set numbers its questions within a picture only: the id here is `<picture>-<number from 0>`, followed by
    `p` for the paraphrase.

    Args:
        predictions: JSON records of `question_id` and `answer`, text or number.
        truth: The published JSON, picture id to a record with `Answers` and `Type of Question`. Paraphrases are
            scored if some are predicted.
        protocol: `exact`: the same letters, whatever the case.
        ids: Score only these questions, or all questions on these pictures.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if a file or an id does not fit; there is no such protocol.
    """
    if protocol != "exact":
        raise InputError(f"KVQA has no protocol {protocol!r}; allowed: exact")
    said = [(as_id(field(line, "question_id", predictions), predictions), _answer(line, predictions)) for line in
            read_records(predictions)]  # fmt: skip
    asked = _read_truth(truth)
    wanted = set(read_ids(ids)) if ids else None
    with_paraphrases = any(name.endswith(PARAPHRASED) for name, _ in said)
    chosen = [
        name
        for name, question in asked.items()
        if (wanted is None or name in wanted or name.rpartition("-")[0] in wanted)
        and (with_paraphrases or not question.paraphrased)
    ]
    joined = join(said, chosen, source=predictions, handling=handling, elsewhere=asked.keys())
    right = {name: joined.by_id.get(name) == asked[name].answer for name in joined.ids}
    return Report(
        dataset="kvqa",
        protocol=protocol,
        about="the same letters, whatever the case",
        unit="percent",
        scores={"overall": percent(sum(right.values()), len(right))},
        groups={
            "per_hop": _by_group((hop, right[name]) for name in right for hop in _hops(asked[name])),
            "per_question_type": _by_group((kind, right[name]) for name in right for kind in asked[name].kinds),
            "per_form": _by_group(
                ("paraphrased" if asked[name].paraphrased else "original", right[name]) for name in right
            ),
        },
        ids=joined.report,
        per_question={name: float(is_right) for name, is_right in right.items()},
    )


def _read_truth(path: Path) -> dict[str, Asked]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} is not an object of picture ids to records; give the published KVQA file")
    asked = {}
    for picture, record in content.items():
        answers = [_spelt(answer) for answer in field(record, "Answers", path)]
        kinds = [tuple(kind) if isinstance(kind, list) else (str(kind),) for kind in record.get("Type of Question", ())]
        kinds += [(UNTYPED,)] * (len(answers) - len(kinds))
        for number, answer in enumerate(answers):
            asked[f"{picture}-{number}"] = Asked(answer, kinds[number], paraphrased=False)
            asked[f"{picture}-{number}{PARAPHRASED}"] = Asked(answer, kinds[number], paraphrased=True)
    return asked


def _answer(record: Record, path: Path) -> str:
    return _spelt(field(record, "answer", path))


def _spelt(answer: object) -> str:
    return " ".join(str(answer).lower().split())


def _hops(question: Asked) -> list[str]:
    """Return the numbers of hops that the kinds name, such as `1-hop` and `multi-hop`."""
    found = [match.group() for kind in question.kinds for match in _HOPS.finditer(kind.lower())]
    return list(dict.fromkeys(found)) or [UNTYPED]


def _by_group(pairs: Iterable[tuple[str, bool]]) -> dict[str, float]:
    gathered: dict[str, list[bool]] = {}
    for group, is_right in pairs:
        gathered.setdefault(group, []).append(is_right)
    return {group: percent(sum(values), len(values)) for group, values in gathered.items()}
