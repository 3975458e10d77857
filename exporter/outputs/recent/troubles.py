"""Where callers are suffering now, as far as the last hour tells; with what an on-call asks next."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Final, NamedTuple

from exporter.calls.account import FAILING_REASONS
from exporter.outputs.recent.calls import EndedCall
from exporter.outputs.recent.hour import MINUTES
from exporter.outputs.recent.look import Look, NodeMemory, Version, key_of

_NOW_MINUTES: Final = 5
_ENDED_MINUTES: Final = 15
_FEWEST_TURNS: Final = 5
_FEWEST_CALLS: Final = 3
_FEWEST_COSTED: Final = 10
_FEWEST_COST_MINUTES: Final = 2
_SLOW_SHARE: Final = 0.25
_FEWEST_SLOW: Final = 4
"""Of hundreds of nodes that keep an objective of 95 %, a dozen have two slow turns of eight at any time by chance."""
_MOSTLY_SLOW: Final = 0.6
_FAILED_SHARE: Final = 0.25
_UNANSWERED_SHARE: Final = 0.5
_HARDLY_ANSWERED: Final = 0.1
_QUIET_MINUTES: Final = 3
_DEAR: Final = 2.0
LATE_SECONDS: Final = 3.0
"""A first word after more than this is late."""
BAD_OUTCOMES: Final = frozenset(("failed", "lost"))


class Trouble(NamedTuple):
    """Callers are suffering: where, since how many seconds, and a call that shows it.

    ``kind`` is ``slow`` (``share`` of turns above the threshold, ``seconds`` their 95th percentile), ``failing``
    (``share`` of ended calls that failed or were lost), ``broken`` (… that were ended by errors or timeouts),
    ``unanswered`` (… of what callers said), ``mute`` (… of calls in which the agent said nothing), ``late``
    (``seconds`` to the first word, in the middle), ``dear`` (``share`` is the cost per call over that of the time
    before).
    """

    kind: str
    agent_id: str
    agent_name: str
    node_id: str | None
    node_name: str | None
    share: float
    of: int
    seconds: float
    seconds_ago: float
    call_id: str
    stage: tuple[str, float] | None = None
    """Where the time of slow turns went, and which share of it."""
    channels: tuple[tuple[str, int, int], ...] = ()
    """Channel, bad ones, all."""
    reasons: tuple[tuple[str, int], ...] = ()
    """Why the bad calls ended, most frequent first."""
    version: Version | None = None


def troubles(look: Look) -> list[Trouble]:
    """All there is, the worst first."""
    found = [*_slow(look), *_ended_badly(look), *_unanswered(look), *_mute(look), *_late(look), *_dear(look)]
    told = [trouble._replace(version=look.versions.get(trouble.agent_id)) for trouble in found]
    return sorted(told, key=lambda trouble: -min(1.0, trouble.share))


def _slow(look: Look) -> Iterable[Trouble]:
    memories = {key_of(memory.hour.place): memory for memory in look.memories}
    for node in look.nodes(_NOW_MINUTES):
        share = node.slow / node.turns
        if node.turns < _FEWEST_TURNS or share < _SLOW_SHARE:
            continue
        if node.slow < _FEWEST_SLOW and share < _MOSTLY_SLOW:
            continue
        memory = memories[key_of(node.place)]
        yield Trouble(
            "slow",
            *node.place_labels,
            share,
            node.turns,
            node.p95_seconds,
            _since(memory.hour.course(look.minute), _SLOW_SHARE, look),
            node.slowest_call,
            stage=memory.makeup.longest_stage(),
            channels=memory.makeup.channels(),
        )


def _ended_badly(look: Look) -> Iterable[Trouble]:
    for calls in _by_agent(look).values():
        for kind, bad in (
            ("failing", [call for call in calls if call.outcome in BAD_OUTCOMES]),
            ("broken", [call for call in calls if call.end_reason in FAILING_REASONS]),
        ):
            if len(bad) >= _FEWEST_CALLS and len(bad) >= _FAILED_SHARE * len(calls):
                yield Trouble(
                    kind,
                    *_agent(bad[0]),
                    len(bad) / len(calls),
                    len(calls),
                    0.0,
                    look.now - bad[-1].heard_at,
                    bad[0].call_id,
                    channels=_channels(bad, calls),
                    reasons=tuple(Counter(call.end_reason or "unknown" for call in bad).most_common(3)),
                )
                break  # calls that fail are mostly ended by errors: told once


def _unanswered(look: Look) -> Iterable[Trouble]:
    lately = look.lately_minutes
    by_agent: dict[str, list[NodeMemory]] = defaultdict(list)
    for memory in look.memories:
        by_agent[memory.hour.place.agent_id].append(memory)
    for memories in by_agent.values():
        spoken, answered, missed = _totals(memories, look.minute, lately)
        share = min(1.0, missed / spoken) if spoken else 0.0
        if missed < _FEWEST_TURNS or share < _UNANSWERED_SHARE:
            # Turns nobody answered are told when their call is over. While it goes on: what used to have a latency.
            if spoken < 2 * _FEWEST_TURNS or answered >= _HARDLY_ANSWERED * spoken:
                continue
            before, usual, _ = _totals(memories, look.minute, MINUTES - lately, lately)
            if usual < 0.5 * max(before, 1):
                continue
            share = 1 - answered / spoken
        worst = max(memories, key=lambda memory: memory.answers.totals(look.minute, lately)[2])
        minutes = [_totals(memories, minute, 1) for minute in range(look.minute - 59, look.minute + 1)]
        since = _since([(heard, max(lost, heard - told)) for heard, told, lost in minutes], _UNANSWERED_SHARE, look)
        place = worst.hour.place
        labels = place.agent_id, place.agent_name, place.node_id, place.node_name
        yield Trouble("unanswered", *labels, share, spoken, 0.0, since, _latest_call(look, place.agent_id))


def _mute(look: Look) -> Iterable[Trouble]:
    """Calls end well and the agent said nothing, where it did before."""
    by_agent: dict[str, list[EndedCall]] = defaultdict(list)
    for call in look.ended:
        if call.outcome == "completed":
            by_agent[call.agent_id].append(call)
    for memory in look.first_words:
        hour = memory.hour
        completed = by_agent[hour.place.agent_id]
        # By the minute, as first words are counted: both are said when a call is over.
        lately = [call for call in completed if int(call.heard_at // 60) > look.minute - look.lately_minutes]
        heard, before = hour.read(look.minute, look.lately_minutes, each=False), hour.read(look.minute, each=False)
        spoke = heard.turns if heard is not None else 0
        spoke_before = (before.turns if before is not None else 0) - spoke
        mute = len(lately) - spoke
        if len(lately) < _FEWEST_TURNS or mute < _UNANSWERED_SHARE * len(lately):
            continue
        if spoke_before >= 0.5 * (len(completed) - len(lately)) and spoke_before:
            ago, share = look.now - lately[-1].heard_at, mute / len(lately)
            yield Trouble("mute", *_agent(lately[0]), share, len(lately), 0.0, ago, lately[0].call_id)


def _late(look: Look) -> Iterable[Trouble]:
    """The first word comes late, and later than before."""
    for memory in look.first_words:
        hour = memory.hour
        lately = hour.read(look.minute, look.lately_minutes, each=False)
        if lately is None or lately.turns < _FEWEST_TURNS or lately.p50_seconds <= LATE_SECONDS:
            continue
        minutes = hour.course(look.minute)
        earlier = minutes[: -look.lately_minutes]
        calls, late = sum(calls for calls, _ in earlier), sum(late for _, late in earlier)
        if calls >= _FEWEST_TURNS and late >= 0.5 * calls:
            continue  # as a rule it lets the caller speak first
        place = hour.place
        labels = place.agent_id, place.agent_name, None, None
        yield Trouble(
            "late",
            *labels,
            lately.slow / lately.turns,
            lately.turns,
            lately.p50_seconds,
            _since(minutes, 0.5, look),
            _latest_call(look, place.agent_id),
            channels=memory.makeup.channels(),
        )


def _dear(look: Look) -> Iterable[Trouble]:
    """Calls of the last while cost twice those before them. Not in the first minutes: short calls end first."""
    minutes = look.lately_minutes
    if minutes < _FEWEST_COST_MINUTES:
        return
    costs: dict[str, tuple[list[EndedCall], list[EndedCall]]] = defaultdict(lambda: ([], []))
    for call in look.ended:
        if call.cost is not None and call.outcome in ("completed", "failed"):
            costs[call.agent_id][look.now - call.heard_at > 60 * minutes].append(call)
    for lately, before in costs.values():
        if min(len(lately), len(before)) < _FEWEST_COSTED:
            continue
        usual = median(call.cost or 0.0 for call in before)
        dearest = max(lately, key=lambda call: call.cost or 0.0)
        rest = fmean(call.cost or 0.0 for call in lately if call is not dearest)
        if usual > 0 and rest >= _DEAR * usual:  # one call that does not end is not every call
            ago = 60.0 * minutes
            yield Trouble("dear", *_agent(dearest), rest / usual, len(lately), 0.0, ago, dearest.call_id)


def _by_agent(look: Look) -> dict[str, list[EndedCall]]:
    """Calls that ended lately, newest first."""
    found: dict[str, list[EndedCall]] = defaultdict(list)
    for call in look.ended:
        if look.now - call.heard_at <= 60 * _ENDED_MINUTES:
            found[call.agent_id].append(call)
    return found


def _agent(call: EndedCall) -> tuple[str, str, None, None]:
    return call.agent_id, call.agent_name, None, None


def _channels(bad: Sequence[EndedCall], calls: Sequence[EndedCall]) -> tuple[tuple[str, int, int], ...]:
    every, wrong = Counter(call.channel for call in calls), Counter(call.channel for call in bad)
    return tuple(sorted(((name, wrong[name], of) for name, of in every.items()), key=lambda each: (-each[1], each[0])))


def _totals(memories: Iterable[NodeMemory], now: int, minutes: int, before: int = 0) -> tuple[int, int, int]:
    rows = [memory.answers.totals(now, minutes, before) for memory in memories]
    spoken, answered, missed = (sum(column) for column in zip(*rows, strict=True))
    return spoken, answered, missed


def _latest_call(look: Look, agent_id: str) -> str:
    return next((call.call_id for call in look.ended if call.agent_id == agent_id), "")


def _since(minutes: Sequence[tuple[int, int]], share: float, look: Look) -> float:
    """How many seconds ago the present trouble began: with the minute after the last good one, over quiet ones.

    A moment that stays where it is while the running minute goes on.

    :param minutes: how many there were and how many of them bad, oldest first; the last is the running one.
    """
    since = quiet = 0
    for ago, (number, bad) in enumerate(reversed(minutes)):
        if not number:
            quiet += 1
            if quiet > _QUIET_MINUTES:
                break
        elif bad < share * number:
            break
        else:
            since, quiet = ago, 0
    return 60 * since + look.now % 60
