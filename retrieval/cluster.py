"""Encoding and indexing on many machines, or on all cores of one, with Ray (https://docs.ray.io).

The process that builds reads texts from the store, sends shards out and writes down what comes back, so workers need
neither the store nor a common disk. Shards are those of a build without Ray, and parts of an index are joined in the
order of the facts: the result is the same, fact for fact.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from retrieval.embedding import Encoder
from retrieval.index import add_in_pieces
from retrieval.workers import Shards, Workers

LOCAL = "local"
"""Address that stands for a cluster of the processor cores of this machine, for the time of the build."""

INDEX_SHARD = 1 << 18
"""Vectors that one task indexes."""


@contextmanager
def ray_workers(address: str = LOCAL, *, cores: int | None = None) -> Iterator[Workers]:
    """Connect to a Ray cluster and give the workers that run on it.

    Args:
        address: `LOCAL`, `"auto"` for the cluster that this machine is part of, or `HOST:PORT` of its head.
        cores: Processor cores of a local cluster; None is all.

    Raises:
        KnowledgeError: if Ray is not installed, the address is none, or the cluster cannot be reached.
    """
    if not re.fullmatch(rf"{LOCAL}|auto|(ray://)?[^/\s]+:\d+", address):
        raise KnowledgeError(
            f"{address!r} is no address of a Ray cluster; give HOST:PORT, auto, or local. Before a file, write"
            " --ray local: without an address, --ray comes last or before another option"
        )
    try:
        import ray
    except ImportError:
        raise KnowledgeError("Ray is not installed; install it with: pip install 'kvqa[cluster]'") from None
    try:
        if address == LOCAL:
            ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        else:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise KnowledgeError(
            f"cannot reach the Ray cluster {address!r}: {reason}; start one with: ray start --head, or give --ray local"
        ) from None
    try:
        yield Workers(_encode, _fill)
    finally:
        ray.shutdown()


class _Encoding:
    """An actor: holds the encoder that came with its first message, weights included."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def encode(self, texts: list[str]) -> NDArray[np.float16]:
        return self.encoder.encode(texts)


def _encode(encoder: Encoder, shards: Shards, tell: Callable[[int], None]) -> Iterator[tuple[int, NDArray[np.float16]]]:
    import ray

    held = ray.put(encoder)
    # A worker that is lost is started again, and its shard with it.
    actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Encoding)
    idle: list[Any] = [actor.remote(held) for _ in range(_cores())]
    busy: dict[Any, tuple[int, int, Any]] = {}
    waiting = iter(shards)
    more = True
    while more or busy:
        while idle and more:
            shard = next(waiting, None)
            if shard is None:
                more = False
                break
            number, texts = shard
            worker = idle.pop()
            busy[worker.encode.remote(texts)] = (number, len(texts), worker)
        if busy:
            (done,), _ = ray.wait(list(busy), num_returns=1)
            number, count, worker = busy.pop(done)
            idle.append(worker)
            yield number, ray.get(done)
            tell(count)
    for worker in idle:
        ray.kill(worker)


def _fill(index: Any, vectors: NDArray[np.float16], tell: Callable[[int], None]) -> None:
    """Add vectors in cells (IVF) part by part on the cluster; other kinds of index can only be filled in one place."""
    import faiss
    import ray

    if not isinstance(faiss.downcast_index(index), faiss.IndexIVF):
        add_in_pieces(index, vectors, tell)
        return
    empty = ray.put(faiss.serialize_index(index))
    task = ray.remote(num_cpus=1)(_indexed)
    pending: deque[tuple[int, Any]] = deque()
    starts = iter(range(0, len(vectors), INDEX_SHARD))
    more = True
    while more or pending:
        while more and len(pending) <= _cores():
            start = next(starts, None)
            if start is None:
                more = False
                break
            part = vectors[start : start + INDEX_SHARD]
            pending.append((len(part), task.remote(empty, np.ascontiguousarray(part))))
        if pending:
            count, done = pending.popleft()  # in the order of the facts
            index.merge_from(faiss.deserialize_index(np.array(ray.get(done))), index.ntotal)
            tell(count)


def _indexed(empty: NDArray[np.uint8], vectors: NDArray[np.float16]) -> NDArray[np.uint8]:
    import faiss

    index = faiss.deserialize_index(np.array(empty))
    add_in_pieces(index, vectors, lambda done: None)
    serialised: NDArray[np.uint8] = faiss.serialize_index(index)
    return serialised


def _cores() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))
