"""Optimiser and schedule that all recipes share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def adamw(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """Return AdamW that decays matrices but neither biases nor norms (vectors)."""
    wanted = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in wanted if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)


def linear_schedule(
    optimizer: torch.optim.Optimizer, steps: int, *, warmup: float = 0.1
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a schedule that rises over the share `warmup` of `steps` and then falls linearly to zero."""
    rising = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        return min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def start_at(schedule: torch.optim.lr_scheduler.LambdaLR, step: int) -> None:
    """Set `schedule` and the rates of its optimiser to where they are after `step` steps."""
    schedule.last_epoch = step
    for group, factor in zip(schedule.optimizer.param_groups, schedule.lr_lambdas, strict=True):
        group["lr"] = group["initial_lr"] * factor(step)
