"""Reading prediction and truth files, plain or gzip (recognised by content, whatever the file is called)."""

from __future__ import annotations

import csv
import gc
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kb.readers.opening import open_binary
from kvqa.errors import InputError

Record = dict[str, Any]
"""One JSON object."""


def read_text(path: Path) -> str:
    """Return the whole file as text.

    Raises:
        InputError: if the file is damaged or not UTF-8.
        kb.errors.KnowledgeError: if it cannot be opened.
    """
    with open_binary(path) as stream:
        try:
            return stream.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is damaged ({error}); fetch or write it again") from None


def read_json(path: Path, *, slim: Callable[[Record], Any] | None = None) -> Any:
    """Return the one JSON document of `path`.

    Args:
        path: Plain or gzip.
        slim: Is called with every JSON object and returns what stands in its place; keeps large files small.

    Raises:
        InputError: if it is not one JSON document.
    """
    text = read_text(path)
    try:
        with without_collector():
            return json.loads(text, object_hook=slim)
    except ValueError as error:
        raise InputError(f"{path} is not one JSON document: {error}") from None


def read_json_with_doubles(path: Path) -> tuple[Any, list[str]]:
    """Return the JSON document of `path` and the keys that one of its objects has twice (the last value stays).

    Raises:
        InputError: as `read_json`.
    """
    doubles: list[str] = []

    def keep_last(pairs: list[tuple[str, Any]]) -> Record:
        record = dict(pairs)
        if len(record) < len(pairs):
            doubles.extend(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        return record

    try:
        return json.loads(read_text(path), object_pairs_hook=keep_last), doubles
    except ValueError as error:
        raise InputError(f"{path} is not one JSON document: {error}") from None


def read_json_lines(path: Path) -> list[Record]:
    """Return the JSON objects of `path`, one a line; blank lines are passed over.

    Raises:
        InputError: if a line is not one JSON object; it names the line.
    """
    records = []
    with without_collector():
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if line.strip():
                records.append(_object(path, number, line))
    return records


def read_records(path: Path) -> list[Record]:
    """Return the records of a JSON list of objects or of JSON lines, whichever the file holds.

    Raises:
        InputError: if it is neither.
    """
    text = read_text(path)
    if not text.lstrip().startswith("["):
        return read_json_lines(path)
    records = read_json(path)
    if not all(isinstance(record, dict) for record in records):
        raise InputError(f"{path} holds a list with something else than JSON objects; give one object a prediction")
    return list(records)


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the column names and the rows of a CSV file with a header.

    Raises:
        InputError: if a row has more or fewer cells than the header.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    rows = []
    for row in reader:
        if None in row or None in row.values():
            raise InputError(f"{path}, line {reader.line_num}: the row does not fit the header; give one cell a column")
        rows.append(row)
    return list(reader.fieldnames or ()), rows


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Return the first two cells of each line of `identifier,prediction`; blank lines and a header are passed over.

    As the official NLVR scripts do, only the ends of a line are stripped, and further cells are ignored.

    Raises:
        InputError: if a line has no comma.
    """
    pairs = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        cells = line.strip().split(",")
        if len(cells) < 2:
            raise InputError(f"{path}, line {number}: {line[:60]!r} has no comma; a line is identifier,prediction")
        if not (number == 1 and cells[0].strip().lower() in ("identifier", "id", "pairid", "question_id")):
            pairs.append((cells[0], cells[1]))
    return pairs


def read_ids(path: Path) -> list[str]:
    """Return the ids of a list file: a JSON list, one id a line, or one list of several (`FILE#name of the list`).

    Raises:
        InputError: if there is no such list, or it is empty or holds something else than text and whole numbers.
    """
    place, _, name = str(path).partition("#")
    text = read_text(Path(place))
    if name:
        values = field(read_json(Path(place)), name, Path(place))
    elif text.lstrip().startswith("["):
        values = read_json(path)
    elif text.lstrip().startswith("{"):
        raise InputError(f"{path} holds several lists; name one: {path}#{next(iter(read_json(path)), '')}")
    else:
        values = [line.strip() for line in text.splitlines() if line.strip()]
    if not isinstance(values, list) or not values:
        raise InputError(f"{path} lists no ids; give a JSON list or one id a line")
    return [as_id(value, path) for value in values]


def by_id(records: Iterable[Record], name: str, path: Path) -> dict[str, Record]:
    """Return the records by their field `name`.

    Raises:
        InputError: if a record lacks the field, or two have the same id.
    """
    found: dict[str, Record] = {}
    for record in records:
        identity = as_id(field(record, name, path), path)
        if identity in found:
            raise InputError(f"{path} has {name} {identity} twice; keep one record each")
        found[identity] = record
    return found


def as_id(value: object, path: Path) -> str:
    """Return an id, which files write as text or as a whole number, as text.

    Raises:
        InputError: if `value` is neither.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(f"{path}: {value!r} cannot be an id; an id is text or a whole number")
    return str(value)


def field(record: Record, name: str, path: Path) -> Any:
    """Return `record[name]`.

    Raises:
        InputError: if the record has no such field.
    """
    try:
        return record[name]
    except (KeyError, TypeError):
        raise InputError(f"{path}: a record has no {name!r}: {str(record)[:120]}") from None


def _object(path: Path, number: int, line: str) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}, line {number}: not JSON ({error})") from None
    if not isinstance(record, dict):
        raise InputError(f"{path}, line {number}: {line[:60]!r} is not a JSON object")
    return record


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the cycle collector from looking through millions of new objects that have no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
