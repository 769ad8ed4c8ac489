"""Adversarial training: one function that every recipe calls instead of a plain forward and backward pass.

`free` is the method of VILLA (Gan et al., NeurIPS 2020, after FreeLB): a change of word vectors or visual features
grows over a few steps, and the gradients of all steps train the model. The others attack first and then train on the
result: FGSM (Goodfellow et al. 2015), I-FGSM (Kurakin et al. 2017) and PGD (Madry et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from kvqa.models.perturbation import AttackSettings, Norm, Parts, attack, project, size, unit

AdversarialMethod = Literal["free", "fgsm", "ifgsm", "pgd"]
Perturb = Literal["words", "visual", "both"]
Distribution = Literal["softmax", "sigmoid"]
Output = TypeVar("Output")


@dataclass(frozen=True)
class AdversarialSettings:
    """Settings of adversarial training, as they stand in a config.

    Attributes:
        method: See above.
        perturb: Which inputs are changed.
        steps: K, of every method but `fgsm`.
        lr: Length of a step, in the units of the input.
        max_norm: Radius of the ball that the change stays in; for `free`, 0 is no limit.
        norm: Of steps and ball, for each example by itself.
        kl: Weight of the symmetric KL divergence between clean and adversarial answers.
        distribution: What the logits mean: one answer of many, or a yes or no for each.
        use_last_update: `free` only. False is VILLA as published: K passes, and K - 1 updates, for after the last
            pass nothing is updated. True makes K updates and uses each: K + 1 passes, the first of which, at no
            change, also is the clean pass, so it costs as many forward passes.
        detach_clean: True lets the KL term move the adversarial answer only; False, as published, both.
        clean: Share of the clean loss in the methods that are not `free`.
    """

    method: AdversarialMethod = "free"
    perturb: Perturb = "both"
    steps: int = 3
    lr: float = 1e-3
    max_norm: float = 0.0
    norm: Norm = "l2"
    kl: float = 1.5
    distribution: Distribution = "softmax"
    use_last_update: bool = True
    detach_clean: bool = True
    clean: float = 0.5

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the values."""
        choices = (("method", AdversarialMethod), ("perturb", Perturb), ("norm", Norm), ("distribution", Distribution))
        for name, allowed in choices:
            if getattr(self, name) not in get_args(allowed):
                yield f"{name} {getattr(self, name)!r} is none of {', '.join(get_args(allowed))}"
        if self.steps < 1:
            yield f"steps {self.steps} is less than 1"
        if not self.lr > 0:
            yield f"lr {self.lr} is not above 0"
        if self.max_norm < 0 or self.kl < 0:
            yield f"max_norm {self.max_norm} and kl {self.kl} must not be negative"
        if self.method != "free" and not self.max_norm > 0:
            yield f"method {self.method} needs a max_norm above 0"
        if not 0 <= self.clean < 1:
            yield f"clean {self.clean} is not in [0, 1)"


@dataclass(frozen=True)
class Perturbable:
    """The continuous inputs of B examples; what is None stays as the caller has it.

    Attributes:
        words: (B, T, W) word vectors before positions and LayerNorm.
        visual: (B, R, F) region or grid features, or (B, 3, H, W) pixels.
        words_mask: (B, T) bool, True where a word is; None: everywhere.
        visual_mask: (B, R) bool, True where a region is; None: everywhere.
    """

    words: Tensor | None = None
    visual: Tensor | None = None
    words_mask: Tensor | None = None
    visual_mask: Tensor | None = None


@dataclass(frozen=True)
class AdversarialReport:
    """What a step was like, for the log.

    Attributes:
        loss: What was trained on, KL term included.
        clean: The task's loss without a change. For `free` as published this is the first pass.
        adversarial: The task's loss at the last change that was trained on.
        kl: The symmetric KL divergence there, unweighted.
        norms: Mean norm of that change, by input.
        passes: Forward passes in all.
    """

    loss: float
    clean: float
    adversarial: float
    kl: float
    norms: dict[str, float] = field(default_factory=dict)
    passes: int = 0


class Backward(Protocol):
    """`Tensor.backward`, or `Accelerator.backward`."""

    def __call__(self, loss: Tensor, /, *, retain_graph: bool = ...) -> Any: ...  # noqa: D102


Forward = Callable[[Tensor | None, Tensor | None], Output]
"""Maps words and visual inputs to whatever the loss takes."""


def symmetric_kl(first: Tensor, second: Tensor, distribution: Distribution = "softmax") -> Tensor:
    """Return KL(p, q) + KL(q, p), the mean over the examples of two sets of logits (B, C), in float32."""
    first, second = first.float(), second.float()
    if distribution == "sigmoid":  # C yes-or-no distributions, summed
        gap = first - second
        return ((torch.sigmoid(first) - torch.sigmoid(second)) * gap).sum(-1).mean()
    p, q = F.log_softmax(first, -1), F.log_softmax(second, -1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1).mean()


def adversarial_step(
    forward: Forward[Output],
    inputs: Perturbable,
    loss: Callable[[Output], Tensor],
    settings: AdversarialSettings,
    *,
    logits: Callable[[Output], Tensor] = lambda output: output,  # type: ignore[assignment,return-value]
    backward: Backward = torch.Tensor.backward,
    generator: torch.Generator | None = None,
) -> AdversarialReport:
    """Leave in the parameters' gradients those of adversarial training on one batch; the optimiser is the caller's.

    Args:
        forward: The model from its embeddings on; where the batch has no such input, it is given None. Precision
            contexts belong in here.
        inputs: Embeddings and features, with their graph: what made them is trained as well.
        loss: The task's loss of an output, a mean over the examples.
        settings: See there.
        logits: Takes of an output the logits (B, C) that the KL term compares.
        backward: For mixed precision, as `Accelerator.backward`; gradients may be scaled, only their direction is
            used for the change.
        generator: Of random starts.
    """
    step = _Step(forward, inputs, loss, settings, logits, backward)
    if settings.method == "free":
        step.free()
    else:
        step.attack_first(generator)
    return step.close()


