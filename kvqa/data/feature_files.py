"""Writing and checking feature folders; see `kvqa.data.features` for what they hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kvqa.data.features import LABELS, FeatureManifest, FeatureStore, ImageFeatures, check_features
from kvqa.errors import InputError
from retrieval.manifest import describe_files, file_sha256, write_text_safely

Advance = Callable[[str, int, int], None]
"""Called with a step, how many images are done, and how many there are or 0."""


@dataclass(frozen=True)
class Broken:
    """A part of a source that cannot be read.

    Attributes:
        where: The image id where it is known, else the place, such as `"line 7"`.
        reason: File, place and what is wrong, for people.
    """

    where: str
    reason: str


class _Column:
    """A `.npy` file that grows row by row; its header gets the number of rows at the end."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self.rows = 0
        self.file: BinaryIO = path.open("wb")
        self._header()

    def _header(self) -> None:
        # numpy pads headers such that a longer first axis fits into the same bytes.
        description = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False}
        npy.write_array_header_1_0(self.file, {**description, "shape": (self.rows, *self.shape)})

    def append(self, values: NDArray[Any]) -> None:
        self.file.write(np.ascontiguousarray(values, dtype=self.dtype).tobytes())
        self.rows += len(values)

    def close(self) -> None:
        body = self.path.stat().st_size if self.file.closed else self.file.tell()
        self.file.seek(0)
        self._header()
        wanted = self.file.tell() + self.rows * self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        assert body == wanted, (body, wanted)
        self.file.close()


def write_features(
    items: Iterable[ImageFeatures | Broken],
    out: Path,
    *,
    source: str = "",
    max_regions: int | None = None,
    skip_broken: bool = False,
    overwrite: bool = False,
    advance: Advance | None = None,
) -> FeatureManifest:
    """Write a feature folder image by image; memory does not grow with the number of regions.

    Boxes that reach over the edge by up to a pixel are cut at the edge; everything else is kept as it is, features
    in float16. The folder is made beside `out` and renamed into place.

    Args:
        items: From a reader of `kvqa.data.feature_formats`, or your own.
        source: Goes into the manifest.
        max_regions: Most regions that an image may have.
        skip_broken: Leave out what is broken and name it in the manifest, instead of stopping at the first.
        overwrite: Replace an existing feature folder.

    Raises:
        InputError: if `out` exists, an image is broken (see `check_features`) or named twice, or there is none.
    """
    if out.exists() and not (overwrite and (out / "manifest.json").is_file()):
        raise InputError(f"{out} exists; give another folder, or --overwrite for a feature folder")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        manifest = _write(items, partial, source, max_regions, skip_broken, advance)
        if out.exists():
            shutil.rmtree(out)
        partial.replace(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); give another folder") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write(
    items: Iterable[ImageFeatures | Broken],
    folder: Path,
    source: str,
    max_regions: int | None,
    skip_broken: bool,
    advance: Advance | None,
) -> FeatureManifest:
    columns: dict[str, _Column] = {}
    ids: dict[str, int] = {}  # image id -> number of regions
    sizes: list[tuple[int, int]] = []
    left_out: dict[str, str] = {}
    try:
        for item in items:
            try:
                _check_item(item, columns, ids, max_regions)
            except InputError as error:
                if not skip_broken:
                    raise
                left_out[item.where if isinstance(item, Broken) else item.image_id] = str(error)
                continue
            assert isinstance(item, ImageFeatures)
            columns = columns or _columns(folder, item)
            _append(columns, item)
            ids[item.image_id] = len(item.features)
            sizes.append((item.width, item.height))
            if advance is not None:
                advance("images", len(ids), 0)
        if not ids:
            lost = next(iter(left_out.values()), "it is empty")
            raise InputError(f"no image with features in {source or 'the source'}; {lost}")
    finally:
        for column in columns.values():
            column.close()
    np.save(folder / "offsets.npy", np.cumsum([0, *ids.values()], dtype=np.int64))
    np.save(folder / "sizes.npy", np.array(sizes, dtype=np.int32))
    write_text_safely(folder / "ids.txt", "\n".join(ids) + "\n")
    manifest = FeatureManifest(
        images=len(ids),
        regions=sum(ids.values()),
        width=columns["features"].shape[0],
        most_regions=max(ids.values()),
        labels=[name for name in LABELS if name in columns],
        source=source,
        left_out=left_out,
        files=describe_files(folder, sorted(path.name for path in folder.iterdir())),
    )
    manifest.write(folder)
    return manifest


def _check_item(
    item: ImageFeatures | Broken, columns: dict[str, _Column], ids: dict[str, int], max_regions: int | None
) -> None:
    """Raise InputError unless `item` is sound and fits what has been written."""
    if isinstance(item, Broken):
        raise InputError(item.reason)
    if not item.image_id.strip() or len(item.image_id.splitlines()) != 1:
        raise InputError(f"image id {item.image_id!r} is empty or has several lines; give each image a name")
    if item.image_id in ids:
        raise InputError(f"image {item.image_id!r} stands twice in the source; leave one out")
    check_features(item, width=columns["features"].shape[0] if columns else None, max_regions=max_regions)
    for name in LABELS:
        if columns and (name in columns) != (getattr(item, name) is not None):
            there = "lacks" if name in columns else "has"
            raise InputError(f"image {item.image_id!r} {there} {name}, unlike the images before; compute them alike")


def _columns(folder: Path, first: ImageFeatures) -> dict[str, _Column]:
    columns = {
        "features": _Column(folder / "features.npy", (first.features.shape[1],), np.float16),
        "boxes": _Column(folder / "boxes.npy", (4,), np.float32),
    }
    for name in LABELS:
        if getattr(first, name) is not None:
            dtype = np.float32 if name.endswith("scores") else np.int32
            columns[name] = _Column(folder / f"{name}.npy", (), dtype)
    return columns


def _append(columns: dict[str, _Column], item: ImageFeatures) -> None:
    edge = np.array([item.width, item.height, item.width, item.height], dtype=np.float32)
    cut = replace(item, boxes=np.clip(item.boxes, 0, edge))
    for name, column in columns.items():
        column.append(getattr(cut, name))


def check_folder(folder: Path, *, max_regions: int | None = None, advance: Advance | None = None) -> FeatureManifest:
    """Check every byte and every row of a feature folder.

    Raises:
        InputError: naming the first file that is missing, cut short or altered, or the first image that is broken.
    """
    store = FeatureStore(folder, max_regions=max_regions)
    for name, expected in store.manifest.files.items():
        if file_sha256(folder / name) != expected["sha256"]:
            raise InputError(f"{folder / name} was altered after it was written (checksum differs); convert again")
    for number, image_id in enumerate(store, start=1):
        check_features(store[image_id], width=store.manifest.width)
        if advance is not None:
            advance("images", number, len(store))
    return store.manifest
