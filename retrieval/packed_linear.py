"""Linear maps prepared for inference: several as one product, weights packed once, what follows fused in.

With bfloat16 on CPUs that multiply it, packing the weights at every call costs a tenth of the time and separate
passes for GELU and residual sums another. oneDNN does all three inside the product; `torch.compile` uses the same
operators. Elsewhere the maps stay plain products, joined where they read the same input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.precision import fast_bfloat16


class PackedLinear:
    """One or more linear maps of the same input as one product; outputs side by side.

    Not a module: it holds a copy of the weights that neither trains nor is saved.

    Args:
        layers: The maps, from the same width.
        gelu: Apply GELU to the outputs.
        onednn: Whether to pack for oneDNN; None: where it pays, see `packing_pays`.
    """

    def __init__(self, layers: Sequence[nn.Linear], *, gelu: bool = False, onednn: bool | None = None) -> None:
        with torch.no_grad():
            self.weight = torch.cat([layer.weight for layer in layers]).detach()  # (outputs, inputs)
            self.bias = torch.cat([layer.bias for layer in layers]).detach()
        self.gelu = gelu
        self.onednn = packing_pays(self.weight) if onednn is None else onednn
        if self.onednn:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        """Map `x` (..., inputs) to (..., outputs)."""
        if self.onednn:
            name, form = ("gelu", "none") if self.gelu else ("none", "")
            fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, name, [], form)
            return fused
        out = F.linear(x, self.weight, self.bias)
        return F.gelu(out) if self.gelu else out

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return `residual` (..., outputs) plus the map of `x` (..., inputs)."""
        if self.onednn:
            total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")
            return total
        return F.linear(x, self.weight, self.bias).add_(residual)


def packing_pays(weight: Tensor) -> bool:
    """Return whether oneDNN multiplies matrices of the kind of `weight` faster from packed weights."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and fast_bfloat16()
    )
