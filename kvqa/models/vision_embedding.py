"""From what is seen to vision tokens: one module for each form in which a picture can come.

| kind | reads | as |
|---|---|---|
| `regions` | detector features (I, R, F) and boxes (I, R, 4) | LXMERT: two linear maps, normalised and averaged |
| `grid` | cells of a CNN's last feature map (I, H W, C), boxes of the cells | linear map and 2-D sine positions |
| `patches` | outputs of a vision transformer (I, N, C), boxes if wanted | the same, positions only with boxes |
| `pixels` | pictures (I, 3, H, W) | square patches, one linear map, 2-D sine positions (ViT) |
| `backbone` | pictures (I, 3, H, W) | any `transformers.AutoModel` for pictures, then as `grid` or `patches` |

Each is called with the vision input itself and the batch that it came in. The vision input is apart because
adversarial training and attacks perturb it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from kvqa.data.pairs import Pairs
from kvqa.errors import InputError

VisionKind = Literal["regions", "grid", "patches", "pixels", "backbone"]
KINDS: tuple[str, ...] = get_args(VisionKind)


@dataclass(frozen=True)
class VisionConfig:
    """The vision side.

    Attributes:
        kind: Form of the input, see above.
        feature_width: Size F or C of features.
        box_width: Numbers in a box, 4.
        patch: Side of a patch in pixels, for `pixels`.
        model: Folder or hub id for `backbone`.
        layers: Depth of the vision encoder (LXMERT: object-relationship encoder); METER: 0.
        width, heads, hidden: Its sizes; None: those of the cross-modality layers.
    """

    kind: VisionKind = "regions"
    feature_width: int = 2048
    box_width: int = 4
    patch: int = 16
    model: str = ""
    layers: int = 5
    width: int | None = None
    heads: int | None = None
    hidden: int | None = None


def build_vision_embedding(config: VisionConfig, width: int, *, dropout: float) -> nn.Module:
    """Build the module of `config.kind`, which makes tokens (I, R, width).

    Raises:
        InputError: if a backbone cannot be loaded.
    """
    if config.kind == "regions":
        return RegionFeatures(config.feature_width, config.box_width, width, dropout=dropout)
    if config.kind == "pixels":
        return PixelPatches(config.patch, width, dropout=dropout)
    if config.kind == "backbone":
        return Backbone(load_backbone(config.model), width, dropout=dropout)
    return CellFeatures(config.feature_width, width, positions=config.kind == "grid", dropout=dropout)


class RegionFeatures(nn.Module):
    """Detector features and boxes, each through a linear map and LayerNorm, averaged (LXMERT)."""

    def __init__(
        self, feature_width: int, box_width: int, width: int, *, dropout: float = 0.1, eps: float = 1e-12
    ) -> None:
        super().__init__()
        self.feature = nn.Linear(feature_width, width)
        self.feature_norm = nn.LayerNorm(width, eps=eps)
        self.box = nn.Linear(box_width, width)
        self.box_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, pairs: Pairs) -> Tensor:
        """Return tokens (I, R, D) of `features` (I, R, F) and boxes."""
        _check_width(features, self.feature.in_features)
        what, where = self.feature_norm(self.feature(features)), self.box_norm(self.box(_boxes(pairs, features)))
        out: Tensor = self.dropout((what + where) / 2)
        return out


class CellFeatures(nn.Module):
    """Features of grid cells or patches: a linear map and LayerNorm, plus the place of the cell.

    Args:
        positions: Whether boxes must be given; if not, they are used where they are.
    """

    def __init__(self, feature_width: int, width: int, *, positions: bool, dropout: float = 0.1) -> None:
        super().__init__()
        self.positions = positions
        self.feature = nn.Linear(feature_width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, pairs: Pairs) -> Tensor:
        """Return tokens (I, N, D) of `features` (I, N, C)."""
        _check_width(features, self.feature.in_features)
        token = self.norm(self.feature(features))
        if self.positions or pairs.boxes is not None:
            token = token + sine_positions(_boxes(pairs, features), token.shape[-1]).to(token.dtype)
        out: Tensor = self.dropout(token)
        return out


class PixelPatches(nn.Module):
    """Square patches of the picture itself, as a vision transformer reads them."""

    def __init__(self, patch: int, width: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.patch = patch
        self.feature = nn.Conv2d(3, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pixels: Tensor, pairs: Pairs) -> Tensor:
        """Return tokens (I, N, D) of `pixels` (I, 3, H, W), N = (H / patch) (W / patch), rows first."""
        if pixels.dim() != 4 or pixels.shape[2] % self.patch or pixels.shape[3] % self.patch:
            raise InputError(
                f"pixels of shape {tuple(pixels.shape)} do not fit: (pictures, 3, height, width) with sides that are"
                f" multiples of {self.patch} are wanted; scale or pad the pictures"
            )
        cells = self.feature(pixels)  # (I, D, H / patch, W / patch)
        out: Tensor = self.dropout(self.norm(cells.flatten(2).transpose(1, 2)) + _map_positions(cells))
        return out


class Backbone(nn.Module):
    """A vision model of `transformers` (ViT, CLIP, ResNet, MobileNet, …), then a linear map and LayerNorm.

    Args:
        model: Takes `pixel_values`; gives `last_hidden_state` (I, N, C), whose positions are in it, or a feature
            map (I, C, h, w), which is given 2-D positions.
    """

    def __init__(self, model: Any, width: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.model = model
        self.feature = nn.Linear(_output_width(model), width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pixels: Tensor, pairs: Pairs) -> Tensor:
        """Return tokens (I, N, D) of `pixels` (I, 3, H, W)."""
        states = self.model(pixel_values=pixels).last_hidden_state
        cells = states.flatten(2).transpose(1, 2) if states.dim() == 4 else states
        token = self.norm(self.feature(cells))
        if states.dim() == 4:
            height, width = states.shape[2:]
            boxes = grid_boxes(height, width, device=token.device)
            token = token + sine_positions(boxes, token.shape[-1]).to(token.dtype)
        out: Tensor = self.dropout(token)
        return out


def load_backbone(name: str) -> Any:
    """Load a vision model by folder or hub id; of a two-tower model such as CLIP the vision tower.

    Raises:
        InputError: if it cannot be loaded.
    """
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"vision backbone {name} cannot be loaded ({reason}); give a folder or hub id") from None
    return vision_tower(model)


def vision_tower(model: Any) -> Any:
    """Return the part of a model of `transformers` that sees: of CLIP its vision model, of others the whole."""
    return getattr(model, "vision_model", model)


def grid_boxes(rows: int, columns: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return the boxes (rows * columns, 4) of the cells of a grid over the whole picture, row by row."""
    y, x = torch.meshgrid(
        torch.arange(rows, device=device) / rows, torch.arange(columns, device=device) / columns, indexing="ij"
    )
    return torch.stack([x, y, x + 1 / columns, y + 1 / rows], dim=-1).flatten(0, 1)


