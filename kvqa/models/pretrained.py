"""Folders of pretrained encoders, and how another model starts from one.

`model.safetensors` (encoder and heads of pretraining, without the frozen sentence encoder), `config.json` (every
setting of the run), `vocabulary.json` (labels and answers), `pictures.txt` (identities of the pictures it was trained
on), `manifest.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kvqa.errors import InputError
from kvqa.models.checkpoint import CONFIG, MANIFEST, VOCABULARY, WEIGHTS, ModelManifest, own_parameters, read_manifest
from retrieval.manifest import file_sha256, write_text_safely

PICTURES = "pictures.txt"
UNTRAINED = ("encoder.side.", "encoder.visible.", "encoder.vocabulary.")
"""Heads of the encoder that pretraining does not train; whoever starts from it keeps its own."""


@dataclass(frozen=True)
class PretrainedFolder:
    """What lies in a folder besides weights.

    Attributes:
        config: Settings of the run.
        labels, answers: Vocabularies.
        manifest: Checksums, sources and counts.
        pictures: Identities of the pictures it has seen.
    """

    config: dict[str, Any]
    labels: tuple[str, ...]
    answers: tuple[str, ...]
    manifest: ModelManifest
    pictures: frozenset[str]


def save_pretrained_folder(
    model: nn.Module,
    folder: Path,
    *,
    config: Mapping[str, Any],
    labels: Sequence[str],
    answers: Sequence[str],
    pictures: Iterable[str],
    text_sha256: str,
    training: dict[str, Any],
) -> None:
    """Write the folder, manifest last, so that a half-written folder is recognised.

    Args:
        model: With its encoder as `model.encoder`.
        config, training: Go into `config.json` and the manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().float().cpu().contiguous() for name, p in own_parameters(model).items()}
    partial = folder / (WEIGHTS + ".partial")
    save_file(tensors, partial)
    partial.replace(folder / WEIGHTS)
    write_text_safely(folder / CONFIG, json.dumps(dict(config), indent=2) + "\n")
    vocabulary = {"labels": list(labels), "answers": list(answers)}
    write_text_safely(folder / VOCABULARY, json.dumps(vocabulary, indent=0, ensure_ascii=False) + "\n")
    write_text_safely(folder / PICTURES, "".join(f"{picture}\n" for picture in sorted(pictures)))
    manifest = ModelManifest(file_sha256(folder / WEIGHTS), text_sha256, training)
    write_text_safely(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")


def read_pretrained_folder(folder: Path) -> PretrainedFolder:
    """Read everything but the weights, whose checksum is compared.

    Raises:
        InputError: if the folder is missing, damaged, altered, or not of pretraining.
    """
    manifest = read_manifest(folder)
    if not (folder / WEIGHTS).is_file() or file_sha256(folder / WEIGHTS) != manifest.weights_sha256:
        raise InputError(f"{folder / WEIGHTS} is missing or altered (checksum differs); copy the folder again")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        vocabulary = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        pictures = frozenset((folder / PICTURES).read_text(encoding="utf-8").splitlines())
        labels, answers = tuple(vocabulary["labels"]), tuple(vocabulary["answers"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is no folder of a pretrained encoder ({' '.join(str(error).split())});"
            " make one: kvqa train configs/pretrain.yaml"
        ) from None
    return PretrainedFolder(config, labels, answers, manifest, pictures)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Fill a model of the same form with the weights of `folder`.

    Raises:
        InputError: if they do not fit.
    """
    _copy(own_parameters(model), _weights(folder), folder)


def start_from(model: nn.Module, folder: Path, *, text_sha256: str) -> PretrainedFolder:
    """Give the encoder of `model` the weights of a pretrained one; everything else stays.

    Args:
        model: With its encoder as `model.encoder`, such as `KvqaModel`.
        text_sha256: Checksum of its sentence encoder.

    Raises:
        InputError: if the folder is not sound, its encoder has other sizes, or another sentence encoder.
    """
    found = read_pretrained_folder(folder)
    if found.manifest.text_sha256 != text_sha256:
        raise InputError(f"{folder} was pretrained with another sentence encoder; pretrain again with model.text")

    def of_encoder(name: str) -> bool:
        return name.startswith("encoder.") and not name.startswith(UNTRAINED)

    wanted = {name: p for name, p in own_parameters(model).items() if of_encoder(name)}
    _copy(wanted, {name: t for name, t in _weights(folder).items() if of_encoder(name)}, folder)
    return found


def _weights(folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / WEIGHTS} is damaged ({error}); copy the folder again") from None


def _copy(wanted: Mapping[str, nn.Parameter], given: Mapping[str, Tensor], folder: Path) -> None:
    for name in sorted(wanted.keys() | given.keys()):
        ours = tuple(wanted[name].shape) if name in wanted else "nothing"
        theirs = tuple(given[name].shape) if name in given else "nothing"
        if ours != theirs:
            raise InputError(
                f"{folder} does not fit this model: {name} is {theirs} there and {ours} here;"
                " give both configs the same model.encoder"
            )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(given[name])
