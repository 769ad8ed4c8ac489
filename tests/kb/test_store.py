import sqlite3
from pathlib import Path

import numpy as np
import pytest

from kb.errors import KnowledgeError
from kb.fact import AddReport, Origin
from kb.store import KnowledgeStore
from kb.triple import Triple

PETS = [
    Triple("Dog", "IsA", "animal", line=1),
    Triple("umbrella", "UsedFor", "rain", line=2, surface="An umbrella is for rain."),
    Triple("dog", "IsA", "Animal", line=3),
]
MORE = [Triple("umbrella", "UsedFor", "rain", line=7), Triple("dog", "Likes", "umbrella", line=8)]


def fill(path: Path, *, file: str = "pets.tsv") -> Path:
    with KnowledgeStore.create(path) as store:
        assert store.add(PETS, store.add_source("pets", file, "0" * 64, "CC0")) == AddReport(3, 2, 1)
        assert store.add(MORE, store.add_source("more", "more.tsv", "1" * 64)) == AddReport(2, 1, 1)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return fill(tmp_path / "facts.db")


def test_ids_are_dense_in_order_of_insertion(path: Path) -> None:
    with KnowledgeStore.open(path) as store:
        assert (store.num_facts, store.num_entities, store.num_relations) == (3, 4, 3)
        assert store.entity_texts() == ["Dog", "animal", "umbrella", "rain"]
        assert store.entity_keys() == ["dog", "animal", "umbrella", "rain"]
        assert store.relation_names() == ["IsA", "UsedFor", "Likes"]
        arrays = store.arrays()
        assert arrays.heads.tolist() == [0, 2, 0]
        assert arrays.relations.tolist() == [0, 1, 2]
        assert arrays.tails.tolist() == [1, 3, 2]
        assert arrays.heads.dtype == arrays.relations.dtype == arrays.tails.dtype == np.int32


def test_facts_come_as_asked_with_all_origins(path: Path) -> None:
    with KnowledgeStore.open(path) as store:
        likes, umbrella, again = store.facts([2, 1, 2])
        assert likes == again
        assert umbrella == store.fact(1)
        assert (umbrella.head, umbrella.relation, umbrella.tail) == ("umbrella", "UsedFor", "rain")
        assert (umbrella.head_id, umbrella.tail_id) == (2, 3)
        assert umbrella.origins == (Origin("pets", 2, "An umbrella is for rain."), Origin("more", 7, None))
        assert umbrella.source == "pets"
        assert umbrella.text == "umbrella is used for rain"
        assert store.fact(0).origins == (Origin("pets", 1, None),)  # the first of two lines
        assert store.facts([]) == []
        assert store.facts(np.array([0]))[0].id == 0


def test_missing_fact_is_named(path: Path) -> None:
    with KnowledgeStore.open(path) as store, pytest.raises(KnowledgeError, match="no fact 3; ids go from 0 to 2"):
        store.facts([0, 3])


def test_fact_texts(path: Path) -> None:
    with KnowledgeStore.open(path) as store:
        assert store.fact_texts() == ["Dog is an animal", "umbrella is used for rain", "Dog likes umbrella"]
        assert store.fact_texts(1, 2) == ["umbrella is used for rain"]
        assert store.fact_texts(3) == []


def test_find_entities(path: Path) -> None:
    with KnowledgeStore.open(path) as store:
        assert store.find_entities(["rain", "dog", "Dog", "stone"]) == {"rain": 3, "dog": 0}
        assert store.find_entities(str(number) for number in range(40_000)) == {}


def test_sources_and_origin_mask(path: Path) -> None:
    with KnowledgeStore.open(path) as store:
        assert [(source.id, source.name, source.licence) for source in store.sources()] == [
            (0, "pets", "CC0"),
            (1, "more", None),
        ]
        assert store.origin_mask().tolist() == [[True, False], [True, True], [False, True]]


def test_more_than_one_batch_and_more_ids_than_one_query_takes(tmp_path: Path) -> None:
    with KnowledgeStore.create(tmp_path / "big.db") as store:
        source = store.add_source("numbers", "numbers.tsv", "0" * 64)
        triples = (Triple(str(number), "RelatedTo", str(number + 1)) for number in range(45_000))
        assert store.add(triples, source) == AddReport(45_000, 45_000, 0)
        assert store.num_facts == 45_000
        assert [fact.id for fact in store.facts(range(44_999, -1, -1))] == list(range(44_999, -1, -1))


def test_content_hash_does_not_know_paths(path: Path, tmp_path: Path) -> None:
    other = fill(tmp_path / "sub" / "other.db", file="/elsewhere/pets.tsv")
    with KnowledgeStore.open(path) as one, KnowledgeStore.open(other) as two:
        assert one.content_hash() == two.content_hash()
        assert len(one.content_hash()) == 64


