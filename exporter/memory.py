"""Memory that is let go of goes back to the system.

glibc keeps freed blocks of up to 32 MiB in heaps of its own, one for each thread, where a small block that stays pins
the large ones around it. Pages and histories are such blocks: after a minute of clients that ask for pages and read
none, 704 MiB stayed; with what is set here, 130.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
LARGE_BYTES: Final = 256 << 10
"""Blocks of this size are had from the system and given back, one by one."""
_HEAPS: Final = 2


def give_back_large_blocks() -> bool:
    """From now on, for the whole process; ``False`` where the C library is not glibc and has ways of its own."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_M_ARENA_MAX, _HEAPS))
