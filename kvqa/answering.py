"""A photo and a question to an `Answer`: the facts, the path from picture to answer, and the weights behind them.

Whoever reads this file from top to bottom has read the system.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kb.fact import Fact
from kvqa.data.example import Example, check_question
from kvqa.data.graph_features import normal
from kvqa.models.model import KvqaModel
from kvqa.models.predict import Prediction, evidence_texts, graph_items, predict
from kvqa.vision.regions import Regions
from retrieval.knowledge_base import KnowledgeBase
from retrieval.retriever import Retriever

UNSURE = 0.25
"""Confidence under which an answer is given with the remark that the knowledge base hardly supports it."""

NAMED = 0.8
"""Cosine of names from which a seen thing is taken for an entity that is spelled otherwise."""


@dataclass(frozen=True)
class AnswerFact:
    """A fact that was weighed.

    Attributes:
        fact_id, head, relation, tail, text, source: As in the knowledge base; `text` is its sentence.
        score: Probability that this is the fact wanted, among all that were weighed.
        retrieval: Cosine of question-image query and fact.
        answer_share: Part of the answer's confidence that rests on this fact.
        seen: Position in `regions` of the thing seen that its head or tail names, None without any.
        seen_side: Which of the two names it, `"head"` or `"tail"`; None without any.
    """

    fact_id: int
    head: str
    relation: str
    tail: str
    text: str
    source: str
    score: float
    retrieval: float
    answer_share: float
    seen: int | None
    seen_side: Literal["head", "tail"] | None


@dataclass(frozen=True)
class Step:
    """One station on the path from picture to answer; `region` is its position in `regions`, if it is a region."""

    kind: Literal["region", "entity", "relation", "answer"]
    text: str
    region: int | None = None


@dataclass(frozen=True)
class Alternative:
    """An answer and its calibrated probability."""

    answer: str
    confidence: float


@dataclass(frozen=True)
class Answer:
    """The answer to one question about one picture, and what it rests on.

    Attributes:
        answer: Best answer; empty when there is no evidence at all.
        confidence: Calibrated probability that it is right.
        supported: False where the knowledge base hardly supports any answer, or no fact at all carries this one.
        answers: The best alternatives, the answer first.
        facts: The facts that were weighed highest, those of the path first.
        path: From a region of the picture over the fact to the answer; the answer alone where no fact carries it.
        regions: What was seen.
        timings_ms: Milliseconds of each step and in total.
    """

    image: str
    question: str
    answer: str
    confidence: float
    supported: bool
    answers: tuple[Alternative, ...]
    facts: tuple[AnswerFact, ...]
    path: tuple[Step, ...]
    regions: Regions
    timings_ms: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, dicts, strings and numbers."""
        record = {name: value for name, value in vars(self).items() if name != "regions"}
        record |= {name: [asdict(x) for x in getattr(self, name)] for name in ("answers", "facts", "path")}
        record["regions"] = [
            {"label": r.label, "score": round(r.score, 4), "box": r.box, "kind": r.kind} for r in self.regions.regions
        ]
        return {**record, "image_size": [self.regions.width, self.regions.height]}


class Timer:
    """Milliseconds by step."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the body under `name`."""
        start = time.perf_counter()
        yield
        self.steps[name] = round(1000 * (time.perf_counter() - start), 1)


@dataclass(frozen=True)
class Answerer:
    """A model and a knowledge base, ready to answer.

    Args:
        top: Alternatives and facts to report.
    """

    model: KvqaModel
    retriever: Retriever
    top: int = 5

    @classmethod
    def open(cls, model: KvqaModel, kb_folder: Path, *, top: int = 5) -> Answerer:
        """Open a knowledge base for `model`.

        Raises:
            KnowledgeError: if the folder is no sound knowledge base or was embedded with another encoder.
        """
        kb = KnowledgeBase.open(kb_folder, encoder_sha256=model.text.sha256)
        return cls(model, Retriever(kb), top)

    def answer(self, regions: Regions, question: str, *, timer: Timer | None = None) -> Answer:
        """Answer `question` about the picture in which `regions` were seen.

        Args:
            timer: One that has already timed the seeing; None starts a new one.

        Raises:
            InputError: if the question is empty or too long.
        """
        timer = timer or Timer()
        example = Example("", check_question(question), regions.image, regions)
        with timer.step("encode"):
            view = self.model.views([example])[0]
        with timer.step("retrieve"):
            item = graph_items(self.model, [example], [view], self.retriever)[0]
        with timer.step("reason"):
            prediction = predict(self.model, [item], self.retriever.kb)[0]
        with timer.step("explain"):
            answer = explain(example, prediction, self.retriever.kb, self.model, top=self.top)
        steps = {**timer.steps, "total": round(sum(timer.steps.values()), 1)}
        return Answer(example.image, example.question, *answer, regions, steps)


