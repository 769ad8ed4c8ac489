"""Region files of a folder of photos, by a YOLOX detector: what captions without detections need for pretraining.

    python scripts/detect_regions.py PHOTOS --out PHOTOS/regions [--detector FILE]

Writes `<photo>.regions.json` for each JPEG or PNG; what is there already is kept. In a pretraining config they are the
source `{data: regions, folder: …}` below `seen`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kvqa.data.images import read_image
from kvqa.errors import InputError
from kvqa.vision.detector import YoloxDetector
from kvqa.vision.detector_file import find_detector
from kvqa.vision.regions import write_regions


def detect_folder(photos: Path, out: Path, detector: Path | None = None) -> tuple[int, list[str]]:
    """Return how many files were written, and what could not be read."""
    network = YoloxDetector(find_detector(detector))
    written, broken = 0, []
    for path in sorted(p for p in photos.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")):
        target = out / f"{path.name}.regions.json"
        if target.is_file():
            continue
        try:
            write_regions(network.detect(read_image(path), name=path.name), target)
            written += 1
        except InputError as error:
            broken.append(str(error))
    return written, broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detector", type=Path)
    options = parser.parse_args()
    written, broken = detect_folder(options.photos, options.out, options.detector)
    print(f"{options.out}: {written} region files written")
    for line in broken:
        print(line, file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
