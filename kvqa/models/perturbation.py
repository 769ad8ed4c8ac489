"""Small changes of inputs that make a model wrong: norms, projections, and the attacks FGSM, I-FGSM and PGD.

They work on whatever is continuous: word vectors, region features, pixels. Several inputs can be perturbed at once,
each within a ball of its own. Every example is attacked by itself; padding is never touched. Gradients of parameters
are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Norm = Literal["linf", "l2"]
Method = Literal["fgsm", "ifgsm", "pgd", "random"]
Parts = dict[str, Tensor]
"""Inputs by name, such as `words` (B, T, W) and `visual` (B, R, F); the first axis is the example."""

TINY = 1e-8


@dataclass(frozen=True)
class AttackSettings:
    """How an input is attacked.

    Attributes:
        method: `fgsm` is one step (Goodfellow et al. 2015), `ifgsm` several, kept within the ball (Kurakin et al.
            2017), `pgd` the same from a random start, of which the strongest point on the way is kept (Madry et al.
            2018); `random` is a random change of full size, to compare with.
        eps: Radius of the ball.
        norm: `linf`: no number changes by more than `eps`, steps follow the sign of the gradient. `l2`: the change of
            an example has at most this length, steps follow the gradient.
        steps: Of `ifgsm` and `pgd`.
        step: Length of a step as a share of `eps`; None is 2.5 / steps.
        restarts: Random starts of `pgd`.
    """

    method: Method = "pgd"
    eps: float = 0.0
    norm: Norm = "linf"
    steps: int = 10
    step: float | None = None
    restarts: int = 1

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the values."""
        if self.method not in get_args(Method):
            yield f"attack {self.method!r} is none of {', '.join(get_args(Method))}"
        if self.norm not in get_args(Norm):
            yield f"norm {self.norm!r} is none of {', '.join(get_args(Norm))}"
        if not 0 <= self.eps < float("inf"):
            yield f"eps {self.eps} is not a number from 0 up"
        if self.steps < 1 or self.restarts < 1:
            yield f"steps {self.steps} and restarts {self.restarts} must be at least 1"
        if self.step is not None and not self.step > 0:
            yield f"step {self.step} is not above 0"


def size(values: Tensor, norm: Norm) -> Tensor:
    """Return the norm (B,) of each example of `values` (B, ...)."""
    flat = values.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def spread(numbers: Tensor | float, like: Tensor) -> Tensor:
    """Return one number an example (B,), or one for all, in a shape that multiplies `like` (B, ...)."""
    given = torch.as_tensor(numbers, dtype=like.dtype, device=like.device)
    return given.reshape(-1, *[1] * (like.ndim - 1))


def unit(gradient: Tensor, norm: Norm) -> Tensor:
    """Return each example of `gradient` (B, ...) over its norm; zeros where it vanishes or is not finite."""
    length = size(gradient, norm)
    usable = torch.isfinite(length)
    scaled = gradient / spread(length.clamp(min=TINY), gradient)
    return torch.where(spread(usable.to(gradient.dtype), gradient) > 0, scaled, 0)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the step of norm 1 that raises the loss most: the sign of the gradient for `linf`, else `unit`."""
    return gradient.sign() if norm == "linf" else unit(gradient, norm)


def project(delta: Tensor, radius: Tensor | float, norm: Norm) -> Tensor:
    """Return the nearest point to `delta` (B, ...) in the ball of `radius`, one for all or one an example (B,)."""
    limit = spread(radius, delta)
    if norm == "linf":
        return torch.minimum(torch.maximum(delta, -limit), limit)
    return delta * (limit / spread(size(delta, norm), delta).clamp(min=TINY)).clamp(max=1)


def root_mean_square(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the root mean square (B,) of each example of `values` (B, ...) over the positions of `mask` (B, T)."""
    if mask is None:
        return values.flatten(1).pow(2).mean(1).sqrt()
    counted = _mask(mask, values).expand_as(values)
    total = (values * counted).flatten(1).pow(2).sum(1)
    return (total / counted.flatten(1).sum(1).clamp(min=1)).sqrt()


