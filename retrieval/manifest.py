"""What belongs together in a knowledge-base folder, and the check that it still does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kb.errors import KnowledgeError

MANIFEST = "manifest.json"
CHECKED = ".checked.json"
"""Size and time of change of each file when its checksum was last seen to be right."""
FORMAT = 2

_SMALL = 1 << 20


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits, reading it in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text_safely(path: Path, text: str) -> None:
    """Write `text` beside `path` and rename it into place, so that no reader ever sees half a file."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@dataclass(frozen=True)
class Manifest:
    """Identity card of a knowledge base.

    Attributes:
        store_hash: `KnowledgeStore.content_hash()`, the facts and their sources.
        encoder: Name of the sentence encoder.
        encoder_sha256: Checksum of its weights; a model for another encoder is refused.
        dimension: Length of the vectors.
        metric: `"inner_product"` over unit vectors, which is the cosine.
        normalised: Whether the vectors have unit length.
        facts, entities, relations: Counts.
        index: FAISS factory string.
        index_asked: What the user asked for: the same, or "auto".
        files: File name, relative to the folder, to SHA-256 and size in bytes of every file.
        sources: Name, path, SHA-256, licence and reading options of each source, in the order of reading.
        versions: Versions of the libraries that wrote it.
        built: Time of building, ISO 8601, UTC.
        generation: Folder of the files.
        store: File of the store, or URL of its database without a password.
        kb_id: Random name that tells the schemas of this folder from those of others in the same database.
        recall10: Share of the ten nearest facts that the index finds, measured on a sample when it was built.
        base_encoder_sha256: Weights of the sentence encoder in whose space questions are asked, where it is not
            `encoder` itself (a static encoder is made from one).
    """

    store_hash: str
    encoder: str
    encoder_sha256: str
    dimension: int
    facts: int
    entities: int
    relations: int
    index: str
    files: dict[str, dict[str, Any]]
    sources: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    built: str = ""
    metric: str = "inner_product"
    normalised: bool = True
    generation: str = ""
    store: str = ""
    index_asked: str = "auto"
    kb_id: str = ""
    recall10: float | None = None
    base_encoder_sha256: str | None = None
    format: int = FORMAT

    @property
    def id(self) -> str:
        """Short name of this exact knowledge base, for reports."""
        return hashlib.sha256(f"{self.store_hash}:{self.encoder_sha256}:{self.index}".encode()).hexdigest()[:16]

    def repair(self, folder: Path) -> str:
        """Return the advice with the command that makes the folder anew from the same sources."""
        paths = " ".join(shlex.quote(str(source["path"])) for source in self.sources if source.get("path"))
        return f"build it again: kvqa index-kb {paths or 'SOURCE…'} --out {folder} --overwrite"

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`; its files count as checked."""
        write_text_safely(folder / MANIFEST, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")
        self._remember(folder)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of `folder`.

        Raises:
            KnowledgeError: if the folder is missing, half-built, damaged or of another format.
        """
        repair = f"build it again: kvqa index-kb SOURCE… --out {folder} --overwrite"
        if not folder.is_dir():
            raise KnowledgeError(
                f"knowledge base {folder} does not exist; build one: kvqa index-kb SOURCE… --out {folder}"
            )
        path = folder / MANIFEST
        if not path.is_file():
            raise KnowledgeError(
                f"{folder} has no {MANIFEST}: it is not a knowledge base or was built halfway; {repair}"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.get("format", FORMAT)
            manifest = cls(**content) if version == FORMAT else None
        except (ValueError, TypeError, AttributeError) as error:
            raise KnowledgeError(f"{path} is damaged ({error}); {repair}") from None
        if manifest is None:
            raise KnowledgeError(f"{path} has format {version}, this version reads {FORMAT}; {repair}")
        return manifest

    def check_files(self, folder: Path, *, thorough: bool = False) -> None:
        """Check that every file is there and unaltered.

        Sizes are compared, and the checksums of small files (up to 1 MiB). A large file is read in full only when
        `thorough`, or when its size or time of change is not the one at which its checksum was last right, as git
        does it with its index; so opening an untouched knowledge base takes the same time whatever its size.

        Raises:
            KnowledgeError: naming the first file that is missing or altered.
        """
        checked, hashed = _checked(folder), False
        for name, expected in self.files.items():
            path = folder / name
            if not path.is_file():
                raise KnowledgeError(f"knowledge base {folder} lacks {name}; {self.repair(folder)}")
            size = path.stat().st_size
            if size != expected["bytes"]:
                raise KnowledgeError(
                    f"{path} has {size:,} bytes, the manifest says {expected['bytes']:,}; {self.repair(folder)}"
                )
            known = checked.get(name) == _stamp(path, expected["sha256"])
            if not (thorough or size <= _SMALL or not known):
                continue
            if file_sha256(path) != expected["sha256"]:
                raise KnowledgeError(f"{path} was altered after it was built (checksum differs); {self.repair(folder)}")
            hashed = hashed or not known
        if hashed:
            self._remember(folder)

    def _remember(self, folder: Path) -> None:
        stamps = {name: _stamp(folder / name, entry["sha256"]) for name, entry in self.files.items()}
        # Only a saving of time: a folder that cannot be written is read in full at each opening.
        with contextlib.suppress(OSError):
            write_text_safely(folder / CHECKED, json.dumps(stamps))


def _stamp(path: Path, sha256: str) -> list[Any]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [sha256, status.st_size, status.st_mtime_ns]


def _checked(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / CHECKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def describe_files(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return size and checksum of the named files of `folder`, for `Manifest.files`."""
    return {n: {"sha256": file_sha256(folder / n), "bytes": (folder / n).stat().st_size} for n in names}
