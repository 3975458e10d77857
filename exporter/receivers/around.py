"""What all calls that are followed share."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from exporter.calls.judge import Patience
from exporter.calls.tracker import Tracker
from exporter.receivers.client import AtomsApi
from exporter.receivers.directory import Directory
from exporter.receivers.history import History
from exporter.receivers.late import BeforeResults, LateAnalytics
from exporter.receivers.places import Places

KEPT_LOG_BYTES: Final = 32 << 20
"""Call logs with their events that wait for the end of their calls, of all calls together."""


@dataclass(frozen=True)
class Limits:
    """How calls are followed; seconds."""

    max_streams: int = 4000
    idle_timeout: float = 60.0
    call_idle_limit: float = 900.0
    reconcile: bool = True
    reconcile_delay: float = 2.0
    """The API needs a moment to write a call's log."""
    reconcile_attempts: int = 6
    """Looks at the log of an ended call that is not final yet."""
    reconcile_patience: float = 300.0
    """How long an ended call waits for a log that cannot be had."""
    leave_tests: bool = False
    """Calls that the API marks as tests are not followed."""
    tell_versions: bool = False
    """Of each call it is asked which version of its agent answers."""
    analytics_delay: float = 60.0
    """When the log of an ended call is looked at again for analytics; 0: never."""
    most_reconciling: int = 10_000
    """Ended calls that may wait for their history at once."""


@dataclass
class Around:
    """What all calls share."""

    api: AtomsApi
    tracker: Tracker
    history: History
    directory: Directory
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    log: FilteringBoundLogger
    rng: random.Random
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    api_time: Callable[[], float | None]
    places: Places
    patience: Patience
    limits: Limits
    late: LateAnalytics
    durable: bool = False
    before_results: BeforeResults | None = None
    """``None`` where there are no others who count results of analytics."""
    reconciling: int = 0
    kept_log_bytes: int = 0

    def __post_init__(self) -> None:
        self._strange: set[str] = set()

    @property
    def idle_timeout(self) -> float:
        """Seconds without a byte after which a connection is dead."""
        return self.limits.idle_timeout

    @property
    def end_patience(self) -> float:
        """How long an ended call waits for a log that cannot be had; seconds."""
        return self.limits.reconcile_patience

    @property
    def end_looks(self) -> int:
        """Looks at the log of an ended call that is not final yet."""
        return self.limits.reconcile_attempts

    def enter_reconciling(self) -> bool:
        """One more ended call may wait for its history."""
        if self.reconciling >= self.limits.most_reconciling:
            return False
        self.reconciling += 1
        return True

    def leave_reconciling(self) -> None:
        """It has it, or waits no more."""
        self.reconciling -= 1

    def keep_log(self, size_bytes: int) -> bool:
        """Whether there is room to keep one more call log with its events."""
        if self.kept_log_bytes + size_bytes > KEPT_LOG_BYTES:
            return False
        self.kept_log_bytes += size_bytes
        return True

    def let_go_of_log(self, size_bytes: int) -> None:
        """It is kept no more."""
        self.kept_log_bytes -= size_bytes

    def strange_status(self, status: str | None) -> None:
        """A call has a status nobody knows: counted, and each word said once."""
        self.api.telemetry.unknown_value("status")
        word = (status or "")[:40]
        if word not in self._strange and len(self._strange) < 100:
            self._strange.add(word)
            self.log.warning("a call has a status nobody knows", status=word)
