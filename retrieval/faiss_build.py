"""Which build of FAISS is installed, and its GPU if it has one."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import TYPE_CHECKING

from kb.errors import KnowledgeError

if TYPE_CHECKING:
    import faiss

CPU_BUILDS = ("faiss-cpu",)
GPU_BUILDS = ("faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-gpu")


@cache
def check_one_build() -> None:
    """Refuse to go on with two builds of FAISS: they overwrite each other's files.

    Raises:
        KnowledgeError: if a CPU and a GPU build are installed together.
    """
    cpu, gpu = _installed(CPU_BUILDS), _installed(GPU_BUILDS)
    if cpu and gpu:
        raise KnowledgeError(
            f"{cpu[0]} and {gpu[0]} are both installed and overwrite each other; keep one:"
            f" pip uninstall {cpu[0]} {gpu[0]}, then pip install 'kvqa[cpu]' or 'kvqa[gpu]'"
        )


def _installed(names: tuple[str, ...]) -> list[str]:
    found = []
    for name in names:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def to_gpu(index: faiss.Index) -> faiss.Index | None:
    """Return a copy of `index` on the first GPU, or None without one, or if FAISS has no GPU form of this kind."""
    import faiss

    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        return None
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError:  # HNSW and others exist on the CPU only; or the GPU's memory is too small
        return None


def to_cpu(index: faiss.Index) -> faiss.Index:
    """Return a copy in main memory of an index on the GPU."""
    import faiss

    return faiss.index_gpu_to_cpu(index)
