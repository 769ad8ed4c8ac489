"""FVQA (answer and supporting fact, top-1 and top-3) and its zero-shot version (ranks of the answer).

FVQA: Wang et al. 2018, arXiv 1606.05433. ZS-F-VQA: Chen et al. 2021, arXiv 2107.05348.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kb.readers.fvqa import _fact as clean_fact
from kb.readers.reject import Reject
from kvqa.errors import InputError
from kvqa.metrics import normalise_answer, top_k_accuracy
from kvqa.scoring.files import Record, as_id, field, read_ids, read_json, read_records
from kvqa.scoring.ids import Handling, join
from kvqa.scoring.report import Report


def same_letters(text: str) -> str:
    """Return `text` in lower case, underscores and runs of blanks as one space."""
    return " ".join(text.lower().replace("_", " ").split())


PROTOCOLS: Mapping[str, tuple[Callable[[str], str], str]] = {
    "lemma": (normalise_answer, "lower case, no articles and punctuation, words in dictionary form"),
    "exact": (same_letters, "the same letters, whatever the case; an underscore is a space"),
}
"""How answers are brought to one spelling, by the name that reports print; `lemma` is the default."""

Fact = tuple[str, ...]
"""Head, relation, tail; or the one id of a fact."""


@dataclass(frozen=True, slots=True)
class Said:
    """One line of a prediction file: answers and supporting facts, best first."""

    answers: list[str]
    facts: list[Fact]


def score_fvqa(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "lemma",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return answer and fact accuracy, top-1 and top-3, in percent with two decimals.

    Args:
        predictions: JSON records: `question_id`; `answers` (texts, or pairs of text and score), best first, or one
            `answer`; and `facts`, each head, relation and tail or the id of a fact, best first, or nothing.
        truth: `all_qs_dict_release.json` (facts by id) or `all_qs_dict_release_combine.json` (spelt out). The two
            spell 2,551 answers differently: score against the file that the system was trained for.
        protocol: One of `PROTOCOLS`.
        ids: Score only these questions, or the questions on these pictures (a list of `Name_Lists`).
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if a file or an id does not fit; there is no such protocol.
    """
    spell, about = _protocol(protocol)
    asked = _read_truth(truth)
    joined = join(
        read_ranked(predictions), _chosen(asked, ids), source=predictions, handling=handling, elsewhere=asked.keys()
    )
    said = [joined.by_id.get(name, Said([], [])) for name in joined.ids]
    answers = [[spell(answer) for answer in line.answers[:3]] for line in said]
    facts = [[clean_key(fact) for fact in line.facts[:3]] for line in said]
    true_answers = [{spell(str(field(asked[name], "answer", truth)))} - {""} for name in joined.ids]
    true_facts = [{_gold_fact(asked[name], truth)} for name in joined.ids]
    has_facts = any(facts)
    return Report(
        dataset="fvqa",
        protocol=protocol,
        about=f"answers: {about}; facts: head, relation and tail, or their id",
        unit="percent",
        scores={
            "answer_top1": round(100 * top_k_accuracy(answers, true_answers, 1), 2),
            "answer_top3": round(100 * top_k_accuracy(answers, true_answers, 3), 2),
            "fact_top1": round(100 * top_k_accuracy(facts, true_facts, 1), 2) if has_facts else None,
            "fact_top3": round(100 * top_k_accuracy(facts, true_facts, 3), 2) if has_facts else None,
        },
        ids=joined.report,
        per_question={
            name: float(bool(line) and line[0] in true)
            for name, line, true in zip(joined.ids, answers, true_answers, strict=True)
        },
        notes=() if has_facts else ("no prediction names a fact; facts are not scored",),
    )


