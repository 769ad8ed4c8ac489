"""Changes of an NLVR statement and its drawing together that keep its truth: more training examples from few.

Colours and shapes may change names if the sentence changes with them; a drawing may be mirrored if "left" and "right"
change as well; boxes may change places as long as the sentence does not name them by place. Items lie square in their
boxes and touch sides with the square around them, so that a drawing of scattered items may also be turned upside down
("top" and "base" change) or laid on its side. Towers stand on the base, so they are never turned.

To leave out items that a sentence does not mention would not keep its truth ("exactly three items"), nor would moving
them ("touching the edge"): there is no such change here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from kvqa.data.nlvr import BOX_SIZE, SHAPES
from kvqa.data.nlvr_scene import COLOUR_NAMES, Item, Scene, kind_of
from kvqa.data.nlvr_words import Words

PLACES = frozenset(("left", "right", "middle", "1st", "2nd", "3rd", "last", "next", "row", "line", "end", "ends"))
UPRIGHT = frozenset(("on", "up", "tower", "block", "stacked", "high", "low", "lowest", "down", "another"))
SIDEWAYS = UPRIGHT | {"left", "right", "top", "base", "above", "below"}


def vary(words: Words, scene: Scene, rng: random.Random) -> tuple[Words, Scene]:
    """Return a statement and its scene after one random change of each kind that is allowed for it."""
    scene = shuffle_boxes(words, scene, rng)
    words, scene = rename(words, scene, _shuffled(COLOUR_NAMES, rng))
    if may_change_shapes(words, scene):
        words, scene = rename(words, scene, _shuffled(SHAPES, rng))
    if rng.random() < 0.5 and may_mirror(words):
        words, scene = mirror(words, scene)
    if kind_of(scene) == "scatter":
        if rng.random() < 0.5 and may_turn_over(words):
            words, scene = turn_over(words, scene)
        if rng.random() < 0.5 and may_lay_down(words):
            scene = lay_down(scene)
    return words, scene


def shuffle_boxes(words: Words, scene: Scene, rng: random.Random) -> Scene:
    """Return the boxes in another order, or as they are if the sentence names a box or tower by its place."""
    if names_a_place(words):
        return scene
    return tuple(rng.sample(scene, len(scene)))


def names_a_place(words: Words) -> bool:
    """Return whether a word of place stands right before a box or tower ("left box", "box in the middle" too)."""
    return any(
        (word in PLACES and after in ("box", "tower", "1"))
        or (
            word in ("box", "tower")
            and after in ("in", "at", "on", "to")
            and PLACES & set(words[place + 2 : place + 4])
        )
        for place, (word, after) in enumerate(pairwise(words))
    )


def rename(words: Words, scene: Scene, names: Mapping[str, str]) -> tuple[Words, Scene]:
    """Return sentence and scene with every colour and shape of `names` under its new name."""
    renamed = tuple(
        tuple(
            replace(item, colour=names.get(item.colour, item.colour), shape=names.get(item.shape, item.shape))
            for item in box
        )
        for box in scene
    )
    return tuple(names.get(word, word) for word in words), renamed


def may_change_shapes(words: Words, scene: Scene) -> bool:
    """Return whether shapes may be renamed: not in towers, which are squares called blocks."""
    return kind_of(scene) == "scatter" and "block" not in words


def may_mirror(words: Words) -> bool:
    """Return whether left and right may change: not where a box is named by place, nor for "right on top"."""
    return not names_a_place(words) and not any(
        word == "right" and after in ("on", "above", "below", "at", "in") for word, after in pairwise(words)
    )


def mirror(words: Words, scene: Scene) -> tuple[Words, Scene]:
    """Return each box mirrored, with "left" and "right" changed."""
    return _swapped(words, {"left": "right", "right": "left"}), _moved(
        scene, lambda item: (BOX_SIZE - item.x - item.size, item.y)
    )


def may_turn_over(words: Words) -> bool:
    """Return whether top and base may change: not where something stands on something or is a tower."""
    return not UPRIGHT & set(words)


def turn_over(words: Words, scene: Scene) -> tuple[Words, Scene]:
    """Return each box upside down, with "top" and "base", "above" and "below" changed."""
    swaps = {"top": "base", "base": "top", "above": "below", "below": "above"}
    return _swapped(words, swaps), _moved(scene, lambda item: (item.x, BOX_SIZE - item.y - item.size))


def may_lay_down(words: Words) -> bool:
    """Return whether the two directions may change: no word may name one of them."""
    return not SIDEWAYS & set(words)


def lay_down(scene: Scene) -> Scene:
    """Return each box with x and y exchanged."""
    return _moved(scene, lambda item: (item.y, item.x))


def _moved(scene: Scene, place: Callable[[Item], tuple[int, int]]) -> Scene:
    return tuple(tuple(replace(item, x=x, y=y) for item in box for x, y in (place(item),)) for box in scene)


def _swapped(words: Words, names: Mapping[str, str]) -> Words:
    return tuple(names.get(word, word) for word in words)


def _shuffled(names: Sequence[str], rng: random.Random) -> dict[str, str]:
    return dict(zip(names, rng.sample(names, len(names)), strict=True))
