"""The drawings of NLVR as scenes of items, with the geometry that its sentences speak of, and as numbers for a model.

A scene is three boxes of 100 x 100 pixels; an item is a square, triangle or circle with exact places. NLVR draws two
kinds: *towers*, squares of one size piled up in the middle of a box, and *scatter*, shapes of three sizes anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kvqa.data.example import Example
from kvqa.data.nlvr import BOX_SIZE, BOX_STEP, SHAPES, SIZES
from kvqa.errors import InputError

Kind = Literal["towers", "scatter"]

COLOUR_NAMES = ("black", "blue", "yellow")
SIDES = ("left", "right", "top", "base")
BOXES = 3
HIGHEST = 4
"""Squares of the highest tower."""

GAP = 2
"""Pixels that may lie between two items of which one stands on the other (NLVR leaves one)."""


@dataclass(frozen=True, slots=True)
class Item:
    """A shape: its left upper corner in its box and its side in pixels, colour and kind."""

    x: int
    y: int
    size: int
    colour: str
    shape: str


Box = tuple[Item, ...]
Scene = tuple[Box, ...]
"""Three boxes."""


def scene_of(example: Example) -> Scene:
    """Return the scene of an example of `kvqa.data.nlvr`, from the regions of its shapes.

    Raises:
        InputError: if its regions are not those of an NLVR drawing.
    """
    boxes: list[list[Item]] = [[] for _ in range(BOXES)]
    for region in example.regions.regions[BOXES:]:
        size, colour, shape = [*region.label.split(" "), "", ""][:3]
        if region.box is None or size not in SIZES.values() or colour not in COLOUR_NAMES or shape not in SHAPES:
            raise InputError(f"{example.question_id}: region {region.label!r} is no shape of NLVR; see kvqa.data.nlvr")
        number, x = divmod(int(region.box[0]), BOX_STEP)
        item = Item(x, int(region.box[1]), int(region.box[3] - region.box[1]), colour, shape)
        boxes[number].append(item)
    return tuple(tuple(box) for box in boxes)


def kind_of(scene: Scene) -> Kind:
    """Return whether the scene shows towers: squares of 20 pixels in the middle of their boxes."""
    tower = all(item.size == 20 and item.shape == "square" and item.x == 40 for box in scene for item in box)
    return "towers" if tower else "scatter"


def touches(item: Item) -> tuple[bool, bool, bool, bool]:
    """Return whether an item touches the left, right, top and base side of its box."""
    return item.x <= 0, item.x + item.size >= BOX_SIZE, item.y <= 0, item.y + item.size >= BOX_SIZE


def stands_on(upper: Item, lower: Item) -> bool:
    """Return whether `upper` stands right on `lower`."""
    beside = upper.x + upper.size <= lower.x or lower.x + lower.size <= upper.x
    return not beside and abs(upper.y + upper.size - lower.y) <= GAP


def from_base(box: Box) -> list[Item]:
    """Return the items of a box, lowest first."""
    return sorted(box, key=lambda item: (-(item.y + item.size), item.x))


# --- scenes of our own -----------------------------------------------------------------------------------------------


def random_scene(rng: random.Random, kind: Kind) -> Scene:
    """Return a scene as NLVR might draw it, from numbers of `rng` only: no drawing of the data set goes into it."""
    palette = rng.sample(COLOUR_NAMES, rng.choice((1, 2, 3, 3, 3, 3)))
    make = _tower if kind == "towers" else _scatter
    return tuple(make(rng, palette) for _ in range(BOXES))


def _tower(rng: random.Random, palette: Sequence[str]) -> Box:
    colours = rng.sample(palette, rng.randint(1, len(palette))) if rng.random() < 0.4 else palette
    heights = (80, 59, 38, 17)[: rng.randint(1, HIGHEST)]
    return tuple(Item(40, y, 20, rng.choice(colours), "square") for y in heights)


def _scatter(rng: random.Random, palette: Sequence[str]) -> Box:
    shapes = rng.sample(SHAPES, rng.choice((1, 2, 3, 3, 3, 3)))
    items: list[Item] = []
    wanted = rng.randint(1, 7)
    touching = rng.choice((0.1, 0.35, 0.35, 0.7))
    while len(items) < wanted:
        size = rng.choice(list(SIZES))
        x, y = rng.randint(1, BOX_SIZE - size - 1), rng.randint(1, BOX_SIZE - size - 1)
        if rng.random() < touching:
            x, y = _to_side(rng, x, y, size)
        item = Item(x, y, size, rng.choice(palette), rng.choice(shapes))
        if not any(_overlap(item, other) for other in items):
            items.append(item)
        elif rng.random() < 0.1:
            wanted -= 1  # a crowded box may end up with fewer, so this always ends
    return tuple(items)


def _to_side(rng: random.Random, x: int, y: int, size: int) -> tuple[int, int]:
    far = BOX_SIZE - size
    corner = rng.random() < 0.15
    if corner:
        return rng.choice((0, far)), rng.choice((0, far))
    return rng.choice(((0, y), (far, y), (x, 0), (x, far)))


def _overlap(a: Item, b: Item) -> bool:
    return abs((2 * a.x + a.size) - (2 * b.x + b.size)) < a.size + b.size and (
        abs((2 * a.y + a.size) - (2 * b.y + b.size)) < a.size + b.size
    )


# --- as numbers ------------------------------------------------------------------------------------------------------

COUNTS = 8
"""Items of a box are counted up to seven."""

FEATURES = 1 + BOXES + 3 + 3 + 3 + 4 + 2 * HIGHEST + 3 + 3 + COUNTS + 3 + 3 + 3 + 2


def scene_features(scene: Scene) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return a scene as tokens: the three boxes first, then every item.

    Features of an item are its box, colour, shape, size, the sides it touches, how many items stand under and on it,
    the colours right on and right under it, whether it is a corner item and its distance from the nearest side; those
    of a box what its items have together, with their number, and how many there are of each colour and shape.

    Returns:
        features (R, FEATURES), places (R, 4) as shares of width and height of the item's box, box number (R,).
    """
    rows: list[list[float]] = []
    places: list[tuple[float, float, float, float]] = []
    numbers: list[int] = []
    for number, box in enumerate(scene):
        rows.append(_box_row(box, number))
        places.append((0.0, 0.0, 1.0, 1.0))
        numbers.append(number)
    for number, box in enumerate(scene):
        for item in box:
            rows.append(_item_row(item, box, number))
            x, y, end = item.x / BOX_SIZE, item.y / BOX_SIZE, item.size / BOX_SIZE
            places.append((x, y, x + end, y + end))
            numbers.append(number)
    return np.array(rows, np.float32), np.array(places, np.float32), np.array(numbers, np.int64)


