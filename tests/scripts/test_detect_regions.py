import importlib.util
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kvqa.vision.regions import Region, Regions, read_regions

SCRIPT = Path(__file__).parents[2] / "scripts" / "detect_regions.py"


class Detector:
    def __init__(self, path: Path) -> None:
        pass

    def detect(self, image: Image.Image, *, name: str) -> Regions:
        return Regions(name, image.width, image.height, (Region("cup", 0.9, (0, 0, 5, 5)),))


def test_each_photo_gets_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("detect_regions", SCRIPT)
    assert spec is not None and spec.loader is not None
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "YoloxDetector", Detector)
    monkeypatch.setattr(script, "find_detector", lambda detector: detector)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("no picture")
    (tmp_path / "notes.txt").write_text("no photo")
    written, broken = script.detect_folder(tmp_path, tmp_path / "regions")
    assert written == 1 and len(broken) == 1 and "b.jpg" in broken[0]
    assert read_regions(tmp_path / "regions" / "a.jpg.regions.json", (40, 30)).regions[0].label == "cup"
    assert script.detect_folder(tmp_path, tmp_path / "regions")[0] == 0
