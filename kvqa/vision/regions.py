"""Regions: the one form in which everything seen in a photo is handed on."""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from kvqa.errors import InputError

Box = tuple[float, float, float, float]
Kind = Literal["object", "tag", "caption"]

TOLERANCE = 1.0
"""Pixels by which a box may reach over the edge of the picture (rounding of other programs)."""


@dataclass(frozen=True)
class Region:
    """One thing seen.

    Attributes:
        label: What it is: a class name, a tag, or the sentence of a caption.
        score: How sure the source of the label is, in [0, 1].
        box: x1, y1, x2, y2 in pixels of the picture, from the top left; None for what is said of the whole picture.
        kind: `"object"` always has a box; `"tag"` and `"caption"` may have one.
    """

    label: str
    score: float
    box: Box | None
    kind: Kind = "object"


@dataclass(frozen=True)
class Regions:
    """Everything seen in one picture.

    Attributes:
        image: File name of the picture, or "".
        width, height: Size of the picture in pixels.
        regions: Best first where the source orders them.
        features: (num_regions, D) float32, one row a region, or None.
        image_feature: (D,) float32, one vector for the whole picture, or None.
        detector: Name of what made the regions, or "".
    """

    image: str
    width: int
    height: int
    regions: tuple[Region, ...]
    features: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    image_feature: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    detector: str = ""


def check_regions(regions: Regions) -> None:
    """Check everything that later steps rely on.

    Raises:
        InputError: naming the region (counted from 0) whose label is empty, whose score is not a finite number in
            [0, 1], or whose box is missing, empty or outside the picture; or saying that features do not fit.
    """
    if regions.width < 1 or regions.height < 1:
        raise InputError(f"the picture size {regions.width} x {regions.height} is not positive; give it in pixels")
    for number, region in enumerate(regions.regions):
        _check_region(region, number, regions.width, regions.height)
    _check_features(regions)


def box_geometry(regions: Regions) -> NDArray[np.float32]:
    """Return where each region is: (num_regions, 5) float32 with x1/w, y1/h, x2/w, y2/h and the share of the area.

    A region without a box counts as the whole picture: 0, 0, 1, 1, 1.
    """
    geometry = np.tile(np.array([0, 0, 1, 1, 1], dtype=np.float32), (len(regions.regions), 1))
    for row, region in zip(geometry, regions.regions, strict=True):
        if region.box is not None:
            row[:4] = np.array(region.box) / (regions.width, regions.height, regions.width, regions.height)
            row[4] = (row[2] - row[0]) * (row[3] - row[1])
    return geometry


