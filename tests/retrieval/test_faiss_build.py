import importlib.metadata
from typing import Any

import faiss
import numpy as np
import pytest

from kb.errors import KnowledgeError
from retrieval.faiss_build import check_one_build, to_gpu
from retrieval.index import FactIndex


@pytest.fixture(autouse=True)
def _look_again() -> Any:
    check_one_build.cache_clear()
    yield
    check_one_build.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def distribution(name: str) -> str:
        if name not in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return name

    monkeypatch.setattr("importlib.metadata.distribution", distribution)


@pytest.mark.parametrize("names", [(), ("faiss-cpu",), ("faiss-gpu-cu12",)])
def test_one_build_is_fine(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    install(monkeypatch, *names)
    check_one_build()


def test_two_builds_are_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "faiss-cpu", "faiss-gpu-cu12")
    with pytest.raises(KnowledgeError, match=r"faiss-cpu and faiss-gpu-cu12 are both .*pip uninstall faiss-cpu faiss"):
        FactIndex.build(np.eye(4, dtype=np.float16))


def test_without_a_gpu_nothing_moves() -> None:
    assert to_gpu(faiss.IndexFlatIP(4)) is None or faiss.get_num_gpus() > 0


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, to: Any) -> list[str]:
    """Give FAISS a GPU that is the CPU, and write down what moves."""
    moved: list[str] = []

    def go(resources: object, device: int, index: faiss.Index) -> faiss.Index:
        moved.append("up")
        return to(index)

    def back(index: faiss.Index) -> faiss.Index:
        moved.append("down")
        return faiss.clone_index(index)

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", go, raising=False)
    monkeypatch.setattr(faiss, "index_gpu_to_cpu", back, raising=False)
    return moved


def test_a_gpu_builds_and_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.eye(8, dtype=np.float16)
    moved = pretend_gpu(monkeypatch, faiss.clone_index)
    index = FactIndex.build(vectors, factory="IVF2,Flat")
    assert moved == ["up", "down", "up"]  # built there, fetched, and a copy put there to search
    index.set_width(2)
    assert (index.search(vectors.astype(np.float32), 1)[0][:, 0] == np.arange(8)).all()
    allowed = np.arange(8) > 3
    assert set(index.search(vectors.astype(np.float32), 4, allowed=allowed)[0].ravel()) == {4, 5, 6, 7}


def test_kinds_that_a_gpu_does_not_know_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(index: faiss.Index) -> faiss.Index:
        raise RuntimeError("not implemented on the GPU")

    assert pretend_gpu(monkeypatch, refuse) == []
    assert len(FactIndex.build(np.eye(8, dtype=np.float16), factory="HNSW4")) == 8
