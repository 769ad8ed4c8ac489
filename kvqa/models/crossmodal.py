"""The cross-modal encoder: a language encoder, a vision encoder, and layers in which the two look at each other.

LXMERT (Tan and Bansal, EMNLP 2019) is one point of its design space, the trunk of the question-answering model
another; `CrossModalConfig` spans the space of METER (Dou et al., CVPR 2022). `embed` gives what adversarial training
perturbs, `encode` does the rest, `forward` is one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor, nn

from kvqa.errors import InputError
from kvqa.models.attention import Attention, FeedForward, Rates, TransformerLayer
from kvqa.models.fusion import CoAttention, CrossAttentions, Order, merge
from kvqa.models.language import LanguageConfig, build_language
from kvqa.models.rows import Rows
from kvqa.models.vision_embedding import KINDS, VisionConfig, build_vision_embedding

Fusion = Literal["co-attention", "merged"]
Pool = Literal["language", "both"]


@dataclass(frozen=True)
class CrossModalConfig:
    """Everything that is needed to build the encoder; the defaults are LXMERT's.

    Attributes:
        fusion: Two streams with cross-attention, or one transformer over both sequences.
        shared: One cross-attention a layer for both directions (co-attention only).
        order: Cross-attention before or after self-attention in a layer (co-attention only).
        width, heads, hidden, cross_layers: Sizes of the cross-modality layers. Streams of another width get a
            linear bridge.
        pool: Pooled vector from the first word, or from the first word and the first vision token.
        modality: Add a learned vector to all words and another to all vision tokens before they meet (METER).
        dropout, attention_dropout: Rates of vision encoder and cross-modality layers.
        init_std: Standard deviation of random weights as in BERT (0.02); None leaves PyTorch's.
    """

    language: LanguageConfig = field(default_factory=lambda: LanguageConfig(padding_index=0))
    vision: VisionConfig = field(default_factory=VisionConfig)
    fusion: Fusion = "co-attention"
    shared: bool = True
    order: Order = "cross-first"
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    cross_layers: int = 5
    pool: Pool = "language"
    modality: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.1
    init_std: float | None = 0.02

    def problems(self) -> list[str]:
        """Return everything that is wrong with it, each with what would be allowed."""
        vision = self.vision
        choices = (
            ("fusion", self.fusion, get_args(Fusion)),
            ("order", self.order, get_args(Order)),
            ("pool", self.pool, get_args(Pool)),
            ("vision.kind", vision.kind, KINDS),
        )
        found = [
            f"{name} {value!r} is none of {', '.join(allowed)}"
            for name, value, allowed in choices
            if value not in allowed
        ]
        widths = [("", self.width, self.heads), ("vision.", *vision_sizes(self)[:2])]
        if not self.language.model:
            widths.append(("language.", self.language.width, self.language.heads))
        for prefix, width, heads in widths:
            if width < 1 or heads < 1 or width % heads:
                found.append(f"{prefix}width {width} is not a multiple of {prefix}heads {heads}")
        for name, value in (("cross_layers", self.cross_layers), ("vision.layers", vision.layers)):
            if value < 0:
                found.append(f"{name} {value} is negative")
        if self.fusion == "merged" and (self.order != "cross-first" or not self.shared):
            found.append("order and shared are of co-attention; leave them as they are for merged attention")
        if (vision.kind == "backbone") != bool(vision.model):
            found.append(
                f"vision.model {vision.model!r} does not go with vision.kind {vision.kind!r}; only a backbone has one"
            )
        for name, rate in (("dropout", self.dropout), ("attention_dropout", self.attention_dropout)):
            if not 0 <= rate < 1:
                found.append(f"{name} {rate} is not in [0, 1)")
        return found


def vision_sizes(config: CrossModalConfig) -> tuple[int, int, int]:
    """Return width, heads and hidden size of the vision encoder."""
    vision = config.vision
    return vision.width or config.width, vision.heads or config.heads, vision.hidden or config.hidden


class Embeddings(NamedTuple):
    """What enters the encoder and may be perturbed.

    Attributes:
        words: (B, T, E) word vectors, before positions, segments and LayerNorm.
        vision: The vision input as it is: features (I, R, F) or pixels (I, 3, H, W).
    """

    words: Tensor
    vision: Tensor


@dataclass
class Attentions:
    """Attention weights, one tensor a layer in order.

    Attributes:
        language: (B, H, T, T) of the language encoder.
        vision: (I, H, R, R) of the vision encoder.
        cross: Of the cross-modality layers.
    """

    language: list[Tensor] = field(default_factory=list)
    vision: list[Tensor] = field(default_factory=list)
    cross: CrossAttentions = field(default_factory=CrossAttentions)


class CrossModal(NamedTuple):
    """What the encoder says of B texts with their pictures.

    Attributes:
        language: (B, T, D) last language states.
        vision: (B, R, D) last vision states.
        pooled: (B, D) the text-and-picture representation.
        words: (B, T, S) states of the language encoder, before words and picture met.
        vision_mask: (B, R) bool, which vision states are real.
        attentions: On request.
        seen: (B, R, D) states of the vision encoder, before words and picture met.
    """

    language: Tensor
    vision: Tensor
    pooled: Tensor
    words: Tensor
    vision_mask: Tensor
    attentions: Attentions | None = None
    seen: Tensor | None = None


class Inputs(Protocol):
    """What the encoder itself reads of a batch; `Pairs` has it, and so has the trunk's `Batch`."""

    @property
    def ids(self) -> Tensor: ...  # noqa: D102
    @property
    def mask(self) -> Tensor: ...  # noqa: D102
    @property
    def segments(self) -> Tensor | None: ...  # noqa: D102
    @property
    def region_mask(self) -> Tensor | None: ...  # noqa: D102
    @property
    def vision(self) -> Tensor: ...  # noqa: D102
    @property
    def picture(self) -> Tensor | None: ...  # noqa: D102


