"""Whether a file that is open still is the one that has its name: files are deleted and replaced under a process."""

from __future__ import annotations

import os
from pathlib import Path

Inode = tuple[int, int]


def inode(path: Path) -> Inode | None:
    """Which file has this name (device, number on it); ``None`` when none has.

    :raises OSError: the disk does not tell.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def has_name(file: int, path: Path) -> bool:
    """Whether this open file can still be found by its name. Where the disk does not tell, it is taken for granted."""
    try:
        ours = os.fstat(file)
        return inode(path) == (ours.st_dev, ours.st_ino)
    except OSError:
        return True