def attack(
    loss: Callable[[Parts], Tensor],
    inputs: Mapping[str, Tensor],
    settings: AttackSettings,
    *,
    masks: Mapping[str, Tensor] | None = None,
    units: Mapping[str, Tensor] | None = None,
    bounds: tuple[float, float] | None = None,
    generator: torch.Generator | None = None,
) -> Parts:
    """Return what to add to `inputs` so that `loss` becomes large.

    Args:
        loss: Maps perturbed inputs to one loss an example (B,), or to their mean or sum; `pgd` keeps the strongest
            point only if there is one an example.
        inputs: What may be changed, each (B, ...).
        masks: For some inputs, (B, T) bool: the positions that may be changed.
        units: For some inputs, (B,): what an `eps` of 1 means in each example.
        bounds: Least and largest value that an input may take, such as (0, 1) for pixels.
        generator: Of random starts and `random`; None is torch's own.
    """
    fixed = {name: values.detach() for name, values in inputs.items()}
    masks, units = masks or {}, units or {}
    radius = {n: settings.eps * spread(units.get(n, torch.ones(len(v))), v) for n, v in fixed.items()}  # (B, 1, ...)

    def kept(changes: Parts) -> Parts:
        return {n: v * _mask(masks[n], v) if n in masks else v for n, v in changes.items()}

    def allowed(delta: Parts) -> Parts:
        found = {n: project(v, radius[n].flatten(), settings.norm) for n, v in kept(delta).items()}
        return found if bounds is None else {n: (fixed[n] + v).clamp(*bounds) - fixed[n] for n, v in found.items()}

    if settings.eps == 0:
        return {name: torch.zeros_like(values) for name, values in fixed.items()}
    if settings.method == "random":
        return allowed({n: radius[n] * _noise(v, settings.norm, masks.get(n), generator) for n, v in fixed.items()})
    best, most = None, None
    for _ in range(settings.restarts if settings.method == "pgd" else 1):
        delta = allowed(_start(fixed, radius, settings, masks, generator))
        for share in _steps(settings):
            found, gradients = _gradients(loss, fixed, delta)
            best, most = _stronger(best, most, delta, found) if settings.method == "pgd" else (None, None)
            ways = {name: steepest(gradient, settings.norm) for name, gradient in kept(gradients).items()}
            delta = allowed({n: delta[n] + share * radius[n] * way for n, way in ways.items()})
        if settings.method == "pgd":
            with torch.no_grad():
                best, most = _stronger(best, most, delta, loss({n: fixed[n] + delta[n] for n in fixed}))
    return delta if best is None else best


def _steps(settings: AttackSettings) -> list[float]:
    """Return the length of each step as a share of the radius."""
    if settings.method == "fgsm":
        return [1.0]
    return [2.5 / settings.steps if settings.step is None else settings.step] * settings.steps


def _gradients(loss: Callable[[Parts], Tensor], fixed: Parts, delta: Parts) -> tuple[Tensor, Parts]:
    """Return the losses at `fixed` plus `delta`, and their gradients."""
    leaves = {name: values.detach().requires_grad_() for name, values in delta.items()}
    with torch.enable_grad():
        losses = loss({name: fixed[name] + leaves[name] for name in fixed})
        # An input that the loss does not depend on has gradient zero: there is nothing to attack.
        found = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
    return losses.detach(), dict(zip(leaves, found, strict=True))


def _start(
    fixed: Parts,
    radius: Parts,
    settings: AttackSettings,
    masks: Mapping[str, Tensor],
    generator: torch.Generator | None,
) -> Parts:
    if settings.method != "pgd":
        return {name: torch.zeros_like(values) for name, values in fixed.items()}
    found = {}
    for name, values in fixed.items():
        share = _random(values if settings.norm == "linf" else values.flatten(1)[:, 0], generator)
        noise = 2 * share - 1 if settings.norm == "linf" else _noise(values, "l2", masks.get(name), generator)
        found[name] = radius[name] * noise * (1 if settings.norm == "linf" else spread(share, values))
    return found


def _noise(values: Tensor, norm: Norm, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
    """Return a random change of norm 1: signs for `linf`, a direction for `l2`."""
    if norm == "linf":
        return (_random(values, generator) - 0.5).sign()
    device = values.device if generator is None else generator.device
    drawn = torch.randn(values.shape, generator=generator, device=device, dtype=values.dtype).to(values.device)
    return unit(drawn if mask is None else drawn * _mask(mask, values), "l2")


def _random(like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    return torch.rand(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)


def _stronger(best: Parts | None, most: Tensor | None, delta: Parts, losses: Tensor) -> tuple[Parts | None, Tensor]:
    """Return for each example the change with the higher loss of two, and that loss."""
    if losses.ndim == 0:
        return None, losses
    if best is None or most is None:
        return dict(delta), losses
    higher = losses > most
    chosen = {n: torch.where(spread(higher.to(v.dtype), v) > 0, v, best[n]) for n, v in delta.items()}
    return chosen, torch.where(higher, losses, most)


def _mask(mask: Tensor, values: Tensor) -> Tensor:
    """Return `mask` (B, T) as numbers in a shape that multiplies `values` (B, T, ...)."""
    return mask.to(values.dtype).reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))
