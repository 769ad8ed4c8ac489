"""Unpacking gzip, bz2, xz and zstd as a stream; which one it is stands in the first bytes of the file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from typing import IO, Any, cast

import zstandard

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What reading a packed stream may raise: EOFError when it ends early, the others when it is damaged."""

SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")

# A step this small keeps what one call may unpack, at zstd's greatest ratio, below 32 MiB.
_STEP = 1 << 10


def unpacked(raw: IO[bytes]) -> IO[bytes]:
    """Return a stream of the unpacked bytes of `raw`, which stands at its start and can be rewound; else `raw`.

    What the stream gives before it raises one of `DAMAGED` is good; `read1` gives it without waiting for more.
    """
    start = raw.read(_LONGEST_START)
    raw.seek(0)
    opener = _opener(start)
    return raw if opener is None else opener(raw)


def is_packed(start: bytes) -> bool:
    """Say whether `start`, the first bytes of a file, are those of a packed one."""
    return _opener(start) is not None


def _opener(start: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
    return next((opener for first_bytes, opener in _OPENERS.items() if first_bytes.match(start)), None)


class _ZstdReader(io.RawIOBase):
    """Reads one or more zstd frames. The library's own reader takes a frame that ends early for a whole one."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Say that this stream can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the next step of unpacking reaches; 0 is the end.

        Raises:
            EOFError: if the last frame ends early.
            zstandard.ZstdError: if the stream is damaged.
        """
        while not self._ready:
            if not self._packed and not (packed := self._raw.read(_STEP)):
                if self._frame is not None:
                    raise EOFError("the last zstd frame is not whole")
                return 0
            self._unpack(self._packed or packed)
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._ready))
        target[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _unpack(self, packed: bytes) -> None:
        frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        self._ready = memoryview(frame.decompress(packed))
        self._frame, self._packed = (None, frame.unused_data) if frame.eof else (frame, b"")


def _gzip(raw: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw))


def _bz2(raw: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], bz2.BZ2File(raw))


def _xz(raw: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], lzma.LZMAFile(raw))


def _zstd(raw: IO[bytes]) -> IO[bytes]:
    return io.BufferedReader(_ZstdReader(raw), 1 << 17)


_OPENERS: dict[re.Pattern[bytes], Callable[[IO[bytes]], IO[bytes]]] = {
    re.compile(rb"\x1f\x8b"): _gzip,
    # "BZh" alone might be a word; a block, or the end of an empty file, follows.
    re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"): _bz2,
    re.compile(rb"\xfd7zXZ\x00"): _xz,
    re.compile(rb"\x28\xb5\x2f\xfd"): _zstd,
}
"""First bytes of a packed file to the function that unpacks it."""

_LONGEST_START = 10
