"""How do time, memory and search grow with the knowledge base? Generated facts, static encoder, store and index.

    python benchmarks/bench_scale.py [--facts 5000000] [--sizes 10000 100000 1000000] [--out FOLDER]

Each size is built by `build_kb` in a process of its own, from a table of generated facts: entities are pairs of words
of the everyday facts, one for every three facts, relations come from ConceptNet. The time is that of the build alone,
with the encoder loaded, on the wall and on the processors; memory is the largest resident set of the process. Then
another process opens the knowledge base and asks its index of static vectors for the ten nearest facts to 500 facts,
one at a time.

The last line is a JSON object: `facts`, `peak_gib`, `growth_exponent` (slope of log processor time over log size by
least squares, from 100,000 facts on: below, the fixed seconds of a build decide), `p95_ms` (of one search),
`recall10` (against exact search, measured at building), `open_s`; and all sizes.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = (10_000, 100_000, 1_000_000)
FITTED_FROM = 100_000
SEARCHES = 500
RELATIONS = ("IsA", "UsedFor", "AtLocation", "HasA", "PartOf", "CapableOf", "Desires", "MadeOf")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--facts", type=int, default=5_000_000, help="the largest size")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="smaller sizes, for the growth")
    parser.add_argument("--out", type=Path, help="where to build; by default a folder that is removed at the end")
    parser.add_argument("--step", choices=("build", "search"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "build":
        print(json.dumps(build(options.facts, options.out)))
    elif options.step == "search":
        print(json.dumps(search(options.out)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            run_all(
                sorted({*(s for s in options.sizes if s < options.facts), options.facts}), options.out or Path(folder)
            )


def run_all(sizes: list[int], folder: Path) -> None:
    rows = []
    for size in sizes:
        out = folder / str(size)
        out.mkdir(parents=True, exist_ok=True)
        row = {"facts": size, **step("build", size, out), **step("search", size, out)}
        rows.append(row)
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    fitted = [row for row in rows if row["facts"] >= FITTED_FROM]
    points = np.log([[row["facts"], row["cpu_seconds"]] for row in fitted]).T
    exponent = np.polyfit(points[0], points[1], 1)[0] if len(fitted) > 1 else float("nan")
    last = {name: rows[-1][name] for name in ("facts", "peak_gib", "p95_ms", "recall10", "open_s")}
    print(json.dumps({**last, "growth_exponent": round(float(exponent), 3), "sizes": rows}))


def step(name: str, facts: int, out: Path) -> dict[str, float]:
    """Run one step in a process of its own, so that it has its own memory."""
    command = [sys.executable, __file__, "--step", name, "--facts", str(facts), "--out", str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def build(facts: int, out: Path) -> dict[str, object]:
    from retrieval.builder import build_kb
    from retrieval.embedding import open_encoder

    table = out / "facts.tsv"
    write_table(table, facts)
    encoder = open_encoder("static", folder=out.parent / "encoder")  # distilled once for all sizes
    encoder.encode(["warm up"])
    steps: dict[str, float] = {}

    def told(step: str, done: int, total: int) -> None:
        steps.setdefault(step.partition(" (")[0], time.perf_counter())

    started, cpu = time.perf_counter(), time.process_time()
    report = build_kb([table], out / "kb", encoder=encoder, progress=told)
    ended = time.perf_counter()
    assert report.manifest is not None
    begins = [*steps.values(), ended]
    parts = {name: round(after - begin, 1) for name, begin, after in zip(steps, begins, begins[1:], strict=False)}
    size = sum(path.stat().st_size for path in (out / "kb").rglob("*") if path.is_file())
    return {
        "seconds": round(ended - started, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "disk_gib": round(size / 2**30, 2),
        "entities": report.manifest.entities,
        "index": report.manifest.index,
        "recall10": report.manifest.recall10,
        "steps": parts,
    }


def search(out: Path) -> dict[str, float]:
    import faiss  # noqa: F401 - loaded before the clock runs, as it is in every program that opens a second one

    from retrieval.knowledge_base import KnowledgeBase
    from retrieval.reranking import RerankedIndex

    started = time.perf_counter()
    kb = KnowledgeBase.open(out / "kb")
    opened = time.perf_counter() - started
    index = kb.index.static if isinstance(kb.index, RerankedIndex) else kb.index
    chosen = np.random.default_rng(0).choice(len(index), SEARCHES + 50)
    queries = index.vectors(chosen)
    times = []
    for row in range(len(queries)):
        begin = time.perf_counter()
        index.search(queries[row : row + 1], 10)
        times.append(time.perf_counter() - begin)
    return {"open_s": round(opened, 3), "p95_ms": round(1000 * float(np.quantile(times[50:], 0.95)), 2)}


def write_table(path: Path, facts: int) -> None:
    rng = random.Random(0)
    words = everyday_words()
    entities = max(2, facts // 3)
    names = [
        f"{words[number % len(words)]} {words[number * 7919 // len(words) % len(words)]}" for number in range(entities)
    ]
    with path.open("w", encoding="utf-8") as file:
        file.write("head\trelation\ttail\n")
        for _ in range(facts):
            head, tail = int(entities * rng.random()), int(entities * rng.random())
            file.write(f"{names[head]}\t{RELATIONS[int(8 * rng.random())]}\t{names[tail]}\n")


def everyday_words() -> list[str]:
    table = Path(__file__).resolve().parents[1] / "kb" / "data" / "everyday.tsv"
    lines = table.read_text(encoding="utf-8").splitlines()
    return sorted({word for line in lines for word in line.replace("\t", " ").split() if word.isalpha()})


if __name__ == "__main__":
    main()
