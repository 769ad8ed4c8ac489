import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kb.errors import KnowledgeError
from kb.fact import AddReport, Origin
from kb.readers.reject import Reject
from kb.store import KnowledgeStore
from kb.triple import Alias, Triple

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


@pytest.mark.parametrize("url", ["mysql://host/facts", "sqlite://", "sqlite:///:memory:", "://"])
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
    with pytest.raises(KnowledgeError, match=r"version 99, this program reads 2; .*index-kb SOURCE.* --overwrite"):
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


# --- other names, rejects, spellings -----------------------------------------------------------------------------

MIXED = [
    Alias("Wolf", "Gray  wolf", line=1),
    Alias("wolf", "gray wolf", line=1),
    Triple("wolf", "IsA", "Animal", line=2),
    Reject(3, "no columns", "half\x00a\udcff line"),
    Alias("unicorn", "monoceros", line=4),
    Alias("wolf", "WOLF", line=4),
    Triple("WOLF", "Eats", "dog", line=5, surface="A wolf eats a dog."),
]


def fill_mixed(path: Path) -> Path:
    with KnowledgeStore.create(path) as store:
        store.add(PETS, store.add_source("pets", "pets.tsv", "0"))
        assert store.add(MIXED, store.add_source("mixed", "mixed.tsv", "1")) == AddReport(2, 2, 0, refused=1)
        store.add([Alias("dog", "gray wolf"), Alias("umbrella", "dog")], store.add_source("names", "n.tsv", "2"))
    return path


def test_other_names_come_after_main_names(tmp_path: Path) -> None:
    with KnowledgeStore.open(fill_mixed(tmp_path / "facts.db")) as store:
        wolf = store.find_entities(["wolf"])["wolf"]
        assert store.find_entities(["gray wolf", "dog", "monoceros"]) == {"dog": 0, "gray wolf": wolf}
        assert store.aliases(wolf) == ["Gray wolf"] and store.aliases(0) == ["gray wolf"]
        assert store.entity_texts([wolf, 0]) == ["wolf", "Dog"]
        with pytest.raises(KnowledgeError, match="no entity 99; ids go from 0 to 4"):
            store.entity_texts([99])


def test_a_name_is_tied_to_its_entity_when_a_later_source_states_a_fact_of_it(tmp_path: Path) -> None:
    with KnowledgeStore.create(tmp_path / "facts.db") as store:
        store.add(MIXED, store.add_source("mixed", "f", "0"))
        store.add([Triple("Unicorn", "IsA", "animal")], store.add_source("myths", "g", "1"))
    with KnowledgeStore.open(tmp_path / "facts.db") as store:
        assert store.find_entities(["monoceros"]) == {"monoceros": store.find_entities(["unicorn"])["unicorn"]}


def test_counts_and_rejects_of_each_source(tmp_path: Path) -> None:
    with KnowledgeStore.open(fill_mixed(tmp_path / "facts.db")) as store:
        pets, mixed, names = store.sources()
        assert (pets.records, pets.read, pets.new, pets.refused, pets.complete) == (3, 3, 2, 0, True)
        assert (mixed.records, mixed.read, mixed.new, mixed.refused, mixed.complete) == (7, 2, 2, 1, True)
        assert (names.records, names.read) == (2, 0)
        assert list(store.rejects()) == [("mixed", Reject(3, "no columns", "half�a? line"))]


def test_a_store_made_of_the_records_of_another_is_equal_to_it(tmp_path: Path) -> None:
    with KnowledgeStore.open(fill_mixed(tmp_path / "one.db")) as one, KnowledgeStore.create(tmp_path / "two.db") as two:
        for source in one.sources():
            number = two.add_source(source.name, source.path, source.sha256)
            two.add(one.records_of(source), number, copied=source)
        two.finish()
        assert two.content_hash() == one.content_hash()
        assert two.facts(range(4)) == one.facts(range(4))
        assert two.find_entities(["gray wolf"]) == one.find_entities(["gray wolf"])
        assert [(s.read, s.new, s.refused) for s in two.sources()] == [
            (s.read, s.new, s.refused) for s in one.sources()
        ]


