"""What the two forms of WordNet have in common: a synset, and the facts that it stands for.

Follows Open English WordNet (McCrae et al. 2020, https://github.com/globalwordnet/english-wordnet). A fact stands
between the first words of two synsets: noun `hypernym` is (child, IsA, parent), `mero_part` is (part, PartOf, whole).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kb.readers.record import to_triple
from kb.readers.reject import Reject
from kb.triple import Triple

FORWARD = {"instance_hypernym": "InstanceOf", "entails": "Entails", "causes": "Causes", "similar": "SimilarTo"}
"""Pointer to the relation in which its own synset is the head."""

BACKWARD = {"mero_part": "PartOf", "mero_member": "MemberOf", "mero_substance": "SubstanceOf"}
"""Pointer to the relation in which its own synset is the tail."""

HYPERNYMS = {"n": "IsA", "v": "MannerOf"}
"""Part of speech to the relation of a synset and its hypernym."""


@dataclass(frozen=True, slots=True)
class Synset:
    """What both forms say of a synset.

    Attributes:
        id: Its id.
        part_of_speech: "n", "v", "a", "s" or "r".
        words: Its words; facts name the first.
        definition: Its definition, None when there is none.
        pointers: Pointer and id of the other synset, of any type as read.
    """

    id: str
    part_of_speech: str
    words: list[object]
    definition: object
    pointers: list[tuple[str, object]]


def facts(synset: Synset, first_words: Mapping[str, str], source: str, line: int) -> Iterator[Triple | Reject]:
    """Give the facts of one synset, and a Reject for each pointer to a synset that is not in `first_words`."""
    own = first_words[synset.id]
    for pointer, other_id in synset.pointers:
        relation = HYPERNYMS.get(synset.part_of_speech) if pointer == "hypernym" else FORWARD.get(pointer)
        backward = BACKWARD.get(pointer)
        if not (name := relation or backward):
            continue
        text = json.dumps({"id": synset.id, "relation": name, "other": str(other_id)})
        other = first_words.get(other_id) if isinstance(other_id, str) else None
        if other is None:
            yield Reject(line, f"{name} points to the unknown synset {other_id!r}", text)
        elif other != own:  # "street IsA street" is true of two senses and useless as a fact
            head, tail = (other, own) if backward else (own, other)
            yield to_triple(head, name, tail, source=source, line=line, text=text)
    for word in synset.words[1:]:
        if word != own:
            yield to_triple(own, "Synonym", word, source=source, line=line, text=f"{synset.id} {word}")
    if synset.definition is not None:
        text = f"{synset.id} {synset.definition}"
        yield to_triple(own, "DefinedAs", synset.definition, source=source, line=line, text=text)
