"""From the parts of a record to a Triple: the one place where text from outside is cleaned and checked."""

from __future__ import annotations

from functools import lru_cache

from kb.readers.reject import Reject
from kb.relations import canonical_relation
from kb.triple import Triple, clean_text

MAX_RELATION = 1000
"""Longest name of a relation, in characters; names are remembered, and no file may fill the memory with them."""

_CACHED_RELATIONS = 1 << 12


def to_triple(
    head: object, relation: object, tail: object, *, source: str, line: int, text: str, surface: object = None
) -> Triple | Reject:
    """Return the fact with its texts cleaned and its relation in canonical spelling, or say why it is none.

    Args:
        head: Subject as read, of any type.
        relation: Relation as read, of any type.
        tail: Object as read, of any type.
        source: Name of the source.
        line: Line or record number, from 1.
        text: The whole record, for the Reject.
        surface: The sentence of the source; what is not text or is empty counts as none.
    """
    try:
        return Triple(
            _checked(head),
            _checked_relation(relation),
            _checked(tail),
            source,
            line,
            None if surface is None else checked_surface(surface),
        )
    except (TypeError, ValueError):
        # Why is worked out only here: of a million records nearly all are good.
        return Reject(line, _first_problem(head, relation, tail), text)


def checked_surface(sentence: object) -> str | None:
    """Return `sentence` with white space collapsed, None if it is not text or says nothing.

    Unlike the name of an entity it keeps its underscores.
    """
    if not isinstance(sentence, str) or "\x00" in sentence:
        return None
    try:
        sentence.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return " ".join(sentence.split()) or None


@lru_cache(maxsize=_CACHED_RELATIONS)
def _checked_relation(relation: object) -> str:
    if len(_checked(relation)) > MAX_RELATION:
        raise ValueError(f"is longer than {MAX_RELATION} characters")
    # Not of the checked text: names that we do not know keep their underscores.
    return canonical_relation(str(relation))


def _checked(part: object) -> str:
    if not isinstance(part, str):
        raise TypeError(f"is {type(part).__name__}, not text")
    if not part.isascii():
        # JSON may spell half a surrogate pair, which no file and no database can hold.
        part.encode("utf-8")
    return clean_text(part)


def _first_problem(head: object, relation: object, tail: object) -> str:
    for name, part in (("head", head), ("relation", relation), ("tail", tail)):
        if problem := _problem(part):
            return f"{name}: {problem}"
    return f"relation: is longer than {MAX_RELATION} characters"


def _problem(part: object) -> str | None:
    try:
        _checked(part)
    except UnicodeEncodeError:
        return "the text holds half a surrogate pair"
    except (TypeError, ValueError) as error:
        return str(error)
    return None