def test_spellings_of_a_later_source_are_kept_for_when_the_first_is_gone(tmp_path: Path) -> None:
    with KnowledgeStore.open(fill_mixed(tmp_path / "one.db")) as one, KnowledgeStore.create(tmp_path / "two.db") as two:
        mixed = one.sources()[1]
        two.add(one.records_of(mixed), two.add_source("mixed", "f", "1"))
        assert two.entity_texts() == ["wolf", "Animal", "dog"]  # not "animal" and "Dog", as pets.tsv has it


# --- going on after a crash --------------------------------------------------------------------------------------


def number_triples(count: int) -> list[Triple]:
    return [Triple(f"n{number % 700}", "RelatedTo", f"n{number % 991}", line=number) for number in range(count)]


@pytest.mark.parametrize("stop", [0, 1, 99, 100, 101, 450])
def test_adding_goes_on_where_it_was_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    monkeypatch.setattr("kb.writing.BATCH", 100)
    records = [*MIXED, *number_triples(500)]
    with KnowledgeStore.create(tmp_path / "whole.db") as whole:
        whole.add(PETS, whole.add_source("pets", "f", "0"))
        whole.add(records, whole.add_source("numbers", "g", "1"))

    def breaking() -> Iterator[object]:
        yield from records[:stop]
        raise RuntimeError("killed")

    store = KnowledgeStore.resume(tmp_path / "resumed.db")
    store.add(PETS, store.add_source("pets", "f", "0"))
    source = store.add_source("numbers", "g", "1")
    with pytest.raises(RuntimeError, match="killed"):
        store.add(breaking(), source)  # type: ignore[arg-type]
    store.discard()  # releases the file, no more
    with pytest.raises(KnowledgeError, match=r"is not whole: its loading was broken off; .*kvqa index-kb"):
        KnowledgeStore.open(tmp_path / "resumed.db")

    with KnowledgeStore.resume(tmp_path / "resumed.db") as store:
        done = store.sources()[source]
        assert done.records == stop // 100 * 100 and not done.complete
        store.add(records[done.records :], source)
        store.finish()
    with KnowledgeStore.open(tmp_path / "whole.db") as one, KnowledgeStore.open(tmp_path / "resumed.db") as two:
        assert one.content_hash() == two.content_hash()
        assert one.sources() == two.sources()
        assert list(one.rejects()) == list(two.rejects())
        assert one.facts(range(one.num_facts)) == two.facts(range(two.num_facts))
        two.verify()


def test_a_whole_store_can_be_added_to(path: Path) -> None:
    with KnowledgeStore.open(path) as store:
        before = store.content_hash()
    with KnowledgeStore.resume(path) as store:
        store.add([Triple("dog", "Eats", "bone")], store.add_source("third", "f", "0"))
        store.finish()
    with KnowledgeStore.open(path) as store:
        assert (store.num_facts, store.num_entities, store.num_relations) == (4, 5, 4)
        assert store.content_hash() != before
        store.verify()


def test_verify_names_what_was_altered(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entity SET text = 'Cat' WHERE id = 0")
    connection.close()
    with (
        KnowledgeStore.open(path) as store,
        pytest.raises(KnowledgeError, match=r"the entities .* were altered.*index-kb"),
    ):
        store.verify()


def test_the_hash_of_an_addition_is_that_of_a_new_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.fingerprint.BLOCK", 64)
    first, second = number_triples(300), number_triples(500)[300:]
    with KnowledgeStore.create(tmp_path / "one.db") as one:
        one.add(first, one.add_source("a", "f", "0"))
        one.add(second, one.add_source("b", "f", "0"))
    with KnowledgeStore.create(tmp_path / "two.db") as two:
        two.add(first, two.add_source("a", "f", "0"))
        two.content_hash()
        two.add(second, two.add_source("b", "f", "0"))
    with KnowledgeStore.open(tmp_path / "one.db") as one, KnowledgeStore.open(tmp_path / "two.db") as two:
        assert one.content_hash() == two.content_hash()


def test_resume_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(KnowledgeError, match="it is left alone"):
        KnowledgeStore.resume(tmp_path / "notes.txt")
