"""What is said of a call: by its stream, the lists, its call log, webhooks; and everything said so far, in one record.

What was heard is kept as the latest or the weightiest word of each witness, so that reports may come twice and in any
order. Times are seconds of one monotonic clock of this process, those of ``ended_at`` aside, which is Unix time by the
API's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from math import inf
from typing import Any, Final

LIVE: Final = frozenset(
    (
        *("pending", "queued", "inqueue", "initiated", "initiating", "dialing", "ringing", "connecting", "connected"),
        *("answered", "ongoing", "active", "inprogress", "processing"),
    )
)
"""Statuses of calls that go on, folded: the API's own, and those other telephony APIs have for the same."""


class Standing(IntEnum):
    """What a status says about a call, weightiest last."""

    GOES_ON = 1
    STRANGE = 2
    """A word nobody knows: final, if anything else says so, too."""
    OVER = 3


def standing_of(status: str | None, outcome: str | None) -> Standing:
    """What a status means; ``outcome`` is the label it stands for, if it is a final one."""
    if outcome is not None:
        return Standing.OVER
    folded = "".join(character for character in (status or "").lower() if character.isalnum())
    return Standing.GOES_ON if not folded or folded in LIVE else Standing.STRANGE


@dataclass(frozen=True, slots=True)
class Word:
    """What a witness says of a call, and when it said so (an answer: when it was asked for)."""

    standing: Standing
    at: float
    outcome: str | None = None
    status: str | None = None
    reason: str | None = None
    ended_at: float | None = None
    lasted_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ListSaid:
    """The call stood on a list."""

    word: Word


@dataclass(frozen=True, slots=True)
class WebhookSaid:
    """A webhook says that the call is over."""

    word: Word


@dataclass(frozen=True, slots=True)
class LogSaid:
    """The call log answered."""

    word: Word


@dataclass(frozen=True, slots=True)
class LogUnknown:
    """The API knows no log of such a call, or does not show it to us."""

    at: float


@dataclass(frozen=True, slots=True)
class LogAway:
    """The call log could not be had: the API is down, or busy."""

    at: float


class Parting(Enum):
    """Why a call has no stream at the moment."""

    CUT = "cut"
    """It was open and ended without a word."""
    CLOSED = "closed"
    """``sse_close``: the call may be over."""
    REFUSED = "refused"
    """400, 403, 404, 410: the call may be over, or none of ours."""
    FAILED = "failed"
    """It cannot be opened (5xx, a redirect, no stream at all): that says nothing of the call."""


@dataclass(frozen=True, slots=True)
class StreamParted:
    """The stream ended, or could not be opened."""

    how: Parting
    at: float


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The stream is open."""

    at: float


@dataclass(frozen=True, slots=True)
class NewEvents:
    """Events of the call that nobody had seen before have come, the latest of them then."""

    at: float


@dataclass(frozen=True, slots=True)
class EndInStream:
    """``call_end`` or ``call_cancelled``."""

    at: float


Evidence = (
    ListSaid | WebhookSaid | LogSaid | LogUnknown | LogAway | StreamParted | StreamOpened | NewEvents | EndInStream
)


# -- what is known


@dataclass(frozen=True, slots=True)
class Case:
    """Everything said of one call so far. ``found_at`` is when it was found."""

    found_at: float
    log: Word | None = None
    log_unknown_at: float = -inf
    log_away_at: float = -inf
    webhook: Word | None = None
    list_over: Word | None = None
    list_live_at: float = -inf
    opened_at: float = -inf
    parted_at: float = -inf
    closed_at: float = -inf
    refused_at: float = -inf
    cut_at: float = -inf
    news_at: float = -inf
    ended_at: float = inf

    @property
    def log_at(self) -> float:
        """When the log was last asked for what it then answered."""
        return self.log.at if self.log is not None else -inf

    @property
    def asked_at(self) -> float:
        """When the log was last asked, whatever came of it."""
        return max(self.log_at, self.log_unknown_at, self.log_away_at)

    @property
    def answered_at(self) -> float:
        """When the log last gave an answer, were it that it knows no such call."""
        return max(self.log_at, self.log_unknown_at)

    @property
    def stream_is_open(self) -> bool:
        """Whether events can come."""
        return self.opened_at > self.parted_at

    @property
    def quiet_since(self) -> float:
        """When the last sign of life was."""
        return max(self.found_at, self.news_at)


def hear(case: Case, evidence: Evidence) -> Case:
    """The case with what was just reported."""
    return _JOINS[type(evidence)](case, evidence)


def _later(held: Word | None, said: Word) -> Word:
    """The word that counts of two by one witness: a final one, and of several the latest."""
    return said if held is None or _weight(said) > _weight(held) else held


def _earlier(held: Word | None, said: Word) -> Word:
    """A list says the same at each look: the first time counts."""
    return said if held is None or (-said.at, _text(said)) > (-held.at, _text(held)) else held


def _weight(word: Word) -> tuple[Any, ...]:
    return (word.standing is Standing.OVER, word.at, word.standing, _text(word))


def _text(word: Word) -> tuple[str, str, str, float, float]:
    """So that of two words of one moment the same one counts, whichever came first."""
    return word.outcome or "", word.status or "", word.reason or "", word.ended_at or 0.0, word.lasted_seconds or 0.0


def _list_said(case: Case, said: ListSaid) -> Case:
    if said.word.standing is Standing.OVER:
        return replace(case, list_over=_earlier(case.list_over, said.word))
    if said.word.standing is Standing.GOES_ON:
        return replace(case, list_live_at=max(case.list_live_at, said.word.at))
    return case  # a strange word on a list: its log, asked sooner or later, has it, too


def _parted(case: Case, said: StreamParted) -> Case:
    return replace(
        case,
        parted_at=max(case.parted_at, said.at),
        closed_at=max(case.closed_at, said.at) if said.how is Parting.CLOSED else case.closed_at,
        refused_at=max(case.refused_at, said.at) if said.how is Parting.REFUSED else case.refused_at,
        cut_at=max(case.cut_at, said.at) if said.how is Parting.CUT else case.cut_at,
    )


_JOINS: Final[dict[type[Evidence], Callable[[Case, Any], Case]]] = {
    ListSaid: _list_said,
    WebhookSaid: lambda case, said: replace(case, webhook=_later(case.webhook, said.word)),
    LogSaid: lambda case, said: replace(case, log=_later(case.log, said.word)),
    LogUnknown: lambda case, said: replace(case, log_unknown_at=max(case.log_unknown_at, said.at)),
    LogAway: lambda case, said: replace(case, log_away_at=max(case.log_away_at, said.at)),
    StreamParted: _parted,
    StreamOpened: lambda case, said: replace(case, opened_at=max(case.opened_at, said.at)),
    NewEvents: lambda case, said: replace(case, news_at=max(case.news_at, said.at)),
    EndInStream: lambda case, said: replace(case, ended_at=min(case.ended_at, said.at)),
}
"""How each kind of evidence changes what is known: a maximum of some sort, always."""
