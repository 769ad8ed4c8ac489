import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.models.perturbation import size
from kvqa.training.adversarial import AdversarialSettings, Perturbable, adversarial_step, symmetric_kl

TARGETS = torch.tensor([0, 2, 1])
MASK = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
REGIONS_MASK = torch.tensor([[True, True], [True, False], [True, True]])


class Toy(nn.Module):
    """Words by an embedding, regions as they come, a bend, three answers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(7, 4)
        self.regions = nn.Linear(5, 4)
        self.answer = nn.Linear(4, 3)
        self.seen: list[Tensor] = []

    def forward(self, words: Tensor | None, visual: Tensor | None) -> Tensor:
        assert words is not None and visual is not None
        self.seen.append(words.detach())
        said = (torch.tanh(words) * MASK[..., None]).sum(1)
        shown = (torch.tanh(self.regions(visual)) * REGIONS_MASK[..., None]).sum(1)
        return self.answer(said * shown)


IDS = torch.tensor([[1, 2, 3], [4, 5, 0], [6, 0, 0]])
FEATURES = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(3))


def _inputs(model: Toy) -> Perturbable:
    return Perturbable(words=model.words(IDS), visual=FEATURES, words_mask=MASK, visual_mask=REGIONS_MASK)


def _task(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, TARGETS)


def _gradients(model: Toy) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def _plain(model: Toy) -> dict[str, Tensor]:
    _task(model(model.words(IDS), FEATURES)).backward()  # type: ignore[no-untyped-call]
    return _gradients(model)


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys() and first
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=1e-5)


PUBLISHED = AdversarialSettings(lr=0.3, use_last_update=False, detach_clean=False)


def _loop(model: Toy, settings: AdversarialSettings, passes: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The same as one explicit loss: the points first, then the sum of all losses, then one backward pass."""

    def loss(words_delta: Tensor, visual_delta: Tensor, clean: Tensor) -> Tensor:
        logits = model(model.words(IDS) + words_delta, FEATURES + visual_delta)
        return _task(logits) + settings.kl * symmetric_kl(clean, logits)

    def clean() -> Tensor:
        logits: Tensor = model(model.words(IDS), FEATURES)
        return logits.detach() if settings.detach_clean else logits

    points = [(torch.zeros(3, 3, 4), torch.zeros(3, 2, 5))]
    for _ in range(passes - 1):
        leaves = [values.clone().requires_grad_() for values in points[-1]]
        found = torch.autograd.grad(loss(leaves[0], leaves[1], clean()), leaves)
        moved = []
        for delta, gradient, mask, part in zip(leaves, found, (MASK, REGIONS_MASK), ("words", "visual"), strict=True):
            g = gradient * mask[..., None]
            length = (g.flatten(1).norm(dim=1) if settings.norm == "l2" else g.flatten(1).abs().amax(1))[:, None, None]
            new = delta.detach() + settings.lr * g / length
            if settings.max_norm:
                if settings.norm == "l2":
                    new = new * (settings.max_norm / new.flatten(1).norm(dim=1)[:, None, None]).clamp(max=1)
                else:
                    new = new.clamp(-settings.max_norm, settings.max_norm)
            moved.append(new if settings.perturb in (part, "both") else delta.detach())
        points.append((moved[0], moved[1]))
    model.zero_grad()
    total = torch.stack([loss(w, v, clean()) for w, v in points]).mean()
    total.backward()  # type: ignore[no-untyped-call]
    return _gradients(model), [words for words, _ in points]


@pytest.mark.parametrize("perturb", ["words", "visual", "both"])
@pytest.mark.parametrize(("norm", "max_norm"), [("l2", 0.0), ("l2", 0.4), ("linf", 0.4)])
@pytest.mark.parametrize("published", [True, False])
def test_the_gradients_of_all_passes_add_up_as_in_one_explicit_loss(
    perturb: Any, norm: Any, max_norm: float, published: bool
) -> None:
    settings = dataclasses.replace(
        PUBLISHED,
        perturb=perturb,
        norm=norm,
        max_norm=max_norm,
        use_last_update=not published,
        detach_clean=not published,
    )
    model = Toy()
    expected, points = _loop(model, settings, passes=3 if published else 4)
    model.seen.clear()

    report = adversarial_step(model, _inputs(model), _task, settings)

    _same(_gradients(model), expected)
    assert report.passes == 4 == len(model.seen)
    for seen, delta in zip(model.seen[-len(points) :], points, strict=True):
        torch.testing.assert_close(seen, model.words(IDS).detach() + delta, atol=1e-6, rtol=1e-5)


