"""A model that judges statements of NLVR: a new one, saving, loading, and what it says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kvqa.data.example import Example
from kvqa.data.nlvr_scene import FEATURES
from kvqa.data.nlvr_tokens import MAX_TOKENS, collate, numbers_of, statement_of
from kvqa.data.nlvr_words import WORDS
from kvqa.errors import InputError
from kvqa.models.checkpoint import CONFIG, MANIFEST, WEIGHTS, ModelManifest, read_manifest
from kvqa.models.choose import load_weights
from kvqa.models.statement import StatementConfig, StatementModel
from retrieval.manifest import file_sha256, write_text_safely


def new_model(config: StatementConfig, seed: int) -> StatementModel:
    """Return a model with random weights of `seed`."""
    torch.manual_seed(seed)
    return StatementModel(config, vocabulary=len(WORDS), features=FEATURES, max_tokens=MAX_TOKENS)


@torch.no_grad()
def truths(model: StatementModel, examples: Sequence[Example], *, picture: bool = True) -> Tensor:
    """Return the probability (N,) that each statement is true."""
    model.eval()
    found = []
    for start in range(0, len(examples), 128):
        part = examples[start : start + 128]
        batch = [numbers_of(statement_of(example), None, picture=picture) for example in part]
        found.append(model(*collate(batch)).logits.softmax(-1)[:, 1])
    return torch.cat(found)


def save_statement_model(model: StatementModel, folder: Path, *, picture: bool, training: dict[str, Any]) -> None:
    """Write the model into `folder`, manifest last.

    Args:
        picture: Whether it was shown the scenes.
        training: Goes into the manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    save_file(weights, folder / (WEIGHTS + ".partial"))
    (folder / (WEIGHTS + ".partial")).replace(folder / WEIGHTS)
    config = {"kind": "statement", "picture": picture, "model": asdict(model.config), "words": list(WORDS)}
    write_text_safely(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    manifest = ModelManifest(file_sha256(folder / WEIGHTS), "", training)  # it has no sentence encoder
    write_text_safely(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")


def load_statement_model(folder: Path) -> tuple[StatementModel, bool]:
    """Load a model that `save_statement_model` wrote; return it with whether it is shown the scenes.

    Raises:
        InputError: if the folder holds no such model, is damaged or altered, or was written by another version.
    """
    manifest = read_manifest(folder)
    if not (folder / WEIGHTS).is_file() or file_sha256(folder / WEIGHTS) != manifest.weights_sha256:
        raise InputError(f"{folder / WEIGHTS} is missing or altered (checksum differs); copy the model folder again")
    try:
        record = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if record.get("kind") != "statement":
            raise InputError(f"{folder} holds no model of NLVR; train one: kvqa train configs/nlvr.yaml")
        if record["words"] != list(WORDS):
            raise InputError(f"{folder} reads other words than this version knows; train it again")
        model = new_model(StatementConfig(**record["model"]), 0)
        load_weights(model, load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder} is damaged ({str(error)[:200]}); copy the model folder again") from None
    return model.eval(), bool(record["picture"])
