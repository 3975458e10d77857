"""Incidents as they come, and nights in which nothing happens: each a world of hours, told in calls.

Several agents share a world, one for each incident: what promtool evaluates for one it evaluates for all.
``python -m dashboards.rules.tests.worlds [DIRECTORY]`` prints what fires in each of them, with the rules that ship or
with those of a directory.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import fleets
from .harness import DAY, HOUR, MINUTE, Firing, World, firings
from .traffic import Agent, Call, at_a_steady_pace, at_random, place, traffic

RULES = Path(__file__).parents[1]
SHIPPED = tuple(RULES / f"{part}.yml" for part in ("slo", "calls", "exporter"))
BEGIN = 2 * HOUR
"""When what goes wrong in a world begins."""
SLOW = Call(latency_seconds=6.0)


def failing() -> World:
    """Every call fails for eight hours, at 60, 24 and 12 calls an hour; then all is well again."""
    world = World(12 * HOUR)
    for rate in (60, 24, 12):
        agent = Agent(f"failing-{rate}", f"Failing {rate}")
        traffic(world, agent, at_random(rate, 0, BEGIN, rate), Call())
        traffic(world, agent, at_random(rate, BEGIN, BEGIN + 8 * HOUR, rate + 1), Call(turns=2, outcome="failed"))
        traffic(world, agent, at_random(rate, BEGIN + 8 * HOUR, 12 * HOUR - 300, rate + 2), Call())
    return world


def slow() -> World:
    """Every turn takes six seconds for six hours, at 12 and 6 calls an hour; and a night with one long bad call."""
    world = World(11 * HOUR)
    for rate in (12, 6):
        agent = Agent(f"slow-{rate}", f"Slow {rate}")
        traffic(world, agent, at_random(rate, 0, BEGIN, rate), Call())
        traffic(world, agent, at_random(rate, BEGIN, BEGIN + 6 * HOUR, rate + 1), SLOW)
        traffic(world, agent, at_random(rate, BEGIN + 6 * HOUR, 11 * HOUR - 300, rate + 2), Call())
    night = Agent("night", "Night")
    traffic(world, night, at_random(12, 0, HOUR, 5), Call())
    place(world, night, 5 * HOUR, SLOW.but(turns=14, pace_seconds=25.0))
    return world


def unheard() -> World:
    """Callers speak and nobody answers; calls stop coming; all are lost; errors in every one."""
    world = World(6 * HOUR)
    wrong = {
        "mute": Call(answered=False),
        "lost": Call(outcome="lost"),
        "errors": Call(errors=1),
    }
    for name, call in wrong.items():
        agent = Agent(name, name.capitalize())
        traffic(world, agent, at_random(60, 0, BEGIN, 1), Call())
        traffic(world, agent, at_random(60, BEGIN, 4 * HOUR, 2), call)
        traffic(world, agent, at_random(60, 4 * HOUR, 6 * HOUR - 300, 3), Call())
    stopped = Agent("stopped", "Stopped")
    traffic(world, stopped, at_random(60, 0, BEGIN, 4), Call())
    traffic(world, stopped, at_random(60, 4 * HOUR, 6 * HOUR - 300, 5), Call())
    return world


def over() -> World:
    """What is known when calls are over goes wrong for six hours; and elsewhere is as it should be, unevenly."""
    world = World(18 * HOUR)
    begin, end = 9 * HOUR, 15 * HOUR
    well = Call(turns=2, reason="user_hangup", first_word_seconds=1.2, cost=0.10)
    wrong = {
        "ended": well.but(reason="connection_error"),
        "late": well.but(first_word_seconds=5.0),
        "dear": well.but(cost=0.30),
        "wordless": well.but(turns=0, first_word_seconds=None),
    }
    for name, call in wrong.items():
        agent = Agent(name, name.capitalize())
        traffic(world, agent, at_random(24, 0, begin, 1), well)
        traffic(world, agent, at_random(24, begin, end, 2), call)
        traffic(world, agent, at_random(24, end, 18 * HOUR - 300, 3), well)
    for rate in (60, 6):
        chance = random.Random(rate)

        def uneven(_: float, chance: random.Random = chance) -> Call:
            """A call like any: long or short, one of twenty ended by an error, one of ten without a word."""
            return Call(
                turns=2,
                reason="timeout" if chance.random() < 0.05 else "user_hangup",
                first_word_seconds=None if chance.random() < 0.10 else chance.lognormvariate(0.3, 0.5),
                cost=chance.expovariate(10.0),
            )

        traffic(world, Agent(f"uneven-{rate}", f"Uneven {rate}"), at_random(rate, 0, 18 * HOUR - 300, 9), uneven)
    return world


def full() -> World:
    """Calls at once rise over the limit's four fifths, then to the limit, and fall; noisy, as calls come and go."""
    world, chance = World(9 * HOUR), random.Random(3)
    at = 0.0
    while at < 9 * HOUR:
        usual = 60 if at < 2 * HOUR or at >= 6 * HOUR else 85 if at < 4 * HOUR else 99
        world.gauge(at, "atoms_calls_active", min(100.0, usual + chance.uniform(-6, 6)), agent_id="a", agent_name="A")
        world.gauge(at, "atoms_concurrency_limit", 100.0)
        queued = 0.0 if at < 4 * HOUR else (at - 4 * HOUR) / 60 if at < 6 * HOUR else 120 - (at - 6 * HOUR) / 30
        world.gauge(at, "atoms_calls_queued", max(0.0, round(queued + chance.uniform(0, 3))))
        at += MINUTE
    return world


