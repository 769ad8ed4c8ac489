import json
from pathlib import Path

import networkx
import pytest

from kb.errors import KnowledgeError
from kb.export import EXPORTERS, export_graphml, export_ntriples, export_parquet
from kb.store import KnowledgeStore
from kb.triple import Triple

FACTS = [
    Triple("Cat", "IsA", "animal", line=1, surface="[[Cat]] is an [[animal]]"),
    Triple("R&D <lab>", "RelatedTo", 'the "naïve" 猫/#%', line=2),
    Triple("cat", "more fast than", "bell\x07 \U0001f422", line=3),
    Triple("dog", "IsA", "animal"),
    Triple("dog", "RelatedTo", "animal"),
]


@pytest.fixture
def store(tmp_path: Path) -> KnowledgeStore:
    path = tmp_path / "in" / "store.sqlite"
    path.parent.mkdir()
    with KnowledgeStore.create(path) as new:
        new.add(FACTS, new.add_source("first", "first.tsv", "0" * 64))
        new.add(FACTS[:1], new.add_source("second", "second.tsv", "1" * 64))
    return KnowledgeStore.open(path)


def test_parquet(store: KnowledgeStore, tmp_path: Path) -> None:
    import pyarrow.parquet

    calls: list[tuple[str, int, int]] = []
    export_parquet(store, tmp_path / "facts.parquet", progress=lambda *call: calls.append(call))
    rows = pyarrow.parquet.read_table(tmp_path / "facts.parquet").to_pylist()
    assert rows[0] == {
        "id": 0,
        "head": "Cat",
        "relation": "IsA",
        "tail": "animal",
        "head_id": 0,
        "tail_id": 1,
        "text": "Cat is an animal",
        "sources": [
            {"source": "first", "line": 1, "surface": "[[Cat]] is an [[animal]]"},
            {"source": "second", "line": 1, "surface": "[[Cat]] is an [[animal]]"},
        ],
    }
    kept = [(f.head, f.relation, f.tail) for f in store.facts(range(5))]
    assert [(row["head"], row["relation"], row["tail"]) for row in rows] == kept
    assert calls == [("writing facts", 5, 5)]


def test_ntriples(store: KnowledgeStore, tmp_path: Path) -> None:
    from pyoxigraph import RdfFormat, parse

    path = tmp_path / "facts.nt"
    export_ntriples(store, path, base="https://example.org/")
    quads = list(parse(path=str(path), format=RdfFormat.N_TRIPLES))
    label = "http://www.w3.org/2000/01/rdf-schema#label"
    names = {q.subject.value: q.object.value for q in quads if q.predicate.value == label}
    assert names["https://example.org/relation/more%20fast%20than"] == "more fast than"
    read = [
        tuple(names[term.value] for term in (q.subject, q.predicate, q.object))
        for q in quads
        if q.predicate.value != label
    ]
    assert read == [(f.head, f.relation, f.tail) for f in store.facts(range(5))]
    with pytest.raises(KnowledgeError, match="'no iri' is no beginning of an IRI"):
        export_ntriples(store, path, base="no iri")


def test_graphml(store: KnowledgeStore, tmp_path: Path) -> None:
    export_graphml(store, tmp_path / "facts.graphml")
    graph = networkx.read_graphml(tmp_path / "facts.graphml", force_multigraph=True)
    texts = [text.replace("\x07", "\ufffd") for text in store.entity_texts()]
    assert [graph.nodes[f"n{number}"]["text"] for number in range(len(texts))] == texts
    assert graph.edges["n0", "n1", "e0"] == {
        "relation": "IsA",
        "sentence": "Cat is an animal",
        "sources": "first, second",
    }
    dog, animal = texts.index("dog"), texts.index("animal")
    assert sorted(edge["relation"] for edge in graph[f"n{dog}"][f"n{animal}"].values()) == ["IsA", "RelatedTo"]
    assert graph.number_of_edges() == 5


@pytest.mark.parametrize("format_name", EXPORTERS)
def test_what_cannot_be_written_leaves_the_old_file(store: KnowledgeStore, tmp_path: Path, format_name: str) -> None:
    target = tmp_path / "facts"
    target.write_text("old")

    def full(step: str, done: int, total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(KnowledgeError, match=r"cannot write .*facts \(No space left on device\)"):
        EXPORTERS[format_name](store, target, progress=full)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["facts", "in"]
    with pytest.raises(KnowledgeError, match="No such file or directory"):
        EXPORTERS[format_name](store, tmp_path / "nowhere" / json.dumps("facts"))
