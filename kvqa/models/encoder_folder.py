"""A cross-modal encoder in a folder: `config.json`, `model.safetensors`, and the configs of parts of `transformers`.

The folder is complete: it loads without the models that the encoder was once started from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kvqa.errors import InputError
from kvqa.models.attention import TransformerLayer
from kvqa.models.crossmodal import CrossModalConfig, CrossModalEncoder, assemble, vision_sizes
from kvqa.models.language import AutoText, LanguageConfig, build_language
from kvqa.models.text import TextEncoder
from kvqa.models.vision_embedding import Backbone, VisionConfig, build_vision_embedding, vision_tower
from retrieval.manifest import write_text_safely

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
KIND = "kvqa cross-modal encoder"


def save_encoder(encoder: CrossModalEncoder, config: CrossModalConfig, folder: Path) -> None:
    """Write the encoder that was built of `config`; the config last, so that a half-written folder is recognised."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(encoder.language, TextEncoder):
        config = replace(config, language=_sizes(encoder.language))
    for part, module in (("language", encoder.language), ("vision", encoder.regions)):
        if isinstance(module, AutoText | Backbone):
            module.model.config.save_pretrained(folder / part)
    partial = folder / (WEIGHTS + ".partial")
    save_file({name: t.detach().contiguous() for name, t in _tensors(encoder).items()}, partial)
    partial.replace(folder / WEIGHTS)
    record = {"kind": KIND, **asdict(config)}
    write_text_safely(folder / CONFIG, json.dumps(record, indent=2) + "\n")


def load_encoder(folder: Path) -> tuple[CrossModalEncoder, CrossModalConfig]:
    """Load an encoder in evaluation mode, and its config.

    Raises:
        InputError: if the folder is missing, damaged, or of another kind, or its weights do not fit its config.
    """
    config = read_config(folder)
    encoder = assemble(config, _language(config, folder), _regions(config, folder))
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / WEIGHTS} cannot be read ({error}); copy the folder again") from None
    tensors = _tensors(encoder)
    for name in sorted(tensors.keys() | weights.keys()):
        found, wanted = weights.get(name), tensors.get(name)
        if found is None or wanted is None or found.shape != wanted.shape:
            raise InputError(f"{folder / WEIGHTS} does not fit its {CONFIG}: first at {name}; copy the folder again")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(weights[name])
    return encoder.eval(), config


def read_config(folder: Path) -> CrossModalConfig:
    """Read the config of a folder of `save_encoder`.

    Raises:
        InputError: if there is none, or it is of another kind or version.
    """
    try:
        record: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / CONFIG} cannot be read ({error}); name a folder of save_encoder") from None
    if not isinstance(record, dict) or record.pop("kind", None) != KIND:
        raise InputError(f"{folder} holds no {KIND}; name a folder of save_encoder")
    try:
        parts = {"language": LanguageConfig(**record["language"]), "vision": VisionConfig(**record["vision"])}
        config = CrossModalConfig(**{**record, **parts})
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / CONFIG} is not of this version ({error}); use the version that wrote it") from None
    problems = config.problems()
    if problems:
        raise InputError(f"{folder / CONFIG} is damaged: {'; '.join(problems)}; copy the folder again")
    return config


def _tensors(encoder: CrossModalEncoder) -> dict[str, Tensor]:
    """Return parameters and buffers, each once."""
    kept = set(encoder.state_dict())
    return {
        **dict(encoder.named_parameters()),
        **{name: buffer for name, buffer in encoder.named_buffers() if name in kept},
    }


def _sizes(text: TextEncoder) -> LanguageConfig:
    layers = [layer for layer in text.layers if isinstance(layer, TransformerLayer)]
    first = layers[0] if layers else TransformerLayer(text.width, 1, 1)
    return LanguageConfig(
        vocabulary=text.words.num_embeddings,
        width=text.width,
        layers=len(layers),
        heads=first.attention.heads,
        hidden=first.feed_forward.expand.out_features,
        positions=text.positions.num_embeddings,
        segments=text.segments.num_embeddings,
        dropout=text.dropout.p,
        attention_dropout=first.attention.attention_dropout,
        padding_index=text.words.padding_idx,
    )


def _language(config: CrossModalConfig, folder: Path) -> nn.Module:
    return AutoText(_empty(folder / "language")) if config.language.model else build_language(config.language)


def _regions(config: CrossModalConfig, folder: Path) -> nn.Module:
    width = vision_sizes(config)[0]
    if config.vision.kind == "backbone":
        return Backbone(vision_tower(_empty(folder / "vision")), width, dropout=config.dropout)
    return build_vision_embedding(config.vision, width, dropout=config.dropout)


def _empty(folder: Path) -> Any:
    """Return a model of `transformers` by its config alone."""
    from transformers import AutoConfig, AutoModel

    try:
        return AutoModel.from_config(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{folder} cannot be read ({reason}); copy the whole folder again") from None
