"""Configuration and secret files read again while we run: on SIGHUP, by ``POST /-/reload``, when a secret changes.

What can be applied to a running process is a table, key to function. Whatever else changed is named in the log and left
as it is: a restart applies it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping

from structlog.typing import FilteringBoundLogger

from exporter.config import Config, changed_keys, secrets_of, with_keys
from exporter.errors import AtomsExporterError
from exporter.logs import also_mask

SECRETS = ("api.api_key", "discovery.webhook.secret")
_LOOK_EVERY_SECONDS = 1.0


class Reloading:
    """Knows the configuration in force.

    :param read: reads every source anew. It may block, and raises ConfigError; then everything stays as it was.
    :param apply: by dotted key, what takes its new value into use; called with the configuration in the loop.
    """

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        apply: Mapping[str, Callable[[Config], None]],
        *,
        log: FilteringBoundLogger,
    ) -> None:
        self.config = config
        self._read = read
        self._apply = apply
        self._log = log
        self._turn = asyncio.Lock()
        self._seen = self._look()  # at once: what is written from now on is new

    async def again(self, only: Collection[str] | None = None) -> tuple[bool, str]:
        """Read everything again; whether it could be used, and what came of it, for a person.

        ``only`` leaves all other keys for another time, without a word.
        """
        async with self._turn:
            try:
                found = await asyncio.to_thread(self._read)
            except AtomsExporterError as problem:
                self._log.error("the configuration cannot be used, keeping the one before", err=str(problem))
                return False, str(problem)
            also_mask(secrets_of(found))
            changed = [key for key in changed_keys(self.config, found) if only is None or key in only]
            applied = [key for key in changed if key in self._apply]
            self.config = with_keys(self.config, found, applied)
            for key in applied:
                self._apply[key](self.config)
            return True, self._told(applied, [key for key in changed if key not in self._apply])

    def _told(self, applied: list[str], left: list[str]) -> str:
        self._log.info("configuration read again", applied=", ".join(applied) or "nothing changed")
        if left:
            self._log.warning("changed, but only a restart applies it", keys=", ".join(left))
        words = f"applied: {', '.join(applied)}" if applied else "nothing to apply"
        return f"{words}; for a restart: {', '.join(left)}" if left else words

    async def watch_secret_files(self) -> None:
        """Until cancelled: a secret file that was written or replaced is read again."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            now = await asyncio.to_thread(self._look)
            if now != self._seen:
                self._seen = now
                await self.again(SECRETS)

    def _look(self) -> list[object]:
        files = (self.config.api.api_key_file, self.config.discovery.webhook.secret_file)
        return [_signature(str(file)) if file is not None else None for file in files]


def _signature(path: str) -> object:
    """What changes when a file is written or replaced; links are followed, as a mounted secret is one."""
    try:
        status = os.stat(path)
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_size, status.st_ino