class _Step:
    """One call of `adversarial_step`: the inputs as leaves, and what has been added up."""

    def __init__(
        self,
        forward: Forward[Any],
        inputs: Perturbable,
        loss: Callable[[Any], Tensor],
        settings: AdversarialSettings,
        logits: Callable[[Any], Tensor],
        backward: Backward,
    ) -> None:
        self.forward, self.loss, self.settings, self.logits, self.backward = forward, loss, settings, logits, backward
        given = {"words": inputs.words, "visual": inputs.visual}
        masks = {"words": inputs.words_mask, "visual": inputs.visual_mask}
        self.given: Parts = {name: values for name, values in given.items() if values is not None}
        # Leaves collect the gradients of all passes, so the graph that made the inputs is run through once.
        self.leaves = {n: values.detach().requires_grad_(values.requires_grad) for n, values in self.given.items()}
        self.masks = {name: mask for name, mask in masks.items() if mask is not None and name in self.given}
        self.perturbed = [name for name in self.given if settings.perturb in (name, "both")]
        if not self.perturbed:
            raise ValueError(f"there is no input to perturb on {settings.perturb!r}; given: {', '.join(self.given)}")
        self.clean_logits: Tensor | None = None
        self.total = 0.0
        self.clean: float | None = None
        self.last: tuple[float, float, Parts] = (0.0, 0.0, {})
        self.passes = 0

    def free(self) -> None:
        """Train at every point that the change passes through (VILLA)."""
        settings = self.settings
        passes = settings.steps + settings.use_last_update
        if not settings.use_last_update:
            self._clean_pass()
        delta = self._zeros()
        for number in range(passes):
            gradients = self._train(delta, 1 / passes, last=number == passes - 1)
            if number < passes - 1:
                delta = {name: self._moved(name, delta[name], gradients[name]) for name in delta}

    def attack_first(self, generator: torch.Generator | None) -> None:
        """Train on the clean batch and on the attacked one."""
        settings = self.settings
        how = AttackSettings(
            method=settings.method,  # type: ignore[arg-type]
            eps=settings.max_norm,
            norm=settings.norm,
            steps=settings.steps,
            step=settings.lr / settings.max_norm,
        )

        def loss(parts: Parts) -> Tensor:
            self.passes += 1
            return self.loss(self._run(parts))

        fixed = {name: self.leaves[name] for name in self.perturbed}
        delta = attack(loss, fixed, how, masks=self.masks, generator=generator)
        self._train(self._zeros(), settings.clean, last=False)
        self._train(delta, 1 - settings.clean, kl=settings.kl, last=True)

    def close(self) -> AdversarialReport:
        """Send the collected gradients on to what made the inputs, and report."""
        roots = [(self.given[name], leaf.grad) for name, leaf in self.leaves.items() if leaf.grad is not None]
        if roots:
            tensors, gradients = zip(*roots, strict=True)
            torch.autograd.backward(tensors, gradients)
        adversarial, kl, delta = self.last
        norms = {name: float(size(values, self.settings.norm).mean()) for name, values in delta.items()}
        return AdversarialReport(self.total, self.clean or 0.0, adversarial, kl, norms, self.passes)

    def _clean_pass(self) -> None:
        """Take the clean answers from a pass of their own, as published."""
        with torch.set_grad_enabled(not self.settings.detach_clean):
            self.clean_logits = self.logits(self._run({}))
        self.passes += 1

    def _train(self, delta: Parts, weight: float, *, kl: float | None = None, last: bool) -> Parts:
        """Add the weighted gradients at `delta`; return those of the change itself."""
        moving = {name: values.detach().requires_grad_() for name, values in delta.items()}
        output = self._run({name: self.leaves[name] + values for name, values in moving.items()})
        self.passes += 1
        task, found = self.loss(output), self.logits(output)
        total, divergence = weight * task, 0.0
        if self.clean_logits is None:  # the first pass, at no change, is the clean one
            self.clean_logits = found.detach() if self.settings.detach_clean else found
        elif self.settings.kl:
            between = symmetric_kl(self.clean_logits, found, self.settings.distribution)
            total = total + (weight * self.settings.kl if kl is None else kl) * between
            divergence = between.item()
        # While the clean answers hang in the graph, it must outlive all backward passes but the last.
        self.backward(total, retain_graph=not self.settings.detach_clean and not last)
        self.total += total.item()
        self.clean = task.item() if self.clean is None else self.clean
        self.last = (task.item(), divergence, delta)
        return {name: torch.zeros_like(v) if v.grad is None else v.grad for name, v in moving.items()}

    def _run(self, parts: Parts) -> Any:
        parts = {**self.leaves, **parts}
        return self.forward(parts.get("words"), parts.get("visual"))

    def _zeros(self) -> Parts:
        return {name: torch.zeros_like(self.leaves[name]) for name in self.perturbed}

    def _moved(self, name: str, delta: Tensor, gradient: Tensor) -> Tensor:
        """Return the change after a step along the gradient over its norm, within the ball if there is one."""
        settings = self.settings
        if name in self.masks:
            mask = self.masks[name].to(gradient.dtype)
            gradient = gradient * mask.reshape(*mask.shape, *[1] * (gradient.ndim - mask.ndim))
        delta = delta + settings.lr * unit(gradient.float(), settings.norm).to(delta.dtype)
        return project(delta, settings.max_norm, settings.norm) if settings.max_norm > 0 else delta
