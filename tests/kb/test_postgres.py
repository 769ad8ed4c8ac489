"""The store on a real PostgreSQL server: everything must be as on SQLite."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, make_url, text

from kb import database
from kb.errors import KnowledgeError
from kb.readers.reject import Reject
from kb.store import KnowledgeStore
from kb.triple import Alias, Triple

RECORDS = [
    Triple("Dog", "IsA", "animal", line=1),
    Alias("dog", "hound", line=1),
    Triple("dog", "IsA", "Animal", line=2, surface="A dog\tis an\nanimal \\ é."),
    Reject(3, "broken", "a\x00b"),
    Triple("DOG", "Eats", "bone", line=4),
]
MORE = [Triple("Animal", "Eats", "dog"), Triple("dog", "IsA", "animal", line=9)]


def location(url: str, schema: str) -> str:
    return make_url(url).update_query_dict({"schema": schema}).render_as_string(hide_password=False)


def fill(store: KnowledgeStore) -> None:
    store.add(RECORDS, store.add_source("dogs", "dogs.tsv", "0", "CC0"))
    store.add(MORE, store.add_source("more", "more.tsv", "1"))


@pytest.fixture
def place(postgres: str) -> Iterator[str]:
    yield location(postgres, "kvqa_test")
    for schema in ("kvqa_test", "kvqa_test_partial", "kvqa_copy"):
        database.place_of(location(postgres, schema)).remove()


def test_both_databases_say_the_same(place: str, tmp_path: Path) -> None:
    for where in (place, tmp_path / "facts.db"):
        with KnowledgeStore.create(where) as store:
            fill(store)
    with KnowledgeStore.open(place) as one, KnowledgeStore.open(tmp_path / "facts.db") as two:
        assert one.content_hash() == two.content_hash()
        one.verify()
        assert one.facts(range(3)) == two.facts(range(3)) and one.sources() == two.sources()
        assert list(one.rejects()) == list(two.rejects())
        for read in ("arrays", "origin_mask", "entity_texts", "entity_keys", "relation_names", "fact_texts"):
            first, second = getattr(one, read)(), getattr(two, read)()
            assert str(first) == str(second), read
        assert one.stated() == two.stated() == [2, 2]
        for part in ("o", "b", "nima", "%"):
            for first, second in zip(one.entities_with(part), two.entities_with(part), strict=True):
                assert first.tolist() == second.tolist(), part
        assert one.find_entities(["hound", "bone", "x"]) == two.find_entities(["bone", "hound"])
        for source in one.sources():
            assert list(one.records_of(source)) == list(two.records_of(source))


def test_a_store_appears_only_when_it_is_whole(place: str) -> None:
    with pytest.raises(RuntimeError, match="reader"), KnowledgeStore.create(place) as store:
        fill(store)
        raise RuntimeError("reader")
    with pytest.raises(KnowledgeError, match="there is no knowledge store postgresql://"):
        KnowledgeStore.open(place)
    with KnowledgeStore.resume(place) as store:
        fill(store)
        with pytest.raises(KnowledgeError, match="is not whole"):
            KnowledgeStore.open(place)
        store.finish()
    with KnowledgeStore.resume(place) as store:
        store.add([Triple("cat", "IsA", "animal")], store.add_source("cats", "c", "2"))
        store.finish()
    with KnowledgeStore.open(place) as store:
        assert store.num_facts == 4 and [source.name for source in store.sources()] == ["dogs", "more", "cats"]
        store.verify()


def test_a_copy_is_equal_and_independent(place: str, postgres: str, tmp_path: Path) -> None:
    with KnowledgeStore.create(place) as store:
        fill(store)
    copy = database.place_of(location(postgres, "kvqa_copy"))
    database.place_of(place).copy_to(copy)  # type: ignore[arg-type]
    with KnowledgeStore.resume(str(copy)) as store:
        store.add([Triple("cat", "IsA", "animal")], store.add_source("cats", "c", "2"))
        store.finish()
    with KnowledgeStore.open(place) as old, KnowledgeStore.open(str(copy)) as new:
        assert (old.num_facts, new.num_facts) == (3, 4)
        old.verify()
        new.verify()
    with pytest.raises(KnowledgeError, match="cannot copy"):
        database.place_of(place).copy_to(database.place_of(tmp_path / "x.db"))  # type: ignore[arg-type]


def test_nothing_can_be_written_through_a_store_that_is_open_for_reading(place: str) -> None:
    with KnowledgeStore.create(place) as store:
        fill(store)
    engine = database.open_read_only(database.place_of(place))
    with pytest.raises(Exception, match="read-only"), engine.begin() as connection:
        connection.execute(text("DELETE FROM fact"))
    engine.dispose()


def test_an_older_store_is_refused(place: str, postgres: str) -> None:
    with KnowledgeStore.create(place) as store:
        fill(store)
    engine = create_engine(make_url(postgres).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE kvqa_test.meta SET value = '1' WHERE key = 'schema_version'"))
    engine.dispose()
    with pytest.raises(KnowledgeError, match=r"has schema version 1, this program reads 2; .*kvqa index-kb"):
        KnowledgeStore.open(place)


def test_a_password_is_never_shown() -> None:
    place = database.place_of(f"postgresql://me:{quote('s3cret/é')}@db.example.org:5433/facts?schema=animals")
    assert str(place) == "postgresql://me@db.example.org:5433/facts?schema=animals"
    assert "s3cret" not in repr(place)
    assert database.place_of(str(place)).name == "animals"  # type: ignore[union-attr]


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"cannot reach postgresql://me@/x.*check the URL.*PGPASSWORD") as caught:
        KnowledgeStore.open(f"postgresql://me:s3cret@/x?host={tmp_path}")
    assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_bad_schema_is_refused() -> None:
    with pytest.raises(KnowledgeError, match="bad schema 'a\"b': give small letters"):
        database.place_of("postgresql:///x?schema=a%22b")
