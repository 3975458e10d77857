"""One byte that says: more was shown than is kept. Made at start, so that setting it needs no new space on the disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from exporter.state.inode import has_name


class AheadFlag:
    """The file ``<state file>.ahead``: ``1`` while somebody may have seen more than the state file has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def prepare(self) -> None:
        """Make the byte if there is none; it is tried again when it is needed."""
        if self._file is not None and has_name(self._file, self._path):
            return
        self.close()
        with contextlib.suppress(OSError):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if not os.pread(file, 1, 0):
                    os.pwrite(file, b"0", 0)
                    os.fsync(file)
            except OSError:
                os.close(file)
                raise
            self._file = file

    @property
    def is_set(self) -> bool:
        """Whether the life before this one went ahead. What cannot be read was not set: setting it was synced."""
        try:
            return self._path.read_bytes()[:1] == b"1"
        except OSError:
            return False

    def put(self, ahead: bool) -> bool:
        """Write it, down to the disk; ``False`` when that failed."""
        self.prepare()
        if self._file is None:
            return False
        try:
            os.pwrite(self._file, b"1" if ahead else b"0", 0)
            os.fsync(self._file)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
