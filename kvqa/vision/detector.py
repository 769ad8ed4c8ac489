"""Finding objects in a photo with a YOLOX network in ONNX form, on the CPU.

Follows Z. Ge et al., YOLOX: Exceeding YOLO Series in 2021 (arXiv 2107.08430; Megvii-BaseDetection/YOLOX).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kvqa.errors import InputError
from kvqa.vision.coco_labels import COCO_LABELS
from kvqa.vision.regions import Region, Regions

Floats = NDArray[np.float32]

STRIDES = (8, 16, 32)
GREY = 114
"""The value with which YOLOX was trained to fill the rest of the square."""
DEFAULT_SIDE = 416
"""Side of the input where an export leaves it open."""


class YoloxDetector:
    """A YOLOX export with raw output, as the YOLOX releases ship it (boxes undecoded, no suppression inside).

    Args:
        path: The ONNX file; `kvqa.vision.detector_file.find_detector` finds one.
        score_threshold: Detections below this score (objectness times class, [0, 1]) are dropped.
        iou_threshold: Of two boxes of one class that overlap more than this, the weaker one is dropped.
        max_regions: At most this many regions a photo, best first.
        labels: Class names in the network's order.
        threads: Threads for the network, 0 for as many as there are cores.

    Raises:
        InputError: if a threshold is outside [0, 1], or the file is missing or not such a network.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        score_threshold: float = 0.3,
        iou_threshold: float = 0.45,
        max_regions: int = 36,
        labels: Sequence[str] = COCO_LABELS,
        threads: int = 0,
    ) -> None:
        for name, value in (("score_threshold", score_threshold), ("iou_threshold", iou_threshold)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; give a number from 0 to 1")
        if max_regions < 1:
            raise InputError(f"max_regions is {max_regions}; give 1 or more")
        self.path = Path(path)
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_regions = max_regions
        self.labels = tuple(labels)
        self._session = _open_session(self.path, threads)
        self.height, self.width = _input_size(self._session, self.path)

    def detect(self, image: Image.Image, *, name: str = "") -> Regions:
        """Return what is in `image`: at most `max_regions` objects, best first, boxes in pixels of `image`.

        Args:
            image: A picture of any size and mode.
            name: File name to note in the result.

        Raises:
            InputError: if the network's output has another shape or holds values that are not finite.
        """
        pixels, scale = letterbox(image.convert("RGB"), self.height, self.width)
        rows = self._run(pixels)
        boxes, scores, classes = decode(rows, self.height, self.width)
        keep = np.flatnonzero(scores >= self.score_threshold)
        boxes, scores, classes = boxes[keep] / scale, scores[keep], classes[keep]
        best = suppress(boxes, scores, classes, self.iou_threshold)
        found = (self._region(boxes[i], scores[i], classes[i], image.size) for i in best)
        regions = tuple(region for region in found if region is not None)[: self.max_regions]
        return Regions(name, image.width, image.height, regions, detector=self.path.stem)

    def _run(self, pixels: Floats) -> Floats:
        """Run the network on (1, 3, H, W) and return its checked output, (num_cells, 5 + num_classes)."""
        session_input = self._session.get_inputs()[0].name
        try:
            output = np.asarray(self._session.run(None, {session_input: pixels})[0])
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise InputError(f"{self.path} cannot be run ({_one_line(error)}); give another YOLOX export") from None
        expected = (1, _num_cells(self.height, self.width), 5 + len(self.labels))
        if output.shape != expected:
            raise InputError(f"{self.path} has output {output.shape}, not {expected}; give a raw YOLOX export")
        if not np.isfinite(output).all():
            raise InputError(f"{self.path} gave values that are not finite; fetch the file again")
        rows: Floats = output[0].astype(np.float32)
        return rows

    def _region(self, box: Floats, score: float, number: int, size: tuple[int, int]) -> Region | None:
        """Return one region clipped to the picture of `size` = (width, height), None if under a pixel is left."""
        x1, x2 = (round(float(value), 2) for value in np.clip(box[[0, 2]], 0, size[0]))
        y1, y2 = (round(float(value), 2) for value in np.clip(box[[1, 3]], 0, size[1]))
        if x2 - x1 < 1 or y2 - y1 < 1:
            return None
        return Region(self.labels[number], min(1.0, round(float(score), 4)), (x1, y1, x2, y2))


def letterbox(image: Image.Image, height: int, width: int) -> tuple[Floats, float]:
    """Fit an RGB picture into the network's input: scaled (bilinear) to the top left, the rest grey.

    Returns:
        (1, 3, height, width) float32, channels B, G, R, values 0 to 255; and the scale, network pixels per picture
        pixel.
    """
    scale = min(height / image.height, width / image.width)
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    canvas = np.full((height, width, 3), GREY, dtype=np.float32)
    canvas[: size[1], : size[0]] = np.asarray(image.resize(size, Image.Resampling.BILINEAR))[:, :, ::-1]
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None]), scale


