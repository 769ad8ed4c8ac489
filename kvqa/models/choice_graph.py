"""Message passing over the facts of each offered text, by the same layers as the graph reasoner.

The facts of a text and their entities are a small graph. What the text, the question and the given answer say is the
context of every round. The states of the facts then go two ways: into the tokens of the cross-modal encoder, and,
weighed by attention, into the score of the text. The weights say what a choice rests on.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kvqa.data.choice_facts import ENTITY_NUMBERS, TOKEN_NUMBERS
from kvqa.data.choices import FIRST_FACT, ChoiceBatch
from kvqa.models.graph import NEVER, GraphLayer, gather, mlp


class FactReading(NamedTuple):
    """What the facts of B texts say.

    Attributes:
        states: (B, K, D) of the facts after the last round, 0 where there is none.
        weights: (B, K) shares of the facts in `pooled`; they sum to 1, or to 0 in a text without facts.
        pooled: (B, D) weighed states, 0 in a text without facts.
    """

    states: Tensor
    weights: Tensor
    pooled: Tensor


class ChoiceGraph(nn.Module):
    """Reads the facts of all texts of a `ChoiceBatch` in one pass; each text has a graph of its own.

    Args:
        space: Size S of the sentence vectors.
        width: Size D of the states.
        layers: Rounds of message passing, at least 1.
    """

    def __init__(self, space: int, *, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.space = space
        self.context = mlp(FIRST_FACT * space, width, width, dropout)
        self.fact_vector = nn.Linear(space, width)
        self.relation_vector = nn.Linear(space, width)
        self.fact_numbers = nn.Linear(TOKEN_NUMBERS, width)
        self.entity_vector = nn.Linear(space, width)
        self.entity_numbers = nn.Linear(ENTITY_NUMBERS, width)
        self.fact_norm = nn.LayerNorm(width)
        self.entity_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(GraphLayer(width, dropout) for _ in range(layers))
        self.last = mlp(3 * width, width, width, dropout)
        self.last_norm = nn.LayerNorm(width)
        self.weight = mlp(2 * width, width, 1, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor, batch: ChoiceBatch) -> FactReading:
        """Read the facts among the tokens `words` (B, T, S + TOKEN_NUMBERS), perturbed or not, of a batch."""
        vectors, numbers = words[:, FIRST_FACT:, : self.space], words[:, FIRST_FACT:, self.space :]
        told = words[:, :FIRST_FACT, : self.space] * batch.mask[:, :FIRST_FACT, None]  # no given answer: zeros
        context = self.context(told.flatten(1))  # (B, D)
        facts = self.fact_vector(vectors) + self.relation_vector(batch.relation_vectors.to(vectors.dtype))
        facts = self.fact_norm(self.dropout(facts) + self.fact_numbers(numbers) + context[:, None])  # (B, K, D)
        entities = self.dropout(self.entity_vector(batch.entity_vectors.to(vectors.dtype)))
        entities = self.entity_norm(entities + self.entity_numbers(batch.entity_numbers))  # (B, M, D)
        for layer in self.layers:
            facts, entities, _ = layer(facts, entities, context, batch)
        ends = [gather(entities, end) for end in (batch.heads, batch.tails)]  # what the last round told the entities
        there = batch.fact_mask[..., None]  # (B, K, 1)
        facts = self.last_norm(facts + self.last(torch.cat([facts, *ends], dim=-1))) * there
        around = context[:, None].expand_as(facts)
        weights = self.weight(torch.cat([facts, around], dim=-1)).float().masked_fill(~there, NEVER)
        weights = weights.softmax(1) * there
        return FactReading(facts, weights.squeeze(-1), (weights * facts.float()).sum(1))
