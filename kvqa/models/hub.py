"""Models on the Hugging Face hub: `from_pretrained`, `save_pretrained` and `push_to_hub` of `huggingface_hub`'s mixin.

Each class holds one kind of model folder. They stand apart from the models themselves, which thus load without
`huggingface_hub`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download

from kvqa.models.checkpoint import CONFIG, MANIFEST, VOCABULARY, WEIGHTS, load_model, read_manifest, save_model
from kvqa.models.crossmodal import CrossModalConfig, CrossModalEncoder
from kvqa.models.encoder_folder import load_encoder, save_encoder
from kvqa.models.model import KvqaModel
from kvqa.models.pretrained import PICTURES, PretrainedFolder, read_pretrained_folder

TAGS = ["visual-question-answering", "knowledge-graph"]


class HubModel(ModelHubMixin, library_name="kvqa", license="apache-2.0", tags=TAGS):
    """A question-answering model.

    Args:
        model: The model.
        training: What its manifest says of the training.
    """

    def __init__(self, model: KvqaModel, training: dict[str, Any] | None = None) -> None:
        self.model = model
        self.training = training or {}

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(self.model, save_directory, training=self.training)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> HubModel:
        folder = model_folder(model_id, **options)
        return cls(load_model(folder), read_manifest(folder).training)


class HubEncoder(ModelHubMixin, library_name="kvqa", license="apache-2.0", tags=TAGS):
    """A cross-modal encoder, such as an LXMERT.

    Args:
        encoder: The encoder.
        settings: What it was built of.
    """

    def __init__(self, encoder: CrossModalEncoder, settings: CrossModalConfig) -> None:
        self.encoder = encoder
        self.settings = settings

    def _save_pretrained(self, save_directory: Path) -> None:
        save_encoder(self.encoder, self.settings, save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> HubEncoder:
        return cls(*load_encoder(model_folder(model_id, **options)))


class HubPretrained(ModelHubMixin, library_name="kvqa", license="apache-2.0", tags=TAGS):
    """The folder of a pretrained encoder, to start training from: `kvqa train … --init`.

    Args:
        folder: Where it lies.

    Raises:
        InputError: if the folder is not sound.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.content: PretrainedFolder = read_pretrained_folder(self.folder)

    def _save_pretrained(self, save_directory: Path) -> None:
        for name in (WEIGHTS, CONFIG, VOCABULARY, PICTURES, MANIFEST):  # the manifest last
            shutil.copyfile(self.folder / name, save_directory / name)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> HubPretrained:
        return cls(model_folder(model_id, **options))


def model_folder(
    model_id: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
    **ignored: Any,
) -> Path:
    """Return a folder as it is, or download the one of a hub id into the cache of `huggingface_hub`.

    Args:
        ignored: What the mixin reads of `config.json`; the folder is read by its own loader.
    """
    if Path(model_id).is_dir():
        return Path(model_id)
    return Path(
        snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
    )
