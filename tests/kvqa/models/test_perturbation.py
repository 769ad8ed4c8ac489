import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kvqa.models.perturbation import AttackSettings, Method, Norm, Parts, attack, project, root_mean_square, size, unit

WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [-0.5, 1.0, 2.0]])  # two classes, three numbers
INPUT = torch.tensor([[0.3, 0.1, -0.2], [1.0, -1.0, 0.5]])
LABELS = torch.tensor([0, 1])


def _loss(parts: Parts) -> Tensor:
    return F.cross_entropy(parts["x"] @ WEIGHT.T, LABELS, reduction="none")


def _gradient() -> Tensor:
    """By hand: the gradient of the cross-entropy of a linear model is W^T (softmax - one-hot)."""
    share = (INPUT @ WEIGHT.T).softmax(-1) - F.one_hot(LABELS, 2)
    return share @ WEIGHT


def _attack(method: Method, eps: float = 0.25, norm: Norm = "linf", **options: float) -> Tensor:
    settings = AttackSettings(method=method, eps=eps, norm=norm, **options)  # type: ignore[arg-type]
    return attack(_loss, {"x": INPUT}, settings, generator=torch.Generator().manual_seed(0))["x"]


def test_fgsm_has_a_closed_form_on_a_linear_model() -> None:
    torch.testing.assert_close(_attack("fgsm"), 0.25 * _gradient().sign())
    gradient = _gradient()
    torch.testing.assert_close(_attack("fgsm", norm="l2"), 0.25 * gradient / gradient.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("method", ["ifgsm", "pgd"])
def test_many_steps_find_the_same_corner_of_a_linear_model(method: Method) -> None:
    # The loss of two classes is convex in the input with one direction only, so the corner is the strongest point.
    torch.testing.assert_close(_attack(method), 0.25 * _gradient().sign())


def test_one_step_of_ifgsm_with_full_length_is_fgsm() -> None:
    torch.testing.assert_close(_attack("ifgsm", steps=1, step=1.0), _attack("fgsm"))


@pytest.mark.parametrize("method", ["fgsm", "ifgsm", "pgd", "random"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_change_stays_in_the_ball_and_is_nothing_at_zero(method: Method, norm: Norm) -> None:
    assert (size(_attack(method, 0.1, norm), norm) <= 0.1 + 1e-6).all()
    assert not _attack(method, 0.0, norm).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_random_change_is_as_large_and_hurts_less(norm: Norm) -> None:
    noise = _attack("random", norm=norm)

    torch.testing.assert_close(size(noise, norm), torch.full((2,), 0.25))
    assert (_loss({"x": INPUT + noise}) < _loss({"x": INPUT + _attack("fgsm", norm=norm)})).all()


def _bent(parts: Parts) -> Tensor:
    """A loss with two maxima, of which the gradient at the start leads to the lower one."""
    x = parts["x"]
    return (torch.exp(-((x - 0.5) ** 2) * 20) + 2 * torch.exp(-((x + 0.8) ** 2) * 20)).sum(1)


def test_pgd_gets_stronger_with_restarts_and_keeps_the_strongest_point() -> None:
    start = {"x": torch.full((64, 1), 0.05)}

    def strength(restarts: int, method: Method = "pgd") -> Tensor:
        settings = AttackSettings(method=method, eps=1.0, steps=10, restarts=restarts)
        delta = attack(_bent, start, settings, generator=torch.Generator().manual_seed(1))
        return _bent({"x": start["x"] + delta["x"]})

    one, many = strength(1), strength(8)
    assert (strength(1, "fgsm") <= one + 1e-5).all()
    assert (many >= one - 1e-6).all() and many.mean() > one.mean() + 0.1


def test_padding_is_not_touched() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    words = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    for method in ("fgsm", "ifgsm", "pgd", "random"):
        settings = AttackSettings(method=method, eps=0.5, norm="l2")
        delta = attack(lambda p: p["w"].pow(2).sum((1, 2)), {"w": words}, settings, masks={"w": mask})["w"]
        assert not delta[~mask].any() and delta[mask].any()
        torch.testing.assert_close(size(delta, "l2"), torch.full((2,), 0.5))


def test_pixels_stay_within_their_bounds() -> None:
    pixels = torch.tensor([[0.01, 0.5], [0.99, 0.5]])
    delta = attack(lambda p: p["x"].sum(1), {"x": pixels}, AttackSettings("fgsm", eps=0.1), bounds=(0, 1))["x"]
    torch.testing.assert_close(delta, torch.tensor([[0.1, 0.1], [0.01, 0.1]]))


def test_eps_can_count_in_a_unit_of_each_example() -> None:
    delta = attack(_loss, {"x": INPUT}, AttackSettings("fgsm", eps=0.5), units={"x": torch.tensor([1.0, 0.1])})["x"]
    torch.testing.assert_close(size(delta, "linf"), torch.tensor([0.5, 0.05]))


def test_gradients_of_parameters_are_left_alone() -> None:
    layer = torch.nn.Linear(3, 2)
    attack(lambda p: layer(p["x"]).sum(1), {"x": INPUT}, AttackSettings("pgd", eps=0.1))
    assert layer.weight.grad is None


def test_an_input_that_the_loss_ignores_gets_no_change() -> None:
    delta = attack(_loss, {"x": INPUT, "other": INPUT.clone()}, AttackSettings("fgsm", eps=0.1))
    assert delta["x"].any() and not delta["other"].any()


def test_projection() -> None:
    point = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    torch.testing.assert_close(project(point, 1.0, "l2"), torch.tensor([[0.6, 0.8], [0.3, 0.4]]))
    torch.testing.assert_close(project(point, torch.tensor([2.0, 0.1]), "linf"), torch.tensor([[2.0, 2.0], [0.1, 0.1]]))
    assert not project(torch.zeros(1, 2), 0.0, "l2").any()


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    gradient = torch.tensor([[torch.inf, 1.0], [3.0, 4.0], [0.0, 0.0], [torch.nan, 1.0]])
    torch.testing.assert_close(unit(gradient, "l2"), torch.tensor([[0.0, 0], [0.6, 0.8], [0, 0], [0, 0]]))


def test_root_mean_square_leaves_padding_out() -> None:
    values = torch.tensor([[[3.0, 4.0], [100.0, 100.0]]])
    torch.testing.assert_close(root_mean_square(values, torch.tensor([[True, False]])), torch.tensor([12.5**0.5]))
    torch.testing.assert_close(root_mean_square(values[:, :1]), torch.tensor([12.5**0.5]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "attack 'magic' is none of fgsm, ifgsm, pgd, random"),
        ({"norm": "l1"}, "norm 'l1' is none of linf, l2"),
        ({"eps": -1.0}, "eps -1.0 is not a number from 0 up"),
        ({"steps": 0}, "steps 0 and restarts 1 must be at least 1"),
        ({"step": 0.0}, "step 0.0 is not above 0"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], message: str) -> None:
    settings = dataclasses.replace(AttackSettings(), **changes)  # type: ignore[arg-type]
    assert list(settings.problems()) == [message]
    assert not list(AttackSettings().problems())
