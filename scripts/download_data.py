"""Fetches the files of a data set that have a public address; nothing in the packages needs it.

    python scripts/download_data.py vqa2 --out data/vqa2 --split val
    python scripts/download_data.py --list

What is already there is left alone, what was cut off goes on where it stopped. Archives are unpacked and removed. A
file with a known checksum has to match it; of the others the checksum is printed, to be kept. Files behind terms or
forms are named with the page to go to. `kvqa data check` says afterwards what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlparse
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from kvqa.data.datasets import DATASETS, describe
from kvqa.data.published import File
from kvqa.errors import InputError

BLOCK = 1 << 18
TRIES = 5
TIMEOUT = 60.0
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")

Advance = Callable[[int, int], None]
"""Told the bytes that are there and the bytes in all, 0 if the server does not say."""


def main() -> int:
    options = _options()
    if options.list:
        for name, description in DATASETS.items():
            print(f"{name:15} {'direct' if any(f.direct for f in description.files) else 'by hand'}")
        return 0
    try:
        description = describe(options.name)
        for split in options.split:
            description.split(split)
        download(description.files, options.out, splits=options.split, console=Console(stderr=True))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"next: kvqa data check {options.name} {options.out}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fetches the files of a data set that have a public address.")
    parser.add_argument("name", nargs="?", default="", help="data set, as `kvqa data list` names it")
    parser.add_argument("--out", type=Path, help="folder of the data set; default: data/NAME")
    parser.add_argument("--split", action="append", default=[], help="files of this split only; repeatable")
    parser.add_argument("--list", action="store_true", help="name the data sets and stop")
    options = parser.parse_args()
    options.out = options.out or Path("data", options.name)
    return options


def download(files: Sequence[File], out: Path, *, splits: Sequence[str] = (), console: Console) -> None:
    """Fetch what of `files` is not in `out` and has a public address; name the others.

    Raises:
        InputError: if a file cannot be fetched, does not match its checksum, or is not in its archive.
    """
    wanted = [f for f in files if f.find(out) is None and (not splits or set(splits) & set(f.splits))]
    for file in wanted:
        if not file.direct:
            kind = "by hand, optional" if file.optional else "by hand"
            console.print(f"{kind}: {file.names[0]} ({file.what}): {file.source}", soft_wrap=True, highlight=False)
    for address in dict.fromkeys(file.source for file in wanted if file.direct):
        parts = [file for file in wanted if file.source == address]
        path = out / ".download" / unquote(Path(urlparse(address).path).name)
        with _bar(path.name, console) as advance:
            digest = fetch(address, path, sha256=next((f.sha256 for f in parts if f.sha256), ""), advance=advance)
        if not any(file.sha256 for file in parts):
            console.print(f"{path.name}: sha256 {digest} (none is recorded)", soft_wrap=True, highlight=False)
        place(path, parts, out)
        console.print(f"{address}: done", soft_wrap=True, highlight=False)
    if (out / ".download").is_dir() and not any((out / ".download").iterdir()):
        (out / ".download").rmdir()


def fetch(
    address: str, path: Path, *, sha256: str = "", advance: Advance = lambda done, total: None, pause: float = 1.0
) -> str:
    """Fetch `address` to `path` and return its SHA-256.

    What came is kept in `<path>.part`; a connection that breaks is taken up there, also by a later call, as long as
    the file on the server is the same (`If-Range`).

    Args:
        address: http or https.
        path: Written when everything is there.
        sha256: What it has to be; "" if that is not known.
        advance: Told of progress.
        pause: Seconds before the first new try; doubled each time.

    Raises:
        InputError: if the server refuses, breaks off five times in a row, or sends something else than expected.
    """
    if urlparse(address).scheme not in ("http", "https"):
        raise InputError(f"{address} is no address of the web; expected http or https")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _go_on(address, part, advance)
            break
        except HTTPError as error:
            if error.code < 500:
                raise InputError(
                    f"{address} answers {error.code} {error.reason}; look at its page in a browser"
                ) from None
            reason = f"{error.code} {error.reason}"
        except (URLError, OSError, HTTPException) as error:
            reason = " ".join(str(error).split())
        grown = part.exists() and part.stat().st_size > before
        failures = 1 if grown else failures + 1
        if failures >= TRIES:
            raise InputError(f"{address} cannot be fetched ({reason}); try again later, it goes on from {part.name}")
        time.sleep(pause * 2 ** (failures - 1))
    digest = file_digest(part)
    if sha256 and digest != sha256:
        _tag_file(part).unlink(missing_ok=True)
        part.unlink()
        raise InputError(f"{address} has sha256 {digest}; expected {sha256}. It was changed or damaged on the way")
    os.replace(part, path)
    _tag_file(part).unlink(missing_ok=True)
    return digest


def _go_on(address: str, part: Path, advance: Advance) -> None:
    """Append to `part` what is missing of `address`, or begin anew where the server cannot or the file changed."""
    tag_file = _tag_file(part)
    have = part.stat().st_size if part.exists() and tag_file.exists() else 0
    headers = {"User-Agent": "kvqa-download", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag_file.read_text(encoding="utf-8")}
    try:
        response = urlopen(Request(address, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range", "") == f"bytes */{have}":
            return  # nothing is missing: the last call was stopped just before renaming
        if error.code == 416:
            tag_file.unlink(missing_ok=True)  # the file is shorter now
            return _go_on(address, part, advance)
        raise
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        _keep_tag(response, tag_file)
        with part.open("ab" if resumed else "wb") as stream:
            for block in iter(lambda: response.read(BLOCK), b""):
                stream.write(block)
                have += len(block)
                advance(have, total)
    if total and have != total:
        raise OSError(f"the connection ended after {have:,} of {total:,} bytes")


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _keep_tag(response: HTTPResponse, path: Path) -> None:
    """Keep what tells this version of the file from others; without it a later call begins anew."""
    tag = response.headers.get("ETag", "")
    if not tag or tag.startswith("W/"):  # a weak tag does not vouch for the bytes
        tag = response.headers.get("Last-Modified", "")
    if tag:
        path.write_text(tag, encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def place(path: Path, files: Sequence[File], out: Path) -> None:
    """Put a fetched file, or the members of an archive, where the reader looks for `files`.

    Raises:
        InputError: if the archive cannot be read or lacks a file.
    """
    if not path.name.endswith(ARCHIVES) or path.name == Path(files[0].names[0]).name:
        (out / files[0].names[0]).parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, out / files[0].names[0])
        return
    missing = {file.names[0] for file in files}
    try:
        for name, content in _members(path):
            for file in files:
                if file.names[0] in missing and Path(name).name == Path(file.names[0]).name:
                    _write(content, out / file.names[0])
                    missing.remove(file.names[0])
                    break
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{path} cannot be unpacked ({error}); delete it and start again") from None
    if missing:
        raise InputError(f"{path} has no {', '.join(sorted(missing))}; look into the archive")
    path.unlink()


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each file in an archive; names are only compared, never used as paths."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                # resource forks of the Mac, in several of these archives, have the names of the files
                if not info.is_dir() and not info.filename.startswith("__MACOSX/"):
                    with archive.open(info) as stream:
                        yield info.filename, stream
        return
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content


def _write(content: IO[bytes], path: Path) -> None:
    """Write `content` beside `path` and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as stream:
        shutil.copyfileobj(content, stream, BLOCK)
    os.replace(beside, path)


@contextmanager
def _bar(name: str, console: Console) -> Iterator[Advance]:
    """Show a progress bar while the block runs."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


if __name__ == "__main__":
    sys.exit(main())