def read_regions(path: str | Path, image_size: tuple[int, int] | None = None) -> Regions:
    """Read a region file.

    Args:
        path: JSON with `image`, `width`, `height`, `regions` = list of `label`, `score`, `box` and, unless it is
            `"object"`, `kind`; optionally `detector`, `features` (num_regions x D), `image_feature` (D).
        image_size: Width and height of the picture that the regions are meant for, where it is at hand.

    Raises:
        InputError: if the file cannot be read, its content fails `check_regions`, or the size is another one.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the path of a region file") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({' '.join(str(error).split())}); make the region file again") from None
    try:
        regions = _from_record(record)
        check_regions(regions)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if image_size is not None and image_size != (regions.width, regions.height):
        raise InputError(
            f"{path} is for a picture of {regions.width} x {regions.height} pixels, this one has "
            f"{image_size[0]} x {image_size[1]}; give the region file of this picture or make it again"
        )
    return regions


def read_region_folder(folder: Path) -> dict[str, Regions]:
    """Return what the region files `*.json` of a folder say, by picture name.

    Raises:
        InputError: if there is none, or one is broken.
    """
    found = [read_regions(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise InputError(f"{folder} holds no region files; make them with: kvqa features")
    return {regions.image: regions for regions in found}


def write_regions(regions: Regions, path: str | Path) -> None:
    """Write `regions` as JSON beside `path` and rename it into place; `read_regions` gives back the same.

    Raises:
        InputError: if `regions` fail `check_regions` or the file cannot be written.
    """
    check_regions(regions)
    path = Path(path)
    text = _to_json(regions)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(temporary, 0o644)  # mkstemp makes it readable by the owner alone
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); give another path") from None


def _check_region(region: Region, number: int, width: int, height: int) -> None:
    """Raise InputError naming region `number` if it is not usable in a picture of `width` x `height` pixels."""
    name = f"region {number} ({region.label[:40]!r})"
    if not region.label.strip():
        raise InputError(f"region {number} has an empty label; name what it shows")
    if region.kind not in get_args(Kind):
        raise InputError(f"{name} has kind {region.kind!r}; use one of: {', '.join(get_args(Kind))}")
    if not (math.isfinite(region.score) and 0 <= region.score <= 1):
        raise InputError(f"{name} has score {region.score}; give a number from 0 to 1")
    if region.box is None:
        if region.kind == "object":
            raise InputError(f"{name} has no box; give x1, y1, x2, y2 in pixels, or kind 'tag'")
        return
    x1, y1, x2, y2 = region.box
    if not all(math.isfinite(value) for value in region.box):
        raise InputError(f"{name} has box {list(region.box)}; give four finite numbers x1, y1, x2, y2")
    if x1 >= x2 or y1 >= y2:
        raise InputError(f"{name} has the empty box {list(region.box)}; give x1 < x2 and y1 < y2 in pixels")
    if min(x1, y1) < -TOLERANCE or x2 > width + TOLERANCE or y2 > height + TOLERANCE:
        raise InputError(
            f"{name} has box {list(region.box)} outside the picture of {width} x {height} pixels; "
            "give x1, y1, x2, y2 in pixels of this picture"
        )


def _check_features(regions: Regions) -> None:
    """Raise InputError unless features are (num_regions, D), the image feature (D,), and both finite."""
    count = len(regions.regions)
    features, image_feature = regions.features, regions.image_feature
    if features is not None and (features.ndim != 2 or len(features) != count):
        raise InputError(f"features have shape {features.shape} for {count} regions; give one row a region")
    if image_feature is not None and image_feature.ndim != 1:
        raise InputError(f"the image feature has shape {image_feature.shape}; give one vector")
    for name, array in (("features", features), ("image_feature", image_feature)):
        if array is not None and not np.isfinite(array).all():
            raise InputError(f"{name} hold values that are not finite; compute them again")


def _from_record(record: Any) -> Regions:
    """Build Regions from parsed JSON; only its form is checked here."""
    if not isinstance(record, dict):
        raise InputError("expected a JSON object with image, width, height, regions; make the region file again")
    for key in ("width", "height", "regions"):
        if key not in record:
            raise InputError(f"the key {key!r} is missing; a region file has image, width, height, regions")
    if not isinstance(record["regions"], list):
        raise InputError(f"regions is {type(record['regions']).__name__}; give a list")
    return Regions(
        image=str(record.get("image", "")),
        width=_whole_number(record["width"], "width"),
        height=_whole_number(record["height"], "height"),
        regions=tuple(_region_from_record(item, number) for number, item in enumerate(record["regions"])),
        features=_array(record.get("features"), "features"),
        image_feature=_array(record.get("image_feature"), "image_feature"),
        detector=str(record.get("detector", "")),
    )


def _region_from_record(item: Any, number: int) -> Region:
    """Build region `number` from its JSON object."""
    if not isinstance(item, dict) or "label" not in item or "score" not in item:
        raise InputError(f"region {number} lacks label or score; give an object with label, score, box")
    if not isinstance(item["label"], str):
        raise InputError(f"region {number} has label {item['label']!r}; give a text")
    box = item.get("box")
    if box is not None:
        if not isinstance(box, list) or len(box) != 4:
            raise InputError(f"region {number} has box {box!r}; give a list of x1, y1, x2, y2")
        x1, y1, x2, y2 = (_number(value, f"the box of region {number}") for value in box)
        box = (x1, y1, x2, y2)
    score = _number(item["score"], f"the score of region {number}")
    return Region(item["label"], score, box, item.get("kind", "object"))


def _number(value: Any, what: str) -> float:
    """Return `value` as float; a text or a truth value is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{what} is {value!r}; give a number")
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{what} is too large; give a number") from None


def _whole_number(value: Any, what: str) -> int:
    """Return `value` as int; 640.0 passes, 640.5 does not."""
    number = _number(value, what)
    if not math.isfinite(number) or number != int(number):
        raise InputError(f"{what} is {value!r}; give a whole number of pixels")
    return int(number)


def _array(values: Any, what: str) -> NDArray[np.float32] | None:
    """Return nested lists as a float32 array."""
    if values is None:
        return None
    try:
        return np.array(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError(f"{what} is not a regular list of numbers; make the region file again") from None


def _to_json(regions: Regions) -> str:
    """Return the file text: one region a line, so that people can read and compare it."""
    head: dict[str, Any] = {"image": regions.image, "width": regions.width, "height": regions.height}
    head["detector"] = regions.detector
    for name in ("features", "image_feature"):
        array = getattr(regions, name)
        if array is not None:
            head[name] = array.tolist()
    rows = []
    for region in regions.regions:
        row: dict[str, Any] = {"label": region.label, "score": region.score, "box": region.box}
        if region.kind != "object":
            row["kind"] = region.kind
        rows.append("    " + json.dumps(row, ensure_ascii=False))
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in head.items()]
    body = ",\n".join(rows)
    return "\n".join(["{", *lines, '  "regions": [' + (f"\n{body}\n  " if rows else "") + "]", "}"]) + "\n"
