"""Training on NLVR: numbers of a batch, folds, and that a small model learns a few statements by heart."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kvqa.config import read_config
from kvqa.data.example import Example
from kvqa.data.nlvr import drawing, read_nlvr
from kvqa.data.nlvr_scene import BOXES, FEATURES
from kvqa.errors import InputError
from kvqa.models.statement import StatementConfig
from kvqa.training.nlvr import (
    NlvrExperiment,
    RealStage,
    Synthetic,
    SyntheticStage,
    collate,
    counting_loss,
    folds_of,
    learn_examples,
    learn_grammar,
    new_model,
    train,
    truths,
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


def test_a_few_statements_are_learnt_by_heart() -> None:
    examples = _few()
    settings = RealStage(epochs=40, batch=24, lr=3e-3, synthetic=0, augment=False)
    model = train(_config(real=settings), examples, 0, log=lambda _: None)
    truth = truths(model, examples) > 0.5
    assert truth.tolist() == [bool(example.label) for example in examples]


def test_the_grammar_is_learnt_a_little() -> None:
    """A few steps move the loss on what statements count; the log says how many were right."""
    lines: list[str] = []
    model = new_model(SMALL, 0)
    batch = Synthetic(9, scenes=20).batch(32)
    before = counting_loss(model(*collate(batch)), batch).item()
    learn_grammar(model, SyntheticStage(steps=25, batch=32, lr=3e-3, scenes=50), seed=0, log=lines.append)
    assert counting_loss(model(*collate(batch)), batch).item() < before
    assert lines[-1].startswith("  grammar, step 25 of 25: ")


def test_training_is_decided_by_the_seed() -> None:
    settings = RealStage(epochs=2, batch=12, synthetic=4)
    config = _config(real=settings, synthetic=SyntheticStage(steps=2, batch=8, scenes=10))
    first, second = (train(config, _few(), 3, log=lambda _: None) for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b)


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
