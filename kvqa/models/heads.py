"""Heads for pretraining and question answering, exactly as LXMERT has them (Tan and Bansal, EMNLP 2019).

Each maps states or pooled vectors of the cross-modal encoder to scores; the losses over them are training's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VISUAL_TARGETS = ("objects", "attributes", "features")


class Transform(nn.Module):
    """Linear map, GELU, LayerNorm: what comes before the scores of words and of regions."""

    def __init__(self, width: int, out_width: int | None = None, *, eps: float = 1e-12) -> None:
        super().__init__()
        self.dense = nn.Linear(width, out_width or width)
        self.norm = nn.LayerNorm(out_width or width, eps=eps)

    def forward(self, states: Tensor) -> Tensor:
        """Map states (..., D) to (..., out width)."""
        out: Tensor = self.norm(F.gelu(self.dense(states)))
        return out


class MaskedWordHead(nn.Module):
    """Scores of every word of the vocabulary, for masked-word modelling.

    Args:
        width: Size D of language states.
        vocabulary: Number of words V.
        word_width: Size of the word vectors, where it is another one (ELECTRA, ALBERT).
    """

    def __init__(self, width: int, vocabulary: int, *, word_width: int | None = None) -> None:
        super().__init__()
        self.transform = Transform(width, word_width)
        self.decoder = nn.Linear(word_width or width, vocabulary)
        nn.init.zeros_(self.decoder.bias)

    def tie(self, words: nn.Embedding) -> None:
        """Use the word vectors (V, word width) of the language encoder as output map, as BERT and LXMERT do.

        Raises:
            ValueError: if they are of another shape.
        """
        if words.weight.shape != self.decoder.weight.shape:
            raise ValueError(f"word vectors {tuple(words.weight.shape)} are not {tuple(self.decoder.weight.shape)}")
        self.decoder.weight = words.weight

    def forward(self, states: Tensor) -> Tensor:
        """Return logits (..., V) of language states (..., D); give only the masked positions to save work."""
        out: Tensor = self.decoder(self.transform(states))
        return out


class MatchingHead(nn.Module):
    """Whether text and picture belong together: logits of no and yes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return logits (B, 2) of pooled vectors (B, D)."""
        out: Tensor = self.score(pooled)
        return out


class VisualHeads(nn.Module):
    """What a region is, what it is like, and its feature vector, guessed from its state.

    Args:
        width: Size D of vision states.
        objects, attributes: Numbers of detector classes; 0 leaves that head out.
        features: Size F of region features; 0 leaves the head out.
    """

    def __init__(self, width: int, *, objects: int = 1600, attributes: int = 400, features: int = 2048) -> None:
        super().__init__()
        sizes = dict(zip(VISUAL_TARGETS, (objects, attributes, features), strict=True))
        self.transform = Transform(width)
        self.decoders = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items() if size})

    def forward(self, states: Tensor) -> dict[str, Tensor]:
        """Return scores (..., size) of vision states (..., D) by target: `objects`, `attributes`, `features`."""
        states = self.transform(states)
        return {name: decoder(states) for name, decoder in self.decoders.items()}


class AnswerHead(nn.Module):
    """Scores of a closed answer vocabulary."""

    def __init__(self, width: int, answers: int, *, eps: float = 1e-12) -> None:
        super().__init__()
        self.dense = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(2 * width, eps=eps)
        self.score = nn.Linear(2 * width, answers)

    @torch.no_grad()
    def start_at(self, shares: Tensor) -> None:
        """Say of every example what is true of all on average, until it is trained further.

        Binary cross-entropy over thousands of answers spends its first epochs on nothing but learning how rare each is
        (the bias of Lin et al., Focal Loss, ICCV 2017).

        Args:
            shares: (A,) in [0, 1], the mean target of each answer.
        """
        self.score.weight.zero_()
        self.score.bias.copy_(torch.logit(shares.clamp(1e-6, 1 - 1e-6)))

    def forward(self, pooled: Tensor) -> Tensor:
        """Return logits (B, A) of pooled vectors (B, D)."""
        out: Tensor = self.score(self.norm(F.gelu(self.dense(pooled))))
        return out


class PretrainingHeads(nn.Module):
    """The heads that come with a pretrained LXMERT; those that it lacks are None."""

    def __init__(
        self,
        *,
        words: MaskedWordHead | None = None,
        matching: MatchingHead | None = None,
        visual: VisualHeads | None = None,
        answer: AnswerHead | None = None,
    ) -> None:
        super().__init__()
        self.words = words
        self.matching = matching
        self.visual = visual
        self.answer = answer
