"""Region features of many images: one folder, read memory-mapped, so that no data set is too large for the machine.

A feature folder holds, for I images with N regions altogether:

- `features.npy` (N, D) float16, the regions of one image behind one another;
- `boxes.npy` (N, 4) float32: x1, y1, x2, y2 in pixels of the image;
- `offsets.npy` (I + 1,) int64: image i has the rows offsets[i] to offsets[i + 1];
- `sizes.npy` (I, 2) int32: width and height of each image in pixels;
- `ids.txt`: one image id a line;
- where the source knows them, `objects.npy` and `attributes.npy` (N,) int32 with `object_scores.npy` and
  `attribute_scores.npy` (N,) float32: the label numbers of the detector and how sure it was;
- `manifest.json`: counts, source, and size and checksum of every file.

`kvqa.data.feature_files` writes and checks such folders, `kvqa.data.feature_formats` reads the published forms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.errors import InputError
from kvqa.vision.regions import TOLERANCE, Region, Regions
from retrieval.manifest import write_text_safely

MANIFEST = "manifest.json"
FORMAT = 1
LABELS = ("objects", "object_scores", "attributes", "attribute_scores")
"""Optional columns, one number a region."""


@dataclass(frozen=True)
class ImageFeatures:
    """The regions of one image.

    Attributes:
        image_id: Identity within the data set.
        width, height: Size of the image in pixels.
        boxes: (R, 4) float32: x1, y1, x2, y2 in pixels.
        features: (R, D) float16 or float32.
        objects, attributes: (R,) int32, label numbers of the detector, or None.
        object_scores, attribute_scores: (R,) float32, how sure it was, or None.
    """

    image_id: str
    width: int
    height: int
    boxes: NDArray[np.float32]
    features: NDArray[Any]
    objects: NDArray[Any] | None = None
    object_scores: NDArray[np.float32] | None = None
    attributes: NDArray[Any] | None = None
    attribute_scores: NDArray[np.float32] | None = None


class FeatureBatch(NamedTuple):
    """Regions of B images, padded to the R of the largest.

    Attributes:
        features: (B, R, D), zeros where there is no region.
        boxes: (B, R, 4) float32 in [0, 1]: x1 / w, y1 / h, x2 / w, y2 / h.
        mask: (B, R) bool, True where a region is.
    """

    features: Tensor
    boxes: Tensor
    mask: Tensor


@dataclass(frozen=True)
class FeatureManifest:
    """What a feature folder says of itself.

    Attributes:
        images, regions, width: Counts I and N, and D.
        most_regions: Of one image.
        labels: Which of `LABELS` are there.
        source: Name of the file or folder that was converted.
        left_out: Image ids, or places in the source, that could not be read, and why; empty unless that was allowed.
        files: Name to size in bytes and SHA-256.
    """

    images: int
    regions: int
    width: int
    most_regions: int
    labels: list[str]
    source: str
    left_out: dict[str, str]
    files: dict[str, dict[str, Any]]
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        write_text_safely(folder / MANIFEST, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> FeatureManifest:
        """Read the manifest of `folder`.

        Raises:
            InputError: if it is no feature folder, or one of another version.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise InputError(
                f"{folder} is no feature folder (it has no {MANIFEST}); make one: "
                f"kvqa features convert SOURCE --out {folder}"
            )
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("format") != FORMAT:
                raise InputError(
                    f"{path} has format {record.get('format')}, this version reads {FORMAT}; convert again"
                )
            return cls(**record)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is damaged ({error}); convert the features again") from None


def check_features(item: ImageFeatures, *, width: int | None = None, max_regions: int | None = None) -> None:
    """Check the regions of one image.

    Args:
        width: D that is expected, None for any.
        max_regions: Most regions that the image may have, None for any number.

    Raises:
        InputError: naming the image and, where it is one, the region (counted from 0): no regions or too many, another
            number of boxes or labels than of features, another D, a value that is not finite in float16, a row of
            zeros (it was never written), a box that is empty or reaches more than a pixel over the edge.
    """
    name = f"image {item.image_id!r}"
    features, boxes = item.features, item.boxes
    if features.ndim != 2 or not features.size:
        raise InputError(f"{name} has features of shape {features.shape}; give (regions, width), at least one region")
    if features.dtype.kind not in "fiu":
        raise InputError(f"{name} has features of type {features.dtype}; give numbers")
    if width is not None and features.shape[1] != width:
        raise InputError(f"{name} has features of width {features.shape[1]}, the others {width}; compute them alike")
    if max_regions is not None and len(features) > max_regions:
        raise InputError(f"{name} has {len(features)} regions, more than {max_regions}; raise max-regions")
    if boxes.shape != (len(features), 4):
        raise InputError(f"{name} has {len(features)} regions and boxes of shape {boxes.shape}; one box a region")
    for column in LABELS:
        values = getattr(item, column)
        if values is not None and values.shape != (len(features),):
            raise InputError(f"{name} has {len(features)} regions and {column} of shape {values.shape}; one a region")
        if values is not None and column.endswith("scores") and (bad := _first(~((values >= 0) & (values <= 1)))):
            raise InputError(f"{name}, region {bad[0]} has {column} {values[bad[0]]}; give a number from 0 to 1")
    if item.width < 1 or item.height < 1:
        raise InputError(f"{name} has the size {item.width} x {item.height}; give width and height in pixels")
    _check_rows(name, features)
    _check_boxes(name, boxes, item.width, item.height)


