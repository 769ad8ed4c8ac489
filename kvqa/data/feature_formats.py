"""The published forms of region features, each read image by image: TSV, HDF5, npz.

Every reader yields `ImageFeatures`, or `Broken` with file, place and reason where an image cannot be read. Nothing is
unpickled: index files that only come as pickles have to be given as JSON.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvqa.data.feature_files import Broken
from kvqa.data.feature_hdf5 import read_hdf5
from kvqa.data.features import ImageFeatures
from kvqa.errors import InputError

BOTTOM_UP = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
"""Columns of bottom-up attention (Anderson et al. 2018); the file has no header."""
LXMERT = (
    *("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf"),
    *("num_boxes", "boxes", "features"),
)
"""Columns of the files of LXMERT (Tan and Bansal 2019)."""

Sizes = Mapping[str, tuple[int, int]]
"""Image id to width and height in pixels."""


def read_features(
    source: Path, *, sizes: Path | None = None, ids: Path | None = None
) -> Iterator[ImageFeatures | Broken]:
    """Read features of any known form.

    Args:
        source: A `.tsv` (also `.tsv.gz`), `.h5` or `.hdf5` file, an `.npz` file, or a folder of `.npz` files.
        sizes: JSON of image id to [width, height], for forms that do not hold them.
        ids: JSON list of image ids by row, or of image id to row, for HDF5 files that do not hold them.

    Raises:
        InputError: if there is no such source, its form is not known, or it cannot be opened.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist; give a feature file or a folder of .npz files")
    kind = ".npz" if source.is_dir() else source.name.removesuffix(".gz").rpartition(".")[2]
    reader = READERS.get(kind.removeprefix("."))
    if reader is None:
        raise InputError(f"{source} has no known form; use one of: {', '.join(READERS)}, or a folder of npz files")
    return reader(source, _read_sizes(sizes), _read_ids(ids))


def read_tsv(source: Path, sizes: Sizes, ids: list[str] | None) -> Iterator[ImageFeatures | Broken]:
    """Read a bottom-up-attention or LXMERT file: one image a line, arrays in base64.

    Raises:
        InputError: if the file cannot be opened.
    """
    try:
        with gzip.open(source, "rb") if source.suffix == ".gz" else source.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _tsv_line(line, f"{source}, line {number}")
    except (OSError, EOFError, zlib.error) as error:
        yield Broken(source.name, f"{source} cannot be read on ({error}); it is cut short, fetch it again")


def _tsv_line(line: bytes, place: str) -> ImageFeatures | Broken:
    fields = line.rstrip(b"\r\n").split(b"\t")
    names = {len(BOTTOM_UP): BOTTOM_UP, len(LXMERT): LXMERT}.get(len(fields))
    if names is None:
        reason = f"has {len(fields)} columns, not {len(BOTTOM_UP)} (bottom-up attention) or {len(LXMERT)} (LXMERT)"
        return Broken(place, f"{place} {reason}; the file is cut short or of another form")
    record = dict(zip(names, fields, strict=True))
    image_id = record[names[0]].decode("utf-8", "replace")
    try:
        return _tsv_record(image_id, record)
    except InputError as error:
        return Broken(image_id, f"{place}, image {image_id!r}: {error}")


def _tsv_record(image_id: str, record: Mapping[str, bytes]) -> ImageFeatures:
    count = _whole(record, "num_boxes")
    values = _decode(record, "features", np.float32)
    if count < 1 or len(values) % count:
        raise InputError(f"features hold {len(values)} numbers for {count} regions; the line is cut short")
    labels = {}
    if "objects_id" in record:
        labels = {
            "objects": _decode(record, "objects_id", np.int64, count).astype(np.int32),
            "object_scores": _decode(record, "objects_conf", np.float32, count),
            "attributes": _decode(record, "attrs_id", np.int64, count).astype(np.int32),
            "attribute_scores": _decode(record, "attrs_conf", np.float32, count),
        }
    return ImageFeatures(
        image_id,
        width=_whole(record, "img_w" if labels else "image_w"),
        height=_whole(record, "img_h" if labels else "image_h"),
        boxes=_decode(record, "boxes", np.float32, 4 * count).reshape(count, 4),
        features=values.reshape(count, -1),
        **labels,
    )


