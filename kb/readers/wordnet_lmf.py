"""WordNets as WN-LMF XML (https://globalwordnet.github.io/schemas/), the form in which most of them are published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from kb.errors import KnowledgeError
from kb.readers.opening import damage, first_text, open_binary
from kb.readers.packing import DAMAGED
from kb.readers.reject import Reject
from kb.readers.synsets import Synset, facts
from kb.triple import Triple

_ROOT = "<LexicalResource"
_MEMORY = "the XML asks for entities to be expanded, which may fill the memory and which WN-LMF does not need"


class _Words:
    """Words of entries, and of each synset the words in the order in which their entries come."""

    def __init__(self) -> None:
        self.by_member: dict[str, str] = {}  # id of an entry or a sense
        self.by_synset: dict[str, list[str]] = {}
        self.first: dict[str, str] = {}

    def add_entry(self, entry: Element) -> None:
        lemma = entry.find("Lemma")
        word = None if lemma is None else lemma.get("writtenForm")
        if not word:
            return
        self.by_member[entry.get("id", "")] = word
        for sense in entry.iterfind("Sense"):
            self.by_member[sense.get("id", "")] = word
            self.by_synset.setdefault(sense.get("synset", ""), []).append(word)

    def of(self, synset: Element) -> list[str]:
        """Return the words of the synset; from version 1.1 on it lists its members in the order of their weight."""
        members = (synset.get("members") or "").split()
        listed = [self.by_member[member] for member in members if member in self.by_member]
        return listed or self.by_synset.get(synset.get("id", ""), [])


def read(path: Path, *, source: str) -> Iterator[Triple | Reject]:
    """Read the synsets of `path`, plain or packed, twice: they point to synsets that come later.

    The words of the whole WordNet are kept in memory: 80 MB for the 160,000 of English. What follows a mistake in the
    XML cannot be read, and is one Reject.

    Raises:
        KnowledgeError: if the file cannot be opened, or its XML declares entities.
    """
    words = _Words()
    for element in _elements(path):
        if isinstance(element, Reject):
            break
        if element.tag == "LexicalEntry":
            words.add_entry(element)
        elif found := words.of(element):
            words.first[element.get("id", "")] = found[0]
    number = 0
    for element in _elements(path):
        if isinstance(element, Reject):
            yield Reject(number + 1, element.reason, element.text)
        elif element.tag == "Synset":
            number += 1
            yield from _facts(element, words, source, number)


def looks_like_lmf(text: str) -> bool:
    """Say whether `text`, the beginning of a file, is that of WN-LMF XML."""
    return text.lstrip().startswith("<") and (_ROOT in text or "<!DOCTYPE LexicalResource" in text)


def licence_of(path: Path) -> str | None:
    """Return the licence that the first lexicon of the file states, None if it states none.

    Raises:
        KnowledgeError: if the file cannot be opened, or its XML declares entities.
    """
    if not looks_like_lmf(first_text(path)):
        return None
    found = next(_elements(path, event="start", tags=("Lexicon",)), None)
    return found.get("license") if isinstance(found, Element) else None


def _elements(
    path: Path, *, event: str = "end", tags: tuple[str, ...] = ("LexicalEntry", "Synset")
) -> Iterator[Element | Reject]:
    """Give each element with one of the tags, whole, and forget it afterwards."""
    with open_binary(path) as stream:
        try:
            parents: list[Element] = []
            for kind, element in iterparse(stream, events=("start", "end")):
                if kind == "start":
                    parents.append(element)
                else:
                    parents.pop()
                if kind == event and element.tag in tags:
                    yield element
                    if kind == "end" and parents:
                        parents[-1].remove(element)
        except DefusedXmlException as error:
            raise KnowledgeError(f"{path} is refused: {_MEMORY} ({type(error).__name__}); use another copy") from error
        except DAMAGED as error:
            yield Reject(1, damage(error).reason, "")
        except (ParseError, ValueError, LookupError) as error:
            yield Reject(1, f"not XML from here on: {error}", "")


def _facts(element: Element, words: _Words, source: str, number: int) -> Iterator[Triple | Reject]:
    identifier = element.get("id", "")
    found = words.of(element)
    if not found or identifier not in words.first:
        yield Reject(number, f"synset {identifier!r} has no words", identifier)
        return
    definition = element.find("Definition")
    synset = Synset(
        id=identifier,
        part_of_speech=element.get("partOfSpeech") or identifier.rpartition("-")[2],
        words=list(found),
        definition=None if definition is None else "".join(definition.itertext()),
        pointers=[(edge.get("relType", ""), edge.get("target")) for edge in element.iterfind("SynsetRelation")],
    )
    yield from facts(synset, words.first, source, number)
