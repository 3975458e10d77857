"""What the page says of the exporter itself: what it needs, and the class of the last error of each."""

from __future__ import annotations

import time

from exporter.outputs.prometheus.metrics import Metrics
from exporter.overview.health import capacity, health
from exporter.protocol.capacity import Concurrency, Reserved
from exporter.web import Health

READY = (True, "ready")


def of(metrics: Metrics, later: float = 0.0) -> dict[str, Health]:
    now = time.time() + later
    found = health(metrics, READY, "/state.db", traces_on=True, max_streams=100, now=now)
    return {each.name: each for each in found}


def test_a_list_that_cannot_be_read_is_bad_though_the_exporter_stays_ready() -> None:
    metrics = Metrics(version="1")
    metrics.api_answered(True)
    assert of(metrics)["Atoms API"].good
    metrics.api_answered(False, "GET https://api/secret answered 500")
    metrics.discovery_request("poll", "error")
    api = of(metrics)["Atoms API"]
    assert (api.good, api.says) == (False, "the list of calls cannot be read now")
    assert api.last is not None
    assert api.last[0] == "poll: error"


def test_each_error_is_told_by_its_class() -> None:
    metrics = Metrics(version="1")
    assert {each.last for each in of(metrics).values()} == {None}
    metrics.stream_failed("403")
    metrics.commit_failed()
    metrics.export_failed("traces", "timeout")
    found = of(metrics)
    told = {name: each.last[0] for name, each in found.items() if each.last is not None}
    assert told == {"Streams": "403", "State": "not written", "OTLP traces": "traces: timeout"}


def test_a_state_is_as_its_last_commit_was_and_what_failed_before_stays_told() -> None:
    metrics = Metrics(version="1")
    written = False
    metrics.state = lambda: (written, 3.0)
    metrics.commit_failed()
    assert of(metrics)["State"].good is False
    written = True
    state = of(metrics)["State"]
    assert (state.good, state.says) == (True, "/state.db; once it could not be written")


def test_a_backend_is_bad_while_it_fails_and_good_again_whatever_was_dropped_once() -> None:
    metrics = Metrics(version="1")
    metrics.store.counter("atoms_exporter_spans_dropped_total", "queue_full").inc(7)  # as kept from the last life
    assert of(metrics)["OTLP traces"].good is True
    metrics.export_failed("traces", "refused")
    assert of(metrics)["OTLP traces"].good is False, "though nothing is dropped yet"
    assert of(metrics, later=600)["OTLP traces"].good is True


def test_streams_that_fail_are_bad_from_a_tenth_on() -> None:
    metrics = Metrics(version="1")
    for number in range(20):
        metrics.stream_state(None, "failing" if number < 2 else "open")
    streams = of(metrics)["Streams"]
    assert (streams.good, streams.blind) == (False, False)
    metrics.stream_state("failing", "open")
    assert of(metrics)["Streams"].good is True


def test_streams_of_which_most_fail_see_nothing() -> None:
    metrics = Metrics(version="1")
    for number in range(20):
        metrics.stream_state(None, "failing" if number < 12 else "open")
    assert of(metrics)["Streams"].blind is True


def test_calls_beyond_a_reservation_take_from_what_is_shared() -> None:
    metrics = Metrics(version="1")
    metrics.capacity(
        Concurrency(100, 40, (Reserved("a1", "Idle", "webcall", 50), Reserved("a2", "Busy", "webcall", 10))), 3
    )
    for agent, calls in (("a1", 2), ("a2", 30), ("a3", 18)):
        metrics.store.gauge("atoms_calls_active", agent, agent).set(calls)
    room = capacity(metrics)
    assert (room.active, room.limit, room.shared, room.shared_active, room.queued) == (50, 100, 40, 38, 3)
    assert room.used == 0.95
    metrics.capacity(None, None)
    assert capacity(metrics).used is None