def score_zs_fvqa(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "exact",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return Hits@1, @3 and @10 in percent, the mean reciprocal rank and the mean rank of the answer.

    Args:
        predictions: JSON records: `question_id` and `answers`, all candidates, best first.
        truth: One of FVQA's question files.
        protocol: One of `PROTOCOLS`; the published code compares places in a vocabulary, which is `exact`.
        ids: Score only these questions: `zs_split_ids.json#test_unseen_data/0`.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: as `score_fvqa`.
    """
    spell, about = _protocol(protocol)
    asked = _read_truth(truth)
    joined = join(
        read_ranked(predictions), _chosen(asked, ids), source=predictions, handling=handling, elsewhere=asked.keys()
    )
    true = {name: spell(str(field(asked[name], "answer", truth))) for name in joined.ids}
    ranks = {name: _rank(joined.by_id.get(name), true[name], spell) for name in joined.ids}
    found = [rank for rank in ranks.values() if rank is not None]
    absent = len(ranks) - len(found)
    return Report(
        dataset="zs-fvqa",
        protocol=protocol,
        about=f"rank of the answer among those listed, from 1; {about}",
        unit="percent",
        scores={
            **{f"hits@{k}": round(100 * sum(rank <= k for rank in found) / len(ranks), 2) for k in (1, 3, 10)},
            "mrr": round(sum(1 / rank for rank in found) / len(ranks), 4),
            "mean_rank": round(sum(found) / len(found), 2) if found and not absent else None,
        },
        ids=joined.report,
        per_question={name: float(rank == 1) for name, rank in ranks.items()},
        notes=(f"{absent:,} rankings do not hold the answer: no hit, 0 in the MRR; a mean rank cannot be told",)
        if absent
        else (),
    )


def read_ranked(path: Path) -> list[tuple[str, Said]]:
    """Return question id and ranked answers and facts of each record.

    Raises:
        InputError: if a record has neither `answers` nor `answer`, or a fact has not one part or three.
    """
    return [(as_id(field(record, "question_id", path), path), _said(record, path)) for record in read_records(path)]


def clean_key(fact: Fact) -> Fact:
    """Return a fact as the reader of the knowledge base spells it; an id stays as it is."""
    if len(fact) != 3:
        return fact
    triple = clean_fact(*fact, None, "fvqa", 1, str(fact))
    return fact if isinstance(triple, Reject) else tuple(triple.key)


def _said(record: Record, path: Path) -> Said:
    answers = record.get("answers", [record["answer"]] if "answer" in record else None)
    facts = record.get("facts") or []
    if not isinstance(answers, list) or not isinstance(facts, list):
        raise InputError(f'{path}: question {record["question_id"]} has no list of answers; write "answers": [best, …]')
    return Said([_text(answer, path) for answer in answers], [_fact(fact, path) for fact in facts])


def _text(answer: Any, path: Path) -> str:
    """Return the text of an answer, which may stand with its score."""
    text = answer[0] if isinstance(answer, list) and answer else answer
    if not isinstance(text, str):
        raise InputError(f"{path}: {answer!r} is no answer; give a text, or a text and its score")
    return text


def _fact(fact: Any, path: Path) -> Fact:
    parts = (fact,) if isinstance(fact, str) else tuple(fact) if isinstance(fact, list) else ()
    if len(parts) not in (1, 3) or not all(isinstance(part, str) for part in parts):
        raise InputError(f"{path}: {fact!r} is no fact; give its id, or head, relation and tail")
    return parts


def _read_truth(path: Path) -> Mapping[str, Record]:
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(record, dict) for record in content.values()):
        raise InputError(f"{path} is not an object of question ids to records; give FVQA's all_qs_dict_release file")
    return content


def _gold_fact(record: Record, path: Path) -> Fact:
    fact = field(record, "fact", path)
    return clean_key(_fact(fact, path))


def _chosen(asked: Mapping[str, Record], listed: Path | None) -> list[str]:
    """Return the questions of the list, which may name questions or pictures."""
    if listed is None:
        return list(asked)
    wanted = set(read_ids(listed))
    chosen = [name for name, record in asked.items() if name in wanted or record.get("img_file") in wanted]
    if not chosen:
        raise InputError(f"{listed} names no question and no picture of the truth; give a list of this data set")
    return chosen


def _rank(said: Said | None, true: str, spell: Callable[[str], str]) -> int | None:
    answers: Sequence[str] = said.answers if said else ()
    return next((place for place, answer in enumerate(answers, start=1) if spell(answer) == true), None)


def _protocol(name: str) -> tuple[Callable[[str], str], str]:
    try:
        return PROTOCOLS[name]
    except KeyError:
        raise InputError(f"FVQA has no protocol {name!r}; allowed: {', '.join(PROTOCOLS)}") from None
