"""Facts of offered texts as graphs: hand-made batches, so that nothing has to be retrieved."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from kvqa.data.choice_facts import ENTITY_NUMBERS, NO_FACT, TOKEN_NUMBERS
from kvqa.data.choices import BY_TEXT, FEATURES, FIRST_FACT, ChoiceBatch, take
from kvqa.models.task_heads import ChoiceScorer, ScorerConfig, choice_loss

SPACE, ITEMS, CHOICES, FACTS, REGIONS = 6, 3, 4, 3, 2
TEXTS = ITEMS * CHOICES
BY_FACT = ("facts", "heads", "tails", "relation_vectors")
SIZES = ScorerConfig(width=8, heads=2, hidden=8, text_layers=1, feature_width=5, numbers=8, dropout=0.0)


def _batch(there: int = FACTS) -> ChoiceBatch:
    """Three items of four texts, each with `there` facts in room for three; what is not there is zero."""
    torch.manual_seed(1)
    mask = torch.ones(TEXTS, FIRST_FACT + FACTS, dtype=torch.bool)
    mask[:CHOICES, 2] = False  # the first item asks for an answer, so none is given
    mask[:, FIRST_FACT + there :] = False
    known = mask[:, FIRST_FACT:]
    return ChoiceBatch(
        ids=torch.randn(TEXTS, FIRST_FACT + FACTS, SPACE + TOKEN_NUMBERS) * mask[..., None],
        segments=torch.tensor([0, 1, 1] + [2] * FACTS).expand(TEXTS, -1),
        mask=mask,
        labels=torch.randn(ITEMS, REGIONS, SPACE),
        geometry=torch.rand(ITEMS, REGIONS, 5),
        scores=torch.rand(ITEMS, REGIONS),
        kinds=torch.zeros(ITEMS, REGIONS, dtype=torch.long),
        region_mask=torch.ones(ITEMS, REGIONS, dtype=torch.bool),
        image_feature=torch.zeros(ITEMS, 5),
        has_image_feature=torch.zeros(ITEMS, dtype=torch.bool),
        pointed=torch.zeros(TEXTS, REGIONS, dtype=torch.bool),
        features=torch.rand(TEXTS, FEATURES),
        facts=torch.arange(TEXTS * FACTS).reshape(TEXTS, FACTS).masked_fill(~known, NO_FACT),
        heads=torch.tensor([0, 1, 0]).expand(TEXTS, -1) * known,
        tails=torch.tensor([1, 2, 3]).expand(TEXTS, -1) * known,
        relation_vectors=(torch.randn(TEXTS, FACTS, SPACE) * known[..., None]).half(),
        entity_vectors=torch.randn(TEXTS, 2 * FACTS, SPACE).half(),
        entity_numbers=torch.rand(TEXTS, 2 * FACTS, ENTITY_NUMBERS),
        kind=torch.tensor([0, 1, 1]),
        right=torch.tensor([2, 0, 1]),
        picture=torch.arange(ITEMS).repeat_interleave(CHOICES),
    )


def _scorer(layers: int = 2) -> ChoiceScorer:
    torch.manual_seed(0)
    model = ChoiceScorer(SPACE, replace(SIZES, graph_layers=layers)).eval()
    torch.nn.init.normal_(model.score.weight)  # starts at zero, and so would say nothing of what goes in
    return model


def _longer(batch: ChoiceBatch) -> ChoiceBatch:
    """The same with room for two more facts and four more entities, filled with what must not be read."""

    def pad(name: str, more: int, value: float) -> Tensor:
        values = getattr(batch, name)
        return torch.cat([values, torch.full_like(values[:, :1], value).repeat_interleave(more, 1)], dim=1)

    room = {"ids": 1.5, "segments": 2, "mask": False, "facts": NO_FACT, "heads": 0, "tails": 0, "relation_vectors": 1.5}
    longer = {name: pad(name, 2, value) for name, value in room.items()}
    return replace(batch, **longer, **{n: pad(n, 4, 1.5) for n in ("entity_vectors", "entity_numbers")})


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_scores_depend_neither_on_padding_nor_on_the_size_of_a_batch(layers: int) -> None:
    model, batch = _scorer(layers), _batch()
    whole = model(batch)
    torch.testing.assert_close(model(_longer(batch)).logits, whole.logits)
    alone = [model(take(batch, [i])) for i in range(ITEMS)]
    torch.testing.assert_close(torch.cat([one.logits for one in alone]), whole.logits)
    if layers:
        torch.testing.assert_close(torch.cat([one.facts for one in alone]), whole.facts)


def test_the_order_of_facts_and_of_entities_changes_nothing() -> None:
    model, batch = _scorer(), _batch()
    order = torch.tensor([2, 0, 1])
    tokens = torch.cat([torch.arange(FIRST_FACT), FIRST_FACT + order])
    changed = replace(
        batch, ids=batch.ids[:, tokens], mask=batch.mask[:, tokens],
        **{name: getattr(batch, name)[:, order] for name in BY_FACT},
    )  # fmt: skip
    first, second = model(batch), model(changed)
    torch.testing.assert_close(first.logits, second.logits)
    torch.testing.assert_close(first.facts[..., order], second.facts)
    back = torch.arange(2 * FACTS).flip(0)
    flipped = replace(
        batch, entity_vectors=batch.entity_vectors[:, back], entity_numbers=batch.entity_numbers[:, back],
        heads=back[batch.heads], tails=back[batch.tails],
    )  # fmt: skip
    torch.testing.assert_close(first.logits, model(flipped).logits)


def test_a_text_without_facts_is_scored_and_has_no_weights() -> None:
    model, bare = _scorer(), _batch(there=0)
    said = model(bare)
    assert said.logits.isfinite().all() and not said.facts.any()
    noisy = replace(bare, entity_vectors=bare.entity_vectors + 1, relation_vectors=bare.relation_vectors + 1)
    torch.testing.assert_close(model(noisy).logits, said.logits)


def test_weights_of_the_facts_of_a_text_sum_to_one() -> None:
    weights = _scorer()(_batch(there=2)).facts
    assert weights.shape == (ITEMS, CHOICES, FACTS)
    torch.testing.assert_close(weights.sum(-1), torch.ones(ITEMS, CHOICES))
    assert not weights[..., 2].any()


@pytest.mark.parametrize("name", ["relation_vectors", "entity_vectors", "entity_numbers"])
def test_facts_of_one_text_say_nothing_of_another(name: str) -> None:
    model, batch = _scorer(), _batch()
    values = getattr(batch, name).clone()
    values[1] += 1
    moved = (model(replace(batch, **{name: values})).logits - model(batch).logits).abs() > 1e-6
    assert moved.nonzero().tolist() == [[0, 1]]


def test_each_round_carries_an_entity_one_fact_further() -> None:
    batch = _batch()  # a chain: entity 3, fact 2, entity 0, fact 0, entity 1, fact 1, entity 2
    numbers = batch.entity_numbers.clone()
    numbers[0, 3] += 5
    changed = replace(batch, entity_numbers=numbers)
    for rounds, far in ((1, [0, 2]), (2, [0, 1, 2])):
        graph = _scorer(rounds).graph
        assert graph is not None
        with torch.no_grad():
            for parameter in graph.parameters():
                parameter.mul_(3)  # fresh weights are so small that far effects are lost in rounding
        moved = graph(batch.ids, batch).states[0] - graph(changed.ids, changed).states[0]
        assert (moved.abs().amax(-1) > 1e-6).nonzero().flatten().tolist() == far


def test_the_gradient_reaches_relations_entities_and_messages() -> None:
    model, batch = _scorer(), _batch()
    choice_loss(model(batch).logits, batch.right).backward()
    assert model.graph is not None
    for name in ("relation_vector.weight", "entity_vector.weight", "entity_numbers.weight", "layers.0.message.0.weight",
                 "layers.1.weight.1.weight", "weight.0.weight", "context.0.weight"):  # fmt: skip
        gradient = model.graph.get_parameter(name).grad
        assert gradient is not None and gradient.abs().max() > 0, name


def test_without_rounds_there_is_no_graph_and_no_new_weight() -> None:
    model = _scorer(0)
    assert model.graph is None and model(_batch()).facts is None
    assert not any("graph" in name for name, _ in model.named_parameters())
    assert model.score.in_features == SIZES.width
    assert "scorer.graph_layers -1 is negative" in replace(SIZES, graph_layers=-1).problems()


def test_every_part_of_a_batch_is_by_text_or_by_item() -> None:
    batch = _batch()
    for field in fields(batch):
        rows = TEXTS if field.name in BY_TEXT or field.name == "picture" else ITEMS
        assert len(getattr(batch, field.name)) == rows, field.name
