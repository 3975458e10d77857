"""Alerts on what does not happen: nobody calls, nobody answers."""

from __future__ import annotations

from typing import Any

from .annotations import AGENT, Alert
from .call_alerts import TILE, counted
from .promql import DAY, HOUR, MINUTE, Ranges, duration, indented, number, quoted, summed_increase
from .thresholds import AlertThresholds

_QUIET = ((20 * MINUTE, 3 * HOUR), (2 * HOUR, 6 * HOUR))
"""How long no call, and over which time before that a day without history is compared with."""
_WEEK = 7 * DAY
_USUALLY_ANSWERED = 0.5
_LEAST_CALLS = 5
"""Calls without a word of the agent; of fewer, all may be by accident."""
_SPEAKS = 3
"""Turns in five minutes by which an agent shows that its turns are answered as a rule."""


def silence_alerts(limits: AlertThresholds, ranges: Ranges, job: str) -> list[Alert]:
    """Nobody calls, or callers speak and nobody answers; ``job`` is the exporter's scrape job."""
    stopped = [_stopped(limits, ranges, job, by) for by in ("agent_id", "")] if limits.expected_calls else []
    return [*stopped, _unanswered(limits, ranges)]


def _stopped(limits: AlertThresholds, ranges: Ranges, job: str, by: str) -> Alert:
    """No call where many usually begin: at this time a week ago, a day ago, or, on the first day, lately."""
    on = f"on ({by})"
    tile = counted("started", TILE)

    def begun(span: float, offset: float, step: float = TILE) -> str:
        return f"sum by ({by}) (sum_over_time({tile}[{ranges(span)}:{ranges(step)}] offset {ranges(offset)}))"

    def lesser(one: str, other: str) -> str:
        """Of what both have."""
        return f"({one} <= {on} ({other})) or {on} ({other} and {on} {one})"

    def quiet(window: float, before: float) -> str:
        same, day = begun(window, _WEEK), begun(window, DAY)
        # Of twelve calls an hour ten may fall into these minutes by chance, not thrice as many into thrice the time.
        around = f"{begun(3 * window, _WEEK - window)} * {number(1 / 3)}"
        week = lesser(same, around)
        lately = f"{begun(before, window)} * {number(window / before)}"
        # Within the first week a day ago may have been another kind of day: then what came lately counts as well.
        both = lesser(day, lately)
        still = f"{begun(3 * DAY, window, 30 * MINUTE)} > 0"
        usual = f"(({week}) and {on} ({still}))\nor {on}\n(({both}) unless {on} {same})\nor {on}\n"
        usual += f"({lately} unless {on} {day} unless {on} {same})"
        up = f"up{{job={quoted(job)}}}"
        came = f"sum by ({by}) (increase(atoms_calls_started_total[{ranges(window)}])) > 0"
        return (
            f"(\n{indented(f'(({usual})')}\n  >= {limits.expected_calls})\n  unless {on} ({came})\n"
            f"  unless on () (max(min_over_time({up}[{ranges(window)}])) == 0)\n)"
        )

    spans = " or ".join(duration(window) for window, _ in _QUIET)
    whom = AGENT if by else "any agent"
    return Alert(
        name="AtomsCallsStopped" if by else "AtomsAllCallsStopped",
        expr=f"\nor {on}\n".join(quiet(window, before) for window, before in _QUIET),
        for_seconds=2 * MINUTE,
        keep_seconds=5 * MINUTE,
        severity="critical",
        summary=f"No calls to {whom}, where about {{{{ $value | humanize }}}} usually begin",
        description=(
            f"Not one call of {whom} has begun for {spans}, though the exporter is up. At this time a week or a day "
            "ago, or lately where there is no such history, calls came in numbers that do not end by chance."
        ),
        dashboard="atoms-overview",
        variables={"agent": AGENT} if by else {},
    )


def silence_records(ranges: Ranges) -> list[dict[str, Any]]:
    """What is known of silence when a call is over: turns that nobody answered, calls in which the agent spoke."""
    unanswered = summed_increase("agent_id", "atoms_unanswered_turns_total", ranges(TILE))
    words = summed_increase("agent_id", "atoms_first_word_seconds_count", ranges(1 * HOUR))
    tile, hour = {"window": duration(TILE)}, {"window": duration(1 * HOUR)}
    return [
        {"record": "atoms_calls:unanswered", "expr": unanswered, "labels": tile},
        {"record": "atoms_calls:first_words", "expr": words, "labels": hour},
    ]


