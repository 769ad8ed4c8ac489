"""Every word-by-word task learns a few records of its data set's real format by heart, from its own config."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from kvqa.cli import app
from kvqa.config import read_config
from kvqa.data.datasets import Dataset
from kvqa.data.example import Example
from kvqa.errors import InputError
from kvqa.models.heads import AnswerHead
from kvqa.models.task_heads import soft_target_loss
from kvqa.models.task_model import EncoderSizes, load_task_model
from kvqa.training.read import train_reading
from kvqa.training.task import TaskExperiment, TaskReport, TaskStage
from kvqa.vision.regions import Region, Regions

ROOT = Path(__file__).parents[3]
SMALL = EncoderSizes(tuned_layers=0, width=32, heads=2, hidden=32, vision_layers=0, cross_layers=1, dropout=0.0)
QUICK = TaskStage(epochs=15, batch=2, lr=5e-3, lr_text=1e-3)
LABELS = ("jar", "dog", "cup", "stove", "plant", "bench", "shelf", "kite")


def _experiment(config: str, split: str) -> TaskExperiment:
    found = read_config(ROOT / "configs" / f"{config}.yaml", TaskExperiment)
    return replace(found, split=split, encoder=SMALL, stage=QUICK, answers_at_least=1)


def _seen(examples: Sequence[Example]) -> list[Example]:
    """Give every picture something of its own to see, as a detector would."""
    names = sorted({name for example in examples for name in example.all_images})

    def regions(name: str) -> Regions:
        return Regions(name, 9, 9, (Region(LABELS[names.index(name) % len(LABELS)], 0.9, (0, 0, 5, 5)),))

    return [
        replace(e, regions=regions(e.image), more_regions=tuple(regions(n) for n in e.all_images[1:])) for e in examples
    ]


def _train(config: str, dataset: str, split: str, out: Path, **changes: object) -> tuple[TaskReport, list[Example]]:
    opened = Dataset(dataset, ROOT / "tests" / "fixtures" / dataset)
    examples = opened.examples(split)
    examples = examples if examples[0].regions.regions else _seen(examples)
    experiment = replace(_experiment(config, split), **changes)  # type: ignore[arg-type]
    classes = opened.description.classes
    report = train_reading(experiment, examples, {"train": examples}, classes, out, log=lambda line: None)
    return report, examples


@pytest.mark.parametrize(
    ("config", "dataset", "split", "at_least"),
    [
        ("vqa2", "vqa2", "train", 90),
        ("okvqa", "okvqa", "train", 90),
        ("nlvr2", "nlvr2", "dev", 100),
        ("snli-ve", "snli_ve", "dev", 100),
        ("aokvqa", "aokvqa", "val", 100),
    ],
)
def test_a_task_is_learned_and_reloads(config: str, dataset: str, split: str, at_least: float, tmp_path: Path) -> None:
    report, examples = _train(config, dataset, split, tmp_path / "model")
    assert report.scores["train"]["accuracy"] >= at_least
    again = load_task_model(tmp_path / "model")
    whole = again.predict(examples)
    single = torch.cat([again.predict([example]) for example in examples])
    assert torch.allclose(whole, single, atol=1e-4)
    assert (tmp_path / "model" / "training.json").is_file()


def test_an_answer_head_starts_at_what_is_true_on_average() -> None:
    targets = torch.tensor([[1.0, 0.0, 0.3], [0.0, 0.0, 0.9], [1.0, 0.0, 0.0]])
    head = AnswerHead(4, 3)
    head.start_at(targets.mean(0))
    shares = head(torch.randn(3, 4)).sigmoid()
    torch.testing.assert_close(shares, torch.tensor([2 / 3, 1e-6, 0.4]).expand(3, 3), rtol=1e-4, atol=1e-7)
    loss = soft_target_loss(head(torch.randn(3, 4)), targets)
    by_hand = sum(-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in (2 / 3, 0.4))
    assert abs(loss.item() - by_hand) < 1e-4
    loss.backward()
    assert head.score.weight.grad is not None and head.score.weight.grad.abs().sum() > 0


def test_a_stopped_run_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole, _ = _train("nlvr2", "nlvr2", "dev", tmp_path / "whole", stage=replace(QUICK, epochs=3))

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 2"):
            raise StoppedError

    opened = Dataset("nlvr2", ROOT / "tests" / "fixtures" / "nlvr2")
    examples = _seen(opened.examples("dev"))
    experiment = replace(_experiment("nlvr2", "dev"), stage=replace(QUICK, epochs=3))
    with pytest.raises(StoppedError):
        train_reading(experiment, examples, {}, opened.description.classes, tmp_path / "cut", log=stop)
    train_reading(experiment, examples, {}, opened.description.classes, tmp_path / "cut", log=lambda line: None)
    first, second = (load_task_model(tmp_path / name).predict(examples) for name in ("whole", "cut"))
    assert torch.equal(first, second)
    assert whole.counts == {"train": 3}


def test_a_model_that_says_the_same_of_everything_is_reported(tmp_path: Path) -> None:
    opened = Dataset("okvqa", ROOT / "tests" / "fixtures" / "okvqa")
    examples = _seen(opened.examples("train"))
    examples = [replace(e, question_id=str(i), question=f"what is {i}") for i, e in enumerate(examples * 3)]
    said: dict[float, list[str]] = {1e-9: [], 1e-2: []}
    for lr, lines in said.items():
        stage = replace(QUICK, epochs=3, lr=lr, lr_text=1e-9)
        experiment = replace(_experiment("okvqa", "train"), stage=stage, answers_at_least=1)
        train_reading(experiment, examples, {}, (), tmp_path / str(lr), log=lines.append)
    # A head that has not moved from the answers' shares knows nothing of examples.
    assert any("training has collapsed" in line for line in said[1e-9])
    assert not any("training has collapsed" in line for line in said[1e-2])


def test_a_test_split_is_refused() -> None:
    experiment = replace(_experiment("nlvr2", "test1"), validation="test2")
    assert sum("test split" in problem for problem in experiment.problems()) == 2
    assert "trained on" in " ".join(replace(experiment, split="dev", validation="dev").problems())


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    _train("nlvr2", "nlvr2", "dev", tmp_path, stage=replace(QUICK, epochs=1))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="missing or altered"):
        load_task_model(tmp_path)


def test_the_command_trains_what_the_config_names(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(
        "{task: judgement, name: small, dataset: nlvr, split: dev, stage: {epochs: 1},"
        " encoder: {tuned_layers: 0, width: 16, heads: 2, hidden: 16, vision_layers: 0, cross_layers: 1}}",
        encoding="utf-8",
    )
    fixtures = ROOT / "tests" / "fixtures" / "nlvr"
    result = CliRunner().invoke(app, ["train", str(config), "--root", str(fixtures), "--out", str(tmp_path / "model")])
    assert result.exit_code == 0, result.output
    assert load_task_model(tmp_path / "model").config.classes == ("false", "true")
    config.write_text("{task: judgement, name: small, dataset: nlvr, split: test, colour: red}", encoding="utf-8")
    with pytest.raises(InputError, match="unknown key colour; split 'test' is a test split"):
        read_config(config, TaskExperiment)
