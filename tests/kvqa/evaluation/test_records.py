import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kvqa.errors import InputError
from kvqa.evaluation.records import Record, collect, read_run, write_run

REPORT = {"dataset": "fvqa", "split": "test0", "protocol": "exact", "primary": "answer_top1"}


class Maker:
    """Makes records and remembers which rows it was asked for; stops before row `stop`."""

    def __init__(self, stop: int = 99) -> None:
        self.stop = stop
        self.rows: list[tuple[int, int]] = []

    def __call__(self, rows: slice) -> Sequence[Record]:
        self.rows.append((rows.start, rows.stop))
        if rows.stop > self.stop:
            raise KeyboardInterrupt
        return [{"question_id": str(i), "value": i / 3} for i in range(rows.start, rows.stop)]


def made(out: Path, maker: Maker, run: dict[str, Any] | None = None, chunk: int = 2) -> list[Record]:
    return collect(out, run or {"model": "a"}, 5, maker, chunk=chunk)


def stopped(out: Path) -> Path:
    """Leave a run that was stopped after two of five questions."""
    with pytest.raises(KeyboardInterrupt):
        made(out, Maker(stop=3))
    return out / "predictions.partial.jsonl"


def test_the_last_rows_are_fewer_and_never_dropped(tmp_path: Path) -> None:
    maker = Maker()
    assert [record["question_id"] for record in made(tmp_path, maker)] == list("01234")
    assert maker.rows == [(0, 2), (2, 4), (4, 5)]


def test_what_was_written_before_is_not_asked_again(tmp_path: Path) -> None:
    partial = stopped(tmp_path)
    assert len(partial.read_text().splitlines()) == 3  # of which run it is, and two records
    maker = Maker()
    assert made(tmp_path, maker) == made(tmp_path / "fresh", Maker())
    assert maker.rows == [(2, 4), (4, 5)]
    again = Maker()
    assert made(tmp_path, again) == made(tmp_path / "fresh", Maker()) and again.rows == []


def test_a_torn_line_and_half_a_chunk_are_made_anew(tmp_path: Path) -> None:
    partial = stopped(tmp_path)
    partial.write_text(partial.read_text() + '{"question_id": "2"}\n{"question_')
    maker = Maker()
    assert made(tmp_path, maker)[2]["value"] == 2 / 3
    assert maker.rows == [(2, 4), (4, 5)]
    lines = partial.read_text().splitlines()
    assert [json.loads(line)["question_id"] for line in lines[1:]] == list("01234")


@pytest.mark.parametrize(("run", "chunk"), [({"model": "b"}, 2), ({"model": "a"}, 3)])
def test_another_run_takes_nothing_over(tmp_path: Path, run: dict[str, str], chunk: int) -> None:
    stopped(tmp_path)
    maker = Maker()
    made(tmp_path, maker, run, chunk)
    assert maker.rows[0] == (0, chunk)


def test_a_written_run_is_read_back(tmp_path: Path) -> None:
    records = made(tmp_path, Maker())
    report: dict[str, Any] = dict(REPORT)
    write_run(tmp_path, records, report)
    assert read_run(tmp_path) == (report, records)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.jsonl", "report.json"]


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no report.json, so it is no finished run of kvqa evaluate$"):
        read_run(tmp_path)
    write_run(tmp_path, made(tmp_path, Maker()), dict(REPORT))
    (tmp_path / "predictions.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"are not of one run \(checksum differs\); run kvqa evaluate again"):
        read_run(tmp_path)
    (tmp_path / "report.json").write_text('{"dataset": "fvqa", "split": "test0"}')
    with pytest.raises(InputError, match=r"has no protocol, primary, predictions_sha256: an older version"):
        read_run(tmp_path)
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(InputError, match="holds something else"):
        read_run(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path)
