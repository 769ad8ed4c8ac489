"""From the parts of a record to a Triple: the one place where text from outside is cleaned and checked."""

from __future__ import annotations

from kb.readers.reject import Reject
from kb.relations import canonical_relation
from kb.triple import Triple, clean_text


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
    parts = {"head": head, "relation": relation, "tail": tail}
    for name, part in parts.items():
        if problem := _problem(part):
            return Reject(line, f"{name}: {problem}", text)
    return Triple(
        clean_text(str(head)),
        canonical_relation(str(relation)),
        clean_text(str(tail)),
        source=source,
        line=line,
        surface=None if _problem(surface) else clean_surface(str(surface)),
    )


def clean_surface(sentence: str) -> str:
    """Return `sentence` with white space collapsed; unlike entity names it keeps its underscores."""
    return " ".join(sentence.split())


def _problem(part: object) -> str | None:
    if not isinstance(part, str):
        return f"is {type(part).__name__}, not text"
    try:
        clean_text(part)
        # JSON may spell half a surrogate pair, which no file and no database can hold.
        part.encode("utf-8")
    except UnicodeEncodeError:
        return "the text holds half a surrogate pair"
    except ValueError as error:
        return str(error)
    return None
