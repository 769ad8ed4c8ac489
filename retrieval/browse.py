"""Looking around in a knowledge base: what is in it, where an entity is, what is said of it, how two hang together.

Plain functions behind `kvqa kb …`. Each returns a dataclass, which `dataclasses.asdict` turns into JSON.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from kb.fact import Fact
from kb.lemmas import lemmatise
from kb.paths import MAX_STEPS
from kb.store import KnowledgeStore
from kb.triple import entity_key
from retrieval.embedding import Encoder, SentenceEncoder
from retrieval.knowledge_base import KnowledgeBase
from retrieval.reranking import RerankedIndex

WAYS = ("exact", "other name", "dictionary form", "begins with it", "contains it")
"""How an entity can match a text, best first."""

_HUBS = 10
_NEAREST = 5
_COMPARED = 300  # keys that are compared letter by letter when an entity is not found


@dataclass(frozen=True)
class EntitySummary:
    """An entity: its id, its name, and in how many facts it stands."""

    id: int
    text: str
    facts: int


@dataclass(frozen=True)
class SourceSummary:
    """A source: its name, its licence (None if it was not stated), and how many facts it states."""

    name: str
    licence: str | None
    facts: int


@dataclass(frozen=True)
class Stats:
    """What is in a knowledge base.

    Attributes:
        id: Short name of this exact knowledge base.
        facts, entities, relations: Counts.
        relation_facts: Name and number of facts of each relation, the most frequent first.
        sources: In the order in which they were read.
        degrees: Least and greatest number of facts, and how many entities have so many; in steps of powers of two.
        mean_degree, median_degree: Facts of an entity.
        hubs: The entities with most facts.
        encoder, dimension, index: How facts were embedded and indexed.
        built: Time of building, ISO 8601, UTC.
        bytes: Size of all files.
    """

    id: str
    facts: int
    entities: int
    relations: int
    relation_facts: list[tuple[str, int]]
    sources: list[SourceSummary]
    degrees: list[tuple[int, int, int]]
    mean_degree: float
    median_degree: float
    hubs: list[EntitySummary]
    encoder: str
    dimension: int
    index: str
    built: str
    bytes: int


@dataclass(frozen=True)
class Match:
    """An entity that matches a text; `how` is one of `WAYS`."""

    entity: EntitySummary
    how: str


@dataclass(frozen=True)
class Matches:
    """The best of `total` matches for `text`."""

    text: str
    total: int
    matches: list[Match]


@dataclass(frozen=True)
class FactGroup:
    """Facts of one entity with one relation; it is their `side`, head or tail. `total` counts those not listed too."""

    relation: str
    side: str
    total: int
    facts: list[Fact]


@dataclass(frozen=True)
class Portrait:
    """All that is said of an entity: by relation and side, the groups with most facts first; and its other names."""

    entity: EntitySummary
    other_names: list[str]
    groups: list[FactGroup]


@dataclass(frozen=True)
class Step:
    """One fact of a path; `forward` says whether it is walked from head to tail."""

    fact: Fact
    forward: bool


@dataclass(frozen=True)
class Paths:
    """Paths from `source` to `target`, the shortest first.

    Attributes:
        expanded: Entities whose facts were followed.
        complete: False if the search stopped at its greatest number of entities: there may be more paths.
    """

    source: EntitySummary
    target: EntitySummary
    max_hops: int
    expanded: int
    complete: bool
    paths: list[list[Step]]


@dataclass(frozen=True)
class Hit:
    """A fact that a search found; the score is the cosine, from -1 to 1."""

    score: float
    fact: Fact


def stats(kb: KnowledgeBase, *, hubs: int = _HUBS) -> Stats:
    """Count what is in a knowledge base."""
    store, manifest, degrees = kb.store, kb.manifest, kb.graph.degree()
    names = store.relation_names()
    counts = np.bincount(np.asarray(kb.triples[:, 1]), minlength=len(names))
    by_count = np.argsort(-counts, kind="stable")
    return Stats(
        id=manifest.id,
        facts=store.num_facts,
        entities=store.num_entities,
        relations=len(names),
        relation_facts=[(names[number], int(counts[number])) for number in by_count],
        sources=[SourceSummary(s.name, s.licence, n) for s, n in zip(store.sources(), store.stated(), strict=True)],
        degrees=degree_steps(degrees),
        mean_degree=round(float(degrees.mean()), 2),
        median_degree=float(np.median(degrees)),
        hubs=_summaries(kb, np.argsort(-degrees, kind="stable")[:hubs]),
        encoder=manifest.encoder,
        dimension=manifest.dimension,
        index=manifest.index,
        built=manifest.built,
        bytes=sum(int(file["bytes"]) for file in manifest.files.values()),
    )


def degree_steps(degrees: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return least degree, greatest degree and number of entities for 0, 1, 2-3, 4-7, …; steps with none left out."""
    steps = np.frexp(degrees.astype(np.float64))[1]  # 0 for 0, else the number of binary digits
    counts = np.bincount(steps)
    return [((1 << step) >> 1, max((1 << step) - 1, 0), int(count)) for step, count in enumerate(counts) if count]