def decode(rows: Floats, height: int, width: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Turn raw output into boxes.

    Args:
        rows: (num_cells, 5 + num_classes): offset x, y from the cell, log width, log height in strides, objectness
            and class scores in [0, 1]; the cells of stride 8 first, row by row, then 16, then 32.
        height, width: Size of the network's input in pixels.

    Returns:
        boxes (num_cells, 4) x1, y1, x2, y2 in network pixels; scores (num_cells,) of the best class; its number.
    """
    cells, strides = _cells(height, width)
    centre = (rows[:, :2] + cells) * strides
    half = np.exp(np.minimum(rows[:, 2:4], 20.0)) * strides / 2  # 20: a wild value stays a finite box
    class_scores = rows[:, 5:]
    classes = class_scores.argmax(axis=1)
    scores = rows[:, 4] * class_scores[np.arange(len(rows)), classes]
    return np.concatenate([centre - half, centre + half], axis=1), scores, classes


def suppress(boxes: Floats, scores: Floats, classes: NDArray[np.int64], iou_threshold: float) -> list[int]:
    """Greedy non-maximum suppression within each class.

    Args:
        boxes: (N, 4) x1, y1, x2, y2. scores: (N,). classes: (N,).
        iou_threshold: A box that overlaps a stronger kept box of its class by more than this is dropped.

    Returns:
        Row numbers of the boxes that stay, best score first; of equal scores the earlier row is first.
    """
    order = np.argsort(-scores, kind="stable")
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        shared = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        overlap = np.prod(np.clip(shared, 0, None), axis=1)
        iou = overlap / np.maximum(area[best] + area[order] - overlap, 1e-9)
        order = order[(iou <= iou_threshold) | (classes[order] != classes[best])]
    return kept


def _cells(height: int, width: int) -> tuple[Floats, Floats]:
    """Return x, y of every grid cell (num_cells, 2) and its stride (num_cells, 1)."""
    cells, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _num_cells(height: int, width: int) -> int:
    """Return the number of rows that the network's output has for this input size."""
    return sum((height // stride) * (width // stride) for stride in STRIDES)


def _open_session(path: Path, threads: int) -> Any:
    """Open the network on the CPU."""
    if not path.is_file():
        raise InputError(f"the detector {path} is not a file; give an ONNX file or run: kvqa fetch-detector")
    import onnxruntime  # slow to import, and not needed for region files

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # its complaints come as exceptions too
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base class for its errors
        raise InputError(f"{path} is not a usable ONNX network ({_one_line(error)}); fetch the file again") from None


def _input_size(session: Any, path: Path) -> tuple[int, int]:
    """Return height and width of the network's input, `DEFAULT_SIDE` where the file leaves them open."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (3, "channels", None):
        shapes = [entry.shape for entry in inputs]
        raise InputError(f"{path} takes inputs {shapes}, not one of 1 x 3 x H x W; give a YOLOX export")
    height, width = (side if isinstance(side, int) and side > 0 else DEFAULT_SIDE for side in shape[2:])
    return height, width


def _one_line(error: Exception) -> str:
    """Return the message of `error` on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]
