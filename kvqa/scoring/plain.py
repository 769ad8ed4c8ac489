"""GQA and DAQUAR: plain accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kvqa.errors import InputError
from kvqa.scoring.files import Record, as_id, field, read_json, read_records, read_text
from kvqa.scoring.ids import Handling, choose, join
from kvqa.scoring.report import Report, percent


def score_gqa(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "accuracy",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return GQA's accuracy (Hudson and Manning 2019, arXiv 1902.09506) in percent with two decimals.

    Where the truth says which questions are balanced, only these are scored, as the official script does; a question is
    open if its structural type is `query` and binary otherwise. The other official figures need the scene graphs.

    Args:
        predictions: JSON list of `{"questionId", "prediction"}`.
        truth: The published questions, id to a record with `answer`.
        protocol: `accuracy`: the exact string.
        ids: Score only these questions.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if a file or an id does not fit; there is no such protocol.
    """
    _only("GQA", protocol, "accuracy")
    asked = read_json(truth)
    if not isinstance(asked, dict):
        raise InputError(f"{truth} is not an object of question ids to records; give GQA's questions file")
    balanced = [name for name, record in asked.items() if record.get("isBalanced", True)]
    said = [(as_id(field(record, "questionId", predictions), predictions), field(record, "prediction", predictions))
            for record in read_records(predictions)]  # fmt: skip
    joined = join(said, choose(balanced, ids), source=predictions, handling=handling, elsewhere=asked.keys())
    right = {name: joined.by_id.get(name) == field(asked[name], "answer", truth) for name in joined.ids}
    passed_over = len(asked) - len(balanced)
    return Report(
        dataset="gqa",
        protocol=protocol,
        about="exact string, balanced questions",
        unit="percent",
        scores={"accuracy": percent(sum(right.values()), len(right))},
        groups={"per_kind": _by_kind((_kind(asked[name]), is_right) for name, is_right in right.items())},
        ids=joined.report,
        per_question={name: float(is_right) for name, is_right in right.items()},
        notes=(f"{passed_over:,} questions outside the balanced set are passed over",) if passed_over else (),
    )


def score_daquar(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "accuracy",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return DAQUAR's accuracy (Malinowski and Fritz 2014, arXiv 1410.0210) in percent with two decimals.

    An answer is a set of items between commas; it is right if it is the same set. WUPS is not computed: it needs the
    WordNet version of the published script.

    Args:
        predictions: One answer a line, in the order of the questions.
        truth: `all_qa_pairs.txt` or one of its parts: a line with the question, a line with the answer.
        protocol: `accuracy`.
        ids: Score only the questions on these pictures, such as `test_images_list.txt`.
        handling: What to do with ids that do not fit; ids are the places of the questions from 0, and only the end of
            the file can be missing.

    Raises:
        InputError: if a file does not fit; there is no such protocol.
    """
    _only("DAQUAR", protocol, "accuracy")
    asked = _read_pairs(truth)
    if ids is not None:
        pictures = {line.strip() for line in read_text(ids).splitlines() if line.strip()}
        asked = [(question, answer) for question, answer in asked if _picture(question) in pictures]
    true = {str(place): _items(answer) for place, (_, answer) in enumerate(asked)}
    said = [(str(place), _items(line)) for place, line in enumerate(read_text(predictions).splitlines())]
    joined = join(said, true, source=predictions, handling=handling)
    right = {name: joined.by_id.get(name) == true[name] for name in joined.ids}
    return Report(
        dataset="daquar",
        protocol=protocol,
        about="the same set of items between commas",
        unit="percent",
        scores={"accuracy": percent(sum(right.values()), len(right))},
        ids=joined.report,
        per_question={name: float(is_right) for name, is_right in right.items()},
    )


def _kind(record: Record) -> str:
    return "open" if record.get("types", {}).get("structural") == "query" else "binary"


def _by_kind(pairs: Iterable[tuple[str, bool]]) -> dict[str, float]:
    gathered: dict[str, list[bool]] = {"binary": [], "open": []}
    for kind, is_right in pairs:
        gathered[kind].append(is_right)
    return {kind: percent(sum(values), len(values)) for kind, values in gathered.items() if values}


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if len(lines) % 2:
        raise InputError(f"{path} has {len(lines)} lines, an odd number; a question line is followed by its answer")
    return list(zip(lines[::2], lines[1::2], strict=True))


def _picture(question: str) -> str:
    """Return the picture named last in the question: `"what is on the table in the image12 ?"` gives `"image12"`."""
    words = [word.strip("?.,") for word in question.split()]
    return next((word for word in reversed(words) if word.startswith("image") and word[5:].isdigit()), "")


def _items(answer: str) -> frozenset[str]:
    return frozenset(item.strip() for item in answer.strip().split(","))


def _only(dataset: str, protocol: str, allowed: str) -> None:
    if protocol != allowed:
        raise InputError(f"{dataset} has no protocol {protocol!r}; allowed: {allowed}")
