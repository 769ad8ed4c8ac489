"""Grid features of photos: what any vision model of `transformers` says of the cells or patches of a picture.

So whoever has photos and no detector features has something that encoders with `vision.kind` grid or patches read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.data.feature_files import Broken
from kvqa.data.features import ImageFeatures
from kvqa.data.images import middle, read_image
from kvqa.data.pretrain_pairs import PHOTO_SUFFIXES
from kvqa.errors import InputError
from kvqa.models.model import mixed_precision
from kvqa.models.vision_embedding import grid_boxes, load_backbone

LEAST = 1e-4


def photo_paths(folder: Path) -> list[Path]:
    """Return the photos below `folder`, in order.

    Raises:
        InputError: if there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not found:
        raise InputError(f"{folder} holds no photos ({', '.join(PHOTO_SUFFIXES)}); give a folder of photos")
    return found


def grid_features(
    paths: Sequence[Path], model: str, *, short: int = 256, size: int = 224, batch: int = 8
) -> Iterator[ImageFeatures | Broken]:
    """Yield the features of each photo, or why it cannot be read; an image's id is its file name.

    The shorter side is brought to `short` pixels and `size` x `size` are cut out of the middle: boxes are those of
    the cells of this square. Of a model whose first state stands for the whole picture (ViT), that state is left out.

    Args:
        model: Folder or hub id.
        batch: Photos that go through the model at once; few, so that what it computes stays in the caches.

    Raises:
        InputError: if the model cannot be loaded, or its states are neither a map nor patches of a square.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = load_backbone(model).eval().to(device, memory_format=torch.channels_last)
    mean, std = (torch.tensor(values)[:, None, None] for values in normalisation(model))
    for start in range(0, len(paths), batch):
        part = paths[start : start + batch]
        read = [_read(path, short, size) for path in part]
        pixels = [item for item in read if not isinstance(item, Broken)]
        seen = iter(_cells(backbone, (torch.from_numpy(np.stack(pixels)) - mean) / std, device) if pixels else ())
        for path, item in zip(part, read, strict=True):
            if isinstance(item, Broken):
                yield item
                continue
            cells = next(seen)  # (h, w, C)
            boxes = (grid_boxes(*cells.shape[:2]) * size).numpy()
            rows = cells.flatten(0, 1).numpy().astype(np.float16)
            # In a plain piece of sky nothing may fire; rows of zeros are for what was never computed.
            rows[~rows.any(axis=1), 0] = LEAST
            yield ImageFeatures(path.name, size, size, boxes, rows)


def normalisation(model: str) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of the colours that a vision model was trained with; 0.5 if it does not say.

    Args:
        model: Folder or hub id.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(model)
    except (OSError, ValueError):
        settings = {}
    return settings.get("image_mean", [0.5] * 3), settings.get("image_std", [0.5] * 3)


def _read(path: Path, short: int, size: int) -> NDArray[np.float32] | Broken:
    try:
        return middle(read_image(path), short=short, height=size, width=size)
    except InputError as error:
        return Broken(path.name, str(error))


@torch.inference_mode()
def _cells(backbone: Any, pixels: Tensor, device: torch.device) -> Tensor:
    """Return what `backbone` says of each cell, (B, h, w, C).

    Raises:
        InputError: if its states are neither a map nor patches of a square.
    """
    with mixed_precision(device):
        pixels = pixels.to(device, memory_format=torch.channels_last)
        states: Tensor = backbone(pixel_values=pixels).last_hidden_state.float().cpu()
    if states.dim() == 4:
        return states.permute(0, 2, 3, 1)
    count = states.shape[1]
    for patches in (states, states[:, 1:]):
        side = math.isqrt(patches.shape[1])
        if side and side * side == patches.shape[1]:
            return patches.unflatten(1, (side, side))
    raise InputError(f"the model gives {count} states a photo, which are no square of patches; use another one")
