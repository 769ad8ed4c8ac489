"""Judging a statement about a picture whose objects are known: the cross-modal encoder and a head that counts.

Attention averages, but "exactly three yellow circles" is about a number. The head lets every object vote for some
properties that the statement asks for, adds the votes up in each group of objects (the boxes of NLVR), lets every
group vote in the same way on what its sums say, and decides on the sums and the pooled vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.data.pairs import Pairs
from kvqa.models.crossmodal import CrossModalConfig, build_encoder
from kvqa.models.language import LanguageConfig
from kvqa.models.vision_embedding import VisionConfig


@dataclass(frozen=True)
class StatementConfig:
    """Sizes of the model.

    Attributes:
        width, heads, hidden: Of all layers.
        language_layers, vision_layers, cross_layers: Their numbers.
        votes: Properties that objects vote for; 0 leaves out the counting head.
        dropout: Rate.
    """

    width: int = 64
    heads: int = 4
    hidden: int = 128
    language_layers: int = 1
    vision_layers: int = 0
    cross_layers: int = 2
    votes: int = 24
    dropout: float = 0.0


class Judgement(NamedTuple):
    """What the model says.

    Attributes:
        logits: (B, 2) of false and true.
        objects: (B, R) logits that the statement counts an object; None without a counting head.
        groups: (B, G) logits that it counts a group.
    """

    logits: Tensor
    objects: Tensor | None
    groups: Tensor | None


class CountingHead(nn.Module):
    """Votes of objects, summed in groups, and votes of groups, summed in all.

    What is voted on is read from the statement: each of K slots attends to the words, and an object's vote is how well
    its state fits what the slot found. It is attention without the division by the sum that makes it an average.
    The first slot and the first vote of groups are also given out, to be taught which objects and groups a statement
    counts where that is known.

    Args:
        width: Size D of the states.
        votes: Number of slots K.
        classes: Number of logits C.
    """

    def __init__(self, width: int, votes: int, classes: int = 2) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(votes, width) / width**0.5)
        self.word = nn.Linear(width, width)
        self.ask = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.full((votes,), -1.0))
        self.group = nn.Linear(votes + width, width)
        self.group_vote = nn.Linear(width, votes)
        self.decide = nn.Linear(2 * votes + width, width)
        self.score = nn.Linear(width, classes)

    def votes(self, objects: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Return the votes (B, R, K), as logits, of objects (B, R, D) on words (B, T, D) with mask (B, T)."""
        match = self.slots @ self.word(words).transpose(1, 2)  # (B, K, T)
        weights = match.masked_fill(~mask[:, None], torch.finfo(match.dtype).min).softmax(-1)
        asked = self.ask(weights @ words)  # (B, K, D)
        fit: Tensor = self.key(objects) @ asked.transpose(1, 2) / objects.shape[-1] ** 0.5  # (B, R, K)
        return fit + self.bias

    def forward(self, objects: Tensor, words: Tensor, mask: Tensor, pooled: Tensor, member: Tensor) -> Judgement:
        """Return logits and first votes.

        Args:
            objects: (B, R, D) states.
            words: (B, T, D) states.
            mask: (B, T) bool, which words are real.
            pooled: (B, D).
            member: (B, R, G) float, 1 where an object belongs to a group; padding belongs to none.
        """
        votes = self.votes(objects, words, mask)
        sums = member.transpose(1, 2) @ torch.sigmoid(votes)  # (B, G, K)
        said = pooled[:, None].expand(-1, sums.shape[1], -1)  # (B, G, D)
        groups = F.gelu(self.group(torch.cat([sums, said], dim=-1)))  # (B, G, D)
        group_votes = self.group_vote(groups)  # (B, G, K)
        found = torch.cat([sums.sum(1), torch.sigmoid(group_votes).sum(1), pooled], dim=-1)
        return Judgement(self.score(F.gelu(self.decide(found))), votes[..., 0], group_votes[..., 0])


class StatementModel(nn.Module):
    """The encoder with random weights, and its head.

    Args:
        vocabulary: Number of words; number 0 is padding.
        features: Size F of an object's features.
    """

    def __init__(self, config: StatementConfig, *, vocabulary: int, features: int, max_tokens: int = 48) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(encoder_config(config, vocabulary, features, max_tokens))
        self.head = CountingHead(config.width, config.votes) if config.votes else None
        self.score = None if config.votes else nn.Linear(config.width, 2)

    def forward(self, pairs: Pairs, member: Tensor) -> Judgement:
        """Judge statements; `member` as `CountingHead.forward` takes it."""
        out = self.encoder(pairs)
        if self.head is not None:
            judged: Judgement = self.head(out.vision, out.language, pairs.mask, out.pooled, member)
            return judged
        assert self.score is not None
        return Judgement(self.score(out.pooled), None, None)


def encoder_config(config: StatementConfig, vocabulary: int, features: int, max_tokens: int) -> CrossModalConfig:
    """Return the configuration of the shared encoder for these sizes."""
    return CrossModalConfig(
        language=LanguageConfig(
            vocabulary=vocabulary,
            width=config.width,
            heads=config.heads,
            hidden=config.hidden,
            layers=config.language_layers,
            positions=max_tokens,
            segments=1,
            dropout=config.dropout,
            attention_dropout=0.0,
        ),
        vision=VisionConfig(kind="regions", feature_width=features, layers=config.vision_layers),
        width=config.width,
        heads=config.heads,
        hidden=config.hidden,
        cross_layers=config.cross_layers,
        shared=False,
        dropout=config.dropout,
        attention_dropout=0.0,
        init_std=0.05,
    )
