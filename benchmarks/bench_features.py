"""How fast are region features opened and read, and what memory does it take?

    python benchmarks/bench_features.py [--images 20000] [--regions 36] [--width 2048] [--batch 64] [--seconds 10]

Generates a feature folder in a temporary folder (3 GB by default, removed at the end), opens it in a fresh process and
reads random batches for some seconds: once as the system has the files in its cache, and before that after asking the
system to drop them from it. The last line is a JSON object: `open_s`, the time of `FeatureStore(folder)`, imports not
counted; `images_per_s`, batches of padded float32 tensors in random order, cached; `cold_images_per_s`, the same from
the disk; `anon_gib`, the highest anonymous memory (`Anonymous` in /proc/self/smaps_rollup, sampled after each batch) of
the whole reading process, torch included; `images`, `gigabytes`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from kvqa.data.feature_files import write_features
from kvqa.data.features import FeatureStore, ImageFeatures


def made_up(images: int, regions: int, width: int) -> Iterator[ImageFeatures]:
    """Yield random features; drawing from one large block keeps the making short."""
    rng = np.random.default_rng(0)
    block = rng.standard_normal((64 * regions, width), dtype=np.float32).astype(np.float16)
    low = rng.uniform(0, 200, (64 * regions, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 200, low.shape)], axis=1).astype(np.float32)
    for number in range(images):
        start = int(rng.integers(len(block) - regions))
        rows = slice(start, start + regions)
        yield ImageFeatures(f"COCO_train2014_{number:012d}", 640, 480, boxes[rows], block[rows])


def anonymous_gib() -> float:
    """Return the anonymous memory of this process in GiB."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("/proc/self/smaps_rollup has no line Anonymous")


def drop_cache(folder: Path) -> None:
    """Ask the system to forget the files, so that they are read from the disk."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def stream(store: FeatureStore, batch: int, seconds: float, seed: int) -> tuple[float, float]:
    """Return images a second over random batches, and the highest anonymous memory in GiB."""
    rng = np.random.default_rng(seed)
    ids, read, highest, spent = store.ids, 0, 0.0, 0.0
    while spent < seconds:
        wanted = [ids[i] for i in rng.choice(len(ids), batch, replace=False)]
        start = time.perf_counter()
        assert len(store.batch(wanted).features) == batch
        spent += time.perf_counter() - start
        read += batch
        highest = max(highest, anonymous_gib())
    return read / spent, highest


def measure(folder: Path, batch: int, seconds: float) -> None:
    """Open and read in this process, and print the figures."""
    drop_cache(folder)
    start = time.perf_counter()
    store = FeatureStore(folder)
    opened = time.perf_counter() - start
    cold, first = stream(store, batch, seconds, seed=0)
    np.array(store.features[:: max(1, len(store.features) // 1000)])
    for part in range(0, len(store.features), 36 * 256):
        store.features[part : part + 36 * 256].max()  # now every page is in the cache
    rate, second = stream(store, batch, seconds, seed=1)
    result = {
        "open_s": round(opened, 3),
        "images_per_s": round(rate),
        "cold_images_per_s": round(cold),
        "anon_gib": round(max(first, second), 3),
        "images": len(store),
        "gigabytes": round(store.features.nbytes / 1e9, 2),
    }
    print(json.dumps(result))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--regions", type=int, default=36)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--read", type=Path, default=None, help="only read this feature folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.read is not None:
        measure(options.read, options.batch, options.seconds)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "features"
        start = time.perf_counter()
        write_features(made_up(options.images, options.regions, options.width), folder, source="made up")
        print(f"{options.images} images written in {time.perf_counter() - start:.1f} s", flush=True)
        command = [sys.executable, __file__, "--read", str(folder)]
        subprocess.run([*command, "--batch", str(options.batch), "--seconds", str(options.seconds)], check=True)


if __name__ == "__main__":
    main()