def test_content_hash_knows_facts_order_and_sources(tmp_path: Path) -> None:
    hashes = set()
    cases = [(PETS, "pets"), (PETS[:1], "pets"), (PETS[1::-1], "pets"), (PETS, "x")]
    for number, (triples, name) in enumerate(cases):
        with KnowledgeStore.create(tmp_path / f"{number}.db") as store:
            store.add(triples, store.add_source(name, "f", "0"))
            hashes.add(store.content_hash())
    assert len(hashes) == 4


def test_empty_store(tmp_path: Path) -> None:
    KnowledgeStore.create(tmp_path / "empty.db").close()
    with KnowledgeStore.open(tmp_path / "empty.db") as store:
        assert store.num_facts == 0
        assert store.arrays().heads.shape == (0,)
        assert store.origin_mask().shape == (0, 0)
        assert store.fact_texts() == []


def test_a_failed_load_leaves_the_older_store(path: Path) -> None:
    with pytest.raises(RuntimeError, match="reader"), KnowledgeStore.create(path) as store:
        store.add(PETS[:1], store.add_source("pets", "f", "0"))
        raise RuntimeError("reader")
    with KnowledgeStore.open(path) as store:
        assert store.num_facts == 3
    assert [file.name for file in path.parent.iterdir()] == ["facts.db"]


def test_close_replaces_the_older_store_and_leftovers(path: Path) -> None:
    path.with_name("facts.db.partial").write_bytes(b"left by a crash")
    store = KnowledgeStore.create(path)
    store.add(MORE, store.add_source("more", "f", "0"))
    store.close()
    store.close()
    store.discard()
    with KnowledgeStore.open(path) as reopened:
        assert reopened.num_facts == 2
    assert [file.name for file in path.parent.iterdir()] == ["facts.db"]


def test_odd_names_and_urls(tmp_path: Path) -> None:
    path = fill(tmp_path / "50% sure? #1.db")
    with KnowledgeStore.open(str(path)) as store:
        assert store.num_facts == 3
    fill(tmp_path / "plain.db")
    with KnowledgeStore.open(f"sqlite:///{tmp_path}/plain.db") as store:
        assert store.num_facts == 3


@pytest.mark.parametrize("url", ["postgresql://host/facts", "sqlite://", "sqlite:///:memory:", "://"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(KnowledgeError, match="sqlite:///PATH"):
        KnowledgeStore.open(url)


def test_open_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"no knowledge store .*kvqa index-kb"):
        KnowledgeStore.open(tmp_path / "none.db")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(KnowledgeError, match=r"photo\.jpg is no knowledge store"):
        KnowledgeStore.open(tmp_path / "photo.jpg")
    with pytest.raises(KnowledgeError, match="is no knowledge store"):
        KnowledgeStore.open(tmp_path)
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\x00" + b"\x07" * 200)
    with pytest.raises(KnowledgeError, match=r"torn\.db is no knowledge store"):
        KnowledgeStore.open(tmp_path / "torn.db")
    sqlite3.connect(tmp_path / "foreign.db").execute("CREATE TABLE songs (id)").connection.close()
    with pytest.raises(KnowledgeError, match="no such table: meta"):
        KnowledgeStore.open(tmp_path / "foreign.db")


def test_other_schema_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    connection.close()
    with pytest.raises(KnowledgeError, match=r"schema version 99, this program reads 1; .*kvqa index-kb"):
        KnowledgeStore.open(path)


def test_create_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(KnowledgeError, match="it is left alone"):
        KnowledgeStore.create(tmp_path / "notes.txt")
    with pytest.raises(KnowledgeError, match="cannot write"):
        KnowledgeStore.create(tmp_path / "notes.txt" / "facts.db")


def test_an_open_store_cannot_be_written(path: Path) -> None:
    with KnowledgeStore.open(path) as store:
        with pytest.raises(KnowledgeError, match="reading only"):
            store.add(MORE, 0)
        with pytest.raises(KnowledgeError, match="reading only"):
            store.add_source("third", "f", "0")


def test_bad_sources(tmp_path: Path) -> None:
    with KnowledgeStore.create(tmp_path / "facts.db") as store:
        with pytest.raises(KnowledgeError, match="no source 0; call add_source first"):
            store.add(PETS, 0)
        store.add_source("pets", "f", "0")
        with pytest.raises(KnowledgeError, match="a source 'pets' already"):
            store.add_source("pets", "g", "1")
        with pytest.raises(KnowledgeError, match="bad name ' '"):
            store.add_source(" ", "g", "1")
