"""What each event makes of a call: every transition of the pipeline starts here.

Attribution is by arrival: a fact belongs to the node the call is in, which is the last ``hopping.to_node_id`` or
``agent_node_state.node_id`` (``moves``). What comes before the first node belongs to the first node; what comes
before a node's name is known waits for it (``visits``). What the facts are: ``answers``, ``pipeline``, ``tools``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.calls.account import UNKNOWN_ACCOUNT, Account
from exporter.calls.answers import explained, speech_synthesised, turn_answered
from exporter.calls.call import Call
from exporter.calls.moves import hopped, leave, node_shown, stop_waiting
from exporter.calls.observations import (
    AgentLogged,
    CallEnded,
    CallStarted,
    DeadAir,
    FirstWordHeard,
    NodeExited,
    Observation,
    RecordingMade,
    TurnUnanswered,
    UserSpoke,
)
from exporter.calls.pipeline import pipeline_measured
from exporter.calls.tools import (
    agent_failed,
    api_called,
    looked_up,
    tool_ended,
    tool_started,
    tools_abandoned,
)
from exporter.calls.visits import LONGEST_QUEUE, NO_NODE
from exporter.protocol import events as wire
from exporter.protocol.labels import recording_label, severity_label
from exporter.protocol.units import LONGEST_CALL_SECONDS, Skip, seconds_between

__all__ = ["Call", "advance", "finish"]


def advance(
    call: Call,
    event: wire.Event,
    at: float,
    *,
    identity: int = 0,
    muted: bool = False,
    unmuted: frozenset[str] = frozenset(),
) -> list[Observation]:
    """Let one event happen to a call; the observations that follow from it, in order.

    :param at: when, in Unix seconds of the event's own clock.
    :param identity: the event's 64-bit identity, remembered with facts that have to wait.
    :param muted: the event was counted before (by an earlier life of this process, say): take it into the state and
        say nothing, except facts of the classes named in ``unmuted``, which were still waiting then.
    """
    call.identity = identity
    call.muted = muted
    call.unmuted = unmuted
    if call.first_at is None:
        _begin(call, at)
    elif at < call.first_at:  # came late
        _begun_earlier(call, at)
    latest_at = call.latest_at
    if at > latest_at:
        if at - latest_at > LONGEST_CALL_SECONDS and latest_at:
            at = latest_at  # of two times that are not both right the earlier one is believed
        call.latest_at = at
    _TRANSITIONS[type(event)](call, event, at)
    if call.waiting.size > LONGEST_QUEUE:
        stop_waiting(call, {})
    out = call.out
    if not out:
        return _NOTHING
    call.out = []
    return out


_NOTHING: list[Observation] = []


def _user_spoke(call: Call, event: wire.UserTranscription, at: float) -> None:
    text = event.user_transcription_text
    call.say(UserSpoke(call.visit.where, len(text.split()) if text and call.limits.count_words else 0))
    call.signs.caller_spoke(call.visit, at)
    call.stages.milestone(at)


def _user_speaks(call: Call, event: wire.UserInterimTranscription, at: float) -> None:
    call.signs.heard(call.visit, at)


def _agent_logged(call: Call, event: wire.AgentLog, at: float) -> None:
    """The customer's own event: its name as the operator allows, its severity; the rest is not looked at."""
    metadata = event.metadata if isinstance(event.metadata, dict) else {}
    name = metadata.get("name")
    shown = name if isinstance(name, str) and name in call.limits.log_names else "other"
    call.say(AgentLogged(call.visit.where, shown, severity_label(metadata.get("severity"))))


def _recorded(call: Call, event: wire.CallRecording, at: float) -> None:
    if not call.muted:
        call.out.append(RecordingMade(call.agent, recording_label(event.status)))


def _connected(call: Call, event: wire.CallStart, at: float) -> None:
    call.connected_at = at
    if event.telephony_id is not None:
        call.telephony_id = str(event.telephony_id)


def _told_in_other_words(call: Call, event: wire.Unknown, at: float) -> None:
    """Older histories tell a call's statuses as events; of these the connection is a fact of its own."""
    if event.wire_type == "in_progress" and call.connected_at is None:
        call.connected_at = at


def _ended(call: Call, event: wire.CallEnd, at: float) -> None:
    call.end_at = at


def _cancelled(call: Call, event: wire.CallCancelled, at: float) -> None:
    call.end_at, call.cancelled = at, True


def _nothing(call: Call, event: wire.Event, at: float) -> None:
    """It changes nothing, and says nothing."""


