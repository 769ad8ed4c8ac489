"""Building with the facts in PostgreSQL: the same knowledge base, the same safety."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import make_url

from kb.errors import KnowledgeError
from kb.postgres import PostgresSchema
from retrieval.builder import build_kb
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import Manifest

TABLES = {
    "cats": "Cat\tIsA\tanimal\ncat\tHasA\twhiskers\nbroken\n",
    "dogs": "cat\tIsA\tAnimal\ndog\tIsA\tAnimal\n",
    "cups": "cup\tUsedFor\tdrinking\n",
}


class HashEncoder:
    """Unit vectors that depend on the text alone."""

    name, sha256, dimension = "hash", "0" * 64, 16

    def encode(
        self, texts: Sequence[str], *, batch: int = 256, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        rows = np.array([list(hashlib.sha256(text.encode()).digest()[:16]) for text in texts], dtype=np.float32) - 127.3
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


class Killed(BaseException):
    """What cannot be caught by `except Exception`, like a signal."""


class DyingEncoder(HashEncoder):
    def encode(self, texts: Sequence[str], **options: object) -> NDArray[np.float16]:
        raise Killed


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name, table in TABLES.items():
        (tmp_path / f"{name}.tsv").write_text("head\trelation\ttail\n" + table, encoding="utf-8")
    return {name: tmp_path / f"{name}.tsv" for name in TABLES}


def schemas(url: str) -> list[str]:
    return sorted(place.name for place in PostgresSchema.of(make_url(url)).siblings("kvqa_"))


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    yield postgres
    for place in PostgresSchema.of(make_url(postgres)).siblings("kvqa_"):
        place.remove()


def build(out: Path, *sources: Path, **options: object) -> None:
    build_kb(sources, out, **{"encoder": HashEncoder(), **options})  # type: ignore[arg-type]


def assert_same(one: Path, two: Path) -> None:
    first, second = KnowledgeBase.open(one, thorough=True), KnowledgeBase.open(two, thorough=True)
    facts = range(first.store.num_facts)
    assert first.manifest.id == second.manifest.id
    assert first.store.facts(facts) == second.store.facts(facts)
    np.testing.assert_array_equal(first.triples, second.triples)
    np.testing.assert_array_equal(
        first.index.vectors(np.arange(len(facts))), second.index.vectors(np.arange(len(facts)))
    )


def test_every_kind_of_change_and_what_stays_in_the_database(files: dict[str, Path], url: str, tmp_path: Path) -> None:
    build(tmp_path / "kb", files["cats"], store=url)
    manifest = Manifest.read(tmp_path / "kb")
    assert schemas(url) == [f"kvqa_{manifest.kb_id}_gen_0001"] and "schema=kvqa_" in manifest.store
    old = KnowledgeBase.open(tmp_path / "kb")
    build(tmp_path / "kb", files["dogs"], files["cups"])  # stays where it is without being told again
    assert old.store.fact_texts() == ["Cat is an animal", "Cat has whiskers"]
    build(tmp_path / "kb", remove=["cats"])
    assert schemas(url) == [f"kvqa_{manifest.kb_id}_gen_000{number}" for number in (2, 3)]
    assert not list((tmp_path / "kb").rglob("*.sqlite"))
    build(tmp_path / "fresh", files["dogs"], files["cups"])
    assert_same(tmp_path / "kb", tmp_path / "fresh")


def test_a_build_that_was_killed_goes_on(files: dict[str, Path], url: str, tmp_path: Path) -> None:
    build(tmp_path / "kb", files["cats"], store=url)
    with pytest.raises(Killed):
        build(tmp_path / "kb", files["dogs"], store=url, encoder=DyingEncoder())
    assert KnowledgeBase.open(tmp_path / "kb", thorough=True).store.num_facts == 2
    build(tmp_path / "kb", files["dogs"], store=url)
    build(tmp_path / "fresh", files["cats"], files["dogs"])
    assert_same(tmp_path / "kb", tmp_path / "fresh")


def test_from_a_file_to_the_database(files: dict[str, Path], url: str, tmp_path: Path) -> None:
    build(tmp_path / "kb", files["cats"], files["dogs"])
    build(tmp_path / "kb", store=url)
    build(tmp_path / "fresh", files["cats"], files["dogs"])
    assert Manifest.read(tmp_path / "kb").store.startswith("postgresql://")
    assert_same(tmp_path / "kb", tmp_path / "fresh")


def test_a_password_is_in_no_file(files: dict[str, Path], url: str, tmp_path: Path) -> None:
    with_password = make_url(url).set(password="hunter2").render_as_string(hide_password=False)
    build(tmp_path / "kb", files["cats"], store=with_password)
    build(tmp_path / "kb", files["dogs"], store=with_password)
    for path in (tmp_path / "kb").rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()


def test_a_store_of_other_facts_is_refused(files: dict[str, Path], url: str, tmp_path: Path) -> None:
    build(tmp_path / "kb", files["cats"], store=url)
    manifest = Manifest.read(tmp_path / "kb")
    engine = PostgresSchema.of(make_url(manifest.store)).engine(read_only=False)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE entity SET text = 'Dog' WHERE id = 0")
    with pytest.raises(KnowledgeError, match="the entities of the store were altered"):
        KnowledgeBase.open(tmp_path / "kb", thorough=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE meta SET value = 'x' WHERE key = 'content_hash'")
    engine.dispose()
    with pytest.raises(KnowledgeError, match=r"holds other facts than were indexed; build it again: .* --overwrite"):
        KnowledgeBase.open(tmp_path / "kb")


def test_what_is_no_database_is_refused(files: dict[str, Path], url: str, tmp_path: Path) -> None:
    for store in ("facts.db", "sqlite:///facts.db", f"{url}&schema=mine"):
        with pytest.raises(KnowledgeError, match=r"is no PostgreSQL database; give postgresql://USER@HOST/DATABASE"):
            build(tmp_path / "kb", files["cats"], store=store)
    assert not (tmp_path / "kb").exists()
