"""The folder of a knowledge base: whole generations beside each other, one of them current, one perhaps in the making.

```
kb/
  manifest.json     what the current generation is made of; replacing this file is the one switch to a new one
  gen-0003/         the current generation: its files never change
  gen-0002/         the one before; readers that opened it go on with it until the next build begins
  building/         the next one, as far as an unfinished build got
  .lock             held by a running build
```
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kb.errors import KnowledgeError
from retrieval.manifest import CHECKED, MANIFEST, Manifest

BUILDING = "building"
LOCK = ".lock"

_GENERATION = re.compile(r"gen-(\d{4,})")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Make the folder and hold its lock; a process that ends, however it ends, lets go of it.

    Raises:
        KnowledgeError: if another build holds it, or the folder cannot be written.
    """
    existed = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("a")
    except OSError as error:
        reason = error.strerror or str(error)
        raise KnowledgeError(f"cannot write {out}: {reason}; choose a folder that you may write for --out") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who held it before may have removed the file in between.
            taken = os.fstat(file.fileno()).st_ino != (out / LOCK).stat().st_ino
        except OSError:
            taken = True
        if taken:
            raise KnowledgeError(
                f"another build is writing {out}; wait until it has ended, or give another folder for --out"
            )
        try:
            yield
        finally:
            (out / LOCK).unlink(missing_ok=True)
            if not existed and not any(out.iterdir()):
                out.rmdir()


def check_target(out: Path) -> None:
    """Check that `out` is absent, empty, or the folder of a knowledge base.

    Raises:
        KnowledgeError: if it is something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise KnowledgeError(f"{out} is a file; give a folder for --out")
    names = {path.name for path in out.iterdir()} - {LOCK}
    if names and MANIFEST not in names and not any(name == BUILDING or _GENERATION.fullmatch(name) for name in names):
        raise KnowledgeError(f"{out} holds something that is no knowledge base; give another folder for --out")


def generations(out: Path) -> list[str]:
    """Return the names of all generations in the folder, oldest first."""
    found = (_GENERATION.fullmatch(path.name) for path in out.iterdir() if path.is_dir())
    return [match.group() for match in sorted((m for m in found if m), key=lambda match: int(match[1]))]


def current_generation(out: Path) -> str | None:
    """Return the name of the generation that the manifest names, None if there is none that can be read."""
    try:
        name = json.loads((out / MANIFEST).read_text(encoding="utf-8")).get("generation")
    except (OSError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) and _GENERATION.fullmatch(name) else None


def next_generation(current: str | None) -> str:
    """Return the name of the generation after `current`."""
    return f"gen-{int(current.removeprefix('gen-')) + 1 if current else 1:04d}"


def staging(out: Path) -> Path:
    """Return the folder in which the next generation is made, with what a build that was broken off left there.

    All generations but the current one are removed; one that was finished, but not made current, is gone on with.
    """
    current, place = current_generation(out), out / BUILDING
    for name in generations(out):
        if name == next_generation(current) and not place.exists():
            (out / name).rename(place)
        elif name != current:
            shutil.rmtree(out / name)
    place.mkdir(exist_ok=True)
    return place


def publish(out: Path, manifest: Manifest) -> None:
    """Make what lies in `building` the current generation; the one before stays for those who read it.

    Raises:
        OSError: if the disk refuses.
    """
    old_files = _flat_files(out)
    place = out / BUILDING
    for path in place.rglob("*"):
        _to_disk(path)
    _to_disk(place)
    place.rename(out / manifest.generation)
    _to_disk(out)
    manifest.write(out)
    _to_disk(out)
    for name in old_files:
        (out / name).unlink(missing_ok=True)


def _flat_files(out: Path) -> list[str]:
    """Return the files of a knowledge base of the older layout, which had no generations."""
    try:
        content = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        names = [] if "generation" in content else list(content["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if Path(name).name == name and name not in (MANIFEST, CHECKED)]


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