def explain(
    example: Example, prediction: Prediction, kb: KnowledgeBase, model: KvqaModel, *, top: int
) -> tuple[str, float, bool, tuple[Alternative, ...], tuple[AnswerFact, ...], tuple[Step, ...]]:
    """Return answer, confidence, whether it is supported, alternatives, facts and path of a prediction."""
    item = prediction.item
    if not prediction.answers:
        return "", 0.0, False, (), (), ()
    texts = evidence_texts(kb, item.evidence.fact_ids)
    spellings = [spoken(answer, prediction, texts) for answer, _ in prediction.answers[:top]]
    best, confidence = prediction.answers[0]
    shares = confidence * _fact_shares(prediction, best) / max(_mass(prediction, best).sum(), 1e-9)
    carrier = np.lexsort((-prediction.facts, -shares))[:1]  # the fact that carries the answer comes first
    others = np.argsort(-prediction.facts, kind="stable")
    order = np.concatenate([carrier, others[~np.isin(others, carrier)]])[:top]
    seen = _seen_entities(example.regions, texts, kb, model)
    facts = tuple(
        _answer_fact(fact, i, prediction, shares, seen)
        for i, fact in zip(order, kb.store.facts([int(item.evidence.fact_ids[i]) for i in order]), strict=True)
    )
    alternatives = tuple(
        Alternative(text, round(share, 4)) for text, (_, share) in zip(spellings, prediction.answers[:top], strict=True)
    )
    # An answer that only the vocabulary knows rests on no fact: there is no path to it, and no support.
    carried = bool(facts) and facts[0].answer_share > 0
    path = _path(facts[0], spellings[0], best, example.regions) if carried else (Step("answer", spellings[0]),)
    return spellings[0], round(confidence, 4), carried and confidence >= UNSURE, alternatives, facts, path


def spoken(answer: str, prediction: Prediction, texts: Mapping[int, str]) -> str:
    """Return the answer as its strongest alternative spells it."""
    item = prediction.item
    rows = np.flatnonzero(item.groups[: len(prediction.alternatives)] == item.answers.index(answer))
    best = int(rows[np.argmax(prediction.alternatives[rows])])
    entities = item.evidence.entity_ids
    spellings = [texts[int(entities[i])] for i in (*item.evidence.heads, *item.evidence.tails)]
    return [*spellings, *item.labels, *item.vocabulary_answers, ""][best]


def _mass(prediction: Prediction, answer: str) -> NDArray[np.float32]:
    """Return (A,) the probability of each alternative that spells `answer`, 0 for the others."""
    groups = prediction.item.groups[: len(prediction.alternatives)]
    spells = groups == prediction.item.answers.index(answer)
    return np.where(spells, prediction.alternatives, 0).astype(np.float32)


def _fact_shares(prediction: Prediction, answer: str) -> NDArray[np.float32]:
    """Return (N,) the probability of `answer` that rests on each fact: on its sides, or on the name it touches."""
    item, mass = prediction.item, _mass(prediction, answer)
    size = len(item.evidence)
    shares = mass[:size] + mass[size : 2 * size]
    for position, entity in enumerate(item.label_links):
        touching = (item.evidence.heads == entity) | (item.evidence.tails == entity)
        weights = prediction.facts * touching
        if weights.sum() > 0:
            shares = shares + mass[2 * size + position] * weights / weights.sum()
    return shares.astype(np.float32)


def _seen_entities(regions: Regions, texts: Mapping[int, str], kb: KnowledgeBase, model: KvqaModel) -> dict[int, int]:
    """Return entity id to the position of the region that names it, for those of `texts` that are named at all."""
    named = [i for i, r in enumerate(regions.regions) if r.kind != "caption"]
    if not named or not texts:
        return {}
    spelled: dict[str, int] = {}
    for i in named:
        spelled.setdefault(normal(regions.regions[i].label), i)
    labels = model.labels([regions.regions[i].label for i in named]).numpy()
    ids = np.array(list(texts), dtype=np.int64)
    likeness = np.asarray(kb.entity_vectors[ids], dtype=np.float32) @ labels.T  # (M, K)
    best = likeness.argmax(1)
    alike = {int(e): named[int(b)] for e, b, row in zip(ids, best, likeness, strict=True) if row[b] >= NAMED}
    exact = {e: spelled[normal(text)] for e, text in texts.items() if normal(text) in spelled}
    return alike | exact


def _answer_fact(
    fact: Fact, position: int, prediction: Prediction, shares: NDArray[np.float32], seen: Mapping[int, int]
) -> AnswerFact:
    side: Literal["head", "tail"] | None = None
    if fact.head_id in seen or fact.tail_id in seen:
        side = "head" if fact.head_id in seen else "tail"
    return AnswerFact(
        fact_id=fact.id,
        head=fact.head,
        relation=fact.relation,
        tail=fact.tail,
        text=fact.text,
        source=fact.source,
        score=round(float(prediction.facts[position]), 4),
        retrieval=round(float(prediction.item.evidence.scores[position]), 4),
        answer_share=round(float(shares[position]), 4),
        seen=seen.get(fact.head_id, seen.get(fact.tail_id)),
        seen_side=side,
    )


def _path(fact: AnswerFact, spoken: str, answer: str, regions: Regions) -> tuple[Step, ...]:
    """Walk along the fact to the answer, by way of the region that one of its sides names, if any.

    The walk ends at the side that is the answer; an answer that is neither, a seen name, resembles the seen side.
    """
    steps = [Step("entity", fact.head), Step("relation", fact.relation), Step("entity", fact.tail)]
    if normal(fact.tail) == answer:
        end = "tail"
    elif normal(fact.head) == answer:
        end = "head"
    else:
        end = fact.seen_side or "head"
    if end == "head":
        steps.reverse()
    if fact.seen is not None:
        region = Step("region", regions.regions[fact.seen].label, fact.seen)
        steps = [*steps, region] if fact.seen_side == end else [region, *steps]
    return (*steps, Step("answer", spoken))
