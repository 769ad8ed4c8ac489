"""The predictions of a run, one JSON line a question, written as they come: a run that was stopped goes on.

While a run lasts they stand in `predictions.partial.jsonl`, whose first line says of which run they are; at the end
they are written as `predictions.jsonl`. Every figure of a report is computed from these lines alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kvqa.errors import InputError
from retrieval.manifest import file_sha256, write_text_safely

Record = dict[str, Any]
"""One question with what was answered; see docs/evaluation.md for the keys."""
Log = Callable[[str], None]

PREDICTIONS = "predictions.jsonl"
PARTIAL = "predictions.partial.jsonl"
REPORT = "report.json"
CHUNK = 256
"""Questions answered between two writes. A stopped run goes on at a multiple of it, so that every question is computed
in the same company as in a run that was never stopped."""


def collect(
    out: Path,
    identity: Mapping[str, Any],
    count: int,
    make: Callable[[slice], Sequence[Record]],
    *,
    chunk: int = CHUNK,
    log: Log = lambda line: None,
) -> list[Record]:
    """Return the records of `count` questions: those that an earlier run of the same identity left, and new ones.

    Args:
        out: Folder of the run; made if it is not there.
        identity: What the predictions depend on; those of another identity are thrown away.
        make: Returns the records of some rows, one for each.
        chunk: Rows that `make` is asked for at once, and after which they are on disk.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / PARTIAL
    head = json.dumps({"run": {**identity, "chunk": chunk, "questions": count}}, ensure_ascii=False) + "\n"
    records = _left_behind(path, head, chunk, count)
    if records:
        log(f"{len(records)} of {count} questions were answered before; going on from there")
    write_text_safely(path, head + "".join(map(line, records)))
    with path.open("a", encoding="utf-8") as file:
        for start in range(len(records), count, chunk):
            made = list(make(slice(start, min(start + chunk, count))))
            assert len(made) == min(chunk, count - start)  # the last rows are fewer, never dropped
            file.writelines(map(line, made))
            file.flush()
            os.fsync(file.fileno())
            records += made
            log(f"{len(records)} of {count}")
    return records


def _left_behind(path: Path, head: str, chunk: int, count: int) -> list[Record]:
    """Return the whole chunks of an earlier run with the same first line; a torn last line ends them."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        if file.readline() != head:
            return []
        records = []
        for text in file:
            try:
                records.append(json.loads(text))
            except ValueError:
                break
    whole = len(records) if len(records) == count else len(records) // chunk * chunk
    return records[: min(whole, count)]


def line(record: Record) -> str:
    """Return a record as it stands in the file."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def write_run(out: Path, records: Sequence[Record], report: dict[str, Any]) -> None:
    """Write `predictions.jsonl` and `report.json`, then remove what was needed to go on.

    The report gains `predictions_sha256`, by which the two are known to belong together.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_text_safely(out / PREDICTIONS, "".join(map(line, records)))
    report["predictions_sha256"] = file_sha256(out / PREDICTIONS)
    write_text_safely(out / REPORT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    (out / PARTIAL).unlink(missing_ok=True)


def write_unscored(out: Path, records: Sequence[Record]) -> None:
    """Write `predictions.jsonl` of a split without labels; report and page of an earlier run in the folder go."""
    write_text_safely(out / PREDICTIONS, "".join(map(line, records)))
    for name in (REPORT, "report.html", PARTIAL):
        (out / name).unlink(missing_ok=True)


def read_run(folder: Path) -> tuple[dict[str, Any], list[Record]]:
    """Return report and records of a finished run.

    Raises:
        InputError: if it is none, is damaged, was written by an older version, or its two files are of two runs.
    """
    again = "run kvqa evaluate again"
    for name in (REPORT, PREDICTIONS):
        if not (folder / name).is_file():
            began = f"; an evaluation stopped halfway: {again}" if (folder / PARTIAL).is_file() else ""
            raise InputError(f"{folder} has no {name}, so it is no finished run of kvqa evaluate{began}")
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        lines = (folder / PREDICTIONS).read_text(encoding="utf-8").splitlines()
        records = [json.loads(text) for text in lines if text]
    except (OSError, ValueError) as error:
        raise InputError(f"the run {folder} cannot be read ({error}); {again}") from None
    if not isinstance(report, dict) or not all(isinstance(record, dict) for record in records):
        raise InputError(f"the run {folder} holds something else than a report and records; {again}")
    missing = [key for key in ("dataset", "split", "protocol", "primary", "predictions_sha256") if key not in report]
    if missing:
        raise InputError(f"{folder / REPORT} has no {', '.join(missing)}: an older version wrote it; {again}")
    if file_sha256(folder / PREDICTIONS) != report["predictions_sha256"]:
        raise InputError(f"{PREDICTIONS} and {REPORT} in {folder} are not of one run (checksum differs); {again}")
    return report, records
