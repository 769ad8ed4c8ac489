"""The graph reasoner: message passing over entities and facts, in the light of question and picture.

The evidence is a graph of two kinds of nodes, entities and facts; a fact node carries its relation and touches
its head and its tail. Nodes for the names of what was seen stand beside the entities that they resemble. Answers
are (fact, side) pairs, seen names and the closed vocabulary; the mass of all that spell alike is summed. One
more alternative says that nothing here answers the question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from kvqa.data.graph_batch import LABEL_FEATURES, GraphBatch
from kvqa.data.graph_features import ENTITY_FEATURES, FACT_FEATURES

NEVER = -1e4
"""Logit of what is not there; finite, so that half precision and sums stay finite."""


@dataclass(frozen=True)
class ReasonerConfig:
    """Sizes of the graph reasoner.

    Attributes:
        space: Length of sentence vectors.
        width: Size d of node states.
        layers: Rounds of message passing; 0 scores each fact by itself (an ablation).
        answers: Size of the closed answer vocabulary.
        dropout: Rate on node states and features.
    """

    space: int = 384
    width: int = 128
    layers: int = 2
    answers: int = 0
    dropout: float = 0.2


class Reasoning(NamedTuple):
    """What the reasoner says; B examples, N facts, M entities, L seen names, V vocabulary answers, A = 2N + L + V + 1.

    Attributes:
        fact: (B, N) logits of the facts.
        alternatives: (B, A) logits: heads of the N facts, tails, seen names, vocabulary, no answer.
        groups: (B, G) log-probability of each distinct answer string.
        attention: One (B, N, 2) tensor for each layer: weight of a fact in its head's and its tail's update.
    """

    fact: Tensor
    alternatives: Tensor
    groups: Tensor
    attention: list[Tensor]


def mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Return two linear maps with GELU and dropout between."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


class Edges(Protocol):
    """What joins N facts and M entities: heads and tails (B, N) int64, positions of entities; fact_mask (B, N) bool."""

    @property
    def heads(self) -> Tensor: ...  # noqa: D102
    @property
    def tails(self) -> Tensor: ...  # noqa: D102
    @property
    def fact_mask(self) -> Tensor: ...  # noqa: D102


class GraphLayer(nn.Module):
    """One round: facts read their two entities; entities read their facts by attention; both see the context."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.fact = mlp(4 * width, width, width, dropout)
        self.message = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])  # to head, to tail
        self.weight = nn.ModuleList([nn.Linear(width, 1), nn.Linear(width, 1)])
        self.entity = mlp(3 * width, width, width, dropout)
        self.fact_norm = nn.LayerNorm(width)
        self.entity_norm = nn.LayerNorm(width)

    def forward(self, facts: Tensor, entities: Tensor, context: Tensor, graph: Edges) -> tuple[Tensor, Tensor, Tensor]:
        """Update facts (B, N, d) and entities (B, M, d) given context (B, d); also return attention (B, N, 2)."""
        heads, tails = gather(entities, graph.heads), gather(entities, graph.tails)  # (B, N, d)
        around = context[:, None].expand_as(facts)
        facts = self.fact_norm(facts + self.fact(torch.cat([facts, heads, tails, around], dim=-1)))
        incoming, attention = self._collect(facts, entities, graph)
        around = context[:, None].expand_as(entities)
        entities = self.entity_norm(entities + self.entity(torch.cat([entities, incoming, around], dim=-1)))
        return facts, entities, attention

    def _collect(self, facts: Tensor, entities: Tensor, graph: Edges) -> tuple[Tensor, Tensor]:
        ends = (graph.heads, graph.tails)
        logits = torch.stack([w(facts).squeeze(-1) for w in self.weight], dim=-1).float()  # (B, N, 2)
        logits = logits.clamp(-15, 15).masked_fill(~graph.fact_mask[..., None], NEVER)
        raw = logits.exp()
        total = facts.new_zeros(entities.shape[:2], dtype=raw.dtype)  # (B, M)
        for side, index in enumerate(ends):
            total = total.scatter_add(1, index, raw[..., side])
        attention = torch.stack(
            [raw[..., s] / total.gather(1, ends[s]).clamp(min=1e-9) for s in range(2)], dim=-1
        )  # (B, N, 2): sums to 1 over the facts of an entity
        incoming = torch.zeros_like(entities, dtype=torch.float32)
        for side, index in enumerate(ends):
            message = self.message[side](facts).float() * attention[..., side, None]
            incoming = incoming.scatter_add(1, index[..., None].expand_as(message), message)
        return incoming.to(facts.dtype), attention


