"""The grammar: its tests of truth against scenes made by hand, and its words against the vocabulary."""

import random

import pytest

from kvqa.data.nlvr_grammar import Statement, judged_pairs, random_statement
from kvqa.data.nlvr_scene import Item, Kind, Scene, random_scene
from kvqa.data.nlvr_words import UNKNOWN, Words, tokens


def bank(kind: Kind, count: int = 5000) -> dict[Words, Statement]:
    """Return many statements by their words."""
    rng = random.Random(5)
    made = (random_statement(rng, kind) for _ in range(count))
    return {tokens(statement.text): statement for statement in made}


@pytest.fixture(scope="module")
def towers() -> dict[Words, Statement]:
    return bank("towers")


@pytest.fixture(scope="module")
def scatter() -> dict[Words, Statement]:
    return bank("scatter")


def _tower(*colours: str) -> tuple[Item, ...]:
    return tuple(Item(40, y, 20, colour, "square") for y, colour in zip((80, 59, 38, 17), colours, strict=False))


TOWERS: Scene = (_tower("blue", "black"), _tower("yellow"), _tower("yellow", "yellow", "black"))
SCATTER: Scene = (
    (Item(0, 40, 10, "black", "circle"), Item(50, 50, 30, "blue", "square")),
    (Item(40, 80, 20, "black", "triangle"),),
    (Item(10, 10, 10, "black", "circle"), Item(60, 10, 20, "black", "circle"), Item(30, 50, 20, "black", "square")),
)


@pytest.mark.parametrize(
    ("sentence", "truth"),
    [
        ("There is a blue block as the base of a tower", True),
        ("There is exactly 1 yellow block as the top of a tower", True),
        ("There are exactly 2 yellow blocks as the top of a tower", False),
        ("There are 2 yellow blocks as the base of a tower", True),
        ("There is one blue tower", False),
        ("A tower has a black top", True),
        ("A tower has a blue top", False),
        ("The base of the two blocks tower is black", False),
        ("The tower with 2 blocks has a yellow block on top", False),
        ("There is exactly one yellow block over a blue block", False),
        ("All 3 towers have the same number of blocks", False),
        ("There are two towers with the same base color", True),
        ("There are at least two towers with the same height", False),
    ],
)
def test_statements_about_towers(sentence: str, truth: bool, towers: dict[Words, Statement]) -> None:
    assert towers[tokens(sentence)].true_of(TOWERS) is truth


@pytest.mark.parametrize(
    ("sentence", "truth"),
    [
        ("all blue items are in the same box", True),
        ("all black items are in the same box", False),
        ("there is exactly one circle", False),
        ("there is a box with one item", True),
        ("there is a box with 7 items", False),
        ("there is 1 box with exactly three items", True),
        ("each box has at least 2 items", False),
        ("there is a box with items of only one color", True),
        ("each box has 3 different colors", False),
        ("all items are touching the edge", False),
        ("no black item is touching the edge", False),
        ("no black item is touching the corner", True),
        ("there is a blue item touching an edge", False),
        ("there are at least 4 items", True),
        ("all yellow items are touching the base", True),
    ],
)
def test_statements_about_scattered_items(sentence: str, truth: bool, scatter: dict[Words, Statement]) -> None:
    assert scatter[tokens(sentence)].true_of(SCATTER) is truth


@pytest.mark.parametrize("kind", ["towers", "scatter"])
def test_every_sentence_is_of_known_words_and_of_a_bearable_length(kind: Kind) -> None:
    rng = random.Random(0)
    for _ in range(1500):
        words = tokens(random_statement(rng, kind).text)
        assert UNKNOWN not in words
        assert 1 < len(words) < 40


@pytest.mark.parametrize("kind", ["towers", "scatter"])
def test_the_order_of_boxes_does_not_matter(kind: Kind) -> None:
    rng = random.Random(1)
    for _ in range(1000):
        statement, scene = random_statement(rng, kind), random_scene(rng, kind)
        assert statement.true_of(scene) == statement.true_of((scene[2], scene[0], scene[1])), statement.text


@pytest.mark.parametrize("kind", ["towers", "scatter"])
def test_each_sentence_comes_true_once_and_false_once(kind: Kind) -> None:
    rng = random.Random(2)
    scenes = [random_scene(rng, kind) for _ in range(30)]
    pairs = judged_pairs(rng, kind, scenes)
    for _ in range(200):
        _, judged = next(pairs)
        assert sorted(truth for _, truth in judged) == [False, True]
        assert all(0 <= number < len(scenes) for number, _ in judged)


@pytest.mark.parametrize("kind", ["towers", "scatter"])
def test_what_is_counted_decides_the_truth(kind: Kind) -> None:
    """Scenes that a statement counts the same boxes and items in are scenes of the same truth."""
    rng = random.Random(3)
    scenes = [random_scene(rng, kind) for _ in range(30)]
    for _ in range(150):
        statement = random_statement(rng, kind)
        assert statement.boxes is None or statement.items is None
        by_count: dict[int, set[bool]] = {}
        for scene in scenes:
            if statement.boxes is not None:
                count = sum(map(statement.boxes, scene))
            elif statement.items is not None:
                count = sum(statement.items(item) for box in scene for item in box)
            else:
                continue
            by_count.setdefault(count, set()).add(statement.true_of(scene))
        assert all(len(truths) == 1 for truths in by_count.values()), statement.text


def test_the_seed_decides() -> None:
    assert [random_statement(random.Random(7), "towers").text for _ in range(3)] == [
        random_statement(random.Random(7), "towers").text for _ in range(3)
    ]
