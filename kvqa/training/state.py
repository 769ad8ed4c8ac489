"""Exact resume: what a stage of training needs to go on as if it had never been stopped.

Each epoch draws its random numbers from a seed of its own, so weights, optimiser and the number of finished
epochs are the whole state.
"""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kvqa.errors import InputError

FORMAT = "1"


def seed_epoch(seed: int, stage: str, epoch: int) -> random.Random:
    """Seed torch for one epoch of one stage, and return a generator for everything else."""
    mixed = zlib.crc32(f"{seed}/{stage}/{epoch}".encode())
    torch.manual_seed(mixed)
    return random.Random(mixed)


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training changes, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def save_state(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None, *, epoch: int, settings: str
) -> None:
    """Save the state after `epoch` finished epochs, written beside and renamed into place.

    Args:
        optimizer: None once the stage is complete and only its weights are wanted.
        settings: Whatever the result depends on, as text; a state of other settings is refused on loading.
    """
    tensors: dict[str, Tensor] = {f"weight.{n}": p.detach().contiguous() for n, p in trainable(module).items()}
    if optimizer is not None:
        for index, values in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{index}.{n}": torch.as_tensor(v).contiguous() for n, v in values.items()})
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"epoch": str(epoch), "settings": settings, "format": FORMAT})
    partial.replace(path)


def load_state(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None, *, settings: str) -> int:
    """Load a state into `module` and `optimizer`; return the number of finished epochs, 0 if there is no state.

    Raises:
        InputError: if the state was made with other settings.
    """
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); remove it to train that part again") from None
    if metadata.get("settings") != settings:
        raise InputError(f"{path} was made with other settings or data; remove {path.parent} or give another --out")
    with torch.no_grad():
        for name, parameter in trainable(module).items():
            parameter.copy_(tensors[f"weight.{name}"])
    if optimizer is not None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = value
        if state:
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["epoch"])


def settings_text(*parts: object) -> str:
    """Return a stable text of settings for `save_state`."""
    return json.dumps([str(part) for part in parts])
