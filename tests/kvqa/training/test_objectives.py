import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kvqa.models.graph import NEVER, Reasoning
from kvqa.training.objectives import answer_loss, class_loss, fact_loss, search_loss


def _unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _reasoning(fact: Tensor, groups: Tensor) -> Reasoning:
    return Reasoning(fact=fact, alternatives=torch.zeros(len(fact), 1), groups=groups, attention=[])


def test_search_loss_is_the_cross_entropy_over_all_rows() -> None:
    queries, vectors, targets = _unit(3, 6), _unit(10, 6), torch.tensor([4, 0, 9])
    loss = search_loss(queries, vectors, targets, tau=0.1)
    torch.testing.assert_close(loss, F.cross_entropy(queries @ vectors.T / 0.1, targets))
    by_hand = -((queries @ vectors.T / 0.1).softmax(-1)[torch.arange(3), targets]).log().mean()
    torch.testing.assert_close(loss, by_hand)


def test_search_loss_in_half_precision_is_near() -> None:
    queries, vectors, targets = _unit(3, 6), _unit(10, 6), torch.tensor([4, 0, 9])
    half = search_loss(queries, vectors.bfloat16(), targets, tau=0.1)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, search_loss(queries, vectors, targets, tau=0.1), atol=0.1, rtol=0)


def test_examples_without_target_are_left_out() -> None:
    queries, vectors = _unit(3, 6), _unit(10, 6)
    some = search_loss(queries, vectors, torch.tensor([4, -1, 9]))
    torch.testing.assert_close(some, search_loss(queries[[0, 2]], vectors, torch.tensor([4, 9])))
    logits = torch.randn(3, 4)
    some = class_loss(logits, torch.tensor([-1, 2, -1]))
    torch.testing.assert_close(some, F.cross_entropy(logits[1:2], torch.tensor([2])))


def test_without_any_target_the_loss_is_zero_and_can_go_backward() -> None:
    queries = _unit(2, 6).requires_grad_()
    nothing = torch.tensor([-1, -1])
    groups, fact = torch.randn(2, 3, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    reasoning = _reasoning(fact, groups)
    losses = [
        search_loss(queries, _unit(10, 6), nothing),
        class_loss(queries, nothing),
        answer_loss(reasoning, torch.zeros(2, 3, dtype=torch.bool)),
        fact_loss(reasoning, nothing),
    ]
    assert [loss.item() for loss in losses] == [0.0] * 4
    torch.stack(losses).sum().backward()
    for leaf in (queries, groups, fact):
        assert leaf.grad is not None and not leaf.grad.any()


def test_answer_loss_is_of_the_summed_mass_of_right_answers() -> None:
    shares = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
    right = torch.tensor([[True, False, True], [False, True, False], [False, False, False]])
    loss = answer_loss(_reasoning(torch.zeros(3, 1), shares.log()), right)
    torch.testing.assert_close(loss, -(torch.tensor([0.7, 0.2]).log()).mean())


def test_fact_loss_ranks_the_gold_fact_among_those_there() -> None:
    fact = torch.tensor([[2.0, 1.0, NEVER], [0.5, 0.0, -0.5]])
    loss = fact_loss(_reasoning(fact, torch.zeros(2, 1)), torch.tensor([1, -1]))
    torch.testing.assert_close(loss, (1 + torch.tensor(1.0).exp()).log())
