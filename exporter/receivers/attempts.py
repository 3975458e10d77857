"""Lists have root calls only, unless they are asked for all attempts: a retry would not be found.

Not every version of the API takes the filter. Where one refuses it, lists are asked without it for a while, and it has
whatever it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

_ALL: Final[Mapping[str, str]] = {"callAttemptFilter": "all"}
WITHOUT_SECONDS: Final = 3_600.0
"""So long a refusal is remembered: the API may be another version by then."""


class AttemptFilter:
    """What lists are asked for, shared by all that ask for one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._without_until = 0.0

    @property
    def parameters(self) -> Mapping[str, str]:
        """What to ask with; nothing while the API refuses it."""
        return _ALL if self._clock() >= self._without_until else {}

    def refused(self) -> None:
        """The API has refused a list that was asked with it."""
        self._without_until = self._clock() + WITHOUT_SECONDS
