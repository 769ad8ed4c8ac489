"""The facts of FVQA (Wang et al. 2018, https://arxiv.org/abs/1606.05433), as a table or as the published JSON.

The table has the header `head relation tail kb_source surface`, tab separated. The JSON, `all_fact_triples_release`,
is one object from fact id to a record with `e1_label`, `r`, `e2_label`, `KB` and `surface`. Both keep the spelling of
the knowledge bases: `jazz_club`, `Category:Italian_design`, `fast#f`, and `[[...]]` around the entities of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kb.readers.json_object import BrokenJsonError, members
from kb.readers.opening import Line, first_text, open_binary, open_text
from kb.readers.record import to_triple
from kb.readers.reject import Reject
from kb.triple import Triple

HEADER = ("head", "relation", "tail", "kb_source", "surface")

_PREFIX = re.compile(r"^(?:Category:|List_of_|Lists_of_)+(?=.)")
_BRACKETS = re.compile(r"\[\[|\]\]")


def read(path: Path, *, source: str) -> Iterator[Triple | Reject]:
    """Read the facts from the table or the JSON, plain or packed; the first character tells which it is.

    Of several surfaces joined by " | " the first is kept. The `line` of a fact of the JSON is its number in the file;
    what follows a mistake in the JSON cannot be read, and is one Reject.

    Raises:
        KnowledgeError: if the file cannot be opened.
    """
    is_json = first_text(path).lstrip().startswith("{")
    yield from _read_json(path, source) if is_json else _read_table(path, source)


def looks_like_table(header: str) -> bool:
    """Say whether `header` is the first line of the table."""
    if header[:4].lower() != HEADER[0]:  # asked for every line
        return False
    return tuple(cell.strip().lower() for cell in header.split("\t")) == HEADER


def looks_like_json(text: str) -> bool:
    """Say whether `text`, the beginning of a file, is that of the JSON."""
    return text.lstrip().startswith("{") and '"e1_label"' in text and '"e2_label"' in text


def _read_table(path: Path, source: str) -> Iterator[Triple | Reject]:
    with open_text(path) as lines:
        for line in lines:
            if isinstance(line, Reject):
                yield line
            elif line.text.strip() and not looks_like_table(line.text):
                yield _row(line, source)


def _row(line: Line, source: str) -> Triple | Reject:
    cells = line.text.split("\t")
    if len(cells) != len(HEADER):
        return Reject(line.number, f"has {len(cells)} columns instead of {len(HEADER)}", line.text)
    head, relation, tail, _kb, surface = cells
    return _fact(head, relation, tail, surface, source, line.number, line.text)


def _read_json(path: Path, source: str) -> Iterator[Triple | Reject]:
    number = 0
    with open_binary(path) as stream:
        try:
            for number, (fact_id, record) in enumerate(members(stream), start=1):
                yield _record(fact_id, record, source, number)
        except BrokenJsonError as error:
            yield Reject(number + 1, str(error), "")


def _record(fact_id: str, record: object, source: str, number: int) -> Triple | Reject:
    if not isinstance(record, dict):
        return Reject(number, f"is {type(record).__name__}, not an object", f"{fact_id}: {record}")
    head, relation, tail, surface = (record.get(name) for name in ("e1_label", "r", "e2_label", "surface"))
    fact = _fact(head, relation, tail, surface, source, number, "")
    return Reject(number, fact.reason, f"{fact_id}: {record}") if isinstance(fact, Reject) else fact


def _fact(
    head: object, relation: object, tail: object, surface: object, source: str, line: int, text: str
) -> Triple | Reject:
    return to_triple(
        _plain(head), relation, _plain(tail), source=source, line=line, text=text, surface=_sentence(surface)
    )


def _plain(name: object) -> object:
    return _PREFIX.sub("", name) if isinstance(name, str) else name


def _sentence(surface: object) -> object:
    return _BRACKETS.sub("", surface.split(" | ")[0]) if isinstance(surface, str) else surface
