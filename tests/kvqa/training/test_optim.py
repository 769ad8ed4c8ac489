import pytest
import torch
from torch import nn

from kvqa.training.optim import adamw, linear_schedule, start_at


def test_matrices_decay_and_vectors_do_not() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    module[0].weight.requires_grad_(False)
    extra = nn.Parameter(torch.zeros(2, 2))
    decayed, kept = adamw([*module.parameters(), extra], lr=0.1, weight_decay=0.5).param_groups
    assert decayed["weight_decay"] == 0.5 and [p is extra for p in decayed["params"]] == [True]
    assert kept["weight_decay"] == 0 and [p.ndim for p in kept["params"]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(10, [1, 1, 8 / 9, 7 / 9]), (20, [0.5, 1, 1, 17 / 18]), (1, [1, 0, 0, 0]), (0, [0, 0, 0, 0])],
)
def test_the_rate_rises_and_falls_to_zero(steps: int, expected: list[float]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = linear_schedule(optimizer, steps)
    rates = []
    for _ in range(steps + 4):
        rates.append(optimizer.param_groups[0]["lr"] / 2)
        optimizer.step()
        schedule.step()
    assert rates[:4] == pytest.approx(expected)
    assert rates[steps:] == [0, 0, 0, 0]


@pytest.mark.parametrize("step", [0, 3, 9])
def test_a_schedule_can_start_anywhere(step: int) -> None:
    def rates(begin: int) -> list[float]:
        optimizer = adamw([nn.Parameter(torch.zeros(2, 2))], lr=1.0)
        schedule = linear_schedule(optimizer, 10)
        start_at(schedule, begin)
        found = []
        for _ in range(begin, 10):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    assert rates(step) == rates(0)[step:]
