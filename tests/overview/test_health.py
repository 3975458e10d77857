"""What the page says of the exporter itself: what it needs, and the class of the last error of each."""

from __future__ import annotations

from exporter.outputs.prometheus.metrics import Metrics
from exporter.overview.health import capacity, health
from exporter.protocol.capacity import Concurrency, Reserved
from exporter.web import Health

READY = (True, "ready")


def of(metrics: Metrics) -> dict[str, Health]:
    return {each.name: each for each in health(metrics, READY, "/state.db", traces_on=True, max_streams=100)}


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
    assert found["State"].good is False


def test_streams_that_fail_are_bad_from_a_tenth_on() -> None:
    metrics = Metrics(version="1")
    for number in range(20):
        metrics.stream_state(None, "failing" if number < 2 else "open")
    assert of(metrics)["Streams"].good is False
    metrics.stream_state("failing", "open")
    assert of(metrics)["Streams"].good is True


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