def _check_rows(name: str, features: NDArray[Any]) -> None:
    """Raise InputError naming the first row that holds what float16 cannot hold, or nothing at all."""
    with np.errstate(over="ignore"):
        half = features.astype(np.float16, copy=False)
    if bad := _first(~np.isfinite(half).all(1)):
        values = features[bad[0]]
        column = int(np.argmax(~np.isfinite(half[bad[0]])))
        raise InputError(
            f"{name}, region {bad[0]}, feature {column} is {values[column]}; features must be finite and below 65504"
        )
    if bad := _first(~half.any(1)):
        raise InputError(f"{name}, region {bad[0]} has only zeros for features: it was never written; compute it again")


def _check_boxes(name: str, boxes: NDArray[np.float32], width: int, height: int) -> None:
    """Raise InputError naming the first box that is not finite, empty, or outside of `width` x `height` pixels."""
    low, high = boxes[:, :2], boxes[:, 2:]
    edge = np.array([width, height]) + TOLERANCE
    if bad := _first(~np.isfinite(boxes).all(1)):
        raise InputError(f"{name}, region {bad[0]} has the box {boxes[bad[0]].tolist()}; give four finite numbers")
    if bad := _first((low >= high).any(1)):
        raise InputError(
            f"{name}, region {bad[0]} has the empty box {boxes[bad[0]].tolist()}; give x1 < x2 and y1 < y2"
        )
    if bad := _first((low < -TOLERANCE).any(1) | (high > edge).any(1)):
        raise InputError(
            f"{name}, region {bad[0]} has the box {boxes[bad[0]].tolist()} outside the image of {width} x {height} "
            "pixels; give x1, y1, x2, y2 in pixels of this image"
        )


def _first(wrong: Any) -> list[int]:
    """Return the first position that is True, as a list of one or none."""
    return [int(np.argmax(wrong))] if wrong.any() else []


