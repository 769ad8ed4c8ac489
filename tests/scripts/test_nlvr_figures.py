"""The script of the NLVR figures, on a made-up data set of a few towers."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from kvqa.models.statement import StatementConfig
from kvqa.training.nlvr import NlvrExperiment, RealStage, SyntheticStage

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "nlvr_figures.py"
spec = importlib.util.spec_from_file_location("nlvr_figures", SCRIPT)
assert spec is not None and spec.loader is not None
nlvr_figures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(nlvr_figures)

TINY = NlvrExperiment(
    "tiny",
    folds=2,
    model=StatementConfig(width=16, heads=2, hidden=16, cross_layers=1, votes=2),
    synthetic=SyntheticStage(steps=1, batch=4, scenes=4),
    real=RealStage(epochs=1, batch=4, synthetic=2),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    block = {"x_loc": 40, "y_loc": 80, "size": 20, "color": "Black", "type": "square"}
    for split in ("dev", "test"):
        records = [
            {
                "sentence": "There is a black block",
                "label": "true" if number != 1 else "false",
                "identifier": f"{number}-{k}",
                "directory": str(number),
                "structured_rep": [[block], [], []],
            }
            for number in range(3)
            for k in range(2)
        ]
        (tmp_path / f"{split}.json").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return tmp_path


def test_cross_validation_judges_every_statement_once_and_does_not_read_test(root: Path, tmp_path: Path) -> None:
    (root / "test.json").unlink()
    scores = nlvr_figures.run(TINY, "all", 0, root=root, out=tmp_path, test=False)
    assert scores["majority"] == pytest.approx(4 / 6)
    lines = (tmp_path / "dev-all-0.csv").read_text(encoding="utf-8").splitlines()
    assert sorted(line.split(",")[0] for line in lines) == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]


def test_predictions_that_are_there_are_not_made_again(root: Path, tmp_path: Path) -> None:
    first = nlvr_figures.run(TINY, "all", 0, root=root, out=tmp_path, test=True)
    assert set(first) == {"accuracy", "consistency", "majority"}
    truth = [f"{n}-{k},{'false' if n == 1 else 'true'}" for n in range(3) for k in range(2)]
    (tmp_path / "test-all-0.csv").write_text("\n".join(truth) + "\n", encoding="utf-8")
    again = nlvr_figures.run(TINY, "all", 0, root=root, out=tmp_path, test=True)
    assert (again["accuracy"], again["consistency"]) == (1.0, 1.0)


def test_each_variant_leaves_out_one_thing() -> None:
    made = nlvr_figures.variants(TINY)
    assert made["all"] is TINY
    assert made["no-augmentation"] == replace(TINY, real=replace(TINY.real, augment=False))
    assert made["grammar-only"].real.epochs == 0
    assert made["no-grammar"].synthetic.steps == made["no-grammar"].real.synthetic == 0
    assert not made["sentence-only"].picture
    assert all(not list(variant.problems()) for variant in made.values())


def test_the_table_has_mean_and_spread_in_percent() -> None:
    runs = [{"accuracy": a, "consistency": 0.5, "majority": 0.553} for a in (0.7, 0.72)]
    assert nlvr_figures.table({"all": runs, "one": runs[:1]}).splitlines()[2:] == [
        "| all | 71.0 ± 1.4 | 50.0 ± 0.0 | 55.3 |",
        "| one | 70.0 | 50.0 | 55.3 |",
    ]
