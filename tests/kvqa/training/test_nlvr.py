"""Training on NLVR: numbers of a batch, folds, and that a small model learns a few statements by heart."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kvqa.config import read_config
from kvqa.data.example import Example
from kvqa.data.nlvr import drawing, read_nlvr
from kvqa.data.nlvr_scene import BOXES, FEATURES
from kvqa.data.nlvr_tokens import collate
from kvqa.errors import InputError
from kvqa.models.checkpoint import read_manifest
from kvqa.models.judge import load_statement_model, new_model, truths
from kvqa.models.statement import StatementConfig
from kvqa.training import nlvr
from kvqa.training.nlvr import (
    NlvrExperiment,
    RealStage,
    Synthetic,
    SyntheticStage,
    counting_loss,
    folds_of,
    learn_examples,
    learn_grammar,
    train,
)

ROOT = Path(__file__).resolve().parents[3]
FIXTURE = ROOT / "tests" / "fixtures" / "nlvr"
SMALL = StatementConfig(width=32, heads=2, hidden=32, language_layers=1, cross_layers=1, votes=4)
COLOURS = {"black": "Black", "blue": "#0099ff", "yellow": "Yellow"}


def _example(name: str, sentence: str, tops: list[str], label: bool, directory: str = "0") -> Example:
    """Return a statement on three towers of two blocks: black ones with `tops` on them."""
    boxes = [
        [
            {"x_loc": 40, "y_loc": 80, "size": 20, "color": "Black", "type": "square"},
            {"x_loc": 40, "y_loc": 59, "size": 20, "color": COLOURS[top], "type": "square"},
        ]
        for top in tops
    ]
    meta = {"group": name.partition("-")[0], "directory": directory}
    return Example(name, sentence, f"{name}.png", drawing(boxes, f"{name}.png"), label=int(label), meta=meta)


def _silent(line: str) -> None:
    """Say nothing."""


def _few() -> list[Example]:
    rng = random.Random(0)
    found = []
    for number in range(16):
        tops = [rng.choice(list(COLOURS)) for _ in range(3)]
        colour = rng.choice(list(COLOURS))
        found.append(_example(f"{number}-0", f"There is a tower with a {colour} top", tops, colour in tops))
    return found


def _config(**changes: object) -> NlvrExperiment:
    small = NlvrExperiment("small", model=SMALL, synthetic=SyntheticStage(0), real=RealStage(epochs=0, synthetic=0))
    return replace(small, **changes)  # type: ignore[arg-type]


def test_a_few_statements_are_learnt_by_heart(tmp_path: Path) -> None:
    examples = _few()
    settings = RealStage(epochs=40, batch=24, lr=3e-3, synthetic=0, augment=False)
    report = train(_config(real=settings), examples, tmp_path, seed=0, provenance={"dataset": "nlvr"}, log=_silent)
    assert report.counts == {"train": 16}
    model, picture = load_statement_model(tmp_path)
    assert picture
    truth = truths(model, examples) > 0.5
    assert truth.tolist() == [bool(example.label) for example in examples]
    manifest = read_manifest(tmp_path)
    assert manifest.training["seed"] == 0
    assert manifest.training["dataset"] == "nlvr"
    assert (tmp_path / "training.json").is_file()


def test_the_grammar_is_learnt_a_little() -> None:
    """A few steps move the loss on what statements count; the log says how many were right."""
    lines: list[str] = []
    model = new_model(SMALL, 0)
    batch = Synthetic(9, scenes=20).batch(32)
    before = counting_loss(model(*collate(batch)), batch).item()
    learn_grammar(model, SyntheticStage(steps=25, batch=32, lr=3e-3, scenes=50), seed=0, log=lines.append)
    assert counting_loss(model(*collate(batch)), batch).item() < before
    assert lines[-1].startswith("  grammar, step 25 of 25: ")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a state after every second step of the grammar; draw few scenes."""
    monkeypatch.setattr("kvqa.training.nlvr.SAVE_EVERY", 2)
    monkeypatch.setattr("kvqa.training.nlvr.MIXED_SCENES", 10)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("stop_at", [4, 6, 9])
