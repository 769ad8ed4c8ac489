"""Numbers that describe facts and entities in the light of one question and one picture.

All evidence that a picture gives is soft: a number to be weighed, never a filter. No number tells from which
source a fact comes or how its source spells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kb.lemmas import lemmas
from kvqa.data.collate import LabelVectors, distinct_concepts
from kvqa.data.example import Example
from kvqa.metrics import normalise_answer
from retrieval.evidence import Evidence
from retrieval.knowledge_base import KnowledgeBase
from retrieval.linking import stop_words

FACT_FEATURES = 10
ENTITY_FEATURES = 16


@dataclass(frozen=True)
class View:
    """The encoder's opinion of one example, and plain sentence vectors beside it; S numbers a vector.

    Attributes:
        fact, answer, anchor, relation: (S,) query vectors, see `QuestionImage`.
        side, visible: (2,) log-probabilities.
        vocabulary: (A,) log-probabilities.
        question, described: (S,) frozen sentence vectors of the question, and of question and seen names.
    """

    fact: NDArray[np.float32]
    answer: NDArray[np.float32]
    anchor: NDArray[np.float32]
    relation: NDArray[np.float32]
    side: NDArray[np.float32]
    visible: NDArray[np.float32]
    vocabulary: NDArray[np.float32]
    question: NDArray[np.float32]
    described: NDArray[np.float32]


@cache
def content_lemmas(text: str) -> frozenset[str]:
    """Return the lemmas of `text` that name something."""
    words = [w for w in lemmas(text) if w not in stop_words()]
    return frozenset(words or lemmas(text))


normal = cache(normalise_answer)


@dataclass(frozen=True)
class Seen:
    """What was seen, with the vectors of its names: objects and tags (K), captions (C)."""

    concepts: list[str]
    scores: list[float]
    objects: NDArray[np.bool_]
    concept_vectors: NDArray[np.float32]
    caption_vectors: NDArray[np.float32]
    caption_words: frozenset[str]

    @classmethod
    def of(cls, example: Example, label_vectors: LabelVectors) -> Seen:
        """Take what was seen in the picture of `example`."""
        regions = distinct_concepts(example.regions, limit=24)
        captions = [r.label for r in example.regions.regions if r.kind == "caption"]
        width = label_vectors(["image"]).shape[1]

        def vectors(labels: list[str]) -> NDArray[np.float32]:
            return label_vectors(labels).numpy() if labels else np.zeros((0, width), dtype=np.float32)

        return cls(
            concepts=[r.label for r in regions],
            scores=[r.score for r in regions],
            objects=np.array([r.kind == "object" for r in regions], dtype=bool),
            concept_vectors=vectors([r.label for r in regions]),
            caption_vectors=vectors(captions),
            caption_words=frozenset(w for caption in captions for w in content_lemmas(caption)),
        )


def fact_features(
    evidence: Evidence, names: list[str], asked: frozenset[str], view: View, kb: KnowledgeBase
) -> NDArray[np.float32]:
    """Return (N, FACT_FEATURES) of the facts of `evidence`, whose M entities have `names`.

    Columns: cosine with the query, its distance to the best, rank, softmax share; cosines of the frozen vectors of
    question with and without seen names; agreement of the relation; lexical overlap both ways; found by the graph.
    """
    out = np.zeros((len(evidence), FACT_FEATURES), dtype=np.float32)
    if not len(evidence):
        return out
    vectors = kb.index.vectors(evidence.fact_ids)  # (N, S)
    sharp = np.exp((evidence.scores - evidence.scores.max()) / 0.03)
    words = [
        content_lemmas(names[h]) | content_lemmas(names[t]) for h, t in zip(evidence.heads, evidence.tails, strict=True)
    ]
    out[:, 0] = evidence.scores
    out[:, 1] = (evidence.scores - evidence.scores.max()) * 5
    out[:, 2] = np.log1p(np.argsort(np.argsort(-evidence.scores, kind="stable"))) / 5
    out[:, 3] = sharp / sharp.sum()
    out[:, 4] = vectors @ view.described
    out[:, 5] = vectors @ view.question
    out[:, 6] = kb.relation_vectors[evidence.relations] @ view.relation
    out[:, 7] = [len(asked & w) / max(1, len(asked)) for w in words]
    out[:, 8] = [len(asked & w) / max(1, len(w)) for w in words]
    out[:, 9] = evidence.neighbours
    return out


def entity_features(
    names: list[str],
    vectors: NDArray[np.float32],
    question: str,
    seen: Seen,
    view: View,
    known: Mapping[str, float],
) -> NDArray[np.float32]:
    """Return (M, ENTITY_FEATURES) of entities with `names` and `vectors` (M, S).

    Columns: cosines with the answer, anchor and fact queries and the question; seen as object (score), as tag, in
    captions; named by the question; lexical overlap both ways; closest object, tag, caption; probability in the
    closed vocabulary; length; share among all as the answer.
    """
    out = np.zeros((len(names), ENTITY_FEATURES), dtype=np.float32)
    if not names:
        return out
    asked = content_lemmas(question)
    spelled = f" {' '.join(lemmas(question))} "
    found = list(zip(seen.concepts, seen.scores, seen.objects, strict=True))
    scores = {normal(concept): score for concept, score, is_object in found if is_object}
    tags = {normal(concept) for concept, _, is_object in found if not is_object}
    words = [content_lemmas(name) for name in names]
    strings = [normal(name) for name in names]
    out[:, 0] = vectors @ view.answer
    out[:, 1] = vectors @ view.anchor
    out[:, 2] = vectors @ view.fact
    out[:, 3] = vectors @ view.question
    out[:, 4] = [scores.get(s, 0.0) for s in strings]
    out[:, 5] = [s in tags for s in strings]
    out[:, 6] = [len(w & seen.caption_words) / max(1, len(w)) for w in words]
    out[:, 7] = [f" {s} " in spelled for s in strings]
    out[:, 8] = [len(w & asked) / max(1, len(w)) for w in words]
    out[:, 9] = [len(w & asked) / max(1, len(asked)) for w in words]
    out[:, 10] = _closest(vectors, seen.concept_vectors[seen.objects])
    out[:, 11] = _closest(vectors, seen.concept_vectors[~seen.objects])
    out[:, 12] = _closest(vectors, seen.caption_vectors)
    out[:, 13] = [known.get(s, 0.0) for s in strings]
    out[:, 14] = [min(4, len(name.split())) / 4 for name in names]
    sharp = np.exp((out[:, 0] - out[:, 0].max()) / 0.05)
    out[:, 15] = sharp / sharp.sum()
    return out


def _closest(vectors: NDArray[np.float32], seen: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(seen):
        return np.zeros(len(vectors), dtype=np.float32)
    best: NDArray[np.float32] = (vectors @ seen.T).max(1)
    return best
