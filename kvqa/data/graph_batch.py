"""From evidence and the encoder's view to the `GraphBatch` that the graph reasoner reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.data.collate import LabelVectors
from kvqa.data.example import Example
from kvqa.data.graph_features import (
    Seen,
    View,
    content_lemmas,
    entity_features,
    fact_features,
    normal,
)
from retrieval.evidence import Evidence
from retrieval.knowledge_base import KnowledgeBase

LABEL_FEATURES = 4
VOCABULARY_ALTERNATIVES = 10
NO_ANSWER = ""
"""The string of the last alternative: nothing among the evidence answers the question."""


@dataclass(frozen=True)
class GraphItem:
    """One example as arrays, without what can be read from the knowledge base again; see `GraphBatch`."""

    evidence: Evidence
    fact_features: NDArray[np.float32]
    entity_features: NDArray[np.float32]
    labels: tuple[str, ...]
    label_features: NDArray[np.float32]
    label_links: NDArray[np.int64]
    context: NDArray[np.float32]
    side: NDArray[np.float32]
    vocabulary: NDArray[np.float32]
    vocabulary_answers: tuple[str, ...]
    answers: tuple[str, ...]
    """Distinct normalised answer strings (G), `NO_ANSWER` among them."""
    groups: NDArray[np.int64]
    """(A,) the answer of each alternative: heads, tails, labels, vocabulary, none."""


@dataclass(frozen=True)
class GraphBatch:
    """B evidence graphs, padded to N facts, M entities, L seen names, V vocabulary answers; A = 2N + L + V + 1.

    Attributes:
        fact_vectors, relation_vectors: (B, N, S). fact_features: (B, N, FACT_FEATURES).
        heads, tails: (B, N) int64, positions among the entities. fact_mask: (B, N) bool.
        entity_vectors: (B, M, S). entity_features: (B, M, ENTITY_FEATURES).
        label_vectors: (B, L, S). label_features: (B, L, ENTITY_FEATURES + LABEL_FEATURES).
        label_links: (B, L) int64, the entity that the name resembles most. label_mask: (B, L) bool.
        context: (B, 4 S + 4), the four queries, side and visible. side: (B, 2) log-probabilities.
        vocabulary: (B, V) log-probabilities. vocabulary_mask: (B, V) bool.
        groups: (B, A) int64. num_groups: G, the most distinct answers of an example.
    """

    fact_vectors: Tensor
    relation_vectors: Tensor
    fact_features: Tensor
    heads: Tensor
    tails: Tensor
    fact_mask: Tensor
    entity_vectors: Tensor
    entity_features: Tensor
    label_vectors: Tensor
    label_features: Tensor
    label_links: Tensor
    label_mask: Tensor
    context: Tensor
    side: Tensor
    vocabulary: Tensor
    vocabulary_mask: Tensor
    groups: Tensor
    num_groups: int

    def to(self, device: torch.device | str) -> GraphBatch:
        """Return the batch on another device."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        moved: dict[str, Any] = {name: value.to(device) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **moved)


def graph_item(
    example: Example,
    evidence: Evidence,
    view: View,
    kb: KnowledgeBase,
    texts: Mapping[int, str],
    label_vectors: LabelVectors,
    vocabulary: Sequence[str],
) -> GraphItem:
    """Describe the evidence of one example.

    Args:
        texts: Entity id to its text, for at least the entities of `evidence`.
        vocabulary: Spellings of the closed answer vocabulary, in the order of `view.vocabulary`.
    """
    names = [texts[int(i)] for i in evidence.entity_ids]
    vectors = np.asarray(kb.entity_vectors[evidence.entity_ids], dtype=np.float32)  # (M, S)
    seen = Seen.of(example, label_vectors)
    known = {normal(a): float(np.exp(p)) for a, p in zip(vocabulary, view.vocabulary, strict=True)}
    described = entity_features(names, vectors, example.question, seen, view, known)
    asked = content_lemmas(example.question)

    present = {normal(name) for name in names}
    labels = [i for i, label in enumerate(seen.concepts) if normal(label) not in present]
    label_names = [seen.concepts[i] for i in labels]
    likeness = seen.concept_vectors[labels] @ vectors.T if labels else np.zeros((0, len(names)), np.float32)  # (L, M)
    links = likeness.argmax(1) if labels and names else np.zeros(len(labels), dtype=np.int64)
    own = entity_features(label_names, seen.concept_vectors[labels], example.question, seen, view, known)
    extra = np.zeros((len(labels), LABEL_FEATURES), dtype=np.float32)
    if labels and names:
        extra[:, 0] = likeness.max(1)
        extra[:, 1] = [seen.scores[i] for i in labels]
        extra[:, 2:] = described[links][:, :2]

    best = np.argsort(-view.vocabulary, kind="stable")[:VOCABULARY_ALTERNATIVES]
    spoken = tuple(vocabulary[i] for i in best)
    strings = [normal(names[i]) for i in evidence.heads] + [normal(names[i]) for i in evidence.tails]
    strings += [normal(n) for n in label_names] + [normal(a) for a in spoken] + [NO_ANSWER]
    row = {answer: i for i, answer in enumerate(dict.fromkeys(strings))}
    return GraphItem(
        evidence=evidence,
        fact_features=fact_features(evidence, names, asked, view, kb),
        entity_features=described,
        labels=tuple(label_names),
        label_features=np.concatenate([own, extra], axis=1),
        label_links=links.astype(np.int64),
        context=np.concatenate([view.fact, view.answer, view.anchor, view.relation, view.side, view.visible]),
        side=view.side,
        vocabulary=view.vocabulary[best],
        vocabulary_answers=spoken,
        answers=tuple(row),
        groups=np.array([row[s] for s in strings], dtype=np.int64),
    )