def find(kb: KnowledgeBase, text: str, *, limit: int = 20) -> Matches:
    """Return the entities whose name is, begins with or contains `text`; at equal rank those with most facts first.

    Raises:
        KnowledgeError: if `text` is empty.
    """
    key, store = _key(text), kb.store
    ids, begins = store.entities_with(key)
    ranks = np.where(begins, 3, 4)
    for rank, forms in ((2, _dictionary_forms(key)), (0, [key])):
        named = store.find_entities(forms)
        main = dict(zip(named.values(), store.entity_keys(named.values()), strict=True))
        for form, number in reversed(named.items()):
            there = ids == number
            if not there.any():
                ids, ranks, there = np.append(ids, number), np.append(ranks, 4), np.append(there, True)
            ranks[there] = rank if main[number] == form else 1
    best = np.lexsort((ids, -kb.graph.degree(ids), ranks))[: max(limit, 0)]
    found = [Match(entity, WAYS[rank]) for entity, rank in zip(_summaries(kb, ids[best]), ranks[best], strict=True)]
    return Matches(text, len(ids), found)


def resolve(kb: KnowledgeBase, text: str) -> int:
    """Return the id of the entity that `text` names: as it stands, by another name, or in its dictionary form.

    Raises:
        KnowledgeError: if there is none; the message has the nearest spellings.
    """
    key = _key(text)
    found = kb.store.find_entities([key, *_dictionary_forms(key)])
    if found:
        return next(found[form] for form in (key, *_dictionary_forms(key)) if form in found)
    near = nearest_spellings(key, kb.store.entity_keys())
    advice = f"nearest spellings: {', '.join(map(repr, near))}" if near else "nothing is spelled like it"
    raise KnowledgeError(f"no entity {text!r} in {kb.folder}; {advice}; look for parts of names with: kvqa kb find")


def nearest_spellings(key: str, keys: Sequence[str], count: int = _NEAREST) -> list[str]:
    """Return up to `count` of the `keys` that are spelled most like `key`, the best first."""
    pairs = {key[i : i + 2] for i in range(len(key) - 1)} or {key}

    def shared(other: str) -> float:
        return sum(pair in other for pair in pairs) - 0.5 * abs(len(other) - len(key))

    return difflib.get_close_matches(key, heapq.nlargest(_COMPARED, keys, key=shared), n=count, cutoff=0.5)


