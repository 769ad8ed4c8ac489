"""Bringing predictions and questions together by id, with nothing dropped in silence.

What the official scripts do differs: VQA's and NLVR2's stop when a prediction is missing, A-OKVQA's counts it 0; VQA's
stops at an unknown id, NLVR2's and A-OKVQA's pass over it; where an id stands twice, all take the last. Here one rule
holds for all data sets, and whatever is odd is counted and shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from kvqa.errors import InputError
from kvqa.scoring.files import read_ids

Handling = Literal["default", "strict", "partial"]
"""`default`: a missing prediction counts as wrong, a double one is an error, an unknown one is an error or reported,
as the data set's official script has it. `strict`: each of the three is an error. `partial`: only questions with a
prediction are scored, unknown ones are left out, of double ones the last counts."""

SHOWN = 5
"""How many ids a report shows of each kind."""

T = TypeVar("T")


@dataclass(frozen=True)
class IdReport:
    """Which ids did not fit.

    Attributes:
        scored: Number of questions that were scored.
        missing: Questions without a prediction.
        double: Ids with several predictions.
        unknown: Ids of predictions that are no question.
    """

    scored: int
    missing: tuple[str, ...] = ()
    double: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the counts and the first ids of each kind."""
        kinds = {"missing": self.missing, "double": self.double, "unknown": self.unknown}
        return {name: {"count": len(ids), "first": list(ids[:SHOWN])} for name, ids in kinds.items()}

    def lines(self, handling: Handling) -> list[str]:
        """Return one sentence for each kind of id that did not fit."""
        missing = "left out" if handling == "partial" else "counted as wrong"
        said = (
            (self.missing, f"questions without a prediction, {missing}"),
            (self.double, "ids with several predictions, the last one counted"),
            (self.unknown, "predictions for unknown questions, left out"),
        )
        return [f"{len(ids):,} {what}: {_first(ids)}" for ids, what in said if ids]


@dataclass
class Joined:
    """Predictions by id, and what did not fit.

    Attributes:
        ids: Questions to score, in the order of the truth.
        by_id: Prediction of each question that has one.
        report: What did not fit.
    """

    ids: list[str]
    by_id: dict[str, Any]
    report: IdReport = field(default_factory=lambda: IdReport(0))


def choose(known: Collection[str], listed: Path | None) -> list[str]:
    """Return the ids to score, in the order of `known`: all, or those of a list file.

    Raises:
        InputError: if the list names an id that is not known.
    """
    if listed is None:
        return list(known)
    wanted = set(read_ids(listed))
    if absent := sorted(wanted.difference(known)):
        raise InputError(f"{listed}: {len(absent):,} ids are not in the truth: {_first(absent)}; give the list of it")
    return [name for name in known if name in wanted]


def join(
    predictions: Iterable[tuple[str, T]],
    truth: Iterable[str],
    *,
    source: Path,
    handling: Handling = "default",
    unknown_is_error: bool = True,
    elsewhere: Collection[str] = frozenset(),
    doubles: Iterable[str] = (),
) -> Joined:
    """Return the predictions by question id.

    Args:
        predictions: Id and prediction, in file order.
        truth: Ids of the questions to score.
        source: The prediction file, for messages.
        handling: What to do with ids that do not fit.
        unknown_is_error: Whether the official script stops at a prediction for an unknown question.
        elsewhere: Ids that are known but not to be scored, such as those outside a subset; they are passed over.
        doubles: Ids already known to be double, where the file format hides them.

    Raises:
        InputError: if the truth names a question twice, there is nothing to score, no prediction fits, or an id
            does not fit and `handling` does not allow it.
    """
    ids = list(truth)
    known = set(ids)
    if len(known) < len(ids):
        raise InputError(f"the truth names a question twice: {_first(_repeated(ids))}; keep one record a question")
    by_id: dict[str, T] = {}
    double, unknown = dict.fromkeys(doubles), dict[str, None]()
    for name, prediction in predictions:
        if name in known:
            if name in by_id:
                double[name] = None
            by_id[name] = prediction
        elif name not in elsewhere:
            unknown[name] = None
    missing = [name for name in ids if name not in by_id]
    report = IdReport(len(ids), tuple(missing), tuple(double), tuple(unknown))
    _check(report, bool(by_id), source, handling, unknown_is_error)
    if handling == "partial":
        ids = [name for name in ids if name in by_id]
        report = IdReport(len(ids), report.missing, report.double, report.unknown)
    return Joined(ids, by_id, report)


def _check(report: IdReport, any_fits: bool, source: Path, handling: Handling, unknown_is_error: bool) -> None:
    """Raise InputError for what `handling` does not allow."""
    if not report.scored:
        raise InputError("there are no questions to score; check the truth file and the id list")
    if not any_fits:
        examples = f"predicted: {_first(report.unknown)}; " if report.unknown else ""
        raise InputError(f"no prediction in {source} is for a question of the truth ({examples}asked: "
                         f"{_first(report.missing)}); give the truth of the split that was predicted")  # fmt: skip
    if handling == "partial":
        return
    strict = handling == "strict"
    for ids, wrong, what, rest in (
        (report.double, True, "have several predictions", "keep one, or --partial takes the last"),
        (report.unknown, strict or unknown_is_error, "are not questions of the truth", "or --partial leaves them out"),
        (report.missing, strict, "have no prediction", "or leave out --strict to count them as wrong"),
    ):
        if ids and wrong:
            raise InputError(f"{source}: {len(ids):,} ids {what}: {_first(ids)}; correct the file, {rest}")


def _repeated(ids: list[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def _first(ids: Collection[str]) -> str:
    """Return the first ids, with dots where there are more."""
    shown = list(ids)[:SHOWN]
    return ", ".join(shown) + (", …" if len(ids) > SHOWN else "")
