"""From files of facts to a knowledge-base folder: the plain function behind `kvqa index-kb`."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy.exc import DatabaseError

from kb.errors import KnowledgeError
from kb.readers import Columns, Reject, read_source, source_name
from kb.relations import verbalise
from kb.store import KnowledgeStore
from kb.triple import Alias, Triple, clean_text
from retrieval.embedding import SentenceEncoder
from retrieval.index import FLAT, FactIndex, empty_index
from retrieval.knowledge_base import ENTITIES, INDEX, RELATIONS, STORE, TRIPLES
from retrieval.manifest import MANIFEST, Manifest, describe_files, file_sha256

REJECTS = "rejects.jsonl"
_LIBRARIES = ("faiss-cpu", "faiss-gpu-cu12", "numpy", "sentence-transformers", "sqlalchemy", "torch", "transformers")

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, what is done and the total (0 when not known)."""


@dataclass
class BuildReport:
    """What a build did: facts read, new and duplicate by source, and the lines refused."""

    read: dict[str, int] = field(default_factory=dict)
    new: dict[str, int] = field(default_factory=dict)
    duplicate: dict[str, int] = field(default_factory=dict)
    rejects: list[tuple[str, Reject]] = field(default_factory=list)
    manifest: Manifest | None = None


def build_kb(
    sources: Sequence[Path],
    out: Path,
    *,
    encoder: SentenceEncoder | None = None,
    file_format: str = "auto",
    columns: Columns = "auto",
    index: str = FLAT,
    overwrite: bool = False,
    progress: Progress = lambda step, done, total: None,
) -> BuildReport:
    """Read `sources`, embed facts and entities, index them, and put the folder `out` in place at the end.

    All is written into a sibling folder first; `out` is only ever absent, old or complete.

    Args:
        file_format: Name of a reader of `kb.readers.READERS`, or `"auto"`.
        columns: Column order of TSV and CSV files, see `kb.readers`.
        index: FAISS factory string.
        overwrite: Replace an existing knowledge base.

    Raises:
        KnowledgeError: if `out` exists and is not to be replaced, a source cannot be read, no fact was found,
            or the disk refuses.
    """
    if not sources:
        raise KnowledgeError("no source given; name at least one file of facts")
    _check_target(out, overwrite=overwrite)
    encoder = encoder or SentenceEncoder()
    empty_index(encoder.dimension, index)  # an unknown encoder or index is found before hours of reading
    partial = out.with_name(out.name + ".building")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed build
        partial.mkdir(parents=True)
        report = _build(sources, partial, encoder, file_format, columns, index, progress)
        _swap(partial, out)
    except OSError as error:
        raise _unwritable(out, error.strerror or str(error)) from None
    except (DatabaseError, RuntimeError) as error:  # what SQLite and FAISS make of a disk that refuses
        raise _unwritable(out, str(error).splitlines()[0]) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _unwritable(out: Path, reason: str) -> KnowledgeError:
    return KnowledgeError(f"cannot write {out}: {reason}; free space or choose another --out")


def _check_target(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise KnowledgeError(f"{out} is a file; give a folder for --out")
    if any(out.iterdir()):
        if not (out / MANIFEST).is_file():
            raise KnowledgeError(f"{out} holds something that is no knowledge base; give another folder for --out")
        if not overwrite:
            raise KnowledgeError(f"{out} exists; replace it with --overwrite or give another folder for --out")


def _swap(partial: Path, out: Path) -> None:
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _build(
    sources: Sequence[Path],
    folder: Path,
    encoder: SentenceEncoder,
    file_format: str,
    columns: Columns,
    index: str,
    progress: Progress,
) -> BuildReport:
    report = BuildReport()
    with KnowledgeStore.create(folder / STORE) as store:
        for name, path in source_names(sources):
            _add_source(store, name, path, report, file_format, columns, progress)
        if store.num_facts == 0:
            raise KnowledgeError(f"no fact found in {', '.join(map(str, sources))}; see --format and --columns")
        arrays = store.arrays()
        np.save(folder / TRIPLES, np.stack([arrays.heads, arrays.relations, arrays.tails], axis=1).astype(np.int32))
        _embed(store, folder, encoder, index, progress)
        if report.rejects:
            _write_rejects(folder / REJECTS, report)
        report.manifest = _manifest(store, folder, encoder, index)
    # Described after the store is closed: SQLite may still write at closing.
    files = describe_files(folder, sorted(p.name for p in folder.iterdir() if p.name != MANIFEST))
    report.manifest.files.update(files)
    report.manifest.write(folder)
    return report


def source_names(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Name each source after its file, without suffixes; folders are read file by file; names stay unique.

    Raises:
        KnowledgeError: if a path does not exist.
    """
    named: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise KnowledgeError(f"source {path} does not exist; check the path")
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            base = name = clean_text(source_name(file))  # as the store compares names
            number = 2
            while name in named and named[name] != file:
                name, number = f"{base}-{number}", number + 1
            named[name] = file
    return list(named.items())


def _add_source(
    store: KnowledgeStore,
    name: str,
    path: Path,
    report: BuildReport,
    file_format: str,
    columns: Columns,
    progress: Progress,
) -> None:
    source_id = store.add_source(name, str(path), file_sha256(path))

    def triples() -> Iterator[Triple]:
        step = f"reading {name}"
        records: Iterable[Triple | Alias | Reject] = read_source(path, format=file_format, name=name, columns=columns)
        for number, record in enumerate(records, 1):
            if number % 5000 == 0:
                progress(step, number, 0)
            if isinstance(record, Reject):
                report.rejects.append((name, record))
            elif isinstance(record, Triple):
                yield record

    added = store.add(triples(), source_id)
    report.read[name], report.new[name], report.duplicate[name] = added.read, added.new, added.duplicate


def _embed(store: KnowledgeStore, folder: Path, encoder: SentenceEncoder, index: str, progress: Progress) -> None:
    def counter(step: str, total: int) -> Callable[[int], None]:
        done = 0

        def add(number: int) -> None:
            nonlocal done
            done += number
            progress(step, done, total)

        return add

    facts = encoder.encode(store.fact_texts(), progress=counter("embedding facts", store.num_facts))
    progress("indexing facts", 0, 0)
    FactIndex.build(facts, factory=index).save(folder / INDEX)
    entities = encoder.encode(store.entity_texts(), progress=counter("embedding entities", store.num_entities))
    np.save(folder / ENTITIES, entities)
    relations = encoder.encode([relation_text(name) for name in store.relation_names()])
    np.save(folder / RELATIONS, relations.astype(np.float32))


def relation_text(name: str) -> str:
    """Return the words by which a relation is embedded: its sentence with neutral ends."""
    return verbalise("something", name, "something")


def _write_rejects(path: Path, report: BuildReport) -> None:
    with path.open("w", encoding="utf-8") as file:
        for source, reject in report.rejects:
            record = {"source": source, "line": reject.line, "reason": reject.reason, "text": reject.text}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _manifest(store: KnowledgeStore, folder: Path, encoder: SentenceEncoder, index: str) -> Manifest:
    return Manifest(
        store_hash=store.content_hash(),
        encoder=encoder.name,
        encoder_sha256=encoder.sha256,
        dimension=encoder.dimension,
        facts=store.num_facts,
        entities=store.num_entities,
        relations=store.num_relations,
        index=index,
        files={},
        sources=[{"name": s.name, "sha256": s.sha256, "licence": s.licence} for s in store.sources()],
        versions=_versions(),
        built=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _versions() -> dict[str, str]:
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
