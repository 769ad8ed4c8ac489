"""Parts of sentences about NLVR's drawings, each with the test that says what it means."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from kvqa.data.nlvr import SHAPES
from kvqa.data.nlvr_scene import COLOUR_NAMES, Box, Item, Kind, Scene, touches

DIGITS = ("no", "one", "two", "three", "four", "five", "six", "seven")
WAYS = ("a", "bare", "exactly", "least", "only", "most", "more", "no"), (4, 4, 4, 4, 2, 0.5, 0.5, 0.7)


ItemTest = Callable[[Item], bool]
BoxTest = Callable[[Box], bool]
CountTest = Callable[[int], bool]


@dataclass(frozen=True)
class Statement:
    """A sentence and its meaning.

    Attributes:
        boxes: Which boxes it counts, None if it counts something else.
        items: Which items it counts.
    """

    text: str
    true_of: Callable[[Scene], bool]
    boxes: BoxTest | None = None
    items: ItemTest | None = None


def about_boxes(text: str, counted: BoxTest, enough: CountTest) -> Statement:
    """Return a statement on how many boxes are as `counted` wants them."""
    return Statement(text, lambda scene: enough(sum(map(counted, scene))), boxes=counted)


def about_items(text: str, counted: ItemTest, enough: CountTest) -> Statement:
    """Return a statement on how many items of all boxes are as `counted` wants them."""
    return Statement(text, lambda scene: enough(sum(map(counted, chain.from_iterable(scene)))), items=counted)


@dataclass(frozen=True)
class Noun:
    """Words for items, after a number, and which items they mean."""

    one: str
    many: str
    fits: ItemTest

    def after(self, number: str) -> str:
        """Return the words that follow a number word."""
        return self.one if number.split()[-1] in ("a", "one", "1", "each") else self.many


def number_word(rng: random.Random, n: int) -> str:
    """Return a number from 0 to 7 as a digit or a word."""
    return rng.choice((str(n), DIGITS[n]))


def quantity(rng: random.Random, *, most: int = 3, no: bool = True) -> tuple[str, CountTest]:
    """Return number words and what they ask of a number."""
    n = rng.choices(range(1, most + 1), [3.0 / k for k in range(1, most + 1)])[0]
    way = rng.choices(*WAYS)[0]
    if way == "no" and not no:
        way = "exactly"
    if way == "a":
        return "a", lambda count: count >= 1
    if way == "no":
        return "no", lambda count: count == 0
    word = number_word(rng, n)
    if way == "bare":
        return word, lambda count: count >= n
    if way in ("exactly", "only"):
        return f"{way} {word}", lambda count: count == n
    if way == "least":
        word = "a" if n == 1 and rng.random() < 0.2 else word
        return f"at least {word}", lambda count: count >= n
    if way == "most":
        return f"at most {word}", lambda count: count <= n
    return f"more than {word}", lambda count: count > n


def noun_phrase(rng: random.Random, kind: Kind, *, colour: bool | None = None) -> Noun:
    """Return words for items, such as "small yellow circles", "black or blue items", "blocks"."""
    words: list[str] = []
    tests: list[ItemTest] = []
    if kind == "scatter" and rng.random() < 0.08:
        word, size = rng.choice((("small", 10), ("medium", 20), ("big", 30)))
        words.append(word)
        tests.append(lambda item: item.size == size)
    if colour or (colour is None and rng.random() < 0.8):
        names = rng.sample(COLOUR_NAMES, 2 if rng.random() < 0.06 else 1)
        words.append(" or ".join(names))
        tests.append(lambda item: item.colour in names)
    base = "block" if kind == "towers" and rng.random() < 0.7 else rng.choice(("item", "object"))
    if kind == "towers" and rng.random() < 0.12:
        base = "square"
    if kind == "scatter" and rng.random() < 0.6:
        base = rng.choice(SHAPES)
        tests.append(lambda item: item.shape == base)
    text = " ".join([*words, base])
    return Noun(text, text + "s", lambda item: all(test(item) for test in tests))


def some_items(rng: random.Random, kind: Kind, *, most: int = 3, no: bool = True) -> tuple[str, BoxTest]:
    """Return "at least two yellow blocks" and whether it is so of a list of items."""
    words, enough = quantity(rng, most=most, no=no)
    noun = noun_phrase(rng, kind)
    return f"{words} {noun.after(words)}", lambda box: enough(sum(map(noun.fits, box)))


def side_phrase(rng: random.Random, kind: Kind) -> tuple[str, ItemTest]:
    """Return "touching the edge" and whether an item does."""
    edge = rng.choice(("edge", "wall", "side"))
    way = rng.choices(("any", "base", "left", "right", "top", "corner", "not"), (6, 3, 0.7, 0.7, 0.5, 1.5, 5))[0]
    if kind == "towers":
        way = rng.choice(("any", "any", "base", "not"))
    close = rng.choice(("", "", "closely "))
    if way == "any":
        return f"{close}touching {rng.choice(('the', 'an', 'a'))} {edge}", lambda item: any(touches(item))
    if way == "not":
        return f"not touching {rng.choice(('any', 'the', 'an'))} {edge}", lambda item: not any(touches(item))
    if way == "corner":
        return f"{close}touching {rng.choice(('a', 'the'))} corner", lambda item: sum(touches(item)) > 1
    number = ("left", "right", "top", "base").index(way)
    words = {
        "base": rng.choice(("the base", "the bottom of a box", "the bottom", "the bottom edge")),
        "top": rng.choice(("the top of a box", "the top", "the top edge")),
    }.get(way, f"{way} {edge}" + rng.choice((" of a box", "")))
    return f"{close}touching {words}", lambda item: touches(item)[number]


def there_is(rng: random.Random, words: str) -> str:
    """Return "There is" or "There are", now and then nothing."""
    if rng.random() < 0.07:
        return words
    plural = words.split()[0] not in ("a", "one", "1", "exactly", "only", "at", "no") or "one" not in words.split()[:3]
    return f"There {'are' if plural and not words.startswith('a ') else 'is'} {words}"


def colours_of(box: Sequence[Item]) -> set[str]:
    """Return the colours that items have."""
    return {item.colour for item in box}