def _unanswered(limits: AlertThresholds, ranges: Ranges) -> Alert:
    """Three signs of the same: turns without a latency while calls go on; then, of calls that are over, turns nobody
    answered, and no word of the agent at all."""
    signs = (_without_latency(limits, ranges), _not_answered(limits, ranges), _without_a_word(limits, ranges))
    calls = summed_increase("agent_id", "atoms_calls_started_total", ranges(30 * MINUTE))
    return Alert(
        name="AtomsCallersUnanswered",
        expr=(
            "(\n"
            + "\n  or on (agent_id)\n".join(indented(sign) for sign in signs)
            + f"\n)\nunless on (agent_id) ({calls} < {limits.minimum_calls})"
        ),
        for_seconds=3 * MINUTE,
        keep_seconds=15 * MINUTE,
        severity="critical",
        summary=f"Callers of {AGENT} are not answered",
        description=(
            "{{ $value | humanizePercentage }} of what callers said in the last minutes got no answer, or in so many "
            "of the calls of the last hour the agent did not say a word. Speech synthesis or the model is the first "
            "suspect; the calls may well end as completed."
        ),
        dashboard="atoms-node",
        variables={"agent": AGENT},
    )


def _without_latency(limits: AlertThresholds, ranges: Ranges) -> str:
    """Callers speak and no turn has a latency, at an agent whose turns have one as a rule."""

    def silent(window: float) -> str:
        spoken = summed_increase("agent_id", "atoms_user_turns_total", ranges(window))
        answered = summed_increase("agent_id", "atoms_turn_latency_seconds_count", ranges(window))
        return (
            f"(\n  1 - ({answered} or 0 * {spoken}) / {spoken} > {number(1 - limits.answered_ratio)}\n"
            f"  and on (agent_id) ({spoken} >= {limits.minimum_spoken})\n)"
        )

    covered = f"{counted('answered', TILE)} / ignoring (window) ({counted('spoken', TILE)} >= {_SPEAKS})"
    usual = " or on (agent_id) ".join(
        f"max_over_time(({covered})[{ranges(span)}:{ranges(step)}]) > {_USUALLY_ANSWERED}"
        for span, step in ((1 * DAY, 3 * TILE), (_WEEK, 1 * HOUR))
    )
    both = f"{indented(silent(10 * MINUTE))}\n  or on (agent_id)\n{indented(silent(1 * HOUR))}"
    return f"(\n{both}\n)\nand on (agent_id) ({usual})"


def _not_answered(limits: AlertThresholds, ranges: Ranges) -> str:
    """Of what callers said, too much was answered too late or never; not in one long call alone."""
    tiles = f"{counted('unanswered', TILE)}"
    spoken = summed_increase("agent_id", "atoms_user_turns_total", ranges(30 * MINUTE))
    missed = summed_increase("agent_id", "atoms_unanswered_turns_total", ranges(30 * MINUTE))
    spread = f"count_over_time(({tiles} > 0)[{ranges(1 * HOUR)}:{ranges(TILE)}])"
    return (
        # A call is counted when it is over: its turns may have been spoken before.
        f"clamp_max({missed} / {spoken}, 1) > {number(limits.unanswered_ratio)}\n"
        f"and on (agent_id) ({missed} >= {limits.minimum_spoken})\n"
        f"and on (agent_id) (sum by (agent_id) ({spread}) >= 3)"
    )


def _without_a_word(limits: AlertThresholds, ranges: Ranges) -> str:
    """Calls that end well and in which the agent said nothing, at an agent that speaks as a rule."""
    completed = 'outcome="completed"'
    ended = f"sum by (agent_id) ({counted('ended', 1 * HOUR, completed)})"
    spoke = f"sum by (agent_id) ({counted('first_words', 1 * HOUR)})"
    mute = f"clamp_min({ended} - ({spoke} or 0 * {ended}), 0)"
    usual = f"max_over_time(({spoke} / ({ended} >= {_SPEAKS}))[{ranges(1 * DAY)}:{ranges(1 * HOUR)}])"
    # The error of a share: where all calls are mute there is none, and of six one may have had a word.
    error = f"{number(limits.certainty)} * sqrt({mute} * (1 - {mute} / {ended}))"
    return (
        f"{mute} / {ended}\n"
        f"and on (agent_id) ({mute} - {error} > {number(limits.unanswered_ratio)} * {ended})\n"
        f"and on (agent_id) ({ended} >= {max(_LEAST_CALLS, limits.minimum_calls)})\n"
        f"and on (agent_id) ({usual} > {_USUALLY_ANSWERED})"
    )