def test_a_stopped_run_ends_with_the_same_weights(tmp_path: Path, stop_at: int) -> None:
    """Steps 1 to 5 are of the grammar, 6 to 9 of the examples, two an epoch."""
    stage = RealStage(epochs=2, batch=8, synthetic=4)
    small = StatementConfig(width=16, heads=2, hidden=16, cross_layers=1, votes=2, dropout=0.1)
    config = _config(model=small, real=stage, synthetic=SyntheticStage(steps=5, batch=8, scenes=10))
    train(config, _few(), tmp_path / "whole", seed=3, log=_silent)

    left = iter(range(stop_at - 1))

    def stops(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return step(*arguments)

    step = nlvr._step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nlvr, "_step", stops)
        with pytest.raises(KeyboardInterrupt):
            train(config, _few(), tmp_path / "stopped", seed=3, log=_silent)
    assert (tmp_path / "stopped" / "grammar.state").is_file()
    train(config, _few(), tmp_path / "stopped", seed=3, log=_silent)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert weights[0] == weights[1]


def test_a_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    config = _config(real=RealStage(epochs=1, synthetic=0))
    train(config, _few(), tmp_path, seed=3, log=_silent)
    with pytest.raises(InputError, match="made with other settings or data"):
        train(config, _few()[1:], tmp_path, seed=3, log=_silent)


def test_a_folder_that_is_no_model_of_nlvr_is_refused(tmp_path: Path) -> None:
    train(_config(), _few(), tmp_path, seed=0, log=_silent)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for change, message in (
        ({"kind": "choice"}, "holds no model of NLVR; train one"),
        ({"words": ["a"]}, "reads other words than this version"),
        ({"model": {"wide": 3}}, "is damaged"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}), encoding="utf-8")
        with pytest.raises(InputError, match=message):
            load_statement_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="missing or altered"):
        load_statement_model(tmp_path)


def test_without_the_picture_only_the_sentence_counts() -> None:
    model = new_model(SMALL, 0)
    same = [
        _example("1-0", "There is a blue block", ["blue", "blue", "black"], True),
        _example("1-1", "There is a blue block", ["black", "yellow", "black"], False),
    ]
    blind = truths(model, same, picture=False)
    assert blind[0] == blind[1]
    seen = truths(model, same)
    assert seen[0] != seen[1]


def test_a_batch_is_padded() -> None:
    batch = Synthetic(0, scenes=20).batch(8)
    pairs, member = collate(batch)
    assert pairs.vision.shape == (8, member.shape[1], FEATURES)
    assert pairs.region_mask is not None
    for row, one in enumerate(batch):
        assert int(pairs.mask[row].sum()) == len(one.ids)
        assert int(pairs.region_mask[row].sum()) == len(one.boxes)
        assert member[row].sum(-1)[: len(one.boxes)].tolist() == [1.0] * len(one.boxes)
        assert member[row, :BOXES].tolist() == torch.eye(BOXES).tolist()
        assert one.counted is None or len(one.counted) == len(one.boxes)
    assert sum(one.label for one in batch) == 4


def test_folds_follow_the_directories() -> None:
    examples = [
        _example(f"{n}-{k}", "x", ["black"] * 3, True, directory=str(n % 3)) for n in range(6) for k in range(2)
    ]
    parts = folds_of(examples, 3)
    assert [len(part) for part in parts] == [4, 4, 4]
    groups = [{example.meta["group"] for example in part} for part in parts]
    assert not groups[0] & groups[1] | groups[1] & groups[2] | groups[0] & groups[2]
    with pytest.raises(InputError, match="3 directories, so at most as many folds, but 6"):
        folds_of(examples, 6)
    torn = [_example("1-0", "x", ["black"] * 3, True, "0"), _example("1-1", "x", ["black"] * 3, True, "1")]
    with pytest.raises(InputError, match="sentence 1 lies in two directories"):
        folds_of(torn, 2)


def test_a_statement_without_label_is_refused() -> None:
    unlabelled = replace(_few()[0], label=None)
    with pytest.raises(InputError, match="0-0 has no label"):
        learn_examples(new_model(SMALL, 0), [unlabelled], RealStage(epochs=1, synthetic=0), seed=0)


def test_the_published_files_can_be_judged() -> None:
    examples = list(read_nlvr(FIXTURE, "dev"))
    assert truths(new_model(SMALL, 0), examples).shape == (len(examples),)


def test_the_config_is_complete_and_wrong_ones_are_refused() -> None:
    experiment = read_config(ROOT / "configs" / "nlvr.yaml", NlvrExperiment)
    assert experiment.split == "dev"
    wrong = replace(experiment, split="test", folds=1, seeds=(), synthetic=SyntheticStage(steps=0))
    assert len(list(wrong.problems())) == 4
