import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kvqa.cli import app

TRUTH = "\n".join(json.dumps({"identifier": f"dev-1-{pair}-0", "label": "True"}) for pair in range(3))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "truth.json").write_text(TRUTH, encoding="utf-8")
    (tmp_path / "said.csv").write_text("dev-1-0-0,True\ndev-1-1-0,True\n", encoding="utf-8")
    return ["score", "nlvr2", "--predictions", str(tmp_path / "said.csv"), "--truth", str(tmp_path / "truth.json")]


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_json(files: list[str]) -> None:
    report = json.loads(run(*files, "--json"))
    assert (report["dataset"], report["protocol"], report["accuracy"]) == ("nlvr2", "official", 2 / 3)
    assert report["ids"]["missing"] == {"count": 1, "first": ["dev-1-2-0"]}


def test_text_names_protocol_and_what_is_missing(files: list[str]) -> None:
    output = run(*files)
    assert "0.6666666666666666" in output
    assert "1 questions without a prediction, counted as wrong: dev-1-2-0" in output
    assert "protocol official (lil-lab/nlvr" in output


def test_strict_and_partial(files: list[str]) -> None:
    assert "1 ids have no prediction: dev-1-2-0" in run(*files, "--strict", code=2)
    assert json.loads(run(*files, "--partial", "--json"))["accuracy"] == 1.0
    assert "contradict each other" in run(*files, "--partial", "--strict", code=2)


def test_per_question(files: list[str], tmp_path: Path) -> None:
    run(*files, "--per-question", str(tmp_path / "q.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["score"] for line in lines] == [1.0, 1.0, 0.0]
    assert "cannot write" in run(*files, "--per-question", str(tmp_path / "none" / "q.jsonl"), code=2)


def test_several_splits(files: list[str], tmp_path: Path) -> None:
    for number, name in enumerate(("dev-1-0-0", "dev-1-2-0")):
        (tmp_path / f"{number}.txt").write_text(f"{name}\ndev-1-1-0\n", encoding="utf-8")
    again = [*files, "--predictions", files[3], "--ids", str(tmp_path / "0.txt"), "--ids", str(tmp_path / "1.txt")]
    assert json.loads(run(*again, "--json"))["mean"] == {"accuracy": 0.75, "consistency": 0.5}
    assert "mean of 2" in run(*again)
    assert "give one --ids for each file" in run(*files, "--predictions", files[3], code=2)


def test_file_that_is_not_there(files: list[str]) -> None:
    assert "there is no file nowhere.csv" in run(*files[:3], "nowhere.csv", *files[4:], code=2)
