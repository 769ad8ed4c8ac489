"""Accuracy against the size of an attack, on anything that has continuous inputs and right answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kvqa.errors import InputError
from kvqa.models.perturbation import AttackSettings, Method, Parts, attack
from retrieval.manifest import write_text_safely

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class AttackBatch:
    """A batch that can be attacked.

    Attributes:
        inputs: What may be changed, each (B, ...).
        labels: (B,) int64, the right class of each example.
        logits: Maps changed inputs to logits (B, C).
        masks: For some inputs, (B, T) bool: the positions that may be changed.
        units: For some inputs, (B,): what a size of 1 means in each example.
        bounds: Least and largest value of the inputs, or None.
    """

    inputs: Parts
    labels: Tensor
    logits: Callable[[Parts], Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    units: Mapping[str, Tensor] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class CurvePoint:
    """One size of an attack: accuracy and its standard error in percent, and the mean cross-entropy."""

    eps: float
    accuracy: float
    error: float
    loss: float


@dataclass(frozen=True)
class AttackReport:
    """Accuracy against the size of each attack.

    Attributes:
        model, data, on, target: What was attacked, where, and what counts as right.
        norm, steps, restarts, seed: Of the attacks, see `AttackSettings`.
        eps_unit: What a size of 1 means.
        examples: How many.
        curves: Attack to its points, in the order of sizes.
    """

    model: str
    data: str
    on: str
    target: str
    norm: str
    steps: int
    restarts: int
    seed: int
    eps_unit: str
    examples: int
    curves: dict[str, list[CurvePoint]]

    def write(self, path: Path) -> None:
        """Write the report as JSON beside `path` and rename it into place."""
        write_text_safely(path, json.dumps(asdict(self), indent=2) + "\n")


def attack_curves(
    batches: Iterable[AttackBatch],
    methods: Sequence[Method],
    sizes: Sequence[float],
    settings: AttackSettings,
    *,
    seed: int = 0,
    total: int = 0,
    advance: Advance | None = None,
) -> tuple[dict[str, list[CurvePoint]], int]:
    """Attack every batch with every method and size; return the curves and the number of examples.

    The random numbers of an attack depend on seed and batch only, so sizes of one method are comparable.

    Args:
        settings: Everything but method and size.
        total: Number of examples that are expected, for `advance`.

    Raises:
        InputError: naming every wrong setting at once, or if there are no examples.
    """
    check_attack(methods, sizes, settings)
    right: dict[tuple[str, float], list[NDArray[np.bool_]]] = {}
    losses: dict[tuple[str, float], list[NDArray[np.float32]]] = {}
    count = 0
    for number, batch in enumerate(batches):
        clean = _score(batch, {})
        for method in methods:
            for eps in sizes:
                how = replace(settings, method=method, eps=eps)
                found = clean if eps == 0 else _score(batch, _changes(batch, how, seed=f"{seed}/{number}"))
                right.setdefault((method, eps), []).append(found[0])
                losses.setdefault((method, eps), []).append(found[1])
        count += len(batch.labels)
        if advance is not None:
            advance("attacked", count, total)
    if not count:
        raise InputError("there is no example to attack; give another split or a higher limit")
    return {m: [_point(eps, right[m, eps], losses[m, eps]) for eps in sizes] for m in methods}, count


def check_attack(methods: Sequence[Method], sizes: Sequence[float], settings: AttackSettings) -> None:
    """Check the choice of attacks.

    Raises:
        InputError: naming every wrong setting at once.
    """
    if not methods or not sizes:
        raise InputError("there is nothing to do without an attack and a size; give both")
    problems = dict.fromkeys(p for m in methods for e in sizes for p in replace(settings, method=m, eps=e).problems())
    if problems:
        raise InputError("; ".join(problems))


def _changes(batch: AttackBatch, settings: AttackSettings, *, seed: str) -> Parts:
    def losses(parts: Parts) -> Tensor:
        return F.cross_entropy(batch.logits(parts).float(), batch.labels, reduction="none")

    generator = torch.Generator().manual_seed(int.from_bytes(seed.encode()[-7:], "big"))
    return attack(
        losses,
        batch.inputs,
        settings,
        masks=batch.masks,
        units=batch.units,
        bounds=batch.bounds,
        generator=generator,
    )


@torch.no_grad()
def _score(batch: AttackBatch, changes: Parts) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return which examples (B,) are right after the changes, and their losses (B,)."""
    parts = {name: v + changes[name] if name in changes else v for name, v in batch.inputs.items()}
    logits = batch.logits(parts).float()
    losses = F.cross_entropy(logits, batch.labels, reduction="none")
    return (logits.argmax(-1) == batch.labels).cpu().numpy(), losses.cpu().numpy()


def _point(eps: float, right: Sequence[NDArray[np.bool_]], losses: Sequence[NDArray[np.float32]]) -> CurvePoint:
    hits = np.concatenate(right)
    share = float(hits.mean())
    error = float(np.sqrt(share * (1 - share) / len(hits)))
    return CurvePoint(eps, round(100 * share, 2), round(100 * error, 2), round(float(np.concatenate(losses).mean()), 4))
