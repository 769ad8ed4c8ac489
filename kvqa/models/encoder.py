"""The question-image encoder in the LXMERT style: language, object-relationship and cross-modality encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.data.collate import KINDS, Batch
from kvqa.models.crossmodal import CrossModalEncoder, Embeddings, Fusion
from kvqa.models.fusion import Order
from kvqa.models.language import TunedText
from kvqa.models.text import TextEncoder, mean_pool, sentence_vector


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the question-image encoder.

    Attributes:
        tuned_layers: Upper language layers that are trained; the lower ones and the embeddings stay as loaded.
        width, heads, hidden: Of the vision stream and the cross-modality layers.
        vision_layers, cross_layers: Depth; `cross_layers` 0 leaves the language encoder alone (an ablation).
        feature_width: Length of the optional vector of the whole picture.
        answers: Size of the closed answer vocabulary.
        dropout: Rate everywhere but in the language encoder, which keeps its own.
        fusion, shared, order: How the streams meet, see `kvqa.models.crossmodal.CrossModalConfig`.
    """

    tuned_layers: int = 3
    width: int = 256
    heads: int = 8
    hidden: int = 512
    vision_layers: int = 1
    cross_layers: int = 2
    feature_width: int = 300
    answers: int = 0
    dropout: float = 0.1
    fusion: Fusion = "co-attention"
    shared: bool = True
    order: Order = "cross-first"


class QuestionImage(NamedTuple):
    """What the encoder says of a question about a picture; B examples.

    The four query vectors are unit vectors in the space of the sentence encoder (S numbers), so they meet any
    knowledge base that was embedded with it.

    Attributes:
        language: (B, T, D) last language states.
        vision: (B, R, D) last vision states.
        pooled: (B, D) the question-image representation.
        fact, answer, anchor, relation: (B, S) where the wanted fact, the answer's entity, the other entity of the
            fact and its relation are expected.
        side: (B, 2) logits that the answer is the head or the tail of its fact.
        visible: (B, 2) logits that the answer is named by the knowledge base or seen in the picture.
        vocabulary: (B, A) logits of the closed answer vocabulary.
    """

    language: Tensor
    vision: Tensor
    pooled: Tensor
    fact: Tensor
    answer: Tensor
    anchor: Tensor
    relation: Tensor
    side: Tensor
    visible: Tensor
    vocabulary: Tensor


QUERIES = ("fact", "answer", "anchor", "relation")


class RegionEmbedding(nn.Module):
    """Region tokens of label, box and score; the first token stands for the whole picture and its feature vector."""

    def __init__(self, label_width: int, config: EncoderConfig) -> None:
        super().__init__()
        self.label = nn.Linear(label_width, config.width)
        self.geometry = nn.Linear(6, config.width)
        self.feature = nn.Linear(config.feature_width, config.width)
        self.no_feature = nn.Parameter(torch.zeros(config.width))
        self.kind = nn.Embedding(len(KINDS), config.width)
        self.label_norm = nn.LayerNorm(config.width)
        self.geometry_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, labels: Tensor, batch: Batch) -> Tensor:
        """Return region tokens (B, R, D) of label vectors (B, R, S), perturbed or not, and the batch they are of."""
        what = self.label(labels)  # (B, R, D)
        picture = torch.where(batch.has_image_feature[:, None], self.feature(batch.image_feature), self.no_feature)
        what = torch.cat([picture[:, None].to(what.dtype), what[:, 1:]], dim=1)
        where = self.geometry(torch.cat([batch.geometry, batch.scores[..., None]], dim=-1))  # (B, R, D)
        token = (self.label_norm(what) + self.geometry_norm(where)) / 2 + self.kind(batch.kinds)
        out: Tensor = self.dropout(token)
        return out


def build_trunk(text: TextEncoder, config: EncoderConfig) -> CrossModalEncoder:
    """Return the encoders of question and regions and the layers where they meet, as `config` has them."""
    return CrossModalEncoder(
        TunedText(text, config.tuned_layers),
        RegionEmbedding(text.width, config),
        width=config.width,
        heads=config.heads,
        hidden=config.hidden,
        cross_layers=config.cross_layers,
        vision_layers=config.vision_layers,
        fusion=config.fusion,
        shared=config.shared,
        order=config.order,
        pool="both",
        bridge=True,
        dropout=config.dropout,
    )


class QuestionImageEncoder(nn.Module):
    """The cross-modal encoder over question, seen names and regions, with heads for knowledge-based questions.

    Every query vector is the mean-pooled sentence vector of the language encoder, turned by a linear map that
    starts as the identity, plus a linear map of the pooled cross-modal vector that starts at zero. Before
    training, the query is thus the plain sentence embedding of question and names; training learns the rest.

    Args:
        text: Sentence encoder; its embeddings and lower layers are frozen and used, its upper layers are copied
            for training and also kept, so that `embed` stays the space in which facts were embedded.
    """

    def __init__(self, text: TextEncoder, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        width, space = config.width, text.width
        self.trunk = build_trunk(text, config)
        self.sentence = nn.ModuleDict({name: nn.Linear(space, space, bias=False) for name in QUERIES})
        self.picture = nn.ModuleDict({name: nn.Linear(width, space, bias=False) for name in QUERIES})
        self.side = nn.Linear(space + width, 2)
        self.visible = nn.Linear(space + width, 2)
        self.vocabulary = nn.Linear(space + width, config.answers)
        for name in QUERIES:
            nn.init.eye_(self.sentence[name].get_parameter("weight"))
            nn.init.zeros_(self.picture[name].get_parameter("weight"))

    @property
    def base(self) -> TextEncoder:
        """The sentence encoder as loaded."""
        return self._language.base

    @property
    def tuned(self) -> nn.ModuleList:
        """The upper language layers, which are trained."""
        return self._language.tuned

    @property
    def bridge(self) -> nn.Linear:
        """The map from language states to the width of the cross-modality layers."""
        assert isinstance(self.trunk.bridge, nn.Linear)
        return self.trunk.bridge

    @property
    def _language(self) -> TunedText:
        assert isinstance(self.trunk.language, TunedText)
        return self.trunk.language

    @torch.no_grad()
    def embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the sentence vectors (B, S) of texts, as the frozen sentence encoder gives them."""
        return sentence_vector(self.base(ids, torch.zeros_like(ids), mask), mask)

    def forward(self, batch: Batch, embeddings: Embeddings | None = None) -> QuestionImage:
        """Encode a batch.

        Args:
            embeddings: What to use instead of `self.trunk.embed(batch)`, as in adversarial training.
        """
        out = self.trunk.encode(embeddings or self.trunk.embed(batch), batch)
        sentence = mean_pool(out.words.float(), batch.mask)  # (B, S)
        pooled = out.pooled.float()  # (B, D), of [CLS] and the whole picture
        if not self.config.cross_layers:
            pooled = torch.zeros_like(pooled)
        with torch.autocast(sentence.device.type, enabled=False):  # what is searched with is kept in full precision
            queries = {n: F.normalize(self.sentence[n](sentence) + self.picture[n](pooled), dim=-1) for n in QUERIES}
        both = torch.cat([sentence, pooled], dim=-1)  # (B, S + D)
        return QuestionImage(
            language=out.language,
            vision=out.vision,
            pooled=pooled,
            side=self.side(both).float(),
            visible=self.visible(both).float(),
            vocabulary=self.vocabulary(both).float(),
            **queries,
        )
