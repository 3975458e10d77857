"""What the exporter needs, and how it has it: API, streams, state, OTLP; and the account's room for calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from exporter.outputs.prometheus.metrics import Metrics
from exporter.web import Capacity, Health

_LATELY_SECONDS: Final = 300.0
"""An OTLP error is bad news for so long."""


def health(
    metrics: Metrics, ready: tuple[bool, str], state_says: str | None, *, traces_on: bool, max_streams: int, now: float
) -> Sequence[Health]:
    """One line each.

    :param state_says: where what is kept is kept, or None when nothing is.
    :param now: Unix seconds.
    """
    last = metrics.last_errors
    good, reason = ready
    if good:
        # Ready stays who was ready once: its streams go on. The list may be out of reach all the same.
        good = not metrics.api_problem
        reason = "the list of calls can be read" if good else "the list of calls cannot be read now"
    return [
        Health("Atoms API", good, reason, last.get("api"), blind=not good),
        _streams(metrics, max_streams),
        _state(metrics, state_says),
        _otlp(metrics, now, traces_on=traces_on),
    ]


def capacity(metrics: Metrics) -> Capacity:
    """Calls at once, and how many there may be."""
    active, reserved = Counter[str](), Counter[str]()
    for labels, value in metrics.samples("atoms_calls_active"):
        active[labels["agent_id"]] += round(value)
    for labels, value in metrics.samples("atoms_concurrency_reserved"):
        reserved[labels["agent_id"]] += round(value)
    beyond = sum(max(0, number - reserved[agent_id]) for agent_id, number in active.items())
    return Capacity(
        sum(active.values()),
        _known(metrics, "atoms_concurrency_limit"),
        _known(metrics, "atoms_concurrency_unreserved"),
        beyond,
        _known(metrics, "atoms_calls_queued"),
    )


def _known(metrics: Metrics, name: str) -> int | None:
    values = [round(value) for _, value in metrics.samples(name)]
    return values[0] if values else None


def _streams(metrics: Metrics, most: int) -> Health:
    streams = {labels["state"]: value for labels, value in metrics.samples("atoms_exporter_streams")}
    told = ", ".join(f"{round(number)} {state}" for state, number in streams.items() if number) or "none"
    waiting = streams.get("waiting", 0) + streams.get("failing", 0)
    good = not waiting or waiting < 0.1 * sum(streams.values())
    blind = waiting > max(2, 0.5 * sum(streams.values()))  # a call or two that ring are no news
    if pending := round(streams.get("pending", 0)):
        good, blind = False, True
        told = f"{told}; more calls than streams: {pending:,} wait for one, api.max_streams is {most:,}"
    return Health("Streams", good, told, metrics.last_errors.get("streams"), blind=blind)


def _state(metrics: Metrics, state_says: str | None) -> Health:
    """As the last commit was: what failed before that has been kept since."""
    if state_says is None:
        return Health("State", None, "nothing is kept: counters begin at 0 with each start")
    good = metrics.state is None or metrics.state()[0]
    failures = round(_total(metrics, "atoms_exporter_checkpoint_failures_total"))
    times = "once" if failures == 1 else f"{failures} times"
    says = f"{state_says}; {times} it could not be written" if failures else state_says
    return Health("State", good, says, metrics.last_errors.get("state"))


def _otlp(metrics: Metrics, now: float, *, traces_on: bool) -> Health:
    """By its last error, not by its counters: those go on after a restart, and what was dropped once stays dropped."""
    if not traces_on:
        return Health("OTLP traces", None, "no endpoint is set")
    sent = _total(metrics, "atoms_exporter_spans_exported_total")
    dropped = _total(metrics, "atoms_exporter_spans_dropped_total")
    waiting = _total(metrics, "atoms_exporter_span_queue")
    says = f"{round(sent)} spans delivered, {round(waiting)} wait, {round(dropped)} dropped"
    last = metrics.last_errors.get("otlp")
    return Health("OTLP traces", last is None or now - last[1] > _LATELY_SECONDS, says, last)


def _total(metrics: Metrics, name: str) -> float:
    return sum(value for _, value in metrics.samples(name))