def _item_row(item: Item, box: Box, number: int) -> list[float]:
    under = [other for other in box if stands_on(item, other)]
    on = [other for other in box if stands_on(other, item)]
    sides = touches(item)
    nearest = min(item.x, item.y, BOX_SIZE - item.x - item.size, BOX_SIZE - item.y - item.size)
    return [
        0.0,
        *_one(number, BOXES),
        *_one(COLOUR_NAMES.index(item.colour), 3),
        *_one(SHAPES.index(item.shape), 3),
        *_one(list(SIZES).index(item.size), 3),
        *map(float, sides),
        *_one(min(_piled(item, box, up=False), HIGHEST - 1), HIGHEST),
        *_one(min(_piled(item, box, up=True), HIGHEST - 1), HIGHEST),
        *(float(any(other.colour == name for other in on)) for name in COLOUR_NAMES),
        *(float(any(other.colour == name for other in under)) for name in COLOUR_NAMES),
        *_one(min(len(box), COUNTS - 1), COUNTS),
        *[0.0] * 9,
        float(sum(sides) > 1),
        nearest / 50,
    ]


def _box_row(box: Box, number: int) -> list[float]:
    colours = [sum(item.colour == name for item in box) for name in COLOUR_NAMES]
    shapes = [sum(item.shape == name for item in box) for name in SHAPES]
    sides = [touches(item) for item in box]
    return [
        1.0,
        *_one(number, BOXES),
        *(float(count > 0) for count in colours),
        *(float(count > 0) for count in shapes),
        *(float(any(item.size == size for item in box)) for size in SIZES),
        *(float(any(side[way] for side in sides)) for way in range(4)),
        *[0.0] * (2 * HIGHEST + 6),
        *_one(min(len(box), COUNTS - 1), COUNTS),
        *_one(max(0, sum(count > 0 for count in colours) - 1), 3),
        *(count / 4 for count in colours),
        *(count / 4 for count in shapes),
        float(any(sum(side) > 1 for side in sides)),
        0.0,
    ]


def _piled(item: Item, box: Box, *, up: bool) -> int:
    """Return how many items stand on an item one above the other, or under it."""
    count, here = 0, item
    while count < len(box):
        pairs = ((other, here) if up else (here, other) for other in box if other is not here)
        following = [upper if up else lower for upper, lower in pairs if stands_on(upper, lower)]
        if not following:
            break
        count, here = count + 1, following[0]
    return count


def _one(place: int, size: int) -> list[float]:
    return [float(index == place) for index in range(size)]
