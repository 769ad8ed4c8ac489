"""What a trained model answers with other evidence, or without the picture: nothing is trained anew.

The evidence of a question is replaced and the same reasoner reads it; only without the picture are the encoder and the
retrieval asked again.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kvqa.data.example import Example
from kvqa.data.graph_features import View
from kvqa.evaluation.system import Answered, System
from kvqa.models.predict import Prediction
from retrieval.evidence import Evidence, evidence_of
from retrieval.knowledge_base import KnowledgeBase
from retrieval.linking import Links

GOLD_ABLATIONS = {
    "gold_added": "oracle: the evidence as retrieved, with the gold fact added where it lacks (marked like a fact found"
    " around an entity); unchanged where the knowledge base does not hold the gold fact",
    "gold_only": "oracle: the gold fact is all the evidence; no fact at all where the knowledge base does not hold it",
}
"""For data sets with gold facts. They look at the answer's fact, so they are bounds and no results."""

ABLATIONS = {
    "no_fact": "no fact: what is left are the names of seen things and the closed vocabulary",
    "random_fact": "as many facts as were retrieved, drawn evenly from all that may be found but the gold one",
    "question_only": "no picture: no regions, tags, captions and image feature; encoded and retrieved anew",
}
"""For every data set."""


@dataclass(frozen=True)
class Prepared:
    """Evidence that was put together beforehand, in the place of a retriever.

    Attributes:
        kb: The knowledge base of its facts.
        evidence: One for each example that will be asked for, in order.
    """

    kb: KnowledgeBase
    evidence: Sequence[Evidence]

    def retrieve(
        self,
        queries: NDArray[np.float32],
        anchors: NDArray[np.float32],
        links: Sequence[Links],
        words: Sequence[Sequence[str]] | None = None,
    ) -> list[Evidence]:
        """Return the prepared evidence, whatever the queries."""
        assert len(queries) == len(self.evidence)
        return list(self.evidence)


def ablate(
    system: System, answered: Answered, gold: NDArray[np.int64] | None, *, seed: int
) -> dict[str, list[Prediction]]:
    """Return, by ablation, what the system says to the questions of `answered`.

    Args:
        gold: (E,) fact ids, -1 where the knowledge base lacks the gold fact; None for a data set without gold facts.
        seed: Of the random facts, together with the id of each question.
    """
    known = np.full(len(answered.examples), -1, dtype=np.int64) if gold is None else gold
    evidence = [prediction.item.evidence for prediction in answered.predictions]
    rows = list(zip(answered.examples, answered.views, evidence, known, strict=True))
    altered = {
        "no_fact": [_evidence(system, view, []) for _, view, _, _ in rows],
        "random_fact": [_random(system, row, seed) for row in rows],
    }
    if gold is not None:
        altered["gold_added"] = [_with_gold(system, view, found, int(fact)) for _, view, found, fact in rows]
        altered["gold_only"] = [_evidence(system, view, [fact] if fact >= 0 else []) for _, view, _, fact in rows]
    names = [*(GOLD_ABLATIONS if gold is not None else ()), *ABLATIONS]
    out = {
        name: system.reason(answered.examples, answered.views, Prepared(system.kb, altered[name]))
        for name in names
        if name in altered
    }
    blind = [without_picture(example) for example in answered.examples]
    out["question_only"] = system.reason(blind, system.network.views(blind, batch=system.batch), system.retriever)
    return {name: out[name] for name in names}


def without_picture(example: Example) -> Example:
    """Return `example` with nothing seen in its pictures."""
    first, *more = (replace(r, regions=(), features=None, image_feature=None) for r in example.all_regions)
    return replace(example, regions=first, more_regions=tuple(more))


def _evidence(system: System, view: View, fact_ids: Sequence[int] | NDArray[np.int64]) -> Evidence:
    """Return these facts as if the search had found them, best first."""
    ids = np.array(fact_ids, dtype=np.int64)
    if not len(ids):
        return evidence_of(ids, np.zeros(0, np.float32), np.zeros(0, dtype=bool), system.kb.triples)
    scores = (system.kb.index.vectors(ids) @ view.fact).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return evidence_of(ids[order], scores[order], np.zeros(len(ids), dtype=bool), system.kb.triples)


def _with_gold(system: System, view: View, found: Evidence, gold: int) -> Evidence:
    if gold < 0 or gold in found.fact_ids:
        return found
    score = (system.kb.index.vectors(np.array([gold])) @ view.fact).astype(np.float32)
    return evidence_of(
        np.append(found.fact_ids, gold),
        np.append(found.scores, score),
        np.append(found.neighbours, True),
        system.kb.triples,
    )


def _random(system: System, row: tuple[Example, View, Evidence, np.int64], seed: int) -> Evidence:
    """Draw with a generator of the question's own, so that neither order nor company matters."""
    example, view, found, gold = row
    allowed = system.retriever.allowed
    pool = np.arange(system.kb.manifest.facts) if allowed is None else np.flatnonzero(allowed)
    pool = pool[pool != gold]
    generator = np.random.default_rng([seed, zlib.crc32(example.question_id.encode())])
    return _evidence(system, view, generator.choice(pool, size=min(len(found), len(pool)), replace=False))