class CrossModalEncoder(nn.Module):
    """Language encoder, vision encoder, cross-modality layers, pooler.

    Args:
        language: See `kvqa.models.language` for the interface.
        regions: Makes vision tokens (I, R, vision width) of the vision input and the batch.
        width, heads, hidden, cross_layers: Of the cross-modality layers.
        vision_width, vision_heads, vision_hidden, vision_layers: Of the vision encoder; None: as the former.
        bridge: Whether there is a linear map from language states to `width`; None: where widths differ.
        The rest: see `CrossModalConfig`.
    """

    def __init__(
        self,
        language: nn.Module,
        regions: nn.Module,
        *,
        width: int,
        heads: int,
        hidden: int,
        cross_layers: int,
        vision_layers: int,
        vision_width: int | None = None,
        vision_heads: int | None = None,
        vision_hidden: int | None = None,
        fusion: Fusion = "co-attention",
        shared: bool = True,
        order: Order = "cross-first",
        pool: Pool = "language",
        modality: bool = False,
        bridge: bool | None = None,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for value, kinds in ((fusion, get_args(Fusion)), (order, get_args(Order)), (pool, get_args(Pool))):
            if value not in kinds:
                raise ValueError(f"{value!r} is none of {', '.join(kinds)}")
        rates = Rates(dropout=dropout, attention_dropout=attention_dropout, eps=1e-12)
        seen_width = vision_width or width
        language_width = int(language.width)  # type: ignore[arg-type]
        self.fusion, self.pool = fusion, pool
        self.language = language
        self.regions = regions
        self.vision = nn.ModuleList(
            TransformerLayer(seen_width, vision_heads or heads, vision_hidden or hidden, **rates)
            for _ in range(vision_layers)
        )
        bridged = language_width != width if bridge is None else bridge
        self.bridge = nn.Linear(language_width, width) if bridged else nn.Identity()
        self.vision_bridge = nn.Linear(seen_width, width) if seen_width != width else nn.Identity()
        self.modality = nn.Embedding(2, width) if modality else None
        self.cross = nn.ModuleList(
            TransformerLayer(width, heads, hidden, **rates)
            if fusion == "merged"
            else CoAttention(width, heads, hidden, shared=shared, order=order, **rates)
            for _ in range(cross_layers)
        )
        self.pooler = nn.Linear(2 * width if pool == "both" else width, width)

    def embed(self, inputs: Inputs) -> Embeddings:
        """Return word vectors and vision input: what adversarial training adds its perturbation to."""
        words: Tensor = self.language.embed_words(inputs.ids)  # type: ignore[operator]
        return Embeddings(words, inputs.vision)

    def encode(
        self, embeddings: Embeddings, inputs: Inputs, *, attentions: bool = False, packed: bool = False
    ) -> CrossModal:
        """Encode embedded texts and pictures.

        Args:
            embeddings: Of `embed`, perturbed or not.
            inputs: The batch they came from: masks, segments, boxes.
            attentions: Return attention weights as well.
            packed: Do no work on padding. The results at real positions are the same; at padding they are copies.
        """
        kept = Attentions() if attentions else None
        words, alone, told, seen = self._apart(embeddings, inputs, kept, packed=packed)
        language, vision = self._meet(words, alone)
        cross = None if kept is None else kept.cross
        if self.fusion == "merged":
            language, vision = merge(self.cross, language, vision, told, seen, keep=cross)
        else:
            for layer in self.cross:
                language, vision = layer(language, vision, told, seen, keep=cross)
        language, vision = told.pad(language), seen.pad(vision)  # (B, T, D), (B, R, D)
        return CrossModal(
            language, vision, self._pool(language, vision), told.pad(words), seen.mask, kept, seen.pad(alone)
        )

    def forward(self, inputs: Inputs, *, attentions: bool = False, packed: bool = False) -> CrossModal:
        """Encode a batch; see `encode`."""
        return self.encode(self.embed(inputs), inputs, attentions=attentions, packed=packed)

    def pooled(self, inputs: Inputs, *, packed: bool = False) -> Tensor:
        """Return only the pooled vectors (B, D), without computing states of the last layer that nobody reads."""
        if self.fusion == "merged" or self.pool == "both" or not self.cross:
            out: Tensor = self(inputs, packed=packed).pooled
            return out
        words, alone, told, seen = self._apart(self.embed(inputs), inputs, None, packed=packed)
        language, vision = self._meet(words, alone)
        *layers, last = self.cross
        for layer in layers:
            language, vision = layer(language, vision, told, seen)
        assert isinstance(last, CoAttention)
        return torch.tanh(self.pooler(last.first_word(language, vision, told, seen)[:, 0]))

    def prepare_for_inference(self) -> CrossModalEncoder:
        """Pack the weights of all layers of our own for inference; call it again after any change of weights or dtype.

        Outputs stay the same up to rounding. Packed weights are copies: they double the memory of the layers.
        """
        crossing = {id(a) for layer in self.cross if isinstance(layer, CoAttention) for a in layer.crossing}
        for module in self.modules():
            if isinstance(module, Attention):
                module.prepare_for_inference(crosses=id(module) in crossing)
            elif isinstance(module, FeedForward):
                module.prepare_for_inference()
        return self

    def encode_words(
        self, words: Tensor, inputs: Inputs, kept: Attentions | None = None, *, packed: bool = False
    ) -> tuple[Tensor, Rows]:
        """Return language states before the cross-modality layers, and their rows."""
        rows = Rows(inputs.mask, packed=packed)
        segments = torch.zeros_like(inputs.ids) if inputs.segments is None else inputs.segments
        keep = None if kept is None else kept.language
        states: Tensor = self.language.encode(words, segments, rows, keep=keep)  # type: ignore[operator]
        return states, rows

    def encode_vision(
        self, vision: Tensor, inputs: Inputs, kept: Attentions | None = None, *, packed: bool = False
    ) -> tuple[Tensor, Rows]:
        """Return vision states before the cross-modality layers, one row a text, and their rows.

        A picture that several texts belong to (`inputs.picture`) is encoded once and then repeated.
        """
        tokens = self.regions(vision, inputs)  # (I, R, vision width)
        mask = inputs.region_mask
        if mask is None:
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        rows = Rows(mask, packed=packed)
        states = rows.pack(tokens)
        for layer in self.vision:
            states = layer(states, rows, keep=None if kept is None else kept.vision)
        states = self.vision_bridge(states)
        if inputs.picture is not None:
            repeated = Rows(mask[inputs.picture], packed=packed)
            return repeated.pack(rows.pad(states)[inputs.picture]), repeated
        return states, rows

    def _apart(
        self, embeddings: Embeddings, inputs: Inputs, kept: Attentions | None, *, packed: bool
    ) -> tuple[Tensor, Tensor, Rows, Rows]:
        """Return language and vision states before they have met, and their rows."""
        words, told = self.encode_words(embeddings.words, inputs, kept, packed=packed)
        vision, seen = self.encode_vision(embeddings.vision, inputs, kept, packed=packed)
        return words, vision, told, seen

    def _meet(self, words: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
        """Return both sides in one width, and told apart, as the first cross layer reads them."""
        language: Tensor = self.bridge(words)
        if self.modality is not None:
            language, vision = language + self.modality.weight[0], vision + self.modality.weight[1]
        return language, vision

    def _pool(self, language: Tensor, vision: Tensor) -> Tensor:
        first = language[:, 0] if self.pool == "language" else torch.cat([language[:, 0], vision[:, 0]], dim=-1)
        return torch.tanh(self.pooler(first))


def build_encoder(config: CrossModalConfig) -> CrossModalEncoder:
    """Build the encoder of a config; language model and backbone come with their weights if they are named.

    Raises:
        InputError: naming everything that is wrong with the config at once, or a model that cannot be loaded.
    """
    problems = config.problems()
    if problems:
        raise InputError("the encoder cannot be built: " + "; ".join(problems))
    regions = build_vision_embedding(config.vision, vision_sizes(config)[0], dropout=config.dropout)
    encoder = assemble(config, build_language(config.language), regions)
    if config.init_std is not None:
        _initialise(encoder, config, config.init_std)
    return encoder


def assemble(config: CrossModalConfig, language: nn.Module, regions: nn.Module) -> CrossModalEncoder:
    """Return the encoder of a config around a language encoder and a vision embedding, with PyTorch's random weights.

    Args:
        regions: Makes tokens of the width of the vision encoder.
    """
    seen_width, seen_heads, seen_hidden = vision_sizes(config)
    return CrossModalEncoder(
        language,
        regions,
        width=config.width,
        heads=config.heads,
        hidden=config.hidden,
        cross_layers=config.cross_layers,
        vision_layers=config.vision.layers,
        vision_width=seen_width,
        vision_heads=seen_heads,
        vision_hidden=seen_hidden,
        fusion=config.fusion,
        shared=config.shared,
        order=config.order,
        pool=config.pool,
        modality=config.modality,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
    )


def _initialise(encoder: CrossModalEncoder, config: CrossModalConfig, std: float) -> None:
    """Give what was not loaded BERT's random weights: normal matrices, zero biases."""
    loaded = [encoder.language] if config.language.model else []
    if config.vision.kind == "backbone":
        loaded.append(encoder.regions.get_submodule("model"))
    skip = {id(module) for part in loaded for module in part.modules()}
    for module in encoder.modules():
        if id(module) in skip:
            continue
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])
            if not isinstance(module, nn.Embedding) and module.bias is not None:
                nn.init.zeros_(module.bias)
