"""Adversarial training as a switch of the task recipe, on a toy and on both kinds of task models."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.config import read_config
from kvqa.data.choices import ChoiceCollator, Inputs, answer_item
from kvqa.data.datasets import Dataset
from kvqa.errors import InputError
from kvqa.models.crossmodal import Embeddings
from kvqa.models.perturbation import size
from kvqa.models.task_heads import ScorerConfig
from kvqa.models.task_model import EncoderSizes
from kvqa.models.vectors import text_vectors
from kvqa.training.adversarial import AdversarialSettings
from kvqa.training.choose import fit_scorer
from kvqa.training.collated import collate_once
from kvqa.training.read import train_reading
from kvqa.training.task import TaskExperiment, TaskStage, TaskStep, fit

ROOT = Path(__file__).parents[3]
SMALL = EncoderSizes(tuned_layers=0, width=16, heads=2, hidden=16, vision_layers=0, cross_layers=1, dropout=0.0)
PGD = AdversarialSettings(method="pgd", steps=2, lr=0.2, max_norm=0.3)
FREE = AdversarialSettings(steps=2, lr=0.1, max_norm=0.15)
STILL = AdversarialSettings(steps=1, use_last_update=False, kl=0.0)
"""One pass at no change, and none after it: plain training by way of the adversarial step."""


class Toy(nn.Module):
    """Three classes of two words and one region, whatever is on the masked places; keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.answer = nn.Linear(6, 3)
        self.words, self.visual = torch.randn(9, 2, 4), torch.randn(9, 1, 2)
        self.mask = torch.tensor([[True, True]] * 8 + [[True, False]])
        self.seen: list[tuple[Sequence[int], Embeddings]] = []

    def step(self, rows: Sequence[int]) -> TaskStep:
        def forward(embeddings: Embeddings) -> Tensor:
            self.seen.append((rows, Embeddings(*(part.detach() for part in embeddings))))
            return self.answer(torch.cat([embeddings.words.sum(1), embeddings.vision.sum(1)], dim=-1))

        wanted = torch.tensor([i % 3 for i in rows])
        given = Embeddings(self.words[rows], self.visual[rows])
        return TaskStep(given, forward, lambda logits: F.cross_entropy(logits, wanted), self.mask[rows], None)


def _fit(
    out: Path, adversarial: AdversarialSettings | None, epochs: int = 3, stop: int = 0
) -> tuple[dict[str, Tensor], Toy, list[str]]:
    toy, lines = Toy(), list[str]()

    def log(line: str) -> None:
        lines.append(line)
        if stop and line.startswith(f"epoch {stop}"):
            raise InterruptedError

    stage = TaskStage(epochs=epochs, batch=4, lr=0.05)
    with contextlib.suppress(InterruptedError):
        fit(toy, 9, toy.step, stage, seed=0, state=out / "task.state", adversarial=adversarial, log=log)
    return {name: p.detach().clone() for name, p in toy.named_parameters()}, toy, lines


@pytest.mark.parametrize("settings", [PGD, FREE])
def test_the_change_stays_in_its_ball_and_off_the_padding(settings: AdversarialSettings, tmp_path: Path) -> None:
    _, toy, _ = _fit(tmp_path, settings)
    largest = 0.0
    for rows, given in toy.seen:
        change = given.words - toy.words[rows]
        largest = max(
            largest, float(size(change, "l2").max()), float(size(given.vision - toy.visual[rows], "l2").max())
        )
        assert not change[~toy.mask[rows]].any()
    assert 0.5 * settings.max_norm < largest <= settings.max_norm * (1 + 1e-5)


@pytest.mark.parametrize("settings", [PGD, FREE])
def test_the_loss_falls_and_a_stopped_run_ends_the_same(settings: AdversarialSettings, tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, _, lines = _fit(tmp_path / "whole", settings, epochs=12)
    losses = [float(line.split()[3]) for line in lines]
    assert losses[-1] < 0.7 * losses[0]
    _fit(tmp_path / "cut", settings, epochs=12, stop=5)
    resumed, _, rest = _fit(tmp_path / "cut", settings, epochs=12)
    assert len(rest) == 7
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_one_pass_at_no_change_is_plain_training_to_the_last_bit(tmp_path: Path) -> None:
    for name in ("plain", "still", "free"):
        (tmp_path / name).mkdir()
    plain, _, first = _fit(tmp_path / "plain", None)
    still, _, second = _fit(tmp_path / "still", STILL)
    assert all(torch.equal(plain[name], still[name]) for name in plain)
    assert [line.split()[3] for line in first] == [line.split()[3] for line in second]
    free, _, _ = _fit(tmp_path / "free", FREE)
    assert not any(torch.equal(plain[name], free[name]) for name in plain)


def _reading(out: Path, adversarial: AdversarialSettings, epochs: int) -> list[float]:
    opened = Dataset("aokvqa", ROOT / "tests" / "fixtures" / "aokvqa")
    examples = opened.examples("val")
    experiment = replace(
        read_config(ROOT / "configs" / "aokvqa.yaml", TaskExperiment), split="val", encoder=SMALL,
        stage=TaskStage(epochs=epochs, batch=2, lr=5e-3), adversarial=adversarial,
    )  # fmt: skip
    lines: list[str] = []
    train_reading(experiment, examples, {}, opened.description.classes, out, log=lines.append)
    return [float(line.split()[3]) for line in lines if line.startswith("epoch")]


def _choosing(out: Path, adversarial: AdversarialSettings, epochs: int) -> list[float]:
    examples = Dataset("vcr", ROOT / "tests" / "fixtures" / "vcr").examples("val")
    experiment = replace(
        read_config(ROOT / "configs" / "vcr.yaml", TaskExperiment), stage=TaskStage(epochs=epochs, batch=2, lr=1e-2),
        scorer=ScorerConfig(width=16, heads=2, hidden=16, numbers=16, dropout=0.0, graph_layers=1),
        adversarial=adversarial,
    )  # fmt: skip
    collator = ChoiceCollator(text_vectors(), Inputs(regions=3, facts=2, knowledge=False))
    whole = collate_once([answer_item(e) for e in examples], collator)
    out.mkdir()
    lines: list[str] = []
    fit_scorer(experiment, whole, out, log=lines.append)
    return [float(line.split()[3]) for line in lines]


@pytest.mark.parametrize(("train", "epochs"), [(_reading, 6), (_choosing, 25)])
def test_models_of_both_kinds_learn_under_it(
    train: Callable[[Path, AdversarialSettings, int], list[float]], epochs: int, tmp_path: Path
) -> None:
    losses = train(tmp_path / "free", FREE, epochs)
    assert losses[-1] < 0.8 * losses[0]


def test_settings_are_checked_with_the_rest(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "vqa2.yaml").read_text(encoding="utf-8")
    config = tmp_path / "vqa2.yaml"
    config.write_text(text + "adversarial: {method: free, steps: 0, distribution: sigmoid}\n", encoding="utf-8")
    with pytest.raises(InputError, match="adversarial: steps 0 is less than 1"):
        read_config(config, TaskExperiment)
    config.write_text(text + "adversarial: {method: pgd, max_norm: 0.1}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"adversarial\.distribution of task answers is sigmoid, not softmax"):
        read_config(config, TaskExperiment)
    config.write_text(text + "adversarial: {distribution: sigmoid, colour: red}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"unknown key adversarial\.colour"):
        read_config(config, TaskExperiment)
    config.write_text(text + "adversarial: {distribution: sigmoid}\n", encoding="utf-8")
    assert read_config(config, TaskExperiment).adversarial == AdversarialSettings(distribution="sigmoid")
