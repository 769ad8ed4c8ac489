"""What a build did, for the table at its end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from kb.readers import Reject
from kb.store import KnowledgeStore
from retrieval.manifest import Manifest

REJECTS = "rejects.jsonl"

_SHOWN = 3  # lines of one reason


@dataclass
class Refusal:
    """Records of one source that were refused for the same reason.

    Attributes:
        source: Name of the source.
        reason: The reason of the first of them.
        count: How many there are.
        lines: The first lines.
    """

    source: str
    reason: str
    count: int = 0
    lines: list[int] = field(default_factory=list)


@dataclass
class BuildReport:
    """What a build did: facts read, new and duplicate and records refused by source, and what became of each source.

    Attributes:
        read, new, duplicate, refused: By source.
        states: By source: "new", "replaced", "kept" or "removed".
        refusals: What was refused, by source and reason.
        rejects: File with all that was refused, None if nothing was.
        manifest: Of the knowledge base as it is now.
        changed: Whether a new generation was made.
    """

    read: dict[str, int] = field(default_factory=dict)
    new: dict[str, int] = field(default_factory=dict)
    duplicate: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    rejects: Path | None = None
    manifest: Manifest | None = None
    changed: bool = True

    def count(self, store: KnowledgeStore) -> None:
        """Take in the counts of all sources of the store, and what was refused."""
        for source in store.sources():
            self.read[source.name], self.new[source.name] = source.read, source.new
            self.duplicate[source.name] = source.read - source.new
            self.refused[source.name] = source.refused
        self.refusals = _refusals(store.rejects())


def write_rejects(path: Path, store: KnowledgeStore) -> bool:
    """Write all refused records to `path`, one JSON object a line; say if there are any."""
    partial = path.with_name(path.name + ".partial")
    found = False
    with partial.open("w", encoding="utf-8") as file:
        for source, reject in store.rejects():
            found = True
            record = {"source": source, "line": reject.line, "reason": reject.reason, "text": reject.text}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    partial.replace(path) if found else partial.unlink()
    return found


def _refusals(rejects: Iterable[tuple[str, Reject]]) -> list[Refusal]:
    found: dict[tuple[str, str], Refusal] = {}
    for source, reject in rejects:
        # Reasons that differ in a number or in what is quoted are one.
        kind = re.sub(r"\d+|'[^']*'", "#", reject.reason)
        refusal = found.setdefault((source, kind), Refusal(source, reject.reason))
        refusal.count += 1
        if len(refusal.lines) < _SHOWN:
            refusal.lines.append(reject.line)
    return list(found.values())
