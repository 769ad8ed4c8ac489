"""One experiment is one complete YAML file; this reads it into plain dataclasses and refuses what it does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from kvqa.errors import InputError


class Checked(Protocol):
    """A dataclass that knows what values do not go together."""

    def problems(self) -> Iterator[str]:
        """Yield each problem as one short sentence."""
        ...


C = TypeVar("C", bound=Checked)


def read_config(path: Path, kind: type[C], **overrides: Any) -> C:
    """Read a dataclass of `kind` from YAML; `overrides` that are not None replace top-level settings.

    Raises:
        InputError: naming every unknown key and every wrong value at once.
    """
    record = _settings(path)
    record = {**record, **{key: value for key, value in overrides.items() if value is not None}}
    problems = [f"unknown key {key}" for key in _unknown(record, kind)]
    try:
        config = TypeAdapter(kind).validate_python(record)
        problems += config.problems()
    except ValidationError as error:
        problems += [f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}, got {e['input']!r}" for e in error.errors()]
    if problems:
        raise InputError(f"{path}: {'; '.join(problems)}; see configs/ for complete examples")
    return config


def read_task(path: Path) -> str:
    """Return what the YAML file calls its `task`, `fvqa` where it says nothing.

    Raises:
        InputError: if the file cannot be read.
    """
    return str(_settings(path).get("task", "fvqa"))


def _settings(path: Path) -> dict[str, Any]:
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as YAML ({reason}); see configs/ for complete examples") from None
    if not isinstance(record, dict):
        raise InputError(f"{path} holds no settings; see configs/ for complete examples")
    return record


def _unknown(record: Mapping[str, Any], kind: type, prefix: str = "") -> Iterator[str]:
    types = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    for key, value in record.items():
        if key not in known:
            yield f"{prefix}{key}"
        elif isinstance(value, Mapping):
            # `Part | None` is a part as well: whoever writes it into the file wants it.
            for part in (types[key], *get_args(types[key])):
                if is_dataclass(part) and isinstance(part, type):
                    yield from _unknown(value, part, f"{prefix}{key}.")
        elif isinstance(value, list):
            for part in get_args(types[key]):
                if is_dataclass(part) and isinstance(part, type):
                    for number, item in enumerate(value):
                        if isinstance(item, Mapping):
                            yield from _unknown(item, part, f"{prefix}{key}.{number}.")
