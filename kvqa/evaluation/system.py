"""A model with a knowledge base, ready to answer the questions of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvqa.data.example import Example, Fact
from kvqa.data.graph_features import View
from kvqa.errors import InputError
from kvqa.models.checkpoint import ModelManifest, load_model, read_manifest
from kvqa.models.model import KvqaModel
from kvqa.models.predict import EvidenceSource, Prediction, asked_words, graph_items, predict
from retrieval.knowledge_base import KnowledgeBase
from retrieval.retriever import Retriever

DEPTH = 500
"""Retrieved facts that are looked at for recall."""
BATCH = 64
"""Questions that go through the network together; no figure depends on it."""


@dataclass(frozen=True)
class Answered:
    """What a system says to E questions.

    Attributes:
        examples: The questions.
        views: What the encoder says of them.
        predictions: What the reasoner says of them.
        ranked: (E, up to DEPTH) int64, the facts nearest to each query, -1 where fewer may be found.
    """

    examples: Sequence[Example]
    views: Sequence[View]
    predictions: Sequence[Prediction]
    ranked: NDArray[np.int64]


@dataclass(frozen=True)
class System:
    """A model with a knowledge base.

    Attributes:
        network: The model.
        manifest: Its identity card.
        retriever: Retrieval over the knowledge base, with the settings that the model was trained with.
        texts: Entity id to its text.
        keys, relations: Entity id and relation id to its key.
        batch: Questions that go through the network together.
    """

    network: KvqaModel
    manifest: ModelManifest
    retriever: Retriever
    texts: Mapping[int, str]
    keys: Sequence[str]
    relations: Sequence[str]
    batch: int = BATCH

    @classmethod
    def open(cls, model: Path, kb: Path, *, batch: int = BATCH) -> System:
        """Open a model folder and a knowledge base.

        Raises:
            InputError, KnowledgeError: if one of them is not sound or they do not fit together.
        """
        if batch < 1:
            raise InputError(f"batch {batch} is below 1; give the number of questions to answer together")
        network, manifest = load_model(model), read_manifest(model)
        base = KnowledgeBase.open(kb, encoder_sha256=network.text.sha256)
        return cls(
            network=network,
            manifest=manifest,
            retriever=Retriever(base, allowed=None, **retriever_settings(manifest.training)),
            texts=dict(enumerate(base.store.entity_texts())),
            keys=base.store.entity_keys(),
            relations=base.store.relation_names(),
            batch=batch,
        )

    @property
    def kb(self) -> KnowledgeBase:
        """The knowledge base."""
        return self.retriever.kb

    def answer(self, examples: Sequence[Example]) -> Answered:
        """Answer some questions."""
        views = self.network.views(examples, batch=self.batch)
        words = [asked_words(self.network.seen(example)) for example in examples]
        ranked = self.retriever.rank(np.stack([view.fact for view in views]), DEPTH, words)
        return Answered(examples, views, self.reason(examples, views, self.retriever), ranked)

    def reason(self, examples: Sequence[Example], views: Sequence[View], source: EvidenceSource) -> list[Prediction]:
        """Reason over what `source` gives as evidence."""
        items = graph_items(self.network, examples, views, source, self.texts)
        return predict(self.network, items, self.kb, batch=self.batch)

    def fact_key(self, fact_id: int) -> Fact:
        """Return head, relation and tail of a fact, as keys."""
        head, relation, tail = self.kb.triples[fact_id]
        return self.keys[head], self.relations[relation], self.keys[tail]

    def passages(self, ranked: NDArray[np.int64]) -> list[list[str]]:
        """Return the sentences of ranked facts (E, k), best first; -1 is none."""
        wanted = sorted({int(i) for i in ranked.ravel() if i >= 0})
        texts = {fact.id: fact.text for fact in self.kb.store.facts(wanted)}
        return [[texts[int(i)] for i in row if i >= 0] for row in ranked]


def retriever_settings(training: Mapping[str, Any]) -> dict[str, int]:
    """Return how much the model was trained to retrieve, by what its manifest says of its training."""
    settings = training.get("experiment", {}).get("retriever", {})
    return {name: int(settings[name]) for name in ("dense", "linked", "likely") if name in settings}
