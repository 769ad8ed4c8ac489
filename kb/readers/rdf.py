"""From RDF terms to words: what N-Triples, N-Quads and Turtle have in common.

A label (`rdfs:label`, `skos:prefLabel`) in the chosen language, or in none, is the text of its subject, and what an
IRI without one is called stands at its end. Blank nodes have no name, so statements about them are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from urllib.parse import unquote

import pyoxigraph
from pyoxigraph import Literal, NamedNode, Quad, RdfFormat

from kb.readers.labels import Labels
from kb.readers.record import to_triple
from kb.readers.reject import Reject
from kb.readers.wikidata_properties import PROPERTIES
from kb.triple import Alias, Triple

RDFS_LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
SKOS = "http://www.w3.org/2004/02/skos/core#"
LABELS = frozenset({RDFS_LABEL, SKOS + "prefLabel"})
ALIASES = frozenset({SKOS + "altLabel"})

RELATIONS = {
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#type": "InstanceOf",
    "http://www.w3.org/2000/01/rdf-schema#subClassOf": "IsA",
    "http://www.w3.org/2002/07/owl#sameAs": "Synonym",
    SKOS + "definition": "DefinedAs",
}
"""Predicates of the RDF vocabularies that mean the same as a relation of `kb.relations`."""

_WIKIDATA_PROPERTY = re.compile(r"https?://www\.wikidata\.org/prop/direct/(P\d+)")
_WIKIDATA_ENTITY = "http://www.wikidata.org/entity/"
_TITLES = ("/resource/", "/wiki/")
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_REMEMBERED = 100_000


def parse(text: str, format: RdfFormat) -> list[Quad] | str:
    """Return the statements of `text`, or what is wrong with it."""
    try:
        return list(pyoxigraph.parse(text.encode("utf-8"), format=format))
    except (SyntaxError, ValueError) as error:
        return f"not {format.name}: {getattr(error, 'msg', None) or error}"


class Names:
    """Texts of IRIs and literals, and the labels they come from."""

    def __init__(self, labels: Labels, language: str) -> None:
        """Read labels and literals in `language` (`"en"` takes `en-GB` as well) or without a language."""
        self._labels = labels
        self._language = language.casefold()
        self.entity: Callable[[str], str] = lru_cache(maxsize=_REMEMBERED)(self._entity)
        self.relation: Callable[[str], str] = lru_cache(maxsize=_REMEMBERED)(self._relation)

    def learn(self, quads: Iterable[Quad]) -> None:
        """Take the labels out of the statements. To be called for all of them before a name is asked for."""
        for subject, predicate, value, _ in quads:
            if predicate.value in LABELS and isinstance(subject, NamedNode) and self.speaks(value):
                self._labels.set(subject.value, value.value)

    def speaks(self, term: object) -> bool:
        """Say whether `term` is a literal in our language or in none."""
        if not isinstance(term, Literal):
            return False
        spoken = term.language
        return not spoken or spoken.casefold().partition("-")[0] == self._language or spoken == self._language

    def _entity(self, iri: str) -> str:
        return self._labels.get(iri) or local_name(iri)

    def _relation(self, iri: str) -> str:
        if iri in RELATIONS:
            return RELATIONS[iri]
        if match := _WIKIDATA_PROPERTY.fullmatch(iri):
            number = match[1]
            return PROPERTIES.get(number) or self._labels.get(_WIKIDATA_ENTITY + number) or number
        return self._labels.get(iri) or _end(iri)


def to_item(quad: Quad, names: Names, source: str, line: int, text: str) -> Triple | Alias | Reject | None:
    """Return what the statement says: a fact, another name, or None if it is a label or in another language."""
    subject, predicate, value, _ = quad
    if not isinstance(subject, NamedNode):
        return None
    iri = predicate.value
    if isinstance(value, NamedNode):
        tail = names.entity(value.value)
    elif names.speaks(value):
        tail = value.value
        if iri in LABELS or iri in ALIASES:
            return _alias(names.entity(subject.value), tail, source, line)
    else:
        return None
    return to_triple(names.entity(subject.value), names.relation(iri), tail, source=source, line=line, text=text)


def local_name(iri: str) -> str:
    """Return the last part of an IRI in words: `…/TrafficLight` is "Traffic Light", `…/resource/YouTube` "YouTube"."""
    name = _end(iri)
    # The titles of Wikipedia have spaces where words end, so capitals within a word belong to the name.
    return name if any(part in iri for part in _TITLES) or "_" in name else _WORD_STARTS.sub(" ", name)


def _end(iri: str) -> str:
    trimmed = iri.rstrip("/#")
    name = unquote(re.split(r"[/#]", trimmed)[-1] if "/" in trimmed or "#" in trimmed else trimmed.rpartition(":")[2])
    return name if name.replace("_", "").strip() else iri


def _alias(entity: str, name: str, source: str, line: int) -> Alias | None:
    made = to_triple(entity, "Synonym", name, source=source, line=line, text="")
    if isinstance(made, Reject) or made.head == made.tail:
        return None
    return Alias(made.head, made.tail, source=source, line=line)
