"""Questions made of the facts of a knowledge base, about what is seen in the pictures of a data set.

People's questions about pictures mostly ask which seen thing is meant; how to ask for what the knowledge base alone
can name (what is it used for, where does it belong, what does it eat) is hardly learnt from them. Here a fact about a
seen thing is turned into such a question: the relation chooses the words, the picture says what is there, and every
fact with the same head and relation gives a right answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.fact import Fact
from kb.triple import entity_key
from kvqa.data.collate import distinct_concepts
from kvqa.data.example import Example
from retrieval.knowledge_base import KnowledgeBase

MADE = "fact"
"""`meta["made_from"]` of a question that was made here."""
MAX_WORDS = 5
"""Longer tails are no answers that people would give."""
MAX_FACTS = 2000
"""Facts looked at around one entity."""

ABOUT_HEAD: dict[str, tuple[str, ...]] = {
    "UsedFor": (
        "What is {it} used for?",
        "What can {it} be used for?",
        "What do people use {it} for?",
        "What is the use of {it}?",
        "What would you do with {it}?",
        "What is {it} good for?",
    ),
    "AtLocation": (
        "Where is {it} usually found?",
        "Where does {it} belong?",
        "Where can you find {it}?",
        "In which place would you look for {it}?",
        "Where would {it} usually be?",
        "In what kind of place can {it} be found?",
    ),
    "CapableOf": (
        "What can {it} do?",
        "What is {it} capable of?",
        "What does {it} do?",
        "What is {it} able to do?",
    ),
    "IsA": (
        "What kind of thing is {it}?",
        "What sort of thing is {it}?",
        "To which kind of things does {it} belong?",
        "{it} is a kind of what?",
    ),
    "HasA": (
        "What does {it} have?",
        "What part does {it} have?",
        "What thing does {it} have as a part?",
        "What belongs to {it}?",
    ),
    "HasProperty": (
        "What is {it} like?",
        "Which property does {it} have?",
        "How would you describe {it}?",
    ),
    "PartOf": ("What is {it} a part of?", "Of what is {it} usually a part?"),
    "MadeOf": (
        "What is {it} made of?",
        "Which material is {it} made of?",
        "What does {it} consist of?",
        "From what is {it} made?",
    ),
    "Desires": ("What does {it} want?", "What does {it} like?", "What would make {it} happy?"),
    "ReceivesAction": ("What can be done with {it}?", "What is often done to {it}?", "What happens to {it}?"),
    "CreatedBy": ("Who or what makes {it}?", "What creates {it}?"),
    "Category": ("Which category does {it} belong to?", "What group of things does {it} belong to?"),
    "Causes": ("What does {it} cause?", "What may {it} lead to?"),
    "HasPrerequisite": ("What does {it} require?", "What is needed for {it}?"),
    "SymbolOf": ("What is {it} a symbol of?", "What does {it} stand for?"),
    "HasColor": ("What color does {it} have?", "What is the color of {it}?", "Which color is {it}?"),
    "HasMaterial": ("What material is {it} of?",),
    "HasShape": ("What shape does {it} have?",),
    "HasSound": ("What sound does {it} make?", "What noise does {it} make?"),
    "Eats": ("What does {it} eat?", "What does {it} like to eat?", "What is the food of {it}?"),
    "EatenBy": ("What eats {it}?", "Who eats {it}?"),
    "OriginatesFrom": ("Where does {it} come from?", "From where is {it}?", "What country does {it} come from?"),
    "InventedBy": ("Who invented {it}?", "Who was the inventor of {it}?"),
    "NamedAfter": ("What is {it} named after?",),
}
"""By relation: questions about the head, which is seen; the tail is the answer."""

ABOUT_TAIL: dict[str, tuple[str, ...]] = {
    "AtLocation": ("What can be found at {it}?", "What would you find in {it}?", "What else belongs in {it}?"),
    "PartOf": ("What is a part of {it}?", "Which part does {it} have?"),
}
"""By relation: questions about the tail, which is seen; the head is the answer."""

KINDS = (
    *("animal", "bird", "insect", "mammal", "pet", "vehicle", "fruit", "vegetable", "food", "drink", "furniture"),
    *("tool", "appliance", "device", "machine", "instrument", "musical instrument", "plant", "tree", "flower"),
    *("clothing", "building", "container", "toy", "weapon", "sport", "room", "place", "sign", "boat", "dish"),
)
"""Words by which a question may name a thing, where the knowledge base says that it is one."""
POINTERS = ("the object in the image", "this object", "the thing in the picture", "the object shown here", "this")


@dataclass(frozen=True)
class _Known:
    """What a knowledge base says of one seen name.

    Attributes:
        by: Facts by relation and side of the name, only those with question forms.
        kinds: Words that name the thing by its kind.
    """

    by: dict[tuple[str, str], list[Fact]]
    kinds: tuple[str, ...]


class FactQuestions:
    """Makes questions over a knowledge base.

    Args:
        allowed: (num_facts,) bool, facts that may be asked for; None is all.
    """

    def __init__(self, kb: KnowledgeBase, allowed: NDArray[np.bool_] | None = None) -> None:
        self.kb, self.allowed = kb, allowed
        self._known: dict[str, _Known] = {}

    def make(self, examples: Sequence[Example], count: int, *, seed: int) -> list[Example]:
        """Return up to `count` questions about pictures of `examples`, each about something seen there.

        Their gold fact is the first of `facts`, and its other side the first of `answers`, followed by what other
        facts of the same side and relation give. Fewer come back where the knowledge base knows too little of what
        is seen.
        """
        rng = random.Random(f"fact questions/{seed}")
        pictures = {example.image: example.regions for example in examples}
        self._look_up({r.label for regions in pictures.values() for r in distinct_concepts(regions)})
        made: list[Example] = []
        asked: set[tuple[str, str]] = set()
        names = sorted(pictures)
        for _ in range(4 * count):  # some draws find nothing to ask, or ask again
            if len(made) == count or not names:
                break
            image = rng.choice(names)
            concepts = [r.label for r in distinct_concepts(pictures[image]) if self._known[r.label].by]
            if not concepts:
                continue
            question, facts, side = self._ask(rng.choice(concepts), rng)
            if (image, question) in asked:
                continue
            asked.add((image, question))
            answers = [fact.tail if side == "head" else fact.head for fact in facts]
            made.append(
                Example(
                    question_id=f"made-{len(made)}",
                    question=question,
                    image=image,
                    regions=pictures[image],
                    answers=tuple(dict.fromkeys(answers)),
                    facts=((entity_key(facts[0].head), facts[0].relation, entity_key(facts[0].tail)),),
                    meta={"made_from": MADE, "answer_source": "kb"},
                )
            )
        return made

    def _ask(self, label: str, rng: random.Random) -> tuple[str, list[Fact], str]:
        """Return a question about the seen `label`, its facts, the one asked for first, and the side of the label."""
        known = self._known[label]
        relation, side = rng.choice(sorted(known.by))
        facts = list(known.by[relation, side])
        rng.shuffle(facts)
        forms = ABOUT_HEAD if side == "head" else ABOUT_TAIL
        names = [f"the {label}", f"this {label}", *(f"the {kind}" for kind in known.kinds)]
        names += [f"this {kind}" for kind in known.kinds] or [rng.choice(POINTERS)]
        question = rng.choice(forms[relation]).format(it=rng.choice(names))
        return question[0].upper() + question[1:], facts, side

    def _look_up(self, labels: set[str]) -> None:
        missing = sorted(labels - self._known.keys())
        ids = self.kb.store.find_entities({entity_key(label) for label in missing})
        relations = self.kb.store.relation_names()
        for label in missing:
            self._known[label] = self._of(ids.get(entity_key(label)), relations)

    def _of(self, entity: int | None, relations: Sequence[str]) -> _Known:
        if entity is None:
            return _Known({}, ())
        around = self.kb.graph.facts_of(np.array([entity]))[:MAX_FACTS].astype(np.int64)
        if self.allowed is not None:
            around = around[self.allowed[around]]
        wanted = [i for i in around if relations[self.kb.triples[i, 1]] in ABOUT_HEAD]
        by: dict[tuple[str, str], list[Fact]] = {}
        kinds = []
        for fact in self.kb.store.facts(wanted):
            side = "head" if fact.head_id == entity else "tail"
            if side == "head" and fact.relation in ("IsA", "Category") and fact.tail.lower() in KINDS:
                kinds.append(fact.tail.lower())
            answer = fact.tail if side == "head" else fact.head
            if len(answer.split()) <= MAX_WORDS and (side == "head" or fact.relation in ABOUT_TAIL):
                by.setdefault((fact.relation, side), []).append(fact)
        return _Known(by, tuple(dict.fromkeys(kinds)))
