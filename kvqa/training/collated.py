"""Items collated once for all epochs: in memory where they fit, else in a file that is mapped into memory.

Facts and features of an item do not change while training, and finding them takes longer than a step. VCR's training
questions would fill some 46 GB, so above a budget the tensors lie in the output folder, and the system reads what a
batch asks for. Such a file has no name: it is gone when the run ends, however it ends.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kvqa.data.choices import ChoiceBatch, ChoiceCollator, Item
from kvqa.errors import InputError

HELD_BYTES = 4 << 30
"""Most memory that collated items may take."""
TOGETHER = 16
"""Items that are collated at a time."""


def collate_once(
    items: Sequence[Item],
    collator: ChoiceCollator | Callable[[Sequence[Item]], ChoiceBatch],
    *,
    folder: Path | None = None,
    budget: int = HELD_BYTES,
    log: Callable[[str], None] = print,
) -> ChoiceBatch:
    """Return all items, with equally many choices, as one batch; its numbers do not depend on where it lies.

    Args:
        folder: Where the tensors go if they take more than `budget` bytes; None keeps them in memory in any case.

    Raises:
        InputError: if the disk has no room for them.
    """
    first = collator(items[:1])
    shapes = {f.name: getattr(first, f.name) for f in fields(ChoiceBatch) if f.name != "picture"}
    needed = len(items) * sum(like.nbytes for like in shapes.values())
    if folder is None or needed <= budget:
        folder = None
    elif (free := shutil.disk_usage(folder).free) < needed:
        raise InputError(
            f"the collated items need {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free; give another"
            " --out, or fewer facts or regions in inputs"
        )
    else:
        log(f"{needed / 1e9:.1f} GB of collated items lie in {folder} while training, mapped into memory")
    whole = {name: _room(like, len(items), folder) for name, like in shapes.items()}
    for start in range(0, len(items), TOGETHER):
        part = collator(items[start : start + TOGETHER])
        for name, like in shapes.items():
            values = getattr(part, name)
            whole[name][start * len(like) : start * len(like) + len(values)] = values
    return ChoiceBatch(**whole, picture=torch.arange(len(items)).repeat_interleave(len(first.picture)))


def _room(like: Tensor, count: int, folder: Path | None) -> Tensor:
    """Return an empty tensor for `count` items, each of which fills one such as `like`; in `folder` if there is one."""
    shape = (count * len(like), *like.shape[1:])
    if folder is None or not math.prod(shape):
        return torch.empty(shape, dtype=like.dtype)
    with tempfile.TemporaryFile(dir=folder) as file:  # the mapping outlives the handle
        return torch.from_numpy(np.memmap(file, dtype=like.numpy().dtype, mode="w+", shape=shape))
