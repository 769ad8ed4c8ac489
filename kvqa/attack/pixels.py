"""Photos and an image classifier of `transformers` as batches whose pixels can be attacked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kvqa.attack.curves import AttackBatch
from kvqa.data.images import middle, read_image
from kvqa.errors import InputError
from kvqa.models.perturbation import Parts

CLASSES = "imagenet_class_index.json"


def classified_photos(folder: Path) -> list[tuple[Path, int]]:
    """Return photos with their class numbers, in order of name.

    Args:
        folder: Photos named `<WordNet id>_<anything>`, and `imagenet_class_index.json`: class number -> [WordNet id,
            name].

    Raises:
        InputError: if the index is missing or broken, or a photo has a class that it does not name.
    """
    path = folder / CLASSES
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        number = {str(entry[0]): int(key) for key, entry in index.items()}
    except (OSError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a folder of photos with this index") from None
    photos = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    found = []
    for photo in photos:
        name = photo.name.partition("_")[0]
        if name not in number:
            raise InputError(f"{photo} has the class {name!r}, which {CLASSES} does not name; rename or remove it")
        found.append((photo, number[name]))
    if not found:
        raise InputError(f"{folder} holds no .jpg, .jpeg or .png; give a folder of photos")
    return found


def photo_batches(model: Path, photos: Sequence[tuple[Path, int]], *, batch: int = 16) -> Iterator[AttackBatch]:
    """Yield photos, cut as the classifier's `preprocessor_config.json` says, with pixels in [0, 1] to attack.

    Args:
        model: Folder in the layout of `transformers`, such as MobileNetV2.

    Raises:
        InputError: if the folder holds no image classifier.
    """
    classifier, settings = _load(model)
    mean, std = (torch.tensor(settings[name])[:, None, None] for name in ("image_mean", "image_std"))

    def logits(parts: Parts) -> Tensor:
        found: Tensor = classifier(pixel_values=(parts["pixels"] - mean) / std).logits
        return found

    for start in range(0, len(photos), batch):
        part = photos[start : start + batch]
        pixels = torch.from_numpy(np.stack([prepare(read_image(path), settings) for path, _ in part]))
        yield AttackBatch({"pixels": pixels}, torch.tensor([label for _, label in part]), logits, bounds=(0.0, 1.0))


def prepare(image: Image.Image, settings: dict[str, Any]) -> NDArray[np.float32]:
    """Return pixels (3, H, W) in [0, 1]: the shorter side brought to size, then the middle cut out."""
    crop = settings["crop_size"]
    return middle(
        image,
        short=int(settings["size"]["shortest_edge"]),
        height=int(crop["height"]),
        width=int(crop["width"]),
        resample=settings.get("resample", 2),
    )


def _load(folder: Path) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForImageClassification

    path = folder / "preprocessor_config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("size", "crop_size", "image_mean", "image_std"):
            settings[name]
        settings["size"]["shortest_edge"]
        model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder} holds no image classifier with {path.name} ({reason})") from None
    return model.eval().requires_grad_(False), settings
