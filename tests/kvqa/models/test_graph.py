"""The graph in these tests is a chain of four entities and three facts: 0 --f0-- 1 --f1-- 2 --f2-- 3."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from kvqa.data.graph_batch import LABEL_FEATURES, GraphBatch
from kvqa.data.graph_features import ENTITY_FEATURES, FACT_FEATURES
from kvqa.models.graph import GraphReasoner, ReasonerConfig, Reasoning, group_log_mass

SPACE = 6


def _chain() -> GraphBatch:
    torch.manual_seed(1)
    return GraphBatch(
        fact_vectors=torch.randn(1, 3, SPACE),
        relation_vectors=torch.randn(1, 3, SPACE),
        fact_features=torch.rand(1, 3, FACT_FEATURES),
        heads=torch.tensor([[0, 2, 2]]),
        tails=torch.tensor([[1, 1, 3]]),
        fact_mask=torch.ones(1, 3, dtype=torch.bool),
        entity_vectors=torch.randn(1, 4, SPACE),
        entity_features=torch.randn(1, 4, ENTITY_FEATURES),
        label_vectors=torch.randn(1, 2, SPACE),
        label_features=torch.randn(1, 2, ENTITY_FEATURES + LABEL_FEATURES),
        label_links=torch.tensor([[3, 0]]),
        label_mask=torch.ones(1, 2, dtype=torch.bool),
        context=torch.randn(1, 4 * SPACE + 4),
        side=torch.tensor([[0.3, 0.7]]).log(),
        vocabulary=torch.tensor([[0.6, 0.4]]).log(),
        vocabulary_mask=torch.ones(1, 2, dtype=torch.bool),
        groups=torch.tensor([[0, 1, 1, 2, 1, 3, 0, 4, 2, 4, 5]]),  # heads, tails, names, vocabulary, none
        num_groups=6,
    )


def _reasoner(layers: int = 2) -> GraphReasoner:
    torch.manual_seed(0)
    return GraphReasoner(ReasonerConfig(space=SPACE, width=8, layers=layers)).eval()


def _padded(graph: GraphBatch) -> GraphBatch:
    """The same graph with room for one more of everything, filled with what must not be read."""
    longer = {}
    for field in fields(graph):
        value = getattr(graph, field.name)
        if isinstance(value, Tensor) and value.ndim > 1 and field.name not in ("context", "side", "groups"):
            fill = False if value.dtype == torch.bool else 0 if value.dtype == torch.int64 else 1.5
            longer[field.name] = torch.cat([value, torch.full_like(value[:, :1], fill)], dim=1)
    n, names = graph.heads.shape[1], graph.label_mask.shape[1]
    parts = graph.groups.split([n, n, names, graph.groups.shape[1] - 2 * n - names - 1, 1], dim=1)
    nothing = torch.zeros_like(graph.groups[:, :1])
    laid = [part for real in parts[:4] for part in (real, nothing)]
    return replace(graph, **longer, groups=torch.cat([*laid, parts[4]], dim=1))


def _without_fact(graph: GraphBatch, fact: int) -> GraphBatch:
    mask = graph.fact_mask.clone()
    mask[:, fact] = False
    return replace(graph, fact_mask=mask)


def test_group_mass_is_the_sum_of_the_mass_of_equal_strings() -> None:
    shares = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
    groups = torch.tensor([[0, 1, 0, 2], [1, 1, 1, 0]])
    mass = group_log_mass((shares * 7).log(), groups, 3).exp()
    torch.testing.assert_close(mass, torch.tensor([[0.4, 0.2, 0.4], [0.25, 0.75, 1e-9]]))


def test_answers_are_the_summed_alternatives() -> None:
    out = _reasoner()(_chain())
    shares = out.alternatives.softmax(-1)[0]
    assert shares.shape == (11,)
    expected = [shares[[0, 6]], shares[[1, 2, 4]], shares[[3, 8]], shares[5], shares[[7, 9]], shares[10]]
    torch.testing.assert_close(out.groups[0].exp(), torch.stack([part.sum() for part in expected]))
    torch.testing.assert_close(out.groups.exp().sum(), torch.tensor(1.0))


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_each_round_carries_an_entity_one_fact_further(layers: int) -> None:
    # A fact is scored by its own state and the states of its two ends after the last round. The ends already say
    # something of the neighbouring facts, so that n rounds carry entity 0 to the facts 0 … n.
    reasoner, graph = _reasoner(layers), _chain()
    with torch.no_grad():  # fresh weights are so small that the effect of two rounds is lost in rounding
        for parameter in reasoner.parameters():
            parameter.mul_(3)
    features = graph.entity_features.clone()
    features[0, 0] += 1.0
    before, after = reasoner(graph).fact, reasoner(replace(graph, entity_features=features)).fact
    changed = ((before - after).abs() > 1e-7)[0].tolist()
    assert changed == [fact <= layers for fact in range(3)]


def test_attention_sums_to_one_over_the_facts_of_an_entity() -> None:
    graph = _chain()
    for weights in _reasoner()(graph).attention:
        total = (
            torch.zeros(1, 4).scatter_add(1, graph.heads, weights[..., 0]).scatter_add(1, graph.tails, weights[..., 1])
        )
        torch.testing.assert_close(total, torch.ones(1, 4))
        assert ((weights > 0) & (weights <= 1)).all()
        assert weights[0, 0, 0] == 1 and weights[0, 1, 1] < 1  # entity 0 has one fact, entity 1 two


def test_a_fact_about_itself_fills_both_slots_of_its_entity() -> None:
    graph = replace(_chain(), tails=torch.tensor([[0, 1, 3]]))
    weights = _reasoner(1)(graph).attention[0]
    torch.testing.assert_close(weights[0, 0].sum(), torch.tensor(1.0))


def test_a_masked_fact_gets_no_mass_and_says_nothing() -> None:
    reasoner, graph = _reasoner(), _without_fact(_chain(), 1)
    out = reasoner(graph)
    assert out.fact.softmax(-1)[0, 1] == 0
    assert (out.alternatives.softmax(-1)[0, [1, 4]] == 0).all()
    assert all((weights[0, 1] == 0).all() for weights in out.attention)
    vectors = graph.fact_vectors.clone()
    vectors[0, 1] = 9.0
    again = reasoner(replace(graph, fact_vectors=vectors))
    torch.testing.assert_close(again.groups, out.groups, atol=1e-6, rtol=0)
    assert not torch.allclose(out.groups, reasoner(_chain()).groups, atol=1e-4)


@pytest.mark.parametrize("cosine", [0.5, -0.5])
def test_padding_changes_nothing(cosine: float) -> None:
    graph = _chain()
    graph.fact_features[..., 0] = cosine * torch.tensor([[1.0, 0.9, 0.8]])
    reasoner = _reasoner()
    with torch.no_grad():  # whatever it was before, let the nearest cosine count
        reasoner.none_score[0].weight[:, -1] += 1.0
    out, padded = reasoner(graph), reasoner(_padded(graph))
    torch.testing.assert_close(padded.fact[:, :3], out.fact, atol=1e-5, rtol=0)
    torch.testing.assert_close(padded.groups, out.groups, atol=1e-5, rtol=0)


def test_the_order_of_entities_says_nothing() -> None:
    graph, order = _chain(), torch.tensor([2, 0, 3, 1])
    place = torch.argsort(order)
    moved = replace(
        graph,
        entity_vectors=graph.entity_vectors[:, order],
        entity_features=graph.entity_features[:, order],
        **{name: place[getattr(graph, name)] for name in ("heads", "tails", "label_links")},
    )
    out, again = _reasoner()(graph), _reasoner()(moved)
    torch.testing.assert_close(again.alternatives, out.alternatives, atol=1e-5, rtol=0)


def test_with_nothing_there_all_mass_is_on_no_answer() -> None:
    graph = _chain()
    for name in ("fact_mask", "label_mask", "vocabulary_mask"):
        graph = replace(graph, **{name: torch.zeros_like(getattr(graph, name))})
    out = _reasoner()(graph)
    assert all(torch.isfinite(part).all() for part in (out.fact, out.alternatives, out.groups))
    torch.testing.assert_close(out.groups[0, 5].exp(), torch.tensor(1.0))


def test_the_opinion_on_the_side_is_added_to_every_fact() -> None:
    reasoner, graph = _reasoner(), _chain()
    plain = reasoner(graph).alternatives
    turned = reasoner(replace(graph, side=graph.side + torch.tensor([[1.0, -2.0]]))).alternatives
    expected = torch.tensor([[1.0] * 3 + [-2.0] * 3 + [0.0] * 5])
    torch.testing.assert_close(turned - plain, expected, atol=1e-5, rtol=0)


def test_every_parameter_is_trained() -> None:
    reasoner = _reasoner()
    out: Reasoning = reasoner(_chain())
    (out.groups[0, 1] + out.fact[0, 0]).backward()
    idle = [name for name, p in reasoner.named_parameters() if p.grad is None]
    assert idle == []
