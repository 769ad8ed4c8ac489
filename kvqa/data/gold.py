"""What of a data set's gold facts a knowledge base holds, and which facts it has from the data set alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kvqa.data.example import Example
from kvqa.errors import InputError
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import file_sha256

UNKNOWN = -1


def gold_fact_ids(examples: Sequence[Example], kb: KnowledgeBase) -> NDArray[np.int64]:
    """Return the fact id (E,) of each example's first gold fact, -1 where the knowledge base lacks it."""
    relation_ids = {name: i for i, name in enumerate(kb.store.relation_names())}
    keys = {key for e in examples for fact in e.facts for key in (fact[0], fact[2])}
    entity_ids = kb.store.find_entities(keys)
    columns = np.asarray(kb.triples, dtype=np.int64)
    order, codes = _sorted_codes(columns, kb.manifest.entities)
    ids = np.full(len(examples), UNKNOWN, dtype=np.int64)
    for row, example in enumerate(examples):
        if not example.facts:
            continue
        head, relation, tail = example.facts[0]
        if head in entity_ids and tail in entity_ids and relation in relation_ids:
            wanted = np.array([[entity_ids[head], relation_ids[relation], entity_ids[tail]]], dtype=np.int64)
            code = _codes(wanted, kb.manifest.entities)[0]
            at = int(np.searchsorted(codes, code))
            if at < len(codes) and codes[at] == code:
                ids[row] = order[at]
    return ids


def _codes(columns: NDArray[np.int64], entities: int) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = (columns[:, 1] * entities + columns[:, 0]) * entities + columns[:, 2]
    return codes


def _sorted_codes(columns: NDArray[np.int64], entities: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    codes = _codes(columns, entities)
    order = np.argsort(codes, kind="stable")
    return order, codes[order]


def fact_file(root: Path) -> Path:
    """Return FVQA's own fact file under `root`.

    Raises:
        InputError: if there is none.
    """
    for name in ("facts.tsv.gz", "facts.tsv"):
        if (root / name).is_file():
            return root / name
    raise InputError(f"{root} has no facts.tsv.gz; see docs/data-path.md for the layout of FVQA")


def facts_of_source(kb: KnowledgeBase, file: Path) -> NDArray[np.bool_]:
    """Return which facts (num_facts,) the knowledge base has from `file`, recognised by checksum, and from it only."""
    digest = file_sha256(file)
    columns = [i for i, source in enumerate(kb.store.sources()) if source.sha256 == digest]
    if not columns:
        return np.zeros(kb.manifest.facts, dtype=bool)
    origins = kb.store.origin_mask()
    elsewhere = np.delete(origins, columns, axis=1).any(axis=1)
    return np.asarray(origins[:, columns].any(axis=1) & ~elsewhere, dtype=bool)


def allowed_facts(
    training: Sequence[Example], kb: KnowledgeBase, hideable: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Return which facts may be seen: all but the `hideable` ones that are gold for no training example."""
    allowed = np.ones(kb.manifest.facts, dtype=bool) if hideable is None else ~hideable
    gold = gold_fact_ids(training, kb)
    allowed[gold[gold >= 0]] = True
    return allowed
