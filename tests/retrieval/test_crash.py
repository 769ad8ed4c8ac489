"""Builds killed at random instants: the old state stays readable, the next build ends as if undisturbed."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kb.store import KnowledgeStore
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import Manifest
from retrieval.store_place import store_of

# Starting Python and importing faiss takes longer than the build that is to be killed, so one process imports
# everything and then forks a child for each build. Small batches and shards make many instants to be killed at.
NURSERY = """
import hashlib, os, sys
from pathlib import Path
import numpy as np
import kb.writing, retrieval.vector_file
from retrieval.builder import build_kb

kb.writing.BATCH = 150
retrieval.vector_file.SHARD = 128

class Encoder:
    name, sha256, dimension = "hash", "0" * 64, 16

    def encode(self, texts, *, batch=256, progress=None):
        rows = np.array([list(hashlib.sha256(t.encode()).digest()[:16]) for t in texts], dtype=np.float32) - 127.3
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)

print("ready", flush=True)
for line in sys.stdin:
    out, *sources = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if child == 0:
        try:
            build_kb([Path(s) for s in sources], Path(out), encoder=Encoder(), index="IVF8,Flat")
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Nursery:
    """A process that starts builds."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "PATH": ""},
        )
        assert self._read() == "ready"

    def build(self, out: Path, *sources: Path, kill_after: float | None = None) -> int:
        """Build; after so many seconds kill the build. Return its exit code, -9 if it was killed."""
        assert self.process.stdin is not None
        self.process.stdin.write("\t".join(map(str, (out, *sources))) + "\n")
        self.process.stdin.flush()
        child = int(self._read())
        if kill_after is not None:
            time.sleep(kill_after)
            # A child that has ended is waited for by then, and its number may be gone.
            subprocess.run(["kill", "-KILL", str(child)], capture_output=True, check=False)
        return int(self._read())

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


def write_table(path: Path, facts: int, seed: int) -> Path:
    rng = random.Random(seed)
    rows = [f"thing {rng.randrange(300)}\tR{rng.randrange(5)}\tThing {rng.randrange(300)}\n" for _ in range(facts)]
    path.write_text("head\trelation\ttail\n" + "".join(rows) + "broken\n", encoding="utf-8")
    return path


def state_of(kb: Path) -> tuple[object, ...]:
    """Return what must not depend on the history: content, counts, and the bytes of all files but the store."""
    manifest = Manifest.read(kb)
    files = {Path(name).name: entry["sha256"] for name, entry in manifest.files.items() if "store" not in name}
    with KnowledgeStore.open(store_of(kb, manifest)) as store:
        store.verify()
        counts = [(s.name, s.records, s.read, s.new, s.refused, s.complete) for s in store.sources()]
    return manifest.id, counts, files


def check_kills(nursery: Nursery, folder: Path, *, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    a, b, c = (write_table(folder / f"{name}.tsv", 700, number) for number, name in enumerate("abc"))
    assert nursery.build(folder / "old", a, b) == 0
    started = time.monotonic()
    assert nursery.build(folder / "append" / "kb", a, b, c) == 0
    seconds = time.monotonic() - started
    changed = folder / "changed" / "a.tsv"
    changed.parent.mkdir()
    write_table(changed, 600, 9)
    assert nursery.build(folder / "replay" / "kb", changed, b, c) == 0
    expected = {new: state_of(folder / name / "kb") for name, new in (("append", a), ("replay", changed))}
    old, killed = state_of(folder / "old"), 0
    for round_ in range(kills):
        kb, new = folder / f"kb-{round_}", rng.choice([a, changed])
        shutil.copytree(folder / "old", kb)
        reader = KnowledgeBase.open(kb)
        while nursery.build(kb, new, c, kill_after=rng.uniform(0, 1.3 * seconds)) == -signal.SIGKILL:
            killed += 1
            assert state_of(kb) in (old, expected[new])
            KnowledgeBase.open(kb, thorough=True)
            if rng.random() < 0.7:
                break
        assert nursery.build(kb, new, c) == 0
        assert state_of(kb) == expected[new]
        assert len(reader.store.fact_texts()) == reader.store.num_facts == len(reader.index)
        assert not (kb / "building").exists()
        shutil.rmtree(kb)
    assert killed >= kills // 3, "most rounds were to be killed"


def test_a_build_that_is_killed(nursery: Nursery, tmp_path: Path) -> None:
    check_kills(nursery, tmp_path, kills=5, seed=0)


@pytest.mark.slow
def test_a_build_that_is_killed_at_fifty_instants(nursery: Nursery, tmp_path: Path) -> None:
    check_kills(nursery, tmp_path, kills=50, seed=1)
