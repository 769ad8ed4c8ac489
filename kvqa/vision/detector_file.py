"""Where the detector's weights come from: an option, a folder of data, the user's cache, or a download."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from kvqa.cache import cache_folder
from kvqa.errors import InputError

FILE_NAME = "yolox_nano.onnx"
OFFICIAL_URL = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx"
OFFICIAL_SHA256 = "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d"
"""Hash of the release file (3,659,407 bytes) as several independent projects that pin it have recorded it."""


def cache_path() -> Path:
    """Return where a downloaded detector lies: `yolox_nano.onnx` in the cache folder."""
    return cache_folder() / FILE_NAME


def find_detector(option: str | Path | None = None) -> Path:
    """Return the detector file to use: `option`, else one under `KVQA_DATA`, else the downloaded one.

    Raises:
        InputError: if `option` is not a file, or nothing is found; the message says how to get one.
    """
    if option is not None:
        if not Path(option).is_file():
            raise InputError(f"--detector {option} is not a file; give an ONNX file or run: kvqa fetch-detector")
        return Path(option)
    places = [cache_path()]
    data = os.environ.get("KVQA_DATA")
    if data:
        places = [Path(data, "data", "weights", FILE_NAME), Path(data, "weights", FILE_NAME), *places]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"no detector found (looked for {', '.join(map(str, places))}); run `kvqa fetch-detector`, "
        f"give --detector FILE, or set KVQA_DATA to a folder that holds weights/{FILE_NAME}"
    )


def fetch_detector(
    destination: str | Path | None = None, *, sha256: str | None = OFFICIAL_SHA256, url: str = OFFICIAL_URL
) -> Path:
    """Download the detector, unless a file with this hash is there already, and return its path.

    Args:
        destination: File to write; `cache_path()` by default.
        sha256: Hash that the file must have; None takes whatever comes (show `describe_file` to the user then).
        url: Address of the file.

    Raises:
        InputError: if the download fails or the file has another hash; nothing is left at `destination` then.
    """
    import pooch  # only this function needs the network

    target = Path(destination) if destination is not None else cache_path()
    if target.is_dir():
        target = target / FILE_NAME
    pooch.get_logger().setLevel("WARNING")
    known = f"sha256:{sha256}" if sha256 else None
    try:
        return Path(pooch.retrieve(url, known_hash=known, fname=target.name, path=target.parent))
    except Exception as error:  # network, disk and hash errors of pooch, requests and urllib3
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"the detector could not be fetched from {url} ({reason}); download it by hand and give --detector FILE"
        ) from None


def describe_file(path: str | Path) -> str:
    """Return `"3659407 bytes, sha256 c789..."` for the file at `path`."""
    content = Path(path).read_bytes()
    return f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