def one_node_of_a_hundred() -> World:
    """One node of a hundred answers after eight seconds, one gives errors, one does not answer; the others are well."""
    world = World(4 * HOUR)
    agent = Agent("large", "Large")
    chance = random.Random(7)
    broken = {
        7: Call(turns=3, latency_seconds=8.0),
        8: Call(turns=3, errors=1),
        9: Call(turns=3, answered=False),
    }
    for at in at_a_steady_pace(600, 0, 4 * HOUR - 300):
        node = chance.randrange(100)
        call = broken.get(node, Call(turns=3)) if at > HOUR else Call(turns=3)
        place(world, agent, at, call.but(node=f"node{node:02}"))
    return world


def away_and_renamed() -> World:
    """Twenty minutes without a scrape in the middle of an incident; an agent that gets another name in one."""
    world = World(7 * HOUR, away=[(4 * HOUR, 4 * HOUR + 20 * MINUTE)])
    for agent, later, rate in (
        (Agent("away", "Away"), None, 30),
        (Agent("renamed", "Before"), Agent("renamed", "After"), 30),
    ):
        traffic(world, agent, at_random(rate, 0, BEGIN, 1), Call())
        bad = SLOW.but(outcome="failed")
        traffic(world, agent, at_random(rate, BEGIN, 3 * HOUR, 2), bad)
        traffic(world, later or agent, at_random(rate, 3 * HOUR, 7 * HOUR - 300, 3), bad)
    return world


def naturally_failing() -> World:
    """Twelve days in which three and five calls of a hundred fail, at several rates."""
    world = World(12 * DAY)
    for share in (3, 5):
        for rate in (60, 24, 12, 4):
            agent, chance = Agent(f"natural-{share}-{rate}", f"Natural {share} {rate}"), random.Random(share * rate)

            def call(_: float, chance: random.Random = chance, share: int = share) -> Call:
                return Call(turns=1, outcome="failed" if chance.random() < share / 100 else "completed")

            traffic(world, agent, at_random(rate, 0, 12 * DAY - 300, share + rate), call)
    return world


def fresh() -> World:
    """A new installation: scraped, and nobody has called yet."""
    world = World(10 * HOUR)
    for metric in ("atoms_exporter_events_recovered_total", "atoms_exporter_events_duplicate_total"):
        world.known(metric)
    return world


def _follow(world: World, begin: float, end: float, live: float, recovered: float, open_streams: float) -> None:
    """Events a minute from streams and from histories, and how many streams are open, over a while."""
    at = begin
    while at < end:
        world.count(at, "atoms_exporter_events_total", live + recovered, event_type="metrics")
        world.count(at, "atoms_exporter_events_recovered_total", recovered)
        at += MINUTE
    world.gauge(begin, "atoms_exporter_streams", open_streams, state="open")
    world.gauge(begin, "atoms_exporter_streams", 0.0 if open_streams else 8.0, state="waiting")


