"""NLVR through the commands: training, a report, and the official file that scores the same."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from kvqa.cli import app
from kvqa.data.nlvr import read_nlvr
from kvqa.errors import InputError
from kvqa.evaluation.nlvr import evaluate_nlvr, sentences_right
from kvqa.models.judge import new_model, save_statement_model
from kvqa.models.statement import StatementConfig
from kvqa.scoring.nlvr import score_nlvr

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "nlvr"
CONFIG = {
    "name": "tiny",
    "task": "nlvr",
    "seeds": [4],
    "model": {"width": 16, "heads": 2, "hidden": 16, "cross_layers": 1, "votes": 2},
    "synthetic": {"steps": 2, "batch": 4, "scenes": 4},
    "real": {"epochs": 1, "batch": 4, "synthetic": 0},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six sentences of a test split about three drawings each."""
    block = {"x_loc": 40, "y_loc": 80, "size": 20, "color": "Black", "type": "square"}
    records = [
        {
            "sentence": f"There are {number + 1} black blocks",
            "label": str(k <= number).lower(),
            "identifier": f"{number}-{k}",
            "directory": "0",
            "structured_rep": [[block] if box < k else [] for box in range(3)],
        }
        for number in range(6)
        for k in range(3)
    ]
    (tmp_path / "test.json").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    (tmp_path / "dev.json").write_text((FIXTURE / "dev.json").read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_nlvr_is_trained_evaluated_and_scored_by_the_commands(root: Path, tmp_path: Path) -> None:
    config, model, out = tmp_path / "tiny.yaml", tmp_path / "model", tmp_path / "run"
    config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    done = _run("train", config, "--root", root, "--out", model)
    assert done.exit_code == 0, done.output
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["training"]["seed"] == 4  # the first of the config's

    done = _run("evaluate", "nlvr", "--root", root, "--split", "test", "--model", model, "--out", out)
    assert done.exit_code == 0, done.output
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    official = score_nlvr(out / "predictions.csv", root / "test.json").scores
    for name in ("accuracy", "consistency"):
        assert report["scores"][name] == round(100 * (official[name] or 0), 2)
        assert report["intervals"][name][0] <= report["scores"][name] <= report["intervals"][name][1]
    assert (report["questions"], report["dataset"], report["kb"]) == (18, "nlvr", None)
    assert report["overlap"]["checked"]
    assert set(report["by"]) == {"drawing", "label"}
    assert "consistency" in (out / "report.html").read_text(encoding="utf-8")
    with (out / "predictions.csv").open(encoding="utf-8") as file:
        said = dict(csv.reader(file))
    lines = (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert {(r := json.loads(line))["question_id"]: r["answers"][0][0] for line in lines} == said

    scored = _run("score", "nlvr", "--predictions", out / "predictions.csv", "--truth", root / "test.json", "--json")
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["accuracy"] == official["accuracy"]


def test_consistency_counts_sentences_not_drawings() -> None:
    examples = list(read_nlvr(FIXTURE, "dev"))
    assert [example.meta["group"] for example in examples] == ["12", "12"]
    right = [{"right": 1.0}, {"right": 1.0}]
    table, sentences = sentences_right(examples, right)
    assert (table["consistency"].tolist(), sentences) == ([100.0], ["12"])
    assert sentences_right(examples, [right[0], {"right": 0.0}])[0]["consistency"].tolist() == [0.0]


def test_what_cannot_be_evaluated_is_said(root: Path, tmp_path: Path) -> None:
    small = StatementConfig(width=16, heads=2, hidden=16, cross_layers=1, votes=2)
    save_statement_model(new_model(small, 0), tmp_path / "model", picture=False, training={})
    with pytest.raises(InputError, match="no split 'test0'; allowed: train, dev, test"):
        evaluate_nlvr(root=root, split="test0", model=tmp_path / "model", out=tmp_path / "run")
    (root / "test.json").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="has no statements"):
        evaluate_nlvr(root=root, split="test", model=tmp_path / "model", out=tmp_path / "run")
    report = evaluate_nlvr(root=root, split="dev", model=tmp_path / "model", out=tmp_path / "run")
    assert report["picture"] is False


def test_held_out_pictures_are_no_way_to_hold_out_sentences(root: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    done = _run("train", config, "--root", root, "--out", tmp_path / "model", "--held-out", "0.1")
    assert done.exit_code == 2
    assert "(task nlvr) does not take --held-out; leave it out" in " ".join(done.stderr.split())
