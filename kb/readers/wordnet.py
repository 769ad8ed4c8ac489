"""Open English WordNet as JSON lines: one synset a line with `id`, `w` (words) and lists of other ids.

Follows Open English WordNet (McCrae et al. 2020, https://github.com/globalwordnet/english-wordnet). A fact stands
between the first words of two synsets: noun `hypernym` is (child, IsA, parent), `mero_part` is (part, PartOf, whole).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from kb.readers.jsonl import objects
from kb.readers.record import to_triple
from kb.readers.reject import Reject
from kb.triple import Triple

_NOUN = "-n"
_VERB = "-v"


def read(path: Path, *, source: str, verb_hypernyms: bool = False) -> Iterator[Triple | Reject]:
    """Read the synsets of `path`, plain or gzip, twice: edges point to synsets that come later.

    Args:
        path: The JSON lines file.
        source: Name of the source.
        verb_hypernyms: Also read verb `hypernym` as (child, MannerOf, parent).

    Raises:
        KnowledgeError: if the file cannot be opened.
    """
    words = _first_words(path)
    for line, record in objects(path):
        if isinstance(record, Reject):
            yield record
        elif problem := synset_problem(record):
            yield Reject(line.number, problem, line.text)
        else:
            yield from _facts(record, words, source, line.number, verb_hypernyms)


def synset_problem(record: Mapping[str, object]) -> str | None:
    """Say what keeps the record from being a synset: no text `id`, or no list of words `w`. None: it is one."""
    if not isinstance(record.get("id"), str):
        return "has no text under 'id'"
    words = record.get("w")
    if not isinstance(words, list) or not words or not isinstance(words[0], str):
        return "has no list of words under 'w'"
    return None


def _first_words(path: Path) -> dict[str, str]:
    words: dict[str, str] = {}
    for _, record in objects(path):
        if not isinstance(record, Reject) and synset_problem(record) is None:
            words[str(record["id"])] = str(_listed(record, "w")[0])
    return words


def _facts(
    record: Mapping[str, object], words: Mapping[str, str], source: str, line: int, verb_hypernyms: bool
) -> Iterator[Triple | Reject]:
    own_id = str(record["id"])
    own = words[own_id]
    for head, relation, tail, other_id in _edges(record, own_id, own, words, verb_hypernyms):
        text = json.dumps({"id": own_id, "relation": relation, "other": other_id})
        if head is None or tail is None:
            yield Reject(line, f"{relation} points to the unknown synset {other_id!r}", text)
        elif head != tail:  # "street IsA street" is true of two senses and useless as a fact
            yield to_triple(head, relation, tail, source=source, line=line, text=text)


def _edges(
    record: Mapping[str, object], own_id: str, own: str, words: Mapping[str, str], verb_hypernyms: bool
) -> Iterator[tuple[str | None, str, str | None, object]]:
    if own_id.endswith(_NOUN) or (verb_hypernyms and own_id.endswith(_VERB)):
        relation = "IsA" if own_id.endswith(_NOUN) else "MannerOf"
        for parent in _listed(record, "hypernym"):
            yield own, relation, words.get(str(parent)), parent
    for part in _listed(record, "mero_part"):
        yield words.get(str(part)), "PartOf", own, part


def _listed(record: Mapping[str, object], name: str) -> list[object]:
    listed = record.get(name)
    return listed if isinstance(listed, list) else []