def sine_positions(boxes: Tensor, width: int) -> Tensor:
    """Return sine positions (..., width) of the centres of `boxes` (..., 4): waves of 1 to 64 periods a picture."""
    centres = (boxes[..., :2] + boxes[..., 2:4]) / 2  # (..., 2)
    count = -(-width // 4)
    periods = 2.0 ** torch.linspace(0, 6, count, device=boxes.device)
    angles = 2 * math.pi * centres[..., None] * periods  # (..., 2, count)
    waves = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # (..., 4 count)
    return waves[..., :width]


def _map_positions(cells: Tensor) -> Tensor:
    width, rows, columns = cells.shape[1:]
    return sine_positions(grid_boxes(rows, columns, device=cells.device), width).to(cells.dtype)


@torch.no_grad()
def _output_width(model: Any) -> int:
    """Return C by trying: the families of `transformers` do not agree on where their config says it."""
    size = getattr(model.config, "image_size", None) or 64
    height, width = (size, size) if isinstance(size, int) else size
    states = model.eval()(pixel_values=torch.zeros(1, 3, height, width)).last_hidden_state
    return int(states.shape[1] if states.dim() == 4 else states.shape[2])


def _check_width(features: Tensor, expected: int) -> None:
    if features.dim() != 3 or features.shape[-1] != expected:
        raise InputError(
            f"vision features of shape {tuple(features.shape)} do not fit: (pictures, regions, {expected}) is wanted;"
            " set feature_width to what your features have"
        )


def _boxes(pairs: Pairs, features: Tensor) -> Tensor:
    if pairs.boxes is None:
        raise InputError("these vision features need boxes, (pictures, regions, 4) as shares of width and height")
    if pairs.boxes.shape[:2] != features.shape[:2]:
        raise InputError(f"boxes of shape {tuple(pairs.boxes.shape)} do not fit features {tuple(features.shape)}")
    return pairs.boxes.to(features.dtype)
