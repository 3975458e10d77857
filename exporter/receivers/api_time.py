"""The API's clock, as far as its answers tell it: their ``Date``.

What the API dates (``createdAt`` above all) is compared with this and never with our own clock, which may be ahead or
behind. In between two answers a monotonic clock goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple


class ApiTime:
    """What time it is for the API: Unix seconds, right to a second or two."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ahead: float | None = None

    def heard(self, date: str | None) -> None:
        """An answer came with this ``Date`` header."""
        if not date:
            return
        try:
            said = parsedate_to_datetime(date)
            self._ahead = said.replace(tzinfo=said.tzinfo or UTC).timestamp() - self._monotonic()
        except (ValueError, OverflowError):
            return

    def now(self) -> float | None:
        """Now, or ``None`` as long as no answer has told."""
        return self.at(self._monotonic())

    def at(self, moment: float) -> float | None:
        """The same for a moment of the monotonic clock."""
        return None if self._ahead is None else self._ahead + moment


class Start(NamedTuple):
    """When this process began: by our clock, and as a moment of the monotonic one."""

    wall: float
    moment: float

    def by(self, api_time: ApiTime) -> float | None:
        """The same by the API's clock, if it has told."""
        return api_time.at(self.moment)
