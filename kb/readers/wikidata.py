"""The JSON dump of Wikidata (https://www.wikidata.org/wiki/Wikidata:Database_download): an array, one entity a line.

A statement names items by number, and the label of an item may stand anywhere in the dump. So the dump is read once,
labels and the numbers of the statements go to temporary files, and the facts come out of those at the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TypeAlias

from kb.errors import KnowledgeError
from kb.readers.labels import Labels, temporary_labels
from kb.readers.opening import Line, open_text
from kb.readers.record import to_triple
from kb.readers.reject import Reject
from kb.readers.wikidata_properties import PROPERTIES
from kb.relations import RELATIONS
from kb.triple import Alias, Triple, clean_text

LICENCE = "CC0 1.0"

MAX_LINE = 1 << 25
"""Longest line in bytes; the largest items have several megabytes."""

Record: TypeAlias = Mapping[str, object]

_ENTITY = re.compile(r"\s*\[?\s*\{.{0,200}?\"(?:id|type)\"\s*:\s*\"(?:[QP]\d+|item|property)\"", re.DOTALL)
_CLAIMS = re.compile(r"\"(?:labels|claims)\"\s*:\s*[\[{]")
_NUMBER = re.compile(r"[QP][1-9]\d*")
_ALL_LANGUAGES = "mul"
_DEPRECATED = "deprecated"
_TIME = re.compile(r"(?P<sign>[+-])0*(?P<year>\d+)-(?P<month>\d\d)-(?P<day>\d\d)T")
_YEAR, _MONTH, _DAY = 9, 10, 11  # Wikidata's numbers for how exact a time is
_ITEM, _TEXT = "i", "t"


def read(path: Path, *, source: str, language: str = "en") -> Iterator[Triple | Alias | Reject]:
    """Read the statements between items and those whose value is a date, and the other names of items.

    Left out without a word: deprecated statements, values of other kinds, and items that have no label in the
    language. An item that the dump does not hold is a Reject. Facts come after the last line has been read.

    Args:
        path: The dump, plain or packed; with or without the brackets and commas of the array.
        source: Name of the source.
        language: Code of the language of labels and aliases; where an item has none in it, those for all languages
            (`mul`) count.

    Raises:
        KnowledgeError: if the file cannot be opened, or the temporary folder has no room for labels and statements.
    """
    with temporary_labels() as (labels, folder):
        spool = folder / "statements"
        try:
            with spool.open("w", encoding="utf-8") as file:
                yield from _first_pass(path, file, labels, source, language)
        except OSError as error:
            advice = "free space, or set TMPDIR to a folder with room"
            raise KnowledgeError(f"cannot keep statements in {folder}: {error}; {advice}") from error
        yield from _facts(spool, labels, source)


def looks_like_dump(text: str) -> bool:
    """Say whether `text`, the beginning of a file, is that of the dump. Its first line may be longer."""
    return _ENTITY.match(text) is not None and _CLAIMS.search(text) is not None


def _first_pass(path: Path, spool: IO[str], labels: Labels, source: str, language: str) -> Iterator[Alias | Reject]:
    with open_text(path, max_line=MAX_LINE) as lines:
        for line in lines:
            if isinstance(line, Reject):
                yield line
                continue
            text = line.text.strip().removesuffix(",")
            if text in ("", "[", "]"):
                continue
            entity = _entity(text.removeprefix("[").removesuffix("]"), line)
            if isinstance(entity, Reject):
                yield entity
                continue
            identifier = str(entity["id"])
            label = _label(entity, language)
            labels.set(identifier, label)
            if label and identifier.startswith("Q"):
                yield from _aliases(entity, label, language, source, line.number)
                for number, kind, value in _values(entity.get("claims")):
                    spool.write(f"{line.number}\t{identifier}\t{number}\t{kind}\t{value}\n")


def _entity(text: str, line: Line) -> Record | Reject:
    try:
        entity = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Reject(line.number, f"not JSON: {error}", line.text)
    if not isinstance(entity, dict):
        return Reject(line.number, f"is a JSON {type(entity).__name__}, not an object", line.text)
    if not isinstance(identifier := entity.get("id"), str) or not _NUMBER.fullmatch(identifier):
        return Reject(line.number, "has no number such as Q42 or P31 under 'id'", line.text)
    return entity


def _label(entity: Record, language: str) -> str:
    """Return the label, cleaned, or an empty text, which is kept as well: the dump does hold the item."""
    labels = _object(entity.get("labels"))
    for code in (language, _ALL_LANGUAGES):
        value = _object(labels.get(code)).get("value")
        if isinstance(value, str) and (cleaned := _cleaned(value)):
            return cleaned
    return ""


def _aliases(entity: Record, label: str, language: str, source: str, line: int) -> Iterator[Alias]:
    aliases = _object(entity.get("aliases"))
    for code in (language, _ALL_LANGUAGES):
        for alias in _list(aliases.get(code)):
            value = _object(alias).get("value")
            if isinstance(value, str) and (cleaned := _cleaned(value)) and cleaned != label:
                yield Alias(label, cleaned, source=source, line=line)


def _values(claims: object) -> Iterator[tuple[str, str, str]]:
    """Give property, kind of value (item or text) and value of each statement that we read."""
    for number, statements in _object(claims).items():
        if not _NUMBER.fullmatch(number):
            continue
        for statement in map(_object, _list(statements)):
            if statement.get("rank") == _DEPRECATED:
                continue
            value = _object(_object(statement.get("mainsnak")).get("datavalue"))
            found = _object(value.get("value"))
            if value.get("type") == "wikibase-entityid":
                item = found.get("id", f"Q{found.get('numeric-id')}")
                if isinstance(item, str) and _NUMBER.fullmatch(item):
                    yield number, _ITEM, item
            elif value.get("type") == "time" and (date := _date(found)):
                yield number, _TEXT, date


def _date(value: Record) -> str | None:
    """Return a time as Wikidata has it, `+1952-03-11T00:00:00Z`, as far as it is exact: `1952`, `1952-03-11`."""
    match = _TIME.match(str(value.get("time")))
    precision = value.get("precision")
    if match is None or not isinstance(precision, int) or precision < _YEAR:
        return None
    parts = [match["year"]]
    parts += [match["month"]] if precision >= _MONTH else []
    parts += [match["day"]] if precision >= _DAY else []
    return "-".join(parts) + (" BC" if match["sign"] == "-" else "")


def _facts(spool: Path, labels: Labels, source: str) -> Iterator[Triple | Reject]:
    relations: dict[str, str] = {}
    with spool.open(encoding="utf-8") as file:
        for row in file:
            line, item, number, kind, value = row.rstrip("\n").split("\t")
            if number not in relations:
                relations[number] = _relation(number, labels)
            tail = labels.get(value) if kind == _ITEM else value
            if tail is None:
                reason = f"{value} is not in the dump"
                yield Reject(int(line), reason, f"{item} {number} {value}")
            elif tail:
                head = labels.get(item)
                yield to_triple(head, relations[number], tail, source=source, line=int(line), text=row)


def _relation(number: str, labels: Labels) -> str:
    known = PROPERTIES.get(number, "")
    return known if known in RELATIONS else labels.get(number) or known or number


def _cleaned(text: str) -> str | None:
    try:
        text.encode("utf-8")
        return clean_text(text)
    except ValueError:
        return None


def _object(value: object) -> Record:
    # An empty object is written as an empty array in dumps of PHP's making.
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
