"""How long does an answer take? Cold start and warm answers of `kvqa answer` on real photos.

    python benchmarks/bench_answer.py [PHOTOS_FOLDER] [--photos 20] [--kb DIR] [--model DIR] [--detector P]

The folder defaults to `$KVQA_DATA/data/okvqa_photos`, the photos of OK-VQA. Every photo is asked the same question.
The cold start is the wall time of a whole `kvqa answer` process, the best of three; warm times are of one process,
detector included. The last line is a JSON object: `cold_s`, `warm_median_ms`, `warm_p95_ms`, `photos`, `facts`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from kvqa.answering import Answer, Answerer, Timer
from kvqa.data.images import read_image
from kvqa.demo import default_kb
from kvqa.models.checkpoint import RELEASED, load_model
from kvqa.vision.detector import YoloxDetector
from kvqa.vision.detector_file import find_detector

QUESTION = "What is the object in this image used for?"


def warm_answers(photos: list[Path], answerer: Answerer, detector: YoloxDetector) -> list[Answer]:
    """Answer about each photo, reading and detecting included; the first photo is answered once before."""
    answers = []
    for photo in [photos[0], *photos]:
        timer = Timer()
        with timer.step("detect"):
            image = read_image(photo)
            regions = detector.detect(image, name=photo.name)
        answers.append(answerer.answer(regions, QUESTION, timer=timer))
    return answers[1:]


def cold_start(photo: Path, kb: Path, model: Path, detector: Path) -> float:
    """Return the seconds of one whole process."""
    command = [sys.executable, "-c", "from kvqa.cli import main; main()", "answer", "--image", str(photo)]
    command += ["--question", QUESTION, "--kb", str(kb), "--model", str(model), "--detector", str(detector), "--json"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    photos_folder = Path(os.environ.get("KVQA_DATA", "."), "data", "okvqa_photos")
    parser.add_argument("folder", type=Path, nargs="?", default=photos_folder)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--kb", type=Path, default=None)
    parser.add_argument("--model", type=Path, default=RELEASED)
    parser.add_argument("--detector", type=Path, default=None)
    options = parser.parse_args()
    kb = options.kb or default_kb()
    weights = find_detector(options.detector)
    photos = sorted(options.folder.glob("*.jpg"))[: options.photos]
    if not photos:
        sys.exit(f"no *.jpg in {options.folder}; name a folder of photos")
    answerer = Answerer.open(load_model(options.model), kb)
    answers = warm_answers(photos, answerer, YoloxDetector(weights))
    for answer in answers:
        seen = ", ".join(dict.fromkeys(r.label for r in answer.regions.regions)) or "nothing"
        fact = answer.facts[0].text if answer.facts else "no fact"
        print(f"| {answer.image} | {seen} | {answer.answer} | {answer.confidence:.2f} | {fact} |")
    times = [answer.timings_ms["total"] for answer in answers]
    result = {
        "cold_s": round(min(cold_start(photos[0], kb, options.model, weights) for _ in range(3)), 2),
        "warm_median_ms": round(statistics.median(times), 1),
        "warm_p95_ms": round(statistics.quantiles(times, n=20)[-1], 1),
        "photos": len(answers),
        "facts": answerer.retriever.kb.manifest.facts,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
