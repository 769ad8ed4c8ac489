import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kvqa.attack.curves import AttackBatch, AttackReport, CurvePoint, attack_curves
from kvqa.attack.plot import plot_curves
from kvqa.errors import InputError
from kvqa.models.perturbation import AttackSettings, Parts


def _batches(examples: int = 400, size: int = 100) -> list[AttackBatch]:
    """A small network that bends, on numbers that it labels itself with some noise: accuracy 90 % or so."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(20, 30, generator=generator), torch.randn(30, 4, generator=generator)

    def logits(parts: Parts) -> torch.Tensor:
        return torch.tanh(parts["words"].flatten(1) @ first) @ second

    found = []
    for _ in range(examples // size):
        words = torch.randn(size, 4, 5, generator=generator)
        noisy = logits({"words": words + 0.1 * torch.randn(words.shape, generator=generator)})
        found.append(AttackBatch({"words": words}, noisy.argmax(-1), logits))
    return found


SIZES = [0.0, 0.05, 0.1, 0.2, 0.4]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_behave_as_attack_research_expects(norm: Any) -> None:
    sizes = SIZES if norm == "linf" else [4 * size for size in SIZES]
    methods: list[Any] = ["random", "fgsm", "ifgsm", "pgd"]
    curves, count = attack_curves(_batches(), methods, sizes, AttackSettings(norm=norm))
    accuracy = {method: [point.accuracy for point in points] for method, points in curves.items()}

    clean = 100 * sum((b.logits(b.inputs).argmax(-1) == b.labels).sum().item() for b in _batches()) / 400
    assert count == 400 and all(values[0] == round(clean, 2) for values in accuracy.values())
    for method in ("fgsm", "ifgsm", "pgd"):
        assert all(a > b for a, b in zip(accuracy[method], accuracy[method][1:], strict=False)), accuracy
        assert curves[method][0].loss < curves[method][1].loss < curves[method][2].loss
    assert all(p <= f for p, f in zip(accuracy["pgd"], accuracy["fgsm"], strict=True)), accuracy
    assert accuracy["pgd"][-1] < 5
    for random, fgsm in zip(accuracy["random"][1:], accuracy["fgsm"][1:], strict=True):
        assert clean - random < 0.4 * (clean - fgsm), accuracy


def test_the_seed_decides_and_nothing_else() -> None:
    def run(seed: int, methods: list[Any]) -> list[CurvePoint]:
        return attack_curves(_batches(100), methods, [0.1], AttackSettings(steps=2), seed=seed)[0]["pgd"]

    assert run(0, ["pgd"]) == run(0, ["random", "pgd"]) != run(1, ["pgd"])


def test_only_real_positions_are_attacked() -> None:
    (batch,) = _batches(100)
    mask = torch.zeros(100, 4, dtype=torch.bool)
    hidden = AttackBatch(batch.inputs, batch.labels, batch.logits, masks={"words": mask})

    points = attack_curves([hidden], ["pgd", "random"], [0.0, 5.0], AttackSettings())[0]

    assert points["pgd"][1].accuracy == points["random"][1].accuracy == points["pgd"][0].accuracy


def test_progress_is_told_by_examples() -> None:
    told: list[tuple[str, int, int]] = []
    attack_curves(_batches(200), ["fgsm"], [0.1], AttackSettings(), total=200, advance=lambda *step: told.append(step))
    assert told == [("attacked", 100, 200), ("attacked", 200, 200)]


@pytest.mark.parametrize(
    ("methods", "sizes", "message"),
    [
        (["magic", "fgsm"], [-1.0], r"attack 'magic' is none of .*; eps -1.0 is not a number from 0 up"),
        ([], [0.1], r"without an attack and a size"),
        (["fgsm"], [], r"without an attack and a size"),
    ],
)
def test_wrong_settings_are_named_at_once(methods: list[Any], sizes: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attack_curves(_batches(100), methods, sizes, AttackSettings())


def test_no_examples_are_an_error() -> None:
    with pytest.raises(InputError, match=r"there is no example to attack"):
        attack_curves([], ["fgsm"], [0.1], AttackSettings())


def test_a_report_is_written_as_json_and_as_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    curves, count = attack_curves(_batches(100), ["random", "fgsm", "pgd"], SIZES, AttackSettings(steps=2))
    report = AttackReport("m", "d", "words", "right", "linf", 2, 1, 0, "root mean square", count, curves)

    report.write(tmp_path / "attack.json")
    plot_curves(report, tmp_path / "attack.svg")
    plot_curves(report, tmp_path / "attack.png")

    content = json.loads((tmp_path / "attack.json").read_text())
    assert [point["eps"] for point in content["curves"]["pgd"]] == SIZES and content["examples"] == 100
    assert "<svg" in (tmp_path / "attack.svg").read_text() and (tmp_path / "attack.png").stat().st_size > 5000
    assert len(list(tmp_path.iterdir())) == 3