def show(kb: KnowledgeBase, text: str, *, limit: int = 10) -> Portrait:
    """Return what is said of the entity that `text` names, at most `limit` facts for each relation and side.

    Raises:
        KnowledgeError: if there is no such entity.
    """
    entity = resolve(kb, text)
    facts = kb.graph.facts_of([entity])
    triples, names = kb.triples[facts].astype(np.int64), kb.store.relation_names()
    kinds = 2 * triples[:, 1] + (triples[:, 0] != entity)  # of relation and side
    members = {int(kind): facts[kinds == kind] for kind in np.unique(kinds)}
    most_first = sorted(members, key=lambda kind: (-len(members[kind]), kind))
    listed = _facts(kb.store, (number for kind in most_first for number in members[kind][:limit].tolist()))
    groups = [
        FactGroup(
            names[kind // 2],
            "tail" if kind % 2 else "head",
            len(members[kind]),
            [listed[number] for number in members[kind][:limit].tolist()],
        )
        for kind in most_first
    ]
    return Portrait(_summaries(kb, [entity])[0], kb.store.aliases(entity)[:limit], groups)


def path(
    kb: KnowledgeBase, source: str, target: str, *, max_hops: int = 4, limit: int = 5, max_expanded: int = MAX_STEPS
) -> Paths:
    """Return up to `limit` paths between the entities that two texts name, the shortest first.

    Args:
        max_expanded: Entities whose facts are followed before the search stops.

    Raises:
        KnowledgeError: if there is no such entity.
    """
    start, end = resolve(kb, source), resolve(kb, target)
    found = kb.graph.find_paths(start, end, max_hops, limit, max_expanded=max_expanded)
    facts = _facts(kb.store, {number for chain in found.paths for number in chain})
    steps = [_steps(start, [facts[number] for number in chain]) for chain in found.paths]
    ends = _summaries(kb, [start, end])
    return Paths(ends[0], ends[1], max_hops, found.expanded, found.complete, steps)


def search(kb: KnowledgeBase, text: str, *, limit: int = 10, encoder: Encoder | None = None) -> list[Hit]:
    """Return the facts that mean most nearly what `text` says, by the vectors of the knowledge base's sentence encoder.

    In a knowledge base of static vectors, what they find is ranked again by sentence vectors, as for a question.

    Args:
        encoder: The sentence encoder, if it is loaded already; None loads that of the knowledge base.

    Raises:
        KnowledgeError: if `text` is empty, or the encoder cannot be loaded or has changed since the building.
    """
    _key(text)
    index, limit = kb.index, min(limit, len(kb.index))
    expected = kb.manifest.base_encoder_sha256 or kb.manifest.encoder_sha256
    if encoder is None:
        known = index.sentences.encoder if isinstance(index, RerankedIndex) else None
        encoder = known or SentenceEncoder(kb.manifest.encoder)
    if encoder.sha256 != expected:
        raise KnowledgeError(
            f"{kb.folder} was embedded with another {encoder.name} ({expected[:12]}…, here"
            f" {encoder.sha256[:12]}…); build it again: kvqa index-kb SOURCE… --out {kb.folder}"
        )
    query = encoder.encode([text]).astype(np.float32)
    ids, scores = (
        index.search(query, limit, texts=[[text]]) if isinstance(index, RerankedIndex) else index.search(query, limit)
    )
    found = ids[0] >= 0
    facts = kb.store.facts(ids[0][found].tolist())
    return [Hit(round(float(score), 4), fact) for score, fact in zip(scores[0][found], facts, strict=True)]


def _key(text: str) -> str:
    try:
        return entity_key(text)
    except ValueError as error:
        raise KnowledgeError(f"cannot look for {text!r}: {error}; give a word or a few") from None


def _dictionary_forms(key: str) -> list[str]:
    forms = (lemmatise(key), lemmatise(key, drop_articles=True))
    return [form for form in dict.fromkeys(forms) if form and form != key]


def _summaries(kb: KnowledgeBase, entity_ids: Iterable[int]) -> list[EntitySummary]:
    ids = [int(number) for number in entity_ids]
    texts, degrees = kb.store.entity_texts(ids), kb.graph.degree(ids).tolist()
    return [EntitySummary(*entity) for entity in zip(ids, texts, degrees, strict=True)]


def _facts(store: KnowledgeStore, fact_ids: Iterable[int]) -> dict[int, Fact]:
    return {fact.id: fact for fact in store.facts(fact_ids)}


def _steps(start: int, facts: Sequence[Fact]) -> list[Step]:
    steps, here = [], start
    for fact in facts:
        forward = fact.head_id == here
        steps.append(Step(fact, forward))
        here = fact.tail_id if forward else fact.head_id
    return steps
