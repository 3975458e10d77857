"""The bearer token in use, and where the next one comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exporter.errors import AtomsExporterError


class Token:
    """What authenticates us. ``value`` is what the next request carries.

    :param read_again: gives the token as its file holds it now, None when it came from no file. It may block, and may
        raise a ConfigError: the file is half written, or gone.
    """

    def __init__(self, value: str, read_again: Callable[[], str | None] = lambda: None) -> None:
        self.value = value
        self._read_again = read_again
        self._reading = asyncio.Lock()

    async def renewed(self, refused: str) -> bool:
        """The API refused this one: whether there is another to try. Many who ask at once read the file once."""
        async with self._reading:
            if self.value == refused:
                try:
                    found = await asyncio.to_thread(self._read_again)
                except AtomsExporterError:
                    return False
                self.value = found or refused
            return self.value != refused
