"""Keeping freed memory, so that training on CPUs does not wait for the system to find the same pages again."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # numbers of `mallopt` in glibc's malloc.h
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next allocation; return whether that could be set.

    A training step allocates gigabytes in large blocks: gradients, weights in bfloat16, states. glibc gives large
    blocks back to the system as soon as they are freed, so each step meets fresh pages, which the system first has to
    find and to fill with zeros: 7 % of a step of LXMERT's size on an idle machine, half of it on a busy virtual one
    (docs/results.md). Memory is returned when the process ends; its peak grows by little. With another C library
    nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no glibc: macOS, musl, Windows
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, LARGEST))
