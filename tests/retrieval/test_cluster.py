"""Building on a local Ray cluster of two workers: the same knowledge base, fact for fact."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kb import database
from kb.errors import KnowledgeError
from retrieval import cluster, vector_file
from retrieval.builder import build_kb
from retrieval.cluster import ray_workers
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import Manifest
from retrieval.workers import Workers


def vectors_of(texts: Sequence[str]) -> NDArray[np.float16]:
    rows = np.array([list(hashlib.sha256(text.encode()).digest()[:16]) for text in texts], dtype=np.float32) - 127.3
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


class HashEncoder:
    name, sha256, dimension = "hash", "0" * 64, 16

    def encode(
        self, texts: Sequence[str], *, batch: int = 256, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        if progress is not None:
            progress(len(texts))
        return vectors_of(texts)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Two workers. The encoder above travels to them by value: they cannot import a test."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with ray_workers("local", cores=2) as workers:
        yield workers


def write_facts(path: Path, count: int) -> Path:
    rows = [f"thing {number % 97}\tR{number % 3}\tthing {number % 311}\n" for number in range(count)]
    path.write_text("head\trelation\ttail\n" + "".join(rows), encoding="utf-8")
    return path


def test_the_same_as_in_one_process(workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_file, "SHARD", 100)
    monkeypatch.setattr(cluster, "INDEX_SHARD", 150)
    source, encoder = write_facts(tmp_path / "facts.tsv", 1000), HashEncoder()
    said: list[tuple[str, int, int]] = []
    index = "IVF8,SQ8"
    options = {"encoder": encoder, "index": index}
    build_kb([source], tmp_path / "one", **options)  # type: ignore[arg-type]
    build_kb([source], tmp_path / "two", workers=workers, progress=lambda *step: said.append(step), **options)  # type: ignore[arg-type]
    one, two = (Manifest.read(tmp_path / name) for name in ("one", "two"))
    assert one.id == two.id and one.facts == 1000
    same = {name: entry["sha256"] for name, entry in one.files.items() if not name.endswith(".sqlite")}
    assert same == {name: entry["sha256"] for name, entry in two.files.items() if not name.endswith(".sqlite")}
    assert ("embedding facts", 1000, 1000) in said and (f"indexing facts ({index})", 1000, 1000) in said
    base = KnowledgeBase.open(tmp_path / "two", thorough=True)
    np.testing.assert_array_equal(base.index.vectors(np.arange(1000)), vectors_of(base.store.fact_texts()))


def test_facts_in_a_database_and_vectors_by_a_cluster(workers: Workers, postgres: str, tmp_path: Path) -> None:
    source, encoder = write_facts(tmp_path / "facts.tsv", 300), HashEncoder()
    build_kb([source], tmp_path / "one", encoder=encoder)
    build_kb([source], tmp_path / "two", encoder=encoder, workers=workers, store=postgres)
    one, two = (KnowledgeBase.open(tmp_path / name, thorough=True) for name in ("one", "two"))
    try:
        assert two.manifest.store.startswith("postgresql://") and one.manifest.id == two.manifest.id
        assert one.store.facts(range(300)) == two.store.facts(range(300))
        assert one.store.sources() == two.store.sources()
        np.testing.assert_array_equal(one.triples, two.triples)
        np.testing.assert_array_equal(one.entity_vectors, two.entity_vectors)
        np.testing.assert_array_equal(one.index.vectors(np.arange(300)), two.index.vectors(np.arange(300)))
    finally:
        two.store.close()
        database.place_of(two.manifest.store).remove()


@pytest.mark.parametrize("address", ["facts.tsv", "./facts.tsv", "data/x.tsv:1", "-", ""])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(KnowledgeError, match=r"is no address of a Ray cluster; .*--ray local"), ray_workers(address):
        pass


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed")

    def refuse(**options: object) -> None:
        raise ConnectionError(f"no route to {options['address']}")

    monkeypatch.setattr(ray, "init", refuse)
    message = r"cannot reach the Ray cluster 'far:1': no route to far:1; start one with: ray start"
    with pytest.raises(KnowledgeError, match=message), ray_workers("far:1"):
        pass


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    message = r"Ray is not installed; install it with: pip install 'kvqa\[cluster\]'"
    with pytest.raises(KnowledgeError, match=message), ray_workers():
        pass