class FeatureStore:
    """A feature folder, memory-mapped: `store[image_id]` is the `ImageFeatures` of one image.

    Opening reads the ids and maps the rest. What is read stays in the page cache of the system, which it can drop,
    and not in the memory of the program; several processes share it.

    Args:
        folder: Made by `kvqa features convert`.
        max_regions: Most regions that an image may have; None allows any number.

    Raises:
        InputError: if the folder is not sound, or an image has more regions than `max_regions`.
    """

    def __init__(self, folder: str | Path, *, max_regions: int | None = None) -> None:
        self.folder = Path(folder)
        self.max_regions = max_regions
        self.manifest = manifest = FeatureManifest.read(self.folder)
        self._check_sizes()
        count, total = manifest.images, manifest.regions
        self.features = self._map("features", (total, manifest.width), np.float16)
        self.boxes = self._map("boxes", (total, 4), np.float32)
        self.offsets = np.array(self._map("offsets", (count + 1,), np.int64))
        self.sizes = np.array(self._map("sizes", (count, 2), np.int32))
        self.labels = {
            name: self._map(name, (total,), np.float32 if name.endswith("scores") else np.int32)
            for name in manifest.labels
        }
        self.ids = (self.folder / "ids.txt").read_text(encoding="utf-8").splitlines()
        self._check_index()
        self._rows = {image_id: row for row, image_id in enumerate(self.ids)}

    def __reduce__(self) -> Any:
        # A worker process that gets the store sent maps the files again; the default would send their content.
        return _open, (self.folder, self.max_regions)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._rows

    def __getitem__(self, image_id: str) -> ImageFeatures:
        """Return the regions of an image; features and boxes are views of the mapped files.

        Raises:
            InputError: if the folder does not have the image.
        """
        row = self._row(image_id)
        start, end = self.offsets[row : row + 2]
        labels: dict[str, Any] = {name: values[start:end] for name, values in self.labels.items()}
        width, height = (int(size) for size in self.sizes[row])
        return ImageFeatures(image_id, width, height, self.boxes[start:end], self.features[start:end], **labels)

    def batch(self, image_ids: Sequence[str], *, dtype: torch.dtype = torch.float32) -> FeatureBatch:
        """Return the regions of images, padded to the largest.

        Args:
            dtype: Of the features; float16 leaves them as they are stored.

        Raises:
            InputError: if the folder does not have an image, or one of its values is not finite.
        """
        rows = [self._row(image_id) for image_id in image_ids]
        counts = [int(self.offsets[row + 1] - self.offsets[row]) for row in rows]
        largest = max(counts, default=0)
        features = torch.zeros(len(rows), largest, self.manifest.width, dtype=dtype)  # (B, R, D)
        boxes = torch.zeros(len(rows), largest, 4)
        mask = torch.arange(largest) < torch.tensor(counts, dtype=torch.long)[:, None]  # (B, R)
        for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
            start = self.offsets[row]
            part = slice(start, start + count)
            features[i, :count] = torch.from_numpy(np.array(self.features[part]))
            boxes[i, :count] = torch.from_numpy(self.boxes[part] / np.tile(self.sizes[row], 2).astype(np.float32))
        self._check_finite(features, image_ids)
        return FeatureBatch(features, boxes, mask)

    def regions(self, image_id: str, names: Sequence[str] = ()) -> Regions:
        """Return one image as `Regions` with features, for models that take them.

        Args:
            names: What the object numbers mean; without it, every region is called `"object"`.

        Raises:
            InputError: if the folder does not have the image, or `names` lacks a number.
        """
        item = self[image_id]
        objects = item.objects if names else None
        if objects is not None and (wrong := _first((objects < 0) | (objects >= len(names)))):
            raise InputError(f"image {image_id!r} has object {objects[wrong[0]]}, but there are {len(names)} names")
        scores = np.ones(len(item.boxes)) if item.object_scores is None else item.object_scores
        found = tuple(
            Region("object" if objects is None else names[objects[i]], float(scores[i]), (x1, y1, x2, y2))
            for i, (x1, y1, x2, y2) in enumerate(item.boxes.tolist())
        )
        return Regions(image_id, item.width, item.height, found, features=item.features.astype(np.float32))

    def _row(self, image_id: str) -> int:
        row = self._rows.get(image_id)
        if row is None:
            reason = self.manifest.left_out.get(image_id)
            why = f"it was left out when they were converted: {reason}" if reason else "convert them with this image"
            raise InputError(f"{self.folder} has no features of image {image_id!r}; {why}")
        return row

    def _check_finite(self, features: Tensor, image_ids: Sequence[str]) -> None:
        # A sum of finite halves cannot overflow in float32, so one number tells; the search is for the message.
        if not torch.isfinite(features.sum(dtype=torch.float32)):
            wrong = (~features.isfinite().flatten(1).all(1)).nonzero()[0].item()
            raise InputError(f"image {image_ids[int(wrong)]!r} in {self.folder} has features that are not finite")

    def _check_sizes(self) -> None:
        for name, expected in self.manifest.files.items():
            path = self.folder / name
            size = path.stat().st_size if path.is_file() else None
            if size != expected["bytes"]:
                found = "is missing" if size is None else f"has {size:,} bytes, not {expected['bytes']:,}"
                raise InputError(f"{path} {found}: the folder was cut short or altered; convert the features again")

    def _map(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        path = self.folder / f"{name}.npy"
        try:
            values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}); convert the features again") from None
        if values.shape != shape or values.dtype != dtype:
            raise InputError(
                f"{path} holds {values.dtype} {values.shape}, not {np.dtype(dtype)} {shape}; convert again"
            )
        return values

    def _check_index(self) -> None:
        counts = np.diff(self.offsets)
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.features) or (counts < 1).any():
            raise InputError(
                f"{self.folder / 'offsets.npy'} does not rise from 0 to {len(self.features)}; convert again"
            )
        if len(self.ids) != len(counts) or len(set(self.ids)) != len(counts):
            raise InputError(f"{self.folder / 'ids.txt'} does not name {len(counts)} different images; convert again")
        if self.max_regions is not None and (wrong := _first(counts > self.max_regions)):
            raise InputError(
                f"image {self.ids[wrong[0]]!r} in {self.folder} has {counts[wrong[0]]} regions, more than "
                f"{self.max_regions}; raise max-regions or convert features with fewer"
            )


def _open(folder: Path, max_regions: int | None) -> FeatureStore:
    return FeatureStore(folder, max_regions=max_regions)
