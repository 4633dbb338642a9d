"""What the C library does with memory that is freed."""

from __future__ import annotations

import contextlib
import ctypes

_M_MMAP_THRESHOLD = -3


def return_blocks(least_bytes: int) -> None:
    """Have blocks of at least so many bytes go back to the system as they are freed.

    On its own glibc begins, with the first long one, to keep blocks of up to 32 MB for later, in
    each of its arenas. Where the library is another, nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, least_bytes)