def _ask(world: World, begin: float, end: float, polls: str, openings_failed: float) -> None:
    """Polls every ten seconds with one outcome, a call a minute, and openings that fail, over a while."""
    agent, at = Agent("asked", "Asked"), begin
    while at < end:
        world.count(at, "atoms_exporter_discovery_requests_total", 6, source="poll", outcome=polls)
        world.count(at, "atoms_calls_started_total", 1, **agent.labels, channel="webcall")
        if openings_failed:
            world.count(at, "atoms_exporter_stream_failures_total", openings_failed, status="403")
        world.gauge(at, "atoms_exporter_up", float(polls == "ok"))
        at += MINUTE


def streams_silent() -> World:
    """Streams are open and silent; all events come from histories when calls are over."""
    world = World(4 * HOUR)
    _ask(world, 0, 4 * HOUR, "ok", 0)
    _follow(world, 0, BEGIN, live=300, recovered=2, open_streams=8)
    _follow(world, BEGIN, 3 * HOUR, live=4, recovered=280, open_streams=8)
    _follow(world, 3 * HOUR, 4 * HOUR, live=300, recovered=2, open_streams=8)
    return world


def streams_refused() -> World:
    """Every stream is refused, the lists can be read."""
    world = World(4 * HOUR)
    _ask(world, 0, BEGIN, "ok", 0)
    _ask(world, BEGIN, 3 * HOUR, "ok", 12)
    _ask(world, 3 * HOUR, 4 * HOUR, "ok", 0)
    _follow(world, 0, BEGIN, live=300, recovered=2, open_streams=8)
    _follow(world, BEGIN, 3 * HOUR, live=0, recovered=0, open_streams=0)
    _follow(world, 3 * HOUR, 4 * HOUR, live=300, recovered=2, open_streams=8)
    return world


def lists_refused() -> World:
    """The lists cannot be read, the streams of known calls go on."""
    world = World(4 * HOUR)
    _ask(world, 0, BEGIN, "ok", 0)
    _ask(world, BEGIN, 3 * HOUR, "error", 0)
    _ask(world, 3 * HOUR, 4 * HOUR, "ok", 0)
    _follow(world, 0, 4 * HOUR, live=300, recovered=2, open_streams=8)
    return world


WORLDS: tuple[Callable[[], World], ...] = (
    failing,
    slow,
    unheard,
    over,
    full,
    one_node_of_a_hundred,
    away_and_renamed,
    naturally_failing,
    fresh,
    streams_silent,
    streams_refused,
    lists_refused,
    fleets.one_gone,
    fleets.rolling_restart,
    fleets.one_killed_again_and_again,
    fleets.redis_away,
)


def played(made: Callable[[], World], rules: Sequence[Path] = SHIPPED) -> list[Firing]:
    """What fires in a world; days are looked at every five minutes, hours every minute."""
    world = made()
    return firings(world, rules, 5 * MINUTE if world.seconds > 2 * DAY else MINUTE)


def main(arguments: list[str]) -> int:
    """The table."""
    rules = sorted(Path(arguments[0]).glob("*.yml")) if arguments else SHIPPED
    for made in [made for made in WORLDS if not arguments[1:] or made.__name__ in arguments[1:]]:
        sys.stdout.write(f"\n{made.__name__}: {' '.join(str(made.__doc__).split())}\n")
        told: dict[tuple[str, ...], list[Firing]] = {}
        for firing in played(made, rules):
            key = tuple(firing.labels.get(label, "") for label in ("alertname", "severity", "slo", "window"))
            who = firing.labels.get("agent_id", "") + (
                f"/{firing.labels['node_id']}" if "node_id" in firing.labels else ""
            )
            told.setdefault((*key, who), []).append(firing)
        for key, those in told.items():
            hours = ", ".join(f"{one.begun / HOUR:.2f}–{one.ended / HOUR:.2f} h" for one in those[:4])
            sys.stdout.write(f"  {' '.join(part for part in key if part)}: {len(those)} times, {hours}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
