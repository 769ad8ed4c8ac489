"""Edits that put another thing of the same class in the place of one: a dog becomes a horse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from random import Random

from kb.lemmas import lemmatise
from kb.readers import Triple, read_source
from kvqa.contrast.edit import Edit, Sentence, with_article
from kvqa.errors import InputError

RELATIONS = ("Category", "IsA")
"""Relations from a thing to its class; the first that a knowledge base has is used."""
SMALLEST, LARGEST = 3, 400
"""Classes with fewer members offer no choice; with more they are too wide for the edit to stay small."""

Classes = Mapping[str, tuple[str, ...]]
"""Thing to the other members of its class."""


def everyday_facts() -> Path:
    """Return the everyday facts that come with the package."""
    return Path(str(files("kb"))) / "data" / "everyday.tsv"


def read_classes(path: Path) -> dict[str, tuple[str, ...]]:
    """Return for each thing of a knowledge base the others of its smallest class.

    Args:
        path: Any file that `kvqa index-kb` reads, such as the everyday facts or Open English WordNet. Names of several
            words are left out, since they are looked up a token at a time.

    Raises:
        InputError: if it states no classes.
        kb.errors.KnowledgeError: if it cannot be read.
    """
    members: dict[str, dict[str, dict[str, None]]] = {name: defaultdict(dict) for name in RELATIONS}
    for item in read_source(path):
        if isinstance(item, Triple) and item.relation in members and item.head.isalpha():
            members[item.relation][item.tail.lower()][item.head.lower()] = None
    classes = next((members[name] for name in RELATIONS if members[name]), {})
    usable = sorted((len(heads), name) for name, heads in classes.items() if SMALLEST <= len(heads) <= LARGEST)
    if not usable:
        raise InputError(f"{path} says of nothing what class it is in ({', '.join(RELATIONS)}); give another --kb")
    others: dict[str, tuple[str, ...]] = {}
    for _, name in usable:  # the smallest first
        for head in classes[name]:
            others.setdefault(head, tuple(sorted(set(classes[name]) - {head})))
    return others


def entity_edits(sentence: Sentence, classes: Classes, chance: Random) -> Iterator[Edit]:
    """Give another thing of the same class for each thing, in the same number."""
    for place, token in enumerate(sentence.tokens):
        lower = token.lower
        if lower in classes:
            yield _swap(sentence, place, chance.choice(classes[lower]))
        elif (single := lemmatise(lower)) in classes and plural(single) == lower:
            yield _swap(sentence, place, plural(chance.choice(classes[single])))


def plural(noun: str) -> str:
    """Return the regular plural of a noun."""
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def _swap(sentence: Sentence, place: int, word: str) -> Edit:
    start, after = with_article(sentence, place, word)
    return Edit("entity", start, sentence.tokens[place].end, after)