class GraphReasoner(nn.Module):
    """Scores facts and answers of a `GraphBatch`."""

    def __init__(self, config: ReasonerConfig) -> None:
        super().__init__()
        self.config = config
        width, space, drop = config.width, config.space, config.dropout
        self.context = mlp(4 * space + 4, 2 * width, width, drop)
        self.fact_vector = nn.Linear(space, width)
        self.relation_vector = nn.Linear(space, width)
        self.fact_features = mlp(FACT_FEATURES, width, width, drop)
        self.entity_vector = nn.Linear(space, width)
        self.entity_features = mlp(ENTITY_FEATURES, width, width, drop)
        self.label_features = mlp(ENTITY_FEATURES + LABEL_FEATURES, width, width, drop)
        self.fact_norm = nn.LayerNorm(width)
        self.entity_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(GraphLayer(width, drop) for _ in range(config.layers))
        self.fact_score = mlp(4 * width, width, 1, drop)
        self.side_score = mlp(3 * width + 2 * ENTITY_FEATURES, width, 1, drop)
        self.side_bias = nn.Parameter(torch.zeros(2))
        self.label_score = mlp(3 * width, width, 1, drop)
        self.vocabulary_score = mlp(width + 2, width, 1, drop)
        self.none_score = mlp(2 * width + 1, width, 1, drop)
        self.dropout = nn.Dropout(drop)

    def forward(self, graph: GraphBatch) -> Reasoning:
        """Reason over a batch of evidence graphs."""
        context = self.context(graph.context)  # (B, d)
        facts = self._fact_states(graph, context)  # (B, N, d)
        entities = self.entity_norm(
            self.dropout(self.entity_vector(graph.entity_vectors)) + self.entity_features(graph.entity_features)
        )  # (B, M, d)
        attention = []
        for layer in self.layers:
            facts, entities, weights = layer(facts, entities, context, graph)
            attention.append(weights)
        around = context[:, None].expand_as(facts)
        heads, tails = gather(entities, graph.heads), gather(entities, graph.tails)
        fact = self.fact_score(torch.cat([facts, heads, tails, around], dim=-1)).squeeze(-1).float()
        fact = fact.masked_fill(~graph.fact_mask, NEVER)  # (B, N)
        sides = self._side_scores(graph, facts, entities, around)
        labels = self._label_scores(graph, entities, context)
        vocabulary = self._vocabulary_scores(graph, context)
        none = self._none_score(graph, facts, fact, context)
        alternatives = torch.cat([fact + sides[0], fact + sides[1], labels, vocabulary, none], dim=1)  # (B, A)
        return Reasoning(fact, alternatives, group_log_mass(alternatives, graph.groups, graph.num_groups), attention)

    def _fact_states(self, graph: GraphBatch, context: Tensor) -> Tensor:
        vectors = self.dropout(self.fact_vector(graph.fact_vectors)) + self.relation_vector(graph.relation_vectors)
        states: Tensor = self.fact_norm(vectors + self.fact_features(graph.fact_features) + context[:, None])
        return states

    def _side_scores(self, graph: GraphBatch, facts: Tensor, entities: Tensor, around: Tensor) -> list[Tensor]:
        ends = (graph.heads, graph.tails)
        states = [gather(entities, end) for end in ends]
        features = [gather(graph.entity_features, end) for end in ends]
        scores = []
        for side in range(2):
            joined = torch.cat([facts, states[side], around, features[side], features[1 - side]], dim=-1)
            score = self.side_score(joined).squeeze(-1).float() + self.side_bias[side]
            # The encoder's own opinion on the side, (B, 1), is added to every fact alike.
            scores.append((score + graph.side[:, side, None]).masked_fill(~graph.fact_mask, NEVER))
        return scores

    def _label_scores(self, graph: GraphBatch, entities: Tensor, context: Tensor) -> Tensor:
        states = self.label_features(graph.label_features) + self.entity_vector(graph.label_vectors)  # (B, L, d)
        linked = gather(entities, graph.label_links)
        around = context[:, None].expand_as(states)
        scores: Tensor = self.label_score(torch.cat([states, linked, around], dim=-1)).squeeze(-1).float()
        return scores.masked_fill(~graph.label_mask, NEVER)

    def _vocabulary_scores(self, graph: GraphBatch, context: Tensor) -> Tensor:
        logs = graph.vocabulary  # (B, V) log-probabilities of the best V answers
        around = context[:, None].expand(*logs.shape, -1)
        gate = self.vocabulary_score(torch.cat([around, logs[..., None], logs[..., None].exp()], dim=-1))
        return (gate.squeeze(-1).float() + logs).masked_fill(~graph.vocabulary_mask, NEVER)

    def _none_score(self, graph: GraphBatch, facts: Tensor, fact: Tensor, context: Tensor) -> Tensor:
        best = (fact.softmax(-1)[..., None] * facts).sum(1)  # (B, d)
        nearest = graph.fact_features[..., 0].masked_fill(~graph.fact_mask, -1.0).max(1).values[:, None]  # (B, 1)
        score: Tensor = self.none_score(torch.cat([best.to(context.dtype), context, nearest], dim=-1)).float()
        return score


def gather(states: Tensor, index: Tensor) -> Tensor:
    """Return states (B, K, d) of positions `index` (B, K) in `states` (B, M, d)."""
    return states.gather(1, index[..., None].expand(*index.shape, states.shape[-1]))


def group_log_mass(alternatives: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Return log-probabilities (B, G) of answer strings: the softmax mass of `alternatives` (B, A) summed by group.

    Args:
        groups: (B, A) int64, the group of each alternative; alternatives that are not there may carry any group.
    """
    mass = alternatives.softmax(-1)  # (B, A)
    summed = mass.new_zeros(mass.shape[0], num_groups).scatter_add(1, groups, mass)
    return summed.clamp(min=1e-9).log()