def _whole(record: Mapping[str, bytes], name: str) -> int:
    try:
        return int(record[name])
    except ValueError:
        raise InputError(f"{name} is {record[name][:40]!r}, not a whole number; the line is broken") from None


def _decode(record: Mapping[str, bytes], name: str, dtype: Any, size: int | None = None) -> NDArray[Any]:
    """Return the numbers of a base64 field, `size` of them unless that is None."""
    try:
        content = base64.b64decode(record[name], validate=True)
        values: NDArray[Any] = np.frombuffer(content, dtype=dtype)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name} is not whole base64 ({error}); the line is cut short") from None
    if size is not None and len(values) != size:
        raise InputError(f"{name} holds {len(values)} numbers, not {size}; the line is cut short")
    return values


def read_npz(source: Path, sizes: Sizes, ids: list[str] | None) -> Iterator[ImageFeatures | Broken]:
    """Read one `.npz` file an image, as `bottom-up-attention.pytorch` and OpenVQA keep them.

    Keys: `x` or `features` (R, D) or transposed; `bbox` or `boxes` (R, 4); `image_w` and `image_h`. The image id is
    the name of the file without `.npz` and without the suffix of an image.
    """
    paths = sorted(source.glob("*.npz")) if source.is_dir() else [source]
    if not paths:
        raise InputError(f"{source} holds no .npz files; give a folder of them, one an image")
    for path in paths:
        image_id = path.stem.removesuffix(".jpg").removesuffix(".png")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                yield _npz_record(image_id, arrays, sizes)
        except InputError as error:
            yield Broken(image_id, f"{path}: {error}")
        except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            yield Broken(image_id, f"{path} cannot be read ({error}); it is cut short or no npz file, make it again")


def _npz_record(image_id: str, arrays: Any, sizes: Sizes) -> ImageFeatures:
    features, boxes = _array(arrays, "x", "features"), _array(arrays, "bbox", "boxes")
    if features.ndim == 2 and len(features) != len(boxes) and features.shape[1] == len(boxes):
        features = features.T  # OpenVQA keeps (D, R)
    if "image_w" in arrays and "image_h" in arrays:
        width, height = int(arrays["image_w"]), int(arrays["image_h"])
    elif image_id in sizes:
        width, height = sizes[image_id]
    else:
        raise InputError("it has neither image_w and image_h nor a line in the file of sizes; give --sizes")
    return ImageFeatures(image_id, width, height, boxes.astype(np.float32), np.ascontiguousarray(features))


def _array(arrays: Any, *names: str) -> NDArray[Any]:
    for name in names:
        if name in arrays:
            values: NDArray[Any] = arrays[name]
            return values
    raise InputError(f"it has no {' or '.join(names)}, only {', '.join(arrays) or 'nothing'}; make it again")


def _read_sizes(path: Path | None) -> dict[str, tuple[int, int]]:
    if path is None:
        return {}
    content = _json(path)
    try:
        return {str(image): (int(width), int(height)) for image, (width, height) in content.items()}
    except (AttributeError, TypeError, ValueError):
        raise InputError(f'{path} is not of the form {{"image id": [width, height]}}; write it so') from None


def _read_ids(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    content = _json(path)
    if isinstance(content, dict) and all(isinstance(row, int) for row in content.values()):
        ordered = sorted(content.items(), key=lambda pair: pair[1])
        if [row for _, row in ordered] == list(range(len(ordered))):
            return [image_id for image_id, _ in ordered]
    if isinstance(content, list) and all(isinstance(item, str | int) for item in content):
        return [str(item) for item in content]
    raise InputError(f"{path} is neither a JSON list of image ids nor image ids to rows 0, 1, 2 …; write it so")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); pickles are not read, write JSON") from None


Reader = Callable[[Path, Sizes, list[str] | None], Iterator[ImageFeatures | Broken]]

READERS: dict[str, Reader] = {"tsv": read_tsv, "h5": read_hdf5, "hdf5": read_hdf5, "npz": read_npz}
"""Suffix to reader."""
