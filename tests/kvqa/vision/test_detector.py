import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kvqa.data.images import read_image
from kvqa.errors import InputError
from kvqa.vision import detector as detector_module
from kvqa.vision.coco_labels import COCO_LABELS
from kvqa.vision.detector import YoloxDetector, decode, letterbox, suppress
from kvqa.vision.regions import Region, check_regions

HEIGHT, WIDTH = 64, 96  # grids of 8 x 12, 4 x 6, 2 x 3
CELLS = 96 + 24 + 6


def _overlap(a: Any, b: Any) -> float:
    """Intersection over union of two boxes, the slow and obvious way."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(width * height / (sum(areas) - width * height))


def test_coco_has_eighty_different_labels() -> None:
    assert len(set(COCO_LABELS)) == len(COCO_LABELS) == 80
    assert [COCO_LABELS[i] for i in (0, 3, 4, 57, 60, 62, 79)] == [
        *("person", "motorcycle", "airplane", "couch", "dining table", "tv", "toothbrush"),
    ]


def test_decode_agrees_with_a_loop_over_the_cells() -> None:
    rows = np.random.default_rng(0).uniform(0, 1, (CELLS, 5 + 3)).astype(np.float32)
    boxes, scores, classes = decode(rows, HEIGHT, WIDTH)
    number = 0
    for stride in (8, 16, 32):
        for y in range(HEIGHT // stride):
            for x in range(WIDTH // stride):
                dx, dy, log_w, log_h, objectness, *names = rows[number]
                cx, cy, w, h = (x + dx) * stride, (y + dy) * stride, np.exp(log_w) * stride, np.exp(log_h) * stride
                np.testing.assert_allclose(
                    boxes[number], [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], rtol=1e-4, atol=1e-3
                )
                assert scores[number] == pytest.approx(objectness * max(names))
                assert classes[number] == np.argmax(names)
                number += 1
    assert number == CELLS == len(boxes)


def test_decode_keeps_wild_sizes_finite() -> None:
    assert np.isfinite(decode(np.full((CELLS, 6), 1e4, np.float32), HEIGHT, WIDTH)[0]).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 1.0])
def test_suppress_agrees_with_a_double_loop(seed: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 60, (80, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(5, 40, (80, 2))], axis=1).astype(np.float32)
    scores = generator.choice(np.linspace(0.1, 0.9, 30), 80).astype(np.float32)  # with ties
    classes = generator.integers(0, 3, 80)
    expected: list[int] = []
    for i in sorted(range(80), key=lambda i: (-scores[i], i)):
        if all(classes[i] != classes[j] or _overlap(boxes[i], boxes[j]) <= threshold for j in expected):
            expected.append(i)
    assert suppress(boxes, scores, classes, threshold) == expected


def test_suppress_of_nothing_is_nothing() -> None:
    none = np.zeros(0, np.float32)
    assert suppress(none.reshape(0, 4), none, none.astype(np.int64), 0.5) == []


def test_letterbox_is_blue_green_red_at_the_top_left_over_grey() -> None:
    pixels, scale = letterbox(Image.new("RGB", (96, 32), (200, 100, 50)), 64, 48)
    assert (pixels.shape, pixels.dtype, scale) == ((1, 3, 64, 48), np.float32, 0.5)
    np.testing.assert_array_equal(pixels[0, :, 0, 0], [50, 100, 200])
    np.testing.assert_array_equal(pixels[0, :, 15, 47], [50, 100, 200])
    np.testing.assert_array_equal(pixels[0, :, 16, 0], [114, 114, 114])


def test_letterbox_takes_the_thinnest_picture() -> None:
    assert letterbox(Image.new("RGB", (5000, 1)), 64, 96)[0].shape == (1, 3, 64, 96)


class _Session:
    """Stands for onnxruntime's session: it answers every picture with `output`."""

    def __init__(self, output: Any, shape: tuple[Any, ...] = (1, 3, HEIGHT, WIDTH)) -> None:
        self.output, self.shape = output, shape

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="images", shape=list(self.shape))]

    def run(self, names: None, feed: dict[str, Any]) -> list[Any]:
        assert feed["images"].shape[2:] == (HEIGHT, WIDTH)
        return [self.output]


def _detector(monkeypatch: pytest.MonkeyPatch, session: _Session, **options: Any) -> YoloxDetector:
    monkeypatch.setattr(detector_module, "_open_session", lambda path, threads: session)
    return YoloxDetector("toy.onnx", labels=("cat", "dog"), **options)


def _output(*things: tuple[int, float, float, float, int]) -> Any:
    """Raw output with one thing in each given cell of stride 32: cell, width, height, score, class."""
    rows = np.zeros((1, CELLS, 7), np.float32)
    for cell, width, height, score, number in things:
        rows[0, 120 + cell] = [0.5, 0.5, np.log(width / 32), np.log(height / 32), score, 0, 0]
        rows[0, 120 + cell, 5 + number] = 1
    return rows


