"""Bounds: what a full queue, old spans, a hanging backend and the end of the process do to spans."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.outputs.otlp.retry import Backoff


def names(n: int) -> list[str]:
    return [f"span-{i}" for i in range(n)]


def test_a_full_queue_keeps_the_newest(
    backend: Any, export: Any, counts: Any, record: Any, until: Callable[..., Any], misbehaviour: Any
) -> None:
    backend.always = misbehaviour(503 if backend.protocol != "grpc" else "UNAVAILABLE")
    traces = export(backend.env, max_queue_spans=20)
    for name in names(100):
        traces.put(record(name))
    until(lambda: sum(counts.failed.values()) >= 2)
    backend.always = None
    assert traces.close(20) == 0
    assert backend.span_names() == names(100)[80:]
    assert counts.dropped == {"queue_full": 80}
    assert counts.exported == 20


def test_spans_that_wait_too_long_are_dropped_as_too_old(
    http_backend: Any, export: Any, counts: Any, record: Any, until: Callable[..., Any], misbehaviour: Any
) -> None:
    http_backend.always = misbehaviour(503)
    traces = export(http_backend.env, max_retry_age_seconds=0.3)
    traces.put(record("old"))
    until(lambda: counts.dropped["too_old"] == 1)
    http_backend.always = None
    traces.put(record("new"))
    assert traces.flush(20) == 0
    assert http_backend.span_names() == ["new"]


def test_a_hanging_backend_blocks_neither_put_nor_close(
    backend: Any, export: Any, counts: Any, record: Any, until: Callable[..., Any], misbehaviour: Any
) -> None:
    backend.always = misbehaviour(seconds=60)
    traces = export(backend.env, max_queue_spans=1_000)
    traces.put(record("first"))
    until(lambda: traces.pending == 1 and not len(traces._queue))
    started = time.monotonic()
    for name in names(5_000):
        traces.put(record(name))
    assert time.monotonic() - started < 2.0
    started = time.monotonic()
    left = traces.close(1.0)
    assert time.monotonic() - started < 3.0
    assert left == 1_001
    assert counts.dropped["shutdown"] == 1_001
    assert counts.dropped["queue_full"] == 4_000


def test_a_backend_that_hangs_is_left_after_the_timeout_and_tried_again(
    backend: Any, export: Any, counts: Any, record: Any, misbehaviour: Any
) -> None:
    backend.script.append(misbehaviour(seconds=30))
    traces = export(backend.env | {"OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"})
    traces.put(record("a"))
    assert traces.flush(20) == 0
    assert counts.failed == {("traces", "timeout"): 1}
    assert counts.exported == 1


def test_closing_during_an_outage_says_how_many_are_left_inside_the_deadline(
    backend: Any, export: Any, counts: Any, record: Any, until: Callable[..., Any]
) -> None:
    backend.stop()
    traces = export(backend.env, backoff=Backoff(random.Random(1), first_seconds=600, most_seconds=600))
    for name in names(30):
        traces.put(record(name))
    until(lambda: sum(counts.failed.values()) >= 1)
    started = time.monotonic()
    assert traces.close(1.0) == 30
    assert time.monotonic() - started < 3.0
    assert counts.dropped == {"shutdown": 30}
    assert traces.close(1.0) == 30, "a second close says the same"
    assert counts.dropped == {"shutdown": 30}


def test_closing_during_an_outage_sends_all_when_the_backend_comes_back_in_time(
    backend: Any, export: Any, counts: Any, record: Any, until: Callable[..., Any], misbehaviour: Any
) -> None:
    backend.always = misbehaviour(503 if backend.protocol != "grpc" else "UNAVAILABLE")
    traces = export(backend.env, backoff=Backoff(random.Random(1), first_seconds=600, most_seconds=600))
    for name in names(30):
        traces.put(record(name))
    until(lambda: sum(counts.failed.values()) >= 1)
    backend.script.extend([backend.always, backend.always])
    backend.always = None
    assert traces.close(20) == 0
    assert backend.span_names() == names(30)


def test_a_span_put_after_the_close_is_counted_as_lost(
    http_backend: Any, export: Any, counts: Any, record: Any
) -> None:
    traces = export(http_backend.env)
    assert traces.close(5) == 0
    traces.put(record("late"))
    assert counts.dropped == {"shutdown": 1}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_process_ends_in_time_while_its_backend_hangs(protocol: str, tmp_path: Path) -> None:
    """Nothing of the export keeps the interpreter alive: no thread, no channel, no exit handler."""
    script = tmp_path / "exports.py"
    script.write_text(_EXPORTS_AND_ENDS)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        env = os.environ | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "10",
        }
        ended = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    found = re.search(r"^left (\d+) after ([0-9.]+)$", ended.stdout, re.MULTILINE)
    assert found, ended.stdout
    assert found[1] == "3"
    assert float(found[2]) < 5


_EXPORTS_AND_ENDS = """
import atexit, os, time
from exporter.outputs.otlp import metric_push, trace_export
from exporter.outputs.spans import SpanRecord
from prometheus_client import CollectorRegistry, Counter

class Counts:
    def spans_exported(self, n): pass
    def spans_dropped(self, reason, n): pass
    def export_failed(self, signal, reason): pass
    def export_queue(self, n): pass

registry = CollectorRegistry()
Counter("c", "h", registry=registry)
traces, pushing = trace_export(os.environ, Counts()), metric_push(os.environ, registry, Counts())
for i in range(3):
    traces.put(SpanRecord(trace_id=1, span_id=i + 1, parent_id=None, name="a", start_ns=1, end_ns=2, attributes={}))
time.sleep(0.5)
started = time.monotonic()
left = traces.close(0.5)
pushing.close(0.5)
atexit.register(lambda: print("\\nleft", left, "after", time.monotonic() - started))
"""
