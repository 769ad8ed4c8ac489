"""The training objectives, each a plain function of outputs and targets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kvqa.models.graph import Reasoning

NO_TARGET = -1


def search_logits(queries: Tensor, vectors: Tensor, *, tau: float) -> Tensor:
    """Return the cosines (B, K) of unit `queries` (B, S) and `vectors` (K, S), divided by `tau`."""
    return ((queries / tau).to(vectors.dtype) @ vectors.T).float()


def search_loss(queries: Tensor, vectors: Tensor, targets: Tensor, *, tau: float = 0.03) -> Tensor:
    """Return the cross-entropy of the wanted row among *all* rows: every other row is a negative.

    With frozen facts this costs one matrix product a step, and needs neither hard-negative mining nor large
    batches. A row of zeros has cosine 0 with every query and so no weight: facts are hidden that way.

    Args:
        queries: (B, S) unit vectors.
        vectors: (K, S) unit vectors of all facts, entities or relations.
        targets: (B,) int64 rows of `vectors`; -1 leaves an example out.
        tau: Temperature of the softmax.
    """
    logits = search_logits(queries, vectors, tau=tau)
    return F.cross_entropy(logits, targets, ignore_index=NO_TARGET) if (targets >= 0).any() else logits.sum() * 0


def class_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of `logits` (B, C), leaving out targets -1; zero if none is left."""
    return F.cross_entropy(logits, targets, ignore_index=NO_TARGET) if (targets >= 0).any() else logits.sum() * 0


def answer_loss(reasoning: Reasoning, right: Tensor) -> Tensor:
    """Return the negative log-mass of the right answer strings, over the examples that have one within reach.

    Args:
        right: (B, G) bool, the groups that spell a right answer.
    """
    reachable = right.any(-1)
    if not reachable.any():
        return reasoning.groups.sum() * 0
    mass = reasoning.groups.masked_fill(~right, -torch.inf)[reachable].logsumexp(-1)
    return -mass.mean()


def fact_loss(reasoning: Reasoning, gold: Tensor) -> Tensor:
    """Return the cross-entropy of the gold fact's position (B,) among the facts, -1 where it is not among them."""
    return class_loss(reasoning.fact, gold)
