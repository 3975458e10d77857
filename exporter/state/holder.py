"""One writer: whoever counts into a state file holds a lock beside it, which the kernel takes back when it dies."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from pathlib import Path

from exporter.errors import ConfigError
from exporter.state.inode import has_name

if sys.platform != "win32":
    import fcntl


class Holder:
    """The file ``<state file>.lock``, locked from the first ``take`` that could until this object is closed."""

    def __init__(self, path: Path, state: Path) -> None:
        self._path = path
        self._state = state
        self._file: int | None = None

    def take(self) -> None:
        """Have it, if it can be had now; call it again before writing, as a disk may be read-only only for a while, and
        a lock that was deleted keeps nobody out.

        :raises ConfigError: another process has it; says which.
        """
        if self._file is not None:
            if has_name(self._file, self._path):
                return
            self.close()
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return  # a disk that is full or read-only: nobody can write there, and the state file says so itself
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            holder = _text(file)
            os.close(file)
            if problem.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError("state.path", f"{self._state} is in use by {holder or 'another process'}") from None
            return  # a file system without locks
        self._file = file
        with contextlib.suppress(OSError):  # full: the lock holds all the same
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def close(self) -> None:
        """Somebody else may have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _text(file: int) -> str:
    try:
        return os.pread(file, 300, 0).decode("utf-8", "replace").strip()
    except OSError:
        return ""
