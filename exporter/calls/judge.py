"""Is a call over? One judge weighs what four witnesses have said of it: its stream, the lists, its log, webhooks.

Receivers report what they heard (``evidence.hear``) and do what the verdict says (``weigh``); none of them concludes.
The call log outranks a webhook, a webhook the lists, the lists the stream. Only new events of the call are signs of
life: no bytes, comments, repetitions or frames that are no events. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from exporter.calls.evidence import Case, Standing, Word

_KINDS_OF_FAILURE: Final = frozenset(("no_answer", "busy", "blocked", "cancelled"))
"""What ``failed`` may turn out to be where somebody knows more."""


# -- verdicts


@dataclass(frozen=True, slots=True)
class GoesOn:
    """The call is to be followed."""


@dataclass(frozen=True, slots=True)
class AskTheLog:
    """Ask for the call log at this moment (or now, if it has passed), unless the verdict has changed until then."""

    at: float


@dataclass(frozen=True, slots=True)
class Over:
    """The call has ended. ``outcome`` and ``reason`` are ``None`` where no witness has named them (yet)."""

    outcome: str | None
    reason: str | None
    at: float | None


@dataclass(frozen=True, slots=True)
class NotOursForNow:
    """Nobody knows such a call: forget it, until somebody names it again."""


Verdict = GoesOn | AskTheLog | Over | NotOursForNow


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the judge waits for what; seconds.

    :param log_answers: the call log may be asked at all.
    """

    settle: float = 2.0
    """The API needs a moment to write the log of a call that has ended."""
    grace: float = 15.0
    """So long the log may contradict who says that the call is over."""
    unseen: float = 7.0
    """So long a call is looked for that has been announced and is not there yet."""
    quiet: float = 15.0
    """After so long without a new event the log is asked, and then every ``again`` at the latest."""
    again: float = 20.0
    idle: float = 900.0
    """After so long without a new event a call is over, its end unseen."""
    outage: float = 3600.0
    """The same where neither the stream nor the log could be reached, so that nobody could know."""
    log_answers: bool = True


# -- the table


def weigh(case: Case, patience: Patience, now: float) -> Verdict:
    """What follows from everything said so far: the first rule that has something to say."""
    for rule in RULES if patience.log_answers else RULES_WITHOUT_A_LOG:
        verdict = rule(case, patience, now)
        if verdict is not None:
            return verdict
    return GoesOn()


def _log_says_over(case: Case, patience: Patience, now: float) -> Verdict | None:
    """The log has a final status: over, whatever the stream does."""
    return _over(case) if case.log is not None and case.log.standing is Standing.OVER else None


def _stream_says_over(case: Case, patience: Patience, now: float) -> Verdict | None:
    """``call_end``, ``call_cancelled``: over; the log is asked how it ended."""
    return _over(case) if case.ended_at < inf else None


def _strange_word(case: Case, patience: Patience, now: float) -> Verdict | None:
    """A status nobody knows is a final one, if the stream has ended, or nothing comes, or somebody says so."""
    if case.log is None or case.log.standing is not Standing.STRANGE:
        return None
    told = case.webhook is not None or case.list_over is not None
    gone = not case.stream_is_open and max(case.closed_at, case.refused_at) > case.opened_at
    silent = now - case.quiet_since >= patience.quiet
    return _over(case) if told or gone or silent else None


def _somebody_says_over(case: Case, patience: Patience, now: float) -> Verdict | None:
    """A webhook or a list: over, unless the log still says otherwise after the grace."""
    said_at = _said_over_at(case)
    if said_at is None:
        return None
    until = said_at + patience.grace
    if case.log_at >= until and case.log_at >= case.log_unknown_at:
        return None  # contradicted: the log outranks both
    if case.asked_at >= until:
        return _over(case)  # the log cannot be had, or knows nothing
    return AskTheLog(min(_next(case, patience, said_at + patience.settle), until))


def _gone(case: Case, patience: Patience, now: float) -> Verdict | None:
    """``sse_close``, a refusal, or an end before anything has come: the log is asked."""
    parted_at = max(case.closed_at, case.refused_at, case.cut_at if case.news_at == -inf else -inf)
    if parted_at == -inf or case.stream_is_open or case.answered_at >= parted_at:
        return None
    return AskTheLog(_next(case, patience, parted_at))


def _nobody_knows_it(case: Case, patience: Patience, now: float) -> Verdict | None:
    """Nothing was ever seen of it, and the log does not know it: looked for a while, then forgotten for a while."""
    if case.news_at > -inf or case.log is not None or case.log_unknown_at == -inf or case.stream_is_open:
        return None
    if case.log_unknown_at - case.found_at >= patience.unseen:
        return NotOursForNow()
    return AskTheLog(max(_next(case, patience, case.found_at), case.log_unknown_at + 1.0))