def collate_graphs(items: Sequence[GraphItem], kb: KnowledgeBase, label_vectors: LabelVectors) -> GraphBatch:
    """Pad and stack `items`, reading the vectors of facts, relations and entities from the knowledge base."""
    entity_ids = _pad([item.evidence.entity_ids for item in items], -1)  # (B, M)
    fact_ids = _pad([item.evidence.fact_ids for item in items], -1)  # (B, N)
    relations = _pad([item.evidence.relations for item in items], 0)
    heads, tails = _pad([item.evidence.heads for item in items], 0), _pad([item.evidence.tails for item in items], 0)
    fact_mask = fact_ids >= 0
    fact_vectors = np.zeros((*fact_ids.shape, kb.index.dimension), dtype=np.float32)
    fact_vectors[fact_mask] = kb.index.vectors(fact_ids[fact_mask])
    entity_vectors = kb.entity_vectors[entity_ids].astype(np.float32) * (entity_ids >= 0)[..., None]
    label_counts = [len(item.labels) for item in items]
    label_vector_rows = [
        label_vectors(item.labels).numpy() if item.labels else np.zeros((0, kb.index.dimension), np.float32)
        for item in items
    ]
    label_rows = _pad(label_vector_rows, 0)  # (B, L, S)
    vocabulary = _pad([item.vocabulary for item in items], 0)  # (B, V)
    return GraphBatch(
        fact_vectors=torch.from_numpy(fact_vectors),
        relation_vectors=torch.from_numpy(kb.relation_vectors[relations].astype(np.float32)),
        fact_features=torch.from_numpy(_pad([item.fact_features for item in items], 0)),
        heads=torch.from_numpy(heads),
        tails=torch.from_numpy(tails),
        fact_mask=torch.from_numpy(fact_mask),
        entity_vectors=torch.from_numpy(entity_vectors),
        entity_features=torch.from_numpy(_pad([item.entity_features for item in items], 0)),
        label_vectors=torch.from_numpy(label_rows),
        label_features=torch.from_numpy(_pad([item.label_features for item in items], 0)),
        label_links=torch.from_numpy(_pad([item.label_links for item in items], 0)),
        label_mask=torch.from_numpy(_lengths_mask(label_counts, label_rows.shape[1])),
        context=torch.from_numpy(np.stack([item.context for item in items])),
        side=torch.from_numpy(np.stack([item.side for item in items])),
        vocabulary=torch.from_numpy(vocabulary),
        vocabulary_mask=torch.from_numpy(_lengths_mask([len(i.vocabulary) for i in items], vocabulary.shape[1])),
        groups=torch.from_numpy(_groups(items, fact_ids.shape[1], label_rows.shape[1], vocabulary.shape[1])),
        num_groups=max(len(item.answers) for item in items),
    )


def _pad(rows: Sequence[NDArray[Any]], value: int) -> NDArray[Any]:
    """Stack `rows` (n_i, …) into (B, max n_i, …), at least one long, filled up with `value`."""
    longest = max(1, *(len(row) for row in rows))
    out = np.full((len(rows), longest, *rows[0].shape[1:]), value, dtype=rows[0].dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def _lengths_mask(lengths: Sequence[int], size: int) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.arange(size)[None] < np.array(lengths)[:, None]
    return mask


def _groups(items: Sequence[GraphItem], facts: int, labels: int, words: int) -> NDArray[np.int64]:
    """Lay each item's groups (2 n + l + v + 1) out as (2 N + L + V + 1); what is not there has group 0, at no mass."""
    out = np.zeros((len(items), 2 * facts + labels + words + 1), dtype=np.int64)
    for row, item in enumerate(items):
        n, named = len(item.evidence), len(item.labels)
        parts = np.split(item.groups, [n, 2 * n, 2 * n + named, len(item.groups) - 1])
        starts = (0, facts, 2 * facts, 2 * facts + labels, 2 * facts + labels + words)
        for start, part in zip(starts, parts, strict=True):
            out[row, start : start + len(part)] = part
    return out