def test_as_published_three_steps_make_two_updates_and_corrected_three() -> None:
    model = Toy()
    for settings, updates in ((PUBLISHED, 2), (dataclasses.replace(PUBLISHED, use_last_update=True), 3)):
        model.seen.clear()
        adversarial_step(model, _inputs(model), _task, settings)
        assert len({str(seen) for seen in model.seen}) == updates + 1


def test_one_step_as_published_is_plain_training() -> None:
    model = Toy()
    adversarial_step(model, _inputs(model), _task, dataclasses.replace(PUBLISHED, steps=1))
    _same(_gradients(model), _plain(model))


def test_a_step_of_no_length_is_plain_training() -> None:
    model = Toy()
    expected = _plain(model)
    adversarial_step(model, _inputs(model), _task, AdversarialSettings(lr=1e-12))
    _same(_gradients(model), expected)
    adversarial_step(model, _inputs(model), _task, AdversarialSettings(method="fgsm", max_norm=1e-12, lr=1e-12))
    _same(_gradients(model), expected)


def test_the_change_stays_in_the_ball_off_the_padding_and_is_reported() -> None:
    model = Toy()
    report = adversarial_step(model, _inputs(model), _task, AdversarialSettings(lr=1.0, max_norm=0.5, steps=4))

    change = model.seen[-1] - model.words(IDS).detach()
    assert not change[~MASK].any()
    assert (size(change, "l2") <= 0.5 + 1e-6).all()
    assert report.norms["words"] == pytest.approx(size(change, "l2").mean().item(), rel=1e-4)
    assert report.adversarial > report.clean and report.kl > 0


@pytest.mark.parametrize("method", ["fgsm", "ifgsm", "pgd"])
def test_attack_first_trains_on_the_clean_and_the_attacked_batch(method: Any) -> None:
    model = Toy()
    settings = AdversarialSettings(
        method=method, perturb="words", norm="linf", lr=0.1, max_norm=0.2, kl=0.7, clean=0.25
    )
    report = adversarial_step(model, _inputs(model), _task, settings, generator=torch.Generator().manual_seed(0))
    found = _gradients(model)
    attacked = model.seen[-1] - model.words(IDS).detach()

    clean = model(model.words(IDS), FEATURES)
    wrong = model(model.words(IDS) + attacked, FEATURES)
    loss = 0.25 * _task(clean) + 0.75 * _task(wrong) + 0.7 * symmetric_kl(clean.detach(), wrong)
    loss.backward()

    _same(found, _gradients(model))
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)
    assert attacked.abs().max() <= 0.2 + 1e-6 and report.norms == {"words": pytest.approx(0.2, rel=1e-4)}


def test_symmetric_kl_is_the_sum_of_both_directions() -> None:
    first, second = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    one = F.kl_div(second.log_softmax(-1), first.softmax(-1), reduction="batchmean")
    other = F.kl_div(first.log_softmax(-1), second.softmax(-1), reduction="batchmean")
    torch.testing.assert_close(symmetric_kl(first, second), one + other)

    p, q = (torch.distributions.Bernoulli(logits=x) for x in (first, second))
    both = torch.distributions.kl_divergence(p, q) + torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(symmetric_kl(first, second, "sigmoid"), both.sum(-1).mean())


def test_other_outputs_and_another_backward_are_possible() -> None:
    model, calls = Toy(), []

    def backward(loss: Tensor, /, *, retain_graph: bool = False) -> None:
        calls.append(retain_graph)
        (loss * 8).backward(retain_graph=retain_graph)  # type: ignore[no-untyped-call]

    adversarial_step(
        lambda words, visual: {"answer": model(words, visual)},
        _inputs(model),
        lambda output: _task(output["answer"]),
        dataclasses.replace(PUBLISHED, steps=2),
        logits=lambda output: output["answer"],
        backward=backward,
    )
    scaled = _gradients(model)
    adversarial_step(model, _inputs(model), _task, dataclasses.replace(PUBLISHED, steps=2))

    _same(scaled, {name: 8 * values for name, values in _gradients(model).items()})
    assert calls == [True, False]


def test_an_input_that_is_not_there_cannot_be_perturbed() -> None:
    with pytest.raises(ValueError, match=r"no input to perturb on 'visual'; given: words"):
        adversarial_step(Toy(), Perturbable(words=torch.zeros(3, 3, 4)), _task, AdversarialSettings(perturb="visual"))


def test_wrong_settings_are_all_named() -> None:
    wrong = AdversarialSettings(method="magic", perturb="ears", steps=0, lr=0.0, kl=-1.0, clean=1.0)  # type: ignore[arg-type]
    assert [problem.split()[0] for problem in wrong.problems()] == [
        *("method", "perturb", "steps", "lr", "max_norm", "method", "clean")
    ]
    assert list(AdversarialSettings(method="pgd").problems()) == ["method pgd needs a max_norm above 0"]
    assert not list(AdversarialSettings().problems())
