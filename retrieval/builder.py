"""From files of facts to a knowledge-base folder: the plain function behind `kvqa index-kb`.

A build makes a new generation in a folder of its own and switches to it by replacing one file, so that a knowledge
base is only ever absent, old or complete. Each step gives its result the final name when it is whole: a build that
was broken off, by an error or by `kill -9`, is gone on with by the next one with the same plan.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.exc import DatabaseError

from kb.adjacency import write_adjacency
from kb.errors import KnowledgeError
from kb.readers import Columns
from kb.store import KnowledgeStore
from retrieval.embed_stage import Between, Kept, embed_relations, embed_rows, relation_text
from retrieval.embedding import Encoder, StaticEncoder, base_encoder, open_encoder
from retrieval.generations import check_target, locked, publish, staging
from retrieval.index import AUTO, FactIndex, choose_index, empty_index, index_recall
from retrieval.knowledge_base import ENCODER, ENTITIES, FACTS, INDEX, RELATIONS, TRIPLES, open_index
from retrieval.manifest import MANIFEST, Manifest, describe_files
from retrieval.plan import PLAN, Plan, Reading, make_plan, plan_sources, read_plan, source_names
from retrieval.report import REJECTS, BuildReport, Refusal, write_rejects
from retrieval.store_place import StorePlaces, store_of
from retrieval.store_stage import Progress, fill_store, unwritable
from retrieval.vector_file import DiskRows, save_array
from retrieval.workers import HERE, Workers

__all__ = ["REJECTS", "BuildReport", "Progress", "Refusal", "build_kb", "relation_text", "source_names"]

"""Folder, within a generation, of an encoder that was made for it."""

_RECALL_SAMPLE = 128
_LIBRARIES = (
    "faiss-cpu",
    "faiss-gpu-cu12",
    "model2vec",
    "numpy",
    "psycopg",
    "sentence-transformers",
    "sqlalchemy",
    "torch",
    "transformers",
)


def build_kb(
    sources: Sequence[Path],
    out: Path,
    *,
    encoder: Encoder | str | None = None,
    file_format: str = "auto",
    columns: Columns = "auto",
    language: str = "en",
    min_weight: float = 0.0,
    licence: str | None = None,
    remove: Sequence[str] = (),
    index: str | None = None,
    store: str | None = None,
    overwrite: bool = False,
    strict: bool = False,
    workers: Workers = HERE,
    encoders: Path | None = None,
    progress: Progress = lambda step, done, total: None,
) -> BuildReport:
    """Make the knowledge base in `out`, or bring it up to date with `sources`.

    In a knowledge base that is there already, sources of the same content stay, a changed file takes the place of
    the source of its name, others are added at the end. Content, ids and vectors are those of a new knowledge base
    from the same sources in the same order (a sentence encoder may round differently, see docs/knowledge-base.md).

    Args:
        sources: Files, or folders of files. None is needed where `out` exists.
        encoder: An encoder or the name of one; None is the one of the knowledge base, or the default. Another one
            than that of the knowledge base embeds everything anew.
        file_format: Name of a reader of `kb.readers.READERS`, or `"auto"`.
        columns: Column order of TSV and CSV files, see `kb.readers`.
        language: Language of the texts that are read, where a format has several.
        min_weight: Smallest weight of an assertion of ConceptNet that is read.
        licence: Licence of the sources; None is that of their format, where it is known.
        remove: Names of sources to take out.
        index: FAISS factory string; None is the one of the knowledge base, or chosen by size.
        store: URL of a PostgreSQL database for the facts; None is where they are, or a file in `out`.
        overwrite: Begin anew instead of adding; the old state stays until the new one is whole.
        strict: Take the first refused record for an error.
        workers: Who encodes and indexes: this process, or a cluster (`retrieval.cluster.ray_workers`).
        encoders: Folder in which a distilled static encoder is kept for the next knowledge base; None keeps none.
        progress: See `Progress`.

    Raises:
        KnowledgeError: if `out` is something else or is being built already, a source cannot be read, no fact was
            found, or the disk refuses. The old state is intact then.
    """
    check_target(out)
    with locked(out):
        try:
            base = None if overwrite or not (out / MANIFEST).is_file() else Manifest.read(out)
            if not sources and base is None:
                raise KnowledgeError("no source given; name at least one file of facts")
            planned, removed = plan_sources(
                sources, Reading(file_format, columns, language, min_weight, licence), base, remove
            )
            encoder = _opened(encoder, out, base, encoders)
            asked = index or (base.index_asked if base else AUTO)
            places = StorePlaces(out, store, base)
            identity = (encoder.name, encoder.sha256)
            plan = make_plan(
                out, planned, removed, base, encoder=identity, index=asked, store=places.database, stays=places.stays
            )
            if base is not None and _is_there_already(plan, base, places):
                return _unchanged(out, base)
            if asked != AUTO:
                empty_index(encoder.dimension, asked)  # an unknown index is found before hours of reading
            if base is not None:
                base.check_files(out, thorough=True)  # what is carried over must be sound
            return _Build(out, plan, base, places, encoder, strict, workers, progress).run()
        except (OSError, DatabaseError, RuntimeError) as error:  # RuntimeError is what FAISS makes of a full disk
            reason = unwritable(error) or str(error).splitlines()[0]
            raise KnowledgeError(
                f"cannot write {out}: {reason}; free space and run the same command again to go on, "
                "or choose another --out"
            ) from None


def _opened(encoder: Encoder | str | None, out: Path, base: Manifest | None, encoders: Path | None) -> Encoder:
    if encoder is None or (base is not None and encoder == base.encoder):
        # A static encoder from the copy that was made with the vectors: another machine may distil other weights.
        kept = None if base is None else out / base.generation / ENCODER
        return open_encoder(*([base.encoder] if base else []), folder=kept if kept and kept.is_dir() else None)
    if not isinstance(encoder, str):
        return encoder
    return open_encoder(encoder, folder=encoders / re.sub(r"[^\w.-]+", "-", encoder) if encoders else None)


def _is_there_already(plan: Plan, base: Manifest, places: StorePlaces) -> bool:
    same = (plan.encoder[1], plan.index) == (base.encoder_sha256, base.index_asked)
    return plan.changes_nothing and same and places.stays


def _unchanged(out: Path, base: Manifest) -> BuildReport:
    base.check_files(out)
    report = BuildReport(states={entry["name"]: "kept" for entry in base.sources}, manifest=base, changed=False)
    with KnowledgeStore.open(store_of(out, base)) as store:
        report.count(store)
    rejects = out / base.generation / REJECTS
    report.rejects = rejects if rejects.is_file() else None
    return report


@dataclass(frozen=True)
class _Build:
    """One build. Each step does nothing where its result is there already."""

    out: Path
    plan: Plan
    base: Manifest | None
    places: StorePlaces
    encoder: Encoder
    strict: bool
    workers: Workers
    progress: Progress

    def run(self) -> BuildReport:
        removed = dict.fromkeys(self.plan.removed, "removed")
        report = BuildReport(states={source.name: source.state for source in self.plan.sources} | removed)
        folder = self._prepared()
        self._store(folder)
        with KnowledgeStore.open(self.places.of_plan(self.plan)) as store:
            report.count(store)
            self._triples(folder, store)
            self._vectors(folder, store)
            factory, recall = self._index(folder)
            self._keep_encoder(folder)
            self._graph(folder, store.num_entities)
            rejects = write_rejects(folder / REJECTS, store)
            manifest = self._manifest(store, factory, recall)
        # Described after the store is closed: SQLite may still write at closing.
        self.progress("writing checksums", 0, 0)
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        files = describe_files(folder, [name for name in names if name != PLAN])
        manifest.files.update({f"{self.plan.generation}/{name}": entry for name, entry in files.items()})
        publish(self.out, manifest)
        report.manifest = manifest
        report.rejects = self.out / self.plan.generation / REJECTS if rejects else None
        return report

    def _prepared(self) -> Path:
        """Return the folder of the new generation, empty or with what an earlier run did of the same work."""
        folder = staging(self.out)
        begun = read_plan(folder)
        self.places.drop_others(self.plan)
        if not self.plan.same_work(begun):
            self._clear(folder)
        elif begun is not None and begun.index != self.plan.index:
            (folder / INDEX).unlink(missing_ok=True)
        self.plan.write(folder)
        return folder

    def _clear(self, folder: Path) -> None:
        self.places.of_plan(self.plan).remove()
        shutil.rmtree(folder)
        folder.mkdir()

    def _store(self, folder: Path) -> None:
        place, base = self.places.of_plan(self.plan), self.places.of_base()
        try:
            fill_store(place, self.plan, base, strict=self.strict, progress=self.progress)
        except KnowledgeError:
            self._clear(folder)  # the same command fails again, so there is nothing to go on with
            folder.rmdir()
            raise

    def _triples(self, folder: Path, store: KnowledgeStore) -> None:
        if not (folder / TRIPLES).is_file():
            arrays = store.arrays()
            save_array(folder / TRIPLES, np.stack([arrays.heads, arrays.relations, arrays.tails], axis=1))

    def _vectors(self, folder: Path, store: KnowledgeStore) -> None:
        old_place = self.places.of_base()
        carries = self.base is not None and self.base.encoder_sha256 == self.encoder.sha256
        with KnowledgeStore.open(old_place) if carries and old_place else nullcontext() as old:
            rows = (
                (FACTS, "embedding facts", store.num_facts, store.fact_texts, old and old.fact_texts),
                (
                    ENTITIES,
                    "embedding entities",
                    store.num_entities,
                    store.entity_texts_between,
                    old and old.entity_texts_between,
                ),
            )
            for name, step, count, texts, old_texts in rows:
                kept = self._kept(name, old_texts) if old_texts else None
                tell = _counter(self.progress, step, count)
                embed_rows(folder / name, count, self.encoder, texts, self.workers.encode, kept=kept, tell=tell)
        if not (folder / RELATIONS).is_file():
            embed_relations(folder / RELATIONS, store, self.encoder)

    def _kept(self, name: str, texts: Between) -> Kept:
        assert self.base is not None
        vectors = cast("NDArray[np.float16]", DiskRows(self.out / self.base.generation / name))
        return Kept(vectors, texts, len(vectors) if self.plan.append else 0)

    def _index(self, folder: Path) -> tuple[str, float]:
        """Return factory string and recall@10."""
        vectors = cast("NDArray[np.float16]", DiskRows(folder / FACTS))  # read like an array, not mapped
        factory = choose_index(*vectors.shape) if self.plan.index == AUTO else self.plan.index
        if not (folder / INDEX).is_file():
            step = f"indexing facts ({factory})"
            self.progress(step, 0, len(vectors))
            partial, tell = folder / (INDEX + ".partial"), _counter(self.progress, step, len(vectors))
            FactIndex.build(vectors, factory=factory, fill=self.workers.fill, tell=tell).save(partial)
            partial.replace(folder / INDEX)
        self.progress("measuring recall", 0, 0)
        index = open_index(folder)
        return factory, index_recall(index, vectors, sample=_RECALL_SAMPLE)

    def _keep_encoder(self, folder: Path) -> None:
        if isinstance(self.encoder, StaticEncoder) and not (folder / ENCODER).is_dir():
            self.encoder.save(folder / ENCODER)

    def _graph(self, folder: Path, num_entities: int) -> None:
        self.progress("linking facts", 0, 0)
        triples = np.load(folder / TRIPLES, mmap_mode="r", allow_pickle=False)
        write_adjacency(folder, triples[:, 0], triples[:, 1], triples[:, 2], num_entities)

    def _manifest(self, store: KnowledgeStore, factory: str, recall: float) -> Manifest:
        base = base_encoder(self.encoder)
        return Manifest(
            store_hash=store.content_hash(),
            encoder=self.encoder.name,
            encoder_sha256=self.encoder.sha256,
            dimension=self.encoder.dimension,
            facts=store.num_facts,
            entities=store.num_entities,
            relations=store.num_relations,
            index=factory,
            index_asked=self.plan.index,
            files={},
            sources=[source.entry() for source in self.plan.sources],
            versions=_versions(),
            built=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            generation=self.plan.generation,
            store=self.places.name_of(self.plan),
            kb_id=self.plan.kb_id,
            recall10=round(recall, 4),
            base_encoder_sha256=None if base is self.encoder else base.sha256,
        )


def _counter(progress: Progress, step: str, total: int) -> Callable[[int], None]:
    done = 0

    def add(number: int) -> None:
        nonlocal done
        done += number
        if number:
            progress(step, done, total)

    return add


def _versions() -> dict[str, str]:
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
