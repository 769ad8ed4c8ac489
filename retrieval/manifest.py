"""What belongs together in a knowledge-base folder, and the check that it still does."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kb.errors import KnowledgeError

MANIFEST = "manifest.json"
FORMAT = 1


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
        facts, entities, relations: Counts.
        index: FAISS factory string.
        files: File name to SHA-256 and size in bytes of every file of the folder.
        sources: Name, SHA-256 and licence of each source.
        versions: Versions of the libraries that wrote it.
        built: Time of building, ISO 8601, UTC.
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
    format: int = FORMAT

    @property
    def id(self) -> str:
        """Short name of this exact knowledge base, for reports."""
        return hashlib.sha256(f"{self.store_hash}:{self.encoder_sha256}:{self.index}".encode()).hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        write_text_safely(folder / MANIFEST, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of `folder`.

        Raises:
            KnowledgeError: if the folder is missing, half-built, damaged or of another format.
        """
        repair = f"build it again: kvqa index-kb SOURCE… --out {folder}"
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
        """Check that every file is there and unaltered: by size, and by checksum when `thorough`.

        A size check costs microseconds and runs at each opening. Small files (up to 1 MiB) are always hashed.

        Raises:
            KnowledgeError: naming the first file that is missing or altered.
        """
        repair = f"build it again: kvqa index-kb SOURCE… --out {folder}"
        for name, expected in self.files.items():
            path = folder / name
            if not path.is_file():
                raise KnowledgeError(f"knowledge base {folder} lacks {name}; {repair}")
            size = path.stat().st_size
            if size != expected["bytes"]:
                raise KnowledgeError(f"{path} has {size:,} bytes, the manifest says {expected['bytes']:,}; {repair}")
            if (thorough or size <= 1 << 20) and file_sha256(path) != expected["sha256"]:
                raise KnowledgeError(f"{path} was altered after it was built (checksum differs); {repair}")


def describe_files(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return size and checksum of the named files of `folder`, for `Manifest.files`."""
    return {n: {"sha256": file_sha256(folder / n), "bytes": (folder / n).stat().st_size} for n in names}