_TRANSITIONS: dict[type[wire.Event], Callable[[Call, Any, float], None]] = dict.fromkeys(wire.WIRE_NAMES, _nothing) | {
    wire.Metrics: pipeline_measured,
    wire.TurnLatency: turn_answered,
    wire.TTSCompleted: speech_synthesised,
    wire.UserTranscription: _user_spoke,
    wire.UserInterimTranscription: _user_speaks,
    wire.AgentLog: _agent_logged,
    wire.CallRecording: _recorded,
    wire.AgentNodeState: node_shown,
    wire.Hopping: hopped,
    wire.ToolCallStart: tool_started,
    wire.ToolCallEnd: tool_ended,
    wire.ToolCallError: tool_ended,
    wire.Knowledgebase: looked_up,
    wire.VariableExtraction: looked_up,
    wire.PreCallApi: api_called,
    wire.PostCallApi: api_called,
    wire.AgentError: agent_failed,
    wire.CallStart: _connected,
    wire.CallEnd: _ended,
    wire.CallCancelled: _cancelled,
    wire.Unknown: _told_in_other_words,
}
"""What an event of each class does to a call."""


def finish(
    call: Call,
    *,
    outcome: str,
    at: float | None = None,
    account: Account = UNKNOWN_ACCOUNT,
    began_at: float | None = None,
    lasted_seconds: float | None = None,
    timed: bool = True,
) -> list[Observation]:
    """End a call: tools still open, the visit, everything that waits, then the call itself.

    :param outcome: how it ended; ``completed, failed, no_answer, busy, blocked, cancelled, lost``.
    :param account: what its log says beside its events.
    :param at: when it ended, where its own events do not say.
    :param began_at: when it was created, where its own events do not say.
    :param lasted_seconds: how long it lasted, where its own events do not say.
    :param timed: some of its events have a time of their own.
    """
    call.muted = False
    call.identity = 0
    if not timed:
        first_at = began_at or (at - lasted_seconds if at and lasted_seconds else call.first_at)
        ended_at = at or (began_at + lasted_seconds if began_at and lasted_seconds else first_at)
    else:
        first_at = call.first_at
        ended_at = call.end_at or _not_before(at, first_at)
        if ended_at is None and call.connected_at is not None and lasted_seconds is not None:
            ended_at = call.connected_at + lasted_seconds
        ended_at = ended_at or call.latest_at
    if call.first_at is None:
        _start(call)
    tools_abandoned(call, ended_at or 0.0)
    if call.first_at is not None and call.visit.node_id not in (None, NO_NODE):
        leave(call, max(call.visit.entered_at, ended_at or 0.0), timed=timed)
    _signs_told(call)
    explained(call, call.stages.over())
    call.say(NodeExited(call.visit.where, account.end_reason))
    stop_waiting(call, call.agent_names)
    told = lasted_seconds is not None and call.end_at is None  # its events may end before the call does
    duration = _duration(call, ended_at) if timed and not told else None
    call.out.append(
        CallEnded(
            call_id=call.call_id,
            agent=call.agent,
            channel=call.channel,
            outcome=outcome,
            first_at=first_at,
            ended_at=ended_at,
            duration_seconds=duration if duration is not None else lasted_seconds,
            telephony_id=call.telephony_id,
            unfinished=call.end_at is None and outcome == "lost",
            hops=call.hops,
            turns=call.turns,
            prompt_tokens=call.spent.prompt,
            completion_tokens=call.spent.completion,
            other_tokens=call.spent.other,
            account=account,
        )
    )
    return call.take()


def _signs_told(call: Call) -> None:
    """What follows from the whole call: who was not answered, how long nobody was heard, how soon the agent spoke."""
    signs = call.signs
    for visit in signs.unanswered():
        call.say(TurnUnanswered(visit.where), visit)
    for visit, at, silence in signs.silences:
        call.say(DeadAir(visit.where, at, silence), visit)
    if call.connected_at is not None and signs.first_word_at is not None:
        waited = seconds_between(call.connected_at, signs.first_word_at)
        if 0 <= waited <= LONGEST_CALL_SECONDS:  # an agent that speaks after minutes is what the metric is for
            call.out.append(FirstWordHeard(call.agent, call.channel, waited))


def _not_before(at: float | None, first_at: float | None) -> float | None:
    """When somebody else says a call has ended, if that is an end it can have had."""
    credible = at is not None and first_at is not None and 0 <= at - first_at <= LONGEST_CALL_SECONDS
    return at if credible else None


def _duration(call: Call, ended_at: float | None) -> float | None:
    """From the connection, or the first event, to the end; None where that is no time at all, or more than a day."""
    begun_at = call.connected_at if call.connected_at is not None else call.first_at
    if begun_at is None or ended_at is None:
        return None
    duration = seconds_between(begun_at, ended_at)
    if duration > LONGEST_CALL_SECONDS:
        call.skip(Skip.IMPLAUSIBLE)
    return duration if 0 < duration <= LONGEST_CALL_SECONDS else None


def _begun_earlier(call: Call, at: float) -> None:
    """An event that happened before all others came after them."""
    if call.first_at is not None and call.first_at - at > LONGEST_CALL_SECONDS:
        call.latest_at = at  # what was taken for the beginning is the time that is wrong
    call.first_at = at
    if call.visit.index == 0:
        call.visit.entered_at = at


def _begin(call: Call, at: float) -> None:
    call.first_at = at
    call.visit.entered_at = at
    _start(call)


def _start(call: Call) -> None:
    if not call.started:
        call.started = True
        if not call.muted:
            call.out.append(CallStarted(call.call_id, call.agent, call.channel))
