"""From a model and data to an attack report: the function behind `kvqa attack`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from kvqa.attack.curves import Advance, AttackBatch, AttackReport, attack_curves, check_attack
from kvqa.attack.fvqa import Target, question_batches
from kvqa.attack.pixels import classified_photos, photo_batches
from kvqa.attack.plot import plot_curves
from kvqa.errors import InputError
from kvqa.models.checkpoint import RELEASED, load_model
from kvqa.models.perturbation import AttackSettings

TARGETS = {
    "fact": "gold fact first among FVQA's facts",
    "answer": "answer of the closed vocabulary right",
    "class": "class right",
}


def run_attack(
    model: Path | None,
    data: Path,
    *,
    methods: Sequence[Any],
    sizes: Sequence[float],
    on: str,
    target: str = "fact",
    split: str = "test0",
    norm: Any = "linf",
    steps: int = 10,
    restarts: int = 1,
    limit: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    advance: Advance | None = None,
) -> AttackReport:
    """Attack a model on data; leave `attack.json` and the plot in `out`.

    Args:
        model: Model folder, the released model by default; for pixels, an image classifier of `transformers`.
        data: FVQA's folder, or for pixels the photos of `classified_photos`.
        methods, sizes, norm, steps, restarts: See `AttackSettings`.
        on: `"words"`, `"features"` or `"pixels"`.
        target, split: See `question_batches`; no meaning for pixels.
        limit: Attack so many examples, spread evenly.

    Raises:
        InputError: if a setting, the model or the data cannot be used.
    """
    settings = AttackSettings(norm=norm, steps=steps, restarts=restarts)
    check_attack(methods, sizes, settings)
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit} leaves no example; give at least 1")
    if on == "pixels":
        batches, total = _photos(model, data, limit)
        target, unit = "class", "share of the range of a pixel"
    else:
        if target not in get_args(Target):
            raise InputError(f"target {target!r} is none of {', '.join(get_args(Target))}")
        loaded = load_model(model or RELEASED)
        batches, total = question_batches(loaded, data, split, target=target, on=on, limit=limit)  # type: ignore[arg-type]
        data, unit = data / split, "root mean square of the vectors"
    curves, examples = attack_curves(batches, methods, sizes, settings, seed=seed, total=total, advance=advance)
    names = {"model": (model or RELEASED).name, "data": "/".join(data.parts[-2:]), "on": on, "target": TARGETS[target]}
    report = AttackReport(
        **names,
        norm=norm,
        steps=steps,
        restarts=restarts,
        seed=seed,
        eps_unit=unit,
        examples=examples,
        curves=curves,
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        report.write(out / "attack.json")
        for suffix in ("svg", "png"):
            plot_curves(report, out / f"attack.{suffix}")
    return report


def _photos(model: Path | None, data: Path, limit: int | None) -> tuple[Iterator[AttackBatch], int]:
    if model is None:
        raise InputError("pixels belong to an image classifier; give its folder with --model")
    photos = classified_photos(data)
    if limit is not None and limit < len(photos):
        photos = [photos[int(i)] for i in np.linspace(0, len(photos) - 1, limit)]
    return photo_batches(model, photos), len(photos)
