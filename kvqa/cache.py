"""Where kvqa keeps what it made or fetched once for a user."""

from __future__ import annotations

import os
from pathlib import Path

from kvqa.errors import InputError


def cache_folder() -> Path:
    """Return `$KVQA_CACHE`, else `$XDG_CACHE_HOME/kvqa`, else `~/.cache/kvqa`.

    Raises:
        InputError: if none of these is known.
    """
    if own := os.environ.get("KVQA_CACHE"):
        return Path(own)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache, "kvqa")
    try:
        return Path.home() / ".cache" / "kvqa"
    except RuntimeError:
        raise InputError("there is no home folder to keep files in; set KVQA_CACHE to a folder") from None
