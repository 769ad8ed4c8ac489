"""A store in the formats of others: Parquet tables, RDF N-Triples, GraphML. Facts are streamed, not gathered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from kb.errors import KnowledgeError
from kb.fact import Fact
from kb.store import KnowledgeStore

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, what is done and the total."""

BASE = "urn:kvqa:"
"""What the IRIs of entities and relations begin with, unless another base is given."""

_CHUNK = 5000  # facts
_RDFS_LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def export_parquet(store: KnowledgeStore, path: Path, *, progress: Progress = lambda step, done, total: None) -> None:
    """Write one row a fact: `id`, `head`, `relation`, `tail`, `head_id`, `tail_id`, `text`, `sources`.

    `sources` is a list of structs of `source`, `line` and `surface`, one for each place where the fact was read.

    Raises:
        KnowledgeError: if the file cannot be written.
    """
    import pyarrow
    import pyarrow.parquet

    origin = pyarrow.struct([("source", pyarrow.string()), ("line", pyarrow.int64()), ("surface", pyarrow.string())])
    texts = [(name, pyarrow.string()) for name in ("head", "relation", "tail")]
    ids = [(name, pyarrow.int64()) for name in ("head_id", "tail_id")]
    schema = pyarrow.schema(
        [("id", pyarrow.int64()), *texts, *ids, ("text", pyarrow.string()), ("sources", pyarrow.list_(origin))]
    )
    with _written(path) as file, pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for facts in _chunks(store, progress):
            rows = [_row(fact) for fact in facts]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def export_ntriples(
    store: KnowledgeStore,
    path: Path,
    *,
    base: str = BASE,
    progress: Progress = lambda step, done, total: None,
) -> None:
    """Write the facts as RDF N-Triples, and an `rdfs:label` for each entity and relation.

    The IRI of an entity is `base` + `entity/` + its text, percent-encoded; that of a relation has `relation/`.
    N-Triples has no place for sources.

    Raises:
        KnowledgeError: if `base` is no beginning of an IRI, or the file cannot be written.
    """
    from pyoxigraph import Literal, NamedNode, RdfFormat, Triple, serialize

    try:
        label = NamedNode(_RDFS_LABEL)
        NamedNode(base + "entity/")
    except ValueError as error:
        raise KnowledgeError(f"{base!r} is no beginning of an IRI ({error}); give one such as {BASE}") from None

    def node(kind: str, text: str) -> NamedNode:
        return NamedNode(f"{base}{kind}/{quote(text, safe='')}")

    def triples() -> Iterator[Triple]:
        for text in store.entity_texts():
            yield Triple(node("entity", text), label, Literal(text))
        for name in store.relation_names():
            yield Triple(node("relation", name), label, Literal(name))
        for facts in _chunks(store, progress):
            for fact in facts:
                yield Triple(node("entity", fact.head), node("relation", fact.relation), node("entity", fact.tail))

    with _written(path) as file:
        serialize(triples(), file, format=RdfFormat.N_TRIPLES)


def export_graphml(store: KnowledgeStore, path: Path, *, progress: Progress = lambda step, done, total: None) -> None:
    """Write a directed GraphML graph: nodes with `text`, edges with `relation`, `sentence` and `sources`.

    Node ids are `n` + entity id, edge ids `e` + fact id. It reads back with `networkx.read_graphml` and in Gephi and
    yEd. Characters that XML cannot hold become U+FFFD.

    Raises:
        KnowledgeError: if the file cannot be written.
    """

    def write(file: BinaryIO, text: str) -> None:
        file.write(_NOT_XML.sub("\ufffd", text).encode("utf-8"))

    with _written(path) as file:
        write(file, '<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n')
        for key, kind in (("text", "node"), ("relation", "edge"), ("sentence", "edge"), ("sources", "edge")):
            write(file, f'<key id="{key}" for="{kind}" attr.name="{key}" attr.type="string"/>\n')
        write(file, '<graph id="facts" edgedefault="directed">\n')
        for number, text in enumerate(store.entity_texts()):
            write(file, f'<node id="n{number}"><data key="text">{escape(text)}</data></node>\n')
        for facts in _chunks(store, progress):
            write(file, "".join(map(_edge, facts)))
        write(file, "</graph>\n</graphml>\n")


EXPORTERS: dict[str, Callable[..., None]] = {
    "graphml": export_graphml,
    "parquet": export_parquet,
    "ntriples": export_ntriples,
}
"""Each takes a store, a path and `progress`."""


def _row(fact: Fact) -> dict[str, Any]:
    return {
        "id": fact.id,
        "head": fact.head,
        "relation": fact.relation,
        "tail": fact.tail,
        "head_id": fact.head_id,
        "tail_id": fact.tail_id,
        "text": fact.text,
        "sources": [{"source": o.source, "line": o.line, "surface": o.surface} for o in fact.origins],
    }


def _edge(fact: Fact) -> str:
    sources = ", ".join(origin.source for origin in fact.origins)
    values = {"relation": fact.relation, "sentence": fact.text, "sources": sources}
    data = "".join(f"<data key={quoteattr(key)}>{escape(value)}</data>" for key, value in values.items())
    return f'<edge id="e{fact.id}" source="n{fact.head_id}" target="n{fact.tail_id}">{data}</edge>\n'


def _chunks(store: KnowledgeStore, progress: Progress) -> Iterator[list[Fact]]:
    total = store.num_facts
    for start in range(0, total, _CHUNK):
        stop = min(start + _CHUNK, total)
        yield store.facts(range(start, stop))
        progress("writing facts", stop, total)


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing, and rename it into place if nothing went wrong."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise KnowledgeError(
            f"cannot write {path} ({error.strerror or error}); free space or choose another file"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
