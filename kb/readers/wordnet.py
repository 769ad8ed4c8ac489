"""WordNet, as JSON lines (`kb.readers.wordnet_lines`) or as WN-LMF XML (`kb.readers.wordnet_lmf`).

Both give the same facts, which `kb.readers.synsets` makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kb.readers import wordnet_lines, wordnet_lmf
from kb.readers.opening import first_text
from kb.readers.reject import Reject
from kb.readers.synsets import BACKWARD, HYPERNYMS
from kb.triple import Triple

EDGES = (HYPERNYMS["n"], BACKWARD["mero_part"])
"""The relations of `read_edges`."""


def read(path: Path, *, source: str) -> Iterator[Triple | Reject]:
    """Read the synsets of `path`, plain or packed, twice: they point to synsets that come later.

    Facts are hypernyms (IsA, MannerOf, InstanceOf), meronyms (PartOf, MemberOf, SubstanceOf), similar adjectives,
    what a verb entails or causes, the first word with the others (Synonym) and with the definition (DefinedAs). The
    `line` of a fact is a line of the JSON, and the number of the synset in the XML.

    Raises:
        KnowledgeError: if the file cannot be opened, or is XML that declares entities.
    """
    is_xml = wordnet_lmf.looks_like_lmf(first_text(path))
    yield from wordnet_lmf.read(path, source=source) if is_xml else wordnet_lines.read(path, source=source)


def read_edges(path: Path, *, source: str) -> Iterator[Triple | Reject]:
    """Read what `read` reads, but no more than the hypernyms of nouns (IsA) and the parts of things (PartOf).

    Raises:
        KnowledgeError: as `read`.
    """
    return (item for item in read(path, source=source) if isinstance(item, Reject) or item.relation in EDGES)
