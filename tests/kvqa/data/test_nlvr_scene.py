"""Scenes of NLVR: places are read from regions, geometry is that of small drawings made by hand."""

import random

import numpy as np
import pytest

from kvqa.data.example import Example
from kvqa.data.nlvr import drawing
from kvqa.data.nlvr_scene import (
    FEATURES,
    Item,
    from_base,
    kind_of,
    random_scene,
    scene_features,
    scene_of,
    stands_on,
    touches,
)
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions

BASE = Item(40, 80, 20, "black", "square")
MIDDLE = Item(40, 59, 20, "blue", "square")
TOP = Item(40, 38, 20, "yellow", "square")
CORNER = Item(90, 0, 10, "yellow", "circle")


def _example(regions: Regions) -> Example:
    return Example("1-0", "There is a tower.", "picture.png", regions, label=1)


def test_a_scene_is_read_from_regions_box_by_box() -> None:
    shape = {"x_loc": 90, "y_loc": 0, "size": 10, "color": "Yellow", "type": "circle"}
    scene = scene_of(_example(drawing([[], [shape], [shape, shape]], "picture.png")))
    assert scene == ((), (CORNER,), (CORNER, CORNER))


def test_regions_of_another_data_set_are_refused() -> None:
    frames = tuple(Region("box", 1.0, (0, 0, 1, 1)) for _ in range(3))
    regions = Regions("cat.png", 400, 100, (*frames, Region("cat", 1.0, (0, 0, 9, 9))))
    with pytest.raises(InputError, match="'cat' is no shape of NLVR"):
        scene_of(_example(regions))


def test_items_touch_sides_and_stand_on_one_another() -> None:
    assert touches(CORNER) == (False, True, True, False)
    assert touches(BASE) == (False, False, False, True)
    assert stands_on(MIDDLE, BASE)
    assert not stands_on(BASE, MIDDLE)
    assert not stands_on(TOP, BASE)
    assert not stands_on(Item(70, 59, 20, "blue", "square"), BASE)  # beside, not over it
    assert from_base((TOP, BASE, MIDDLE)) == [BASE, MIDDLE, TOP]


def test_towers_are_told_from_scattered_items() -> None:
    assert kind_of(((BASE, MIDDLE), (), ())) == "towers"
    assert kind_of(((BASE,), (CORNER,), ())) == "scatter"


@pytest.mark.parametrize("kind", ["towers", "scatter"])
def test_random_scenes_look_like_those_of_the_data_set(kind: str) -> None:
    rng = random.Random(0)
    for _ in range(50):
        scene = random_scene(rng, kind)  # type: ignore[arg-type]
        assert kind_of(scene) == kind
        for box in scene:
            assert 1 <= len(box) <= 7
            assert all(i.x >= 0 and i.x + i.size <= 100 and i.y >= 0 and i.y + i.size <= 100 for i in box)
        pairs = [(a, b) for box in scene for a in box for b in box if a is not b]
        assert all(
            a.x + a.size <= b.x or b.x + b.size <= a.x or a.y + a.size <= b.y or b.y + b.size <= a.y for a, b in pairs
        )


def test_random_scenes_come_from_the_seed() -> None:
    assert random_scene(random.Random(3), "scatter") == random_scene(random.Random(3), "scatter")


def test_features_say_what_is_there() -> None:
    features, places, boxes = scene_features(((BASE, MIDDLE), (CORNER,), ()))
    assert features.shape == (6, FEATURES)
    assert boxes.tolist() == [0, 1, 2, 0, 0, 1]
    np.testing.assert_allclose(places[5], [0.9, 0, 1, 0.1], atol=1e-6)
    assert features[:3, 0].tolist() == [1, 1, 1]
    assert features[3:, 0].tolist() == [0, 0, 0]
    assert features[3, 4:7].tolist() == [1, 0, 0]  # black
    assert features[3, 25:28].tolist() == [0, 1, 0]  # a blue one stands on it
    assert features[4, 28:31].tolist() == [1, 0, 0]  # and has a black one under it
    assert features[0, 31:39].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]  # two items in the first box
    assert features[5, -2] == 1  # in a corner


def test_permuted_boxes_give_permuted_features() -> None:
    scene = random_scene(random.Random(1), "scatter")
    features, _, boxes = scene_features(scene)
    turned, _, turned_boxes = scene_features((scene[2], scene[0], scene[1]))
    of_third = features[boxes == 2][:, 4:]
    np.testing.assert_array_equal(turned[turned_boxes == 0][:, 4:], of_third)
