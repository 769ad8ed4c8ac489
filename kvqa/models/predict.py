"""From examples to graph items to predictions: the forward path that training, evaluation and answering share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kvqa.data.collate import distinct_concepts
from kvqa.data.example import Example
from kvqa.data.graph_batch import NO_ANSWER, GraphItem, collate_graphs, graph_item
from kvqa.data.graph_features import View
from kvqa.models.graph import Reasoning
from kvqa.models.model import KvqaModel
from retrieval.evidence import Evidence
from retrieval.knowledge_base import KnowledgeBase
from retrieval.linking import Linker, Links


@dataclass(frozen=True)
class Prediction:
    """What the reasoner says of one example.

    Attributes:
        item: The evidence it was given.
        answers: Distinct normalised answers, best first, with their probabilities; what is missing to 1 is the
            probability that nothing among the evidence answers the question.
        facts: (N,) probabilities of `item.evidence.fact_ids`; they sum to 1.
        alternatives: (A,) probabilities of `item`'s alternatives: heads, tails, seen names, vocabulary.
    """

    item: GraphItem
    answers: list[tuple[str, float]]
    facts: NDArray[np.float32]
    alternatives: NDArray[np.float32]

    def ranked_facts(self) -> NDArray[np.int64]:
        """Return fact ids, best first."""
        return self.item.evidence.fact_ids[np.argsort(-self.facts, kind="stable")]


class EvidenceSource(Protocol):
    """Where evidence comes from: a `retrieval.retriever.Retriever`, or evidence that an experiment puts together."""

    @property
    def kb(self) -> KnowledgeBase:
        """The knowledge base of the facts."""

    def retrieve(
        self,
        queries: NDArray[np.float32],
        anchors: NDArray[np.float32],
        links: Sequence[Links],
        words: Sequence[Sequence[str]] | None = None,
    ) -> list[Evidence]:
        """Return the evidence of each example, as `retrieval.retriever.Retriever.retrieve`."""


def link_example(example: Example, linker: Linker) -> Links:
    """Link the question and the seen concepts of `example`."""
    return linker.link(example.question, [r.label for r in distinct_concepts(example.regions)])


def asked_words(example: Example) -> list[str]:
    """Return the question and the names of what is seen, by which a knowledge base of static vectors is searched."""
    return [example.question, *(r.label for r in distinct_concepts(example.regions))]


def graph_items(
    model: KvqaModel,
    examples: Sequence[Example],
    views: Sequence[View],
    retriever: EvidenceSource,
    texts: Mapping[int, str] | None = None,
) -> list[GraphItem]:
    """Retrieve and describe the evidence of each example.

    Args:
        texts: Entity id to text for all entities; None reads those that are needed from the store.
    """
    kb = retriever.kb
    linker = Linker(kb.store)
    examples = [model.seen(example) for example in examples]
    links = [link_example(example, linker) for example in examples]
    facts, anchors = np.stack([view.fact for view in views]), np.stack([view.anchor for view in views])
    found = retriever.retrieve(facts, anchors, links, [asked_words(example) for example in examples])
    items = []
    for example, view, evidence in zip(examples, views, found, strict=True):
        known = texts if texts is not None else evidence_texts(kb, evidence.fact_ids)
        items.append(graph_item(example, evidence, view, kb, known, model.labels, model.vocabulary))
    return items


def evidence_texts(kb: KnowledgeBase, fact_ids: NDArray[np.int64]) -> dict[int, str]:
    """Return the texts of the entities of some facts."""
    facts = kb.store.facts([int(i) for i in fact_ids])
    return {i: text for f in facts for i, text in ((f.head_id, f.head), (f.tail_id, f.tail))}


@torch.inference_mode()
def predict(model: KvqaModel, items: Sequence[GraphItem], kb: KnowledgeBase, *, batch: int = 64) -> list[Prediction]:
    """Reason over `items`; the result does not depend on `batch`."""
    model.reasoner.eval()
    predictions: list[Prediction] = []
    for start in range(0, len(items), batch):
        part = items[start : start + batch]
        graph = collate_graphs(part, kb, model.labels).to(model.device)
        reasoning = model.reasoner(graph)
        starts = (
            0,
            graph.heads.shape[1],
            2 * graph.heads.shape[1],
            2 * graph.heads.shape[1] + graph.label_mask.shape[1],
        )
        predictions += [
            _prediction(item, reasoning, row, starts, model.config.temperature) for row, item in enumerate(part)
        ]
    return predictions


def _prediction(
    item: GraphItem, reasoning: Reasoning, row: int, starts: Sequence[int], temperature: float
) -> Prediction:
    """Cut one example out of a padded batch; `starts` are where heads, tails, names and vocabulary begin."""
    groups = reasoning.groups[row, : len(item.answers)].float()
    shares = (groups / temperature).softmax(-1).cpu().numpy()
    order = np.argsort(-shares, kind="stable")
    size = len(item.evidence)
    alternatives = reasoning.alternatives[row].softmax(-1).cpu().numpy()
    lengths = (size, size, len(item.labels), len(item.vocabulary_answers))
    return Prediction(
        item=item,
        answers=[(item.answers[i], float(shares[i])) for i in order if item.answers[i] != NO_ANSWER],
        facts=reasoning.fact[row, :size].softmax(-1).cpu().numpy(),
        alternatives=np.concatenate([alternatives[s : s + n] for s, n in zip(starts, lengths, strict=True)]),
    )
