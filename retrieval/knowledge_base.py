"""An opened knowledge-base folder: store, index and vectors that were checked to belong together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from kb.graph import FactGraph
from kb.store import KnowledgeStore
from retrieval.embed_stage import relation_text
from retrieval.embedding import StaticEncoder, open_encoder
from retrieval.index import FactIndex
from retrieval.manifest import Manifest
from retrieval.reranking import LazyVectors, RerankedIndex, lazily
from retrieval.store_place import STORE, store_of

__all__ = ["ENCODER", "ENTITIES", "FACTS", "INDEX", "RELATIONS", "STORE", "TRIPLES", "KnowledgeBase"]

INDEX = "facts.faiss"
FACTS = "facts.npy"
TRIPLES = "triples.npy"
ENTITIES = "entities.npy"
RELATIONS = "relations.npy"
ENCODER = "encoder"
"""Folder of the static encoder, in a knowledge base that was built with one."""


@dataclass(frozen=True)
class KnowledgeBase:
    """Everything that answering needs of a knowledge base.

    Attributes:
        folder: Where it lies.
        manifest: Its identity card.
        store: The facts with their texts and sources.
        index: Index over fact vectors. Of a knowledge base of static vectors it is a `RerankedIndex`, and entity
            and relation vectors are `LazyVectors`: then all of them are those of the sentence encoder.
        triples: (num_facts, 3) int32, memory-mapped: head entity, relation, tail entity of each fact.
        graph: Adjacency over the same facts.
        entity_vectors: (num_entities, dimension) float16, memory-mapped, unit length.
        relation_vectors: (num_relations, dimension) float32, unit length.
    """

    folder: Path
    manifest: Manifest
    store: KnowledgeStore
    index: FactIndex | RerankedIndex
    triples: NDArray[np.int32]
    graph: FactGraph
    entity_vectors: NDArray[np.float16] | LazyVectors
    relation_vectors: NDArray[np.float32] | LazyVectors

    @classmethod
    def open(cls, folder: Path, *, encoder_sha256: str | None = None, thorough: bool = False) -> KnowledgeBase:
        """Open a folder written by `kvqa index-kb`.

        Args:
            encoder_sha256: Weights of the sentence encoder that the model expects; None accepts any.
            thorough: Check the checksum of every file, and all facts in a database, not only what is small or touched.

        Raises:
            KnowledgeError: if the folder is missing, half-built, altered, or built with another encoder.
        """
        manifest = Manifest.read(folder)
        asked_with = manifest.base_encoder_sha256 or manifest.encoder_sha256
        if encoder_sha256 is not None and asked_with != encoder_sha256:
            raise KnowledgeError(
                f"knowledge base {folder} was embedded with {manifest.encoder} ({asked_with[:12]}…), the"
                f" model expects weights {encoder_sha256[:12]}…; build it again with the model's encoder:"
                f" kvqa index-kb --out {folder} --encoder NAME"
            )
        manifest.check_files(folder, thorough=thorough)
        parts = folder / manifest.generation
        store = KnowledgeStore.open(store_of(folder, manifest))
        index = open_index(parts)
        triples = np.load(parts / TRIPLES, mmap_mode="r", allow_pickle=False)
        entity_vectors = np.load(parts / ENTITIES, mmap_mode="r", allow_pickle=False)
        relation_vectors = np.load(parts / RELATIONS, allow_pickle=False)
        found = {
            "facts": {store.num_facts, len(index), len(triples), manifest.facts},
            "entities": {store.num_entities, len(entity_vectors), manifest.entities},
            "relations": {store.num_relations, len(relation_vectors), manifest.relations},
            "dimension": {index.dimension, entity_vectors.shape[1], manifest.dimension},
        }
        for what, numbers in found.items():
            if len(numbers) > 1:
                raise KnowledgeError(
                    f"the parts of {folder} disagree on {what} ({', '.join(map(str, sorted(numbers)))});"
                    f" {manifest.repair(folder)}"
                )
        if store.content_hash() != manifest.store_hash:
            raise KnowledgeError(
                f"the store of {folder} holds other facts than were indexed; {manifest.repair(folder)}"
            )
        if thorough and "://" in manifest.store:
            store.verify()  # a database has no file whose checksum could tell
        graph = FactGraph.open(parts, triples, store.num_entities)
        opened = cls(folder, manifest, store, index, triples, graph, entity_vectors, relation_vectors)
        return opened if manifest.base_encoder_sha256 is None else opened._with_sentence_vectors(parts / ENCODER)

    def _with_sentence_vectors(self, encoder_folder: Path) -> KnowledgeBase:
        """Return the same with vectors of the sentence encoder in place of the static ones, made when asked for."""
        encoder = open_encoder(self.manifest.encoder, folder=encoder_folder)
        assert isinstance(encoder, StaticEncoder) and isinstance(self.index, FactIndex)
        relations = [relation_text(name) for name in self.store.relation_names()]
        index, entities, kinds = lazily(self.index, encoder, encoder.base, self.store, relations)
        return replace(self, index=index, entity_vectors=entities, relation_vectors=kinds)


def open_index(parts: Path) -> FactIndex:
    """Open the index of the generation in `parts`, with the vectors beside it where the index compresses them.

    Raises:
        KnowledgeError: if a file is missing or damaged.
    """
    index = FactIndex.load(parts / INDEX)
    return index if index.lossless else FactIndex.load(parts / INDEX, rows=parts / FACTS)