def test_detect_gives_boxes_in_pixels_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    output = _output((0, 20, 10, 0.8, 1), (4, 16, 16, 0.9, 0), (5, 16, 16, 0.2, 0))
    found = _detector(monkeypatch, _Session(output)).detect(Image.new("RGB", (192, 128)), name="a.jpg")
    assert (found.image, found.width, found.height, found.detector) == ("a.jpg", 192, 128, "toy")
    # Cell 4 is the second of the second row: centre (48, 48) in the network, (96, 96) in the picture of twice the size.
    assert found.regions == (
        Region("cat", pytest.approx(0.9), (80.0, 80.0, 112.0, 112.0)),  # type: ignore[arg-type]
        Region("dog", pytest.approx(0.8), (12.0, 22.0, 52.0, 42.0)),  # type: ignore[arg-type]
    )


def test_boxes_are_clipped_and_those_in_the_grey_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    output = _output((0, 90, 90, 0.8, 1), (5, 16, 16, 0.9, 0))
    found = _detector(monkeypatch, _Session(output)).detect(Image.new("L", (96, 32)))
    assert [region.label for region in found.regions] == ["dog"]
    assert found.regions[0].box == (0.0, 0.0, 61.0, 32.0)
    check_regions(found)


def test_at_most_max_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    output = _output((0, 9, 9, 0.5, 0), (1, 9, 9, 0.6, 0), (2, 9, 9, 0.7, 0))
    found = _detector(monkeypatch, _Session(output), max_regions=2).detect(Image.new("RGB", (96, 64)))
    assert [region.score for region in found.regions] == [0.7, 0.6]


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (_Session(np.zeros((1, CELLS, 85), np.float32)), r"toy\.onnx has output \(1, 126, 85\), not \(1, 126, 7\)"),
        (_Session(np.zeros((1, 9, 7), np.float32)), r"has output \(1, 9, 7\)"),
        (_Session(np.full((1, CELLS, 7), np.nan, np.float32)), "not finite"),
        (_Session(None, (1, HEIGHT, WIDTH, 3)), r"takes inputs \[\[1, 64, 96, 3\]\]"),
    ],
)
def test_another_network_is_an_input_error(monkeypatch: pytest.MonkeyPatch, session: _Session, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _detector(monkeypatch, session).detect(Image.new("RGB", (96, 64)))


@pytest.mark.parametrize("options", [{"score_threshold": 1.2}, {"iou_threshold": -1}, {"max_regions": 0}])
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))} is"):
        YoloxDetector("toy.onnx", **options)


def test_a_missing_or_damaged_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.onnx is not a file.*kvqa fetch-detector"):
        YoloxDetector(tmp_path / "none.onnx")
    pytest.importorskip("onnxruntime")
    for content in (b"", b"not a network"):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.onnx is not a usable ONNX network") as caught:
            YoloxDetector(tmp_path / "bad.onnx")
        assert "\n" not in str(caught.value)


# --- with the real network -------------------------------------------------------------------------------------------

DATA = Path(os.environ.get("KVQA_DATA", "/nowhere"), "data")
needs_data = pytest.mark.skipif("KVQA_DATA" not in os.environ, reason="KVQA_DATA, the folder of weights, is not set")


@needs_data
def test_a_cut_network_is_an_input_error(tmp_path: Path) -> None:
    content = (DATA / "weights" / "yolox_nano.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.onnx is not a usable ONNX network"):
        YoloxDetector(tmp_path / "cut.onnx")


@needs_data
@pytest.mark.parametrize(("iou_threshold", "expected"), [(1.0, 165), (0.45, 160)])
def test_recall_on_coco128(iou_threshold: float, expected: int) -> None:
    """Of 277 boxes of at least 32 x 32 pixels (by area) in 60 photos, so many are found at IoU 0.5, score 0.25.

    165 is what the network yields before suppression; suppression of crowded objects costs 5.
    """
    weights = DATA / "weights" / "yolox_nano.onnx"
    detector = YoloxDetector(weights, score_threshold=0.25, iou_threshold=iou_threshold, max_regions=5000, threads=2)
    found = total = 0
    for path in sorted((DATA / "coco128" / "images" / "train2017").glob("*.jpg"))[:60]:
        regions = detector.detect(read_image(path))
        check_regions(regions)
        for label, box in _truth(path.stem, regions.width, regions.height):
            total += 1
            found += any(region.label == label and _overlap(region.box, box) >= 0.5 for region in regions.regions)
    assert total == 277
    assert abs(found - expected) <= 3


def _truth(name: str, width: int, height: int) -> list[tuple[str, list[float]]]:
    """Return label and x1, y1, x2, y2 of the boxes of one photo that cover at least 32 x 32 pixels."""
    path = DATA / "coco128" / "labels" / "train2017" / f"{name}.txt"
    boxes = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        number, *fractions = line.split()
        x, y, w, h = np.array(fractions, dtype=float) * (width, height, width, height)
        if w * h >= 32 * 32:
            boxes.append((COCO_LABELS[int(number)], [x - w / 2, y - h / 2, x + w / 2, y + h / 2]))
    return boxes
