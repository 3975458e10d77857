"""What the call log says of a call beside its events: why it ended, what it cost, of which version it was."""

from __future__ import annotations

from msgspec import Struct

from exporter.protocol.api import CallLog
from exporter.protocol.labels import label
from exporter.protocol.units import seconds_between

_LONGEST_SETUP_SECONDS = 3600.0
_HIGHEST_COST = 1e6

END_REASONS = (
    "user_hangup", "agent_hangup", "transfer_complete", "voicemail", "dial_no_answer", "busy", "timeout",
    "connection_error", "system_error", "error", "other", "unknown",
)  # fmt: skip
"""Why calls end, in the API's words; a word it has not told of is ``other``."""
FAILING_REASONS = ("connection_error", "system_error", "error", "timeout")
"""Neither side wanted these calls to end."""
_KNOWN = {reason.replace("_", ""): reason for reason in END_REASONS} | {"noanswer": "dial_no_answer"}


class Account(Struct, frozen=True, gc=False):
    """What is known of a call that is over. What is not known is ``None`` or ``unknown``."""

    end_reason: str = "unknown"
    cost: float | None = None
    """In the API's own unit."""
    version: str | None = None
    is_test: bool = False
    attempt: str | None = None
    """``initial`` or ``retry``."""
    setup_seconds: float | None = None
    """From the call's creation to its connection: queueing and ringing."""


UNKNOWN_ACCOUNT = Account()


def account_of(log: CallLog, connected_at: float | None) -> Account:
    """What a call log says; ``connected_at`` is the moment of connection by the call's events, of the same clock."""
    setup = None
    if connected_at is not None and log.created_at is not None:
        waited = seconds_between(log.created_at, connected_at)
        setup = waited if 0 <= waited <= _LONGEST_SETUP_SECONDS else None
    cost = log.cost if log.cost is not None and 0 <= log.cost <= _HIGHEST_COST else None
    attempt = None if log.retry is None else "retry" if log.retry > 0 else "initial"
    version = label(log.version) if log.version else None
    return Account(end_reason_of(log.end_reason), cost, version or None, log.is_test is True, attempt, setup)


def end_reason_of(word: str | None) -> str:
    """A reason in the API's words (``user-hangup`` and ``userHangup`` are the same), ``other`` for any other."""
    if not word:
        return "unknown"
    folded = "".join(character for character in word.lower() if character.isalnum())
    return _KNOWN.get(folded, "other")