def _silent_for_too_long(case: Case, patience: Patience, now: float) -> Verdict | None:
    """Nothing new for so long that nothing will come. A time in which nobody answers does not count, within bounds."""
    quiet = now - case.quiet_since
    if quiet < patience.idle:
        return None
    answered_at = max(case.answered_at, case.list_live_at, case.closed_at, case.refused_at, case.cut_at)
    known = (now if case.stream_is_open else answered_at) - case.quiet_since
    if known < patience.idle - min(2 * patience.again, patience.idle / 2) and quiet < patience.outage:
        return None
    return Over("lost", None, None)


def _silent(case: Case, patience: Patience, now: float) -> Verdict | None:
    """Nothing new for a while, and no list vouches for it: what does the log say?"""
    since = case.quiet_since
    due = max(since, case.list_live_at if case.stream_is_open else -inf) + patience.quiet
    if now < due:
        return None
    last = case.asked_at
    if last >= since:
        due = max(due, last + min(max((last - since) / 2, 1.0), patience.again))
    return AskTheLog(due)


def _log_unavailable(case: Case, patience: Patience, now: float) -> Verdict | None:
    """No log is to be asked: the word of the others holds, and so does a refusal."""
    if _said_over_at(case) is not None:
        return _over(case)
    if case.stream_is_open or case.refused_at <= case.opened_at:
        return None
    if case.news_at > -inf:
        return _over(case)
    return NotOursForNow() if case.refused_at - case.found_at >= patience.unseen else None


RULES: Final = (
    _log_says_over,
    _stream_says_over,
    _strange_word,
    _somebody_says_over,
    _silent_for_too_long,
    _nobody_knows_it,
    _gone,
    _silent,
)
"""All rules, in the order in which they are asked."""

RULES_WITHOUT_A_LOG: Final = (_stream_says_over, _log_unavailable, _silent_for_too_long)
"""The same where the operator has call logs switched off."""


def may_open(case: Case, patience: Patience) -> bool:
    """Whether the stream may be opened: after ``sse_close`` only when the log says that the call goes on, or cannot be
    had for a while; where somebody says that the call is over, when the log says otherwise, or cannot be had now."""
    if not patience.log_answers:
        return True
    told_at = _said_over_at(case)
    question_at = max(case.closed_at, -inf if told_at is None else told_at)
    if case.log is not None and case.log.standing is Standing.GOES_ON and case.log_at >= question_at:
        return True
    if case.closed_at > -inf:
        return case.asked_at >= case.closed_at + patience.grace
    return told_at is None or case.log_away_at >= told_at


def outcome(case: Case, *, natural: str, whole: bool, history: bool, patience: Patience) -> str:
    """How a call that is over ended: the most specific word that any witness has said.

    :param natural: how it ended by its own events; ``lost`` where they do not say.
    :param whole: one unbroken stream brought all of it, to its end.
    :param history: its history was had, so that nothing is missing.
    """
    said = _said(case)
    if said in (None, "completed") and not history and not whole and patience.log_answers:
        return "cancelled" if natural == "cancelled" else "lost"
    if said is not None:
        return said
    if not patience.log_answers or natural == "cancelled":
        return natural
    if not history:
        return "lost"  # how it ended is what only its log knows
    strange = case.log is not None and case.log.standing is Standing.STRANGE
    return "completed" if strange else natural


# -- what the rules share


def _over(case: Case) -> Over:
    words = _words(case)
    reason = next((word.reason for word in words if word.reason is not None), None)
    return Over(_said(case), reason, next((word.ended_at for word in words if word.ended_at is not None), None))


def _words(case: Case) -> list[Word]:
    """Final words, the weightiest witness first."""
    return [word for word in (case.log, case.webhook, case.list_over) if word and word.standing is not Standing.GOES_ON]


def _said(case: Case) -> str | None:
    named = [word.outcome for word in _words(case) if word.outcome is not None]
    if not named:
        return None
    finer = (word for word in named if word in _KINDS_OF_FAILURE)
    return next(finer, "failed") if named[0] == "failed" else named[0]


def _said_over_at(case: Case) -> float | None:
    """When the latest of webhook and list said that the call is over."""
    return max((word.at for word in (case.webhook, case.list_over) if word is not None), default=None)


def _next(case: Case, patience: Patience, question_at: float) -> float:
    """When to ask about something that came up then: at once, and again after pauses that grow."""
    last = case.asked_at
    if last < question_at:
        return question_at
    return last + min(max(last - question_at, 1.0), patience.again)
