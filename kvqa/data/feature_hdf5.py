"""Region features in HDF5, in the layouts that are about.

- One table: `image_features` (I, R, D), or (N, D) with `pos_boxes` (I, 2) = first row and end of each image; `image_bb`
  boxes in pixels; optionally `spatial_features`, whose first four numbers are the boxes as shares of the image, from
  which its size follows (Hengyuan Hu's bottom-up-attention-vqa, BAN, and what descends from them). Image ids by row are
  in `image_ids`, or have to be given.
- One image an entry: `<id>/features` and `<id>/boxes`, `<id>_features` and `<id>_boxes` (Meshed-Memory Transformer), or
  `features/<id>` and `boxes/<id>`; the size as attributes or data sets `image_w`, `image_h`, or in a file of sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvqa.data.feature_files import Broken
from kvqa.data.features import ImageFeatures
from kvqa.errors import InputError

FEATURES = "image_features"
PAIRS = (("{}/features", "{}/boxes"), ("{}_features", "{}_boxes"), ("features/{}", "boxes/{}"))


def read_hdf5(
    source: Path, sizes: Mapping[str, tuple[int, int]], ids: list[str] | None
) -> Iterator[ImageFeatures | Broken]:
    """Read an HDF5 file image by image.

    Raises:
        InputError: if it cannot be opened or has none of the layouts.
    """
    import h5py

    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise InputError(f"{source} cannot be opened as HDF5 ({error}); it is cut short or of another form") from None
    with file:
        if FEATURES in file:
            yield from _table(file, source, sizes, ids)
        else:
            yield from _entries(file, source, sizes)


def _table(
    file: Any, source: Path, sizes: Mapping[str, tuple[int, int]], ids: list[str] | None
) -> Iterator[ImageFeatures | Broken]:
    if "image_bb" not in file:
        raise InputError(f"{source} has {FEATURES} but no image_bb, the boxes in pixels; make it again with boxes")
    spans = _spans(file, source)
    names = _names(file, source, ids, len(spans))
    for row, (image_id, span) in enumerate(zip(names, spans, strict=True)):
        try:
            yield _row(file, image_id, span, sizes)
        except (InputError, OSError, ValueError) as error:
            yield Broken(image_id, f"{source}, row {row}, image {image_id!r}: {error}")


def _spans(file: Any, source: Path) -> list[Any]:
    """Return what selects each image: a row, or a slice of rows."""
    shape = file[FEATURES].shape
    if "pos_boxes" not in file:
        if len(shape) != 3:
            raise InputError(f"{source}: {FEATURES} has shape {shape} and there is no pos_boxes; images unknown")
        return list(range(shape[0]))
    spans = np.asarray(file["pos_boxes"])
    if spans.ndim != 2 or spans.shape[1] != 2:
        raise InputError(f"{source}: pos_boxes has shape {spans.shape}, not (images, 2); make it again")
    return [slice(int(start), int(end)) for start, end in spans]


def _names(file: Any, source: Path, ids: list[str] | None, count: int) -> list[str]:
    stored = next((name for name in ("image_ids", "image_id", "ids") if name in file), None)
    if ids is None and stored is None:
        raise InputError(f"{source} does not say which row is which image; give the ids by row as JSON with --ids")
    found = ids if ids is not None else [_text(value) for value in np.asarray(file[stored]).ravel()]
    if len(found) != count:
        raise InputError(f"{source} has {count} images and {len(found)} image ids; give one id a row")
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _row(file: Any, image_id: str, span: Any, sizes: Mapping[str, tuple[int, int]]) -> ImageFeatures:
    if isinstance(span, slice) and not 0 <= span.start < span.stop <= len(file[FEATURES]):
        raise InputError(f"pos_boxes says rows {span.start} to {span.stop} of {len(file[FEATURES])}; rows are missing")
    features, boxes = file[FEATURES][span], file["image_bb"][span].astype(np.float32)
    if image_id in sizes:
        width, height = sizes[image_id]
    elif "spatial_features" in file:
        width, height = _size(boxes, file["spatial_features"][span])
    else:
        raise InputError("its size is not known, there are no spatial_features; give --sizes")
    return ImageFeatures(image_id, width, height, boxes, features)


def _size(boxes: NDArray[np.float32], spatial: NDArray[Any]) -> tuple[int, int]:
    """Return width and height from boxes in pixels and the same boxes as shares."""
    if spatial.shape[:1] != boxes.shape[:1] or spatial.ndim != 2 or spatial.shape[1] < 4:
        raise InputError(f"spatial_features have shape {spatial.shape} for {len(boxes)} boxes")
    found = []
    for column in (2, 3):
        row = int(np.argmax(spatial[:, column]))  # the largest share tells the size most exactly
        share = float(spatial[row, column])
        if not share > 0 or not np.isfinite(share):
            raise InputError(f"spatial_features hold {share} for the end of box {row}; a share must be above 0")
        found.append(round(float(boxes[row, column]) / share))
    return found[0], found[1]


def _entries(file: Any, source: Path, sizes: Mapping[str, tuple[int, int]]) -> Iterator[ImageFeatures | Broken]:
    features, boxes, names = _layout(file, source)
    for image_id in names:
        try:
            if boxes.format(image_id) not in file:
                raise InputError(f"it has no {boxes.format(image_id)}, the boxes in pixels")
            values, found = file[features.format(image_id)], file[boxes.format(image_id)]
            width, height = _entry_size(file, image_id, values, sizes)
            yield ImageFeatures(image_id, width, height, found[()].astype(np.float32), values[()])
        except (InputError, OSError, ValueError, AttributeError, TypeError) as error:
            yield Broken(image_id, f"{source}, image {image_id!r}: {error}")


def _layout(file: Any, source: Path) -> tuple[str, str, list[str]]:
    """Return the patterns of `PAIRS` that fit the file, and the image ids."""
    if "features" in file and hasattr(file["features"], "keys"):
        return *PAIRS[2], list(file["features"])
    ends = [key.removesuffix("_features") for key in file if key.endswith("_features")]
    if ends:
        return *PAIRS[1], ends
    groups = [key for key in file if hasattr(file[key], "keys") and "features" in file[key]]
    if groups:
        return *PAIRS[0], groups
    known = ", ".join(features.format("ID") for features, _ in PAIRS)
    raise InputError(f"{source} holds {', '.join(list(file)[:5]) or 'nothing'}; known are {FEATURES}, {known}")


def _entry_size(file: Any, image_id: str, values: Any, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    if image_id in sizes:
        return sizes[image_id]
    group = file[image_id] if image_id in file and hasattr(file[image_id], "keys") else {}
    for holder in (values.attrs, getattr(group, "attrs", {}), group):
        for width, height in (("image_w", "image_h"), ("width", "height")):
            if width in holder and height in holder:
                return tuple(int(np.asarray(holder[name][()]).item()) for name in (width, height))  # type: ignore[return-value]
    raise InputError("its size is not known (image_w and image_h); give --sizes")
