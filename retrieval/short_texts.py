"""A sentence encoder made fast for texts of a few words on CPUs, with the same neighbours.

Two things take the time where a text has eight tokens. Attention kernels made for long sequences spend it on their
own set-up, so plain products take their place: in float32 this alone makes the encoder nearly twice as fast. And linear
maps are made in bfloat16 where the processor multiplies that faster. Everything else, sums along the residual stream
and LayerNorm above all, stays in float32: rounded as well, they would be off four times as far, and more than a
hundredth of the ten nearest facts would be others.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from retrieval.packed_linear import PackedLinear

KNOWN = ("bert", "camembert", "distilbert", "roberta", "xlm-roberta")
"""Kinds of `transformers` models with plain attention, whose residual stream no linear map cuts."""
ATTENTION = "kvqa-short-texts"
"""The name under which `transformers` knows `attend`."""


def quicken(model: nn.Module, *, bfloat16: bool) -> None:
    """Make `model` fast for short texts on CPUs, for inference. Weights stay as they are, and so do their checksums.

    Args:
        model: Holds a model of `transformers`; if that is none of `KNOWN`, it is left as it is.
        bfloat16: Whether to multiply in bfloat16.
    """
    from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
    from transformers.masking_utils import eager_mask

    transformers = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    if not all(transformer.config.model_type in KNOWN for transformer in transformers):
        return
    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
    for transformer in transformers:
        transformer.set_attn_implementation(ATTENTION)
        for module in transformer.modules():
            if bfloat16 and isinstance(module, nn.Linear):
                module.forward = HalfProduct(module)  # type: ignore[assignment, method-assign]


class HalfProduct:
    """A linear map in bfloat16, of input in any precision.

    Args:
        layer: The map, with a bias; a copy of its weights is kept.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.product = PackedLinear([deepcopy(layer).bfloat16()])

    def __call__(self, x: Tensor) -> Tensor:
        """Map `x` (..., inputs) to (..., outputs) in bfloat16."""
        return self.product(x.bfloat16())


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Mix values (B, H, S, D) by attention from queries (B, H, T, D); returns (B, T, H, D).

    Has the form of an attention function of `transformers`; `mask` (B, 1, T, S) is added to the scores. For inference:
    there is no dropout.
    """
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None
