"""What needs no socket: replay, pages, spans, memory, start-up. Run one part as ``python -m benchmarks.offline PART``.

Each part runs in a process of its own, so that none pays for another's memory, and prints one line of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import rss_kib

RECORDED_CALLS = 150
MORE_CALLS = 2_000
HOUR_EVENTS = 21_600


def recording(calls: int, copies: int) -> tuple[bytes, int]:
    """JSON lines of typical calls, copied under other ids."""
    from exporter.simulator import recorded

    lines = [
        json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
        for number in range(calls)
        for event in recorded(1, number)
    ]
    text = b"\n".join(lines) + b"\n"
    # Call ids are CALL-<ms>-<hex>, event ids evt_<hex>: one digit more makes another call and other events.
    pieces = [text.replace(b"CALL-", b"CALL-%d" % copy).replace(b"evt_", b"evt_%d" % copy) for copy in range(copies)]
    return b"".join(pieces), len(lines) * copies


def replay(quick: bool) -> dict[str, Any]:
    """``replay`` in this process, from a file to OpenMetrics text: events per second of CPU, start-up left out."""
    import structlog

    from exporter.calls.observations import Agent
    from exporter.config import load
    from exporter.offline.replay import replay as replayed

    text, events = recording(60 if quick else RECORDED_CALLS, 4 if quick else 8)
    config, log = load({}, {}, None), structlog.get_logger("bench")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "events.jsonl"
        file.write_bytes(text)
        del text
        took: list[float] = []
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        for _ in range(3):
            began = time.process_time()
            replayed([str(file)], config, {}, Agent(), "unknown", log)
            took.append(time.process_time() - began)
        began_wall = time.perf_counter()
        command = [sys.executable, "-m", "exporter", "replay", str(file)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        wall = time.perf_counter() - began_wall
        if done.returncode:
            raise SystemExit(done.stderr.decode())
        size = file.stat().st_size
    return {
        "events": events,
        "bytes_per_event": size / events,
        "events_per_second": events / min(took),
        "events_per_second_median": events / sorted(took)[1],
        "microseconds_per_event": min(took) / events * 1e6,
        "cli_seconds": wall,
        "cli_events_per_second": events / wall,
    }


def pages(quick: bool) -> dict[str, Any]:
    """``/metrics`` of many series."""
    from benchmarks.pages import pages as measured

    sizes = (1_000, 10_000) if quick else (1_000, 10_000, 50_000)
    return {"pages": list(measured(sizes, 3 if quick else 5))}


def spans(quick: bool) -> dict[str, Any]:
    """Spans per second of CPU: made from observations, encoded as OTLP; beside it the SDK's spans and stock encoder."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, TraceFlags

    from exporter.calls.observations import Agent
    from exporter.calls.tracker import Tracker
    from exporter.outputs.otlp.encode import SpanEncoder
    from exporter.outputs.otlp.sdk import SCOPE, resource
    from exporter.outputs.otlp.settings import attribute_limits
    from exporter.outputs.recorder import SpansOnly
    from exporter.outputs.spans import SHOWN, SpanRecord, spans_of

    text, _ = recording(40, 2 if quick else 6)
    made: list[SpanRecord] = []
    facts: list[Any] = []

    class Facts(SpansOnly):
        def observed(self, said: Any) -> None:
            facts.extend(fact for fact in said if type(fact) in SHOWN)

    tracker = Tracker(Facts(made.append))
    for line in text.splitlines():
        tracker.replay(line, agent=Agent())
    tracker.end_all()
    began = time.process_time()
    for fact in facts:
        made.extend(spans_of(fact))
    built = time.process_time() - began
    batches = [made[start : start + 512] for start in range(0, len(made), 512)]
    who = resource({})
    encoder = SpanEncoder(who, SCOPE, attribute_limits({}))
    began = time.process_time()
    size = sum(len(encoder.request([encoder.span(record) for record in batch])) for batch in batches)
    encoded = time.process_time() - began

    def stock(record: SpanRecord) -> ReadableSpan:
        def context(span_id: int) -> SpanContext:
            return SpanContext(record.trace_id, span_id, is_remote=False, trace_flags=TraceFlags(1))

        return ReadableSpan(
            name=record.name,
            context=context(record.span_id),
            parent=None if record.parent_id is None else context(record.parent_id),
            resource=who,
            attributes=record.attributes,
            instrumentation_scope=SCOPE,
            start_time=record.start_ns,
            end_time=record.end_ns,
        )

    began = time.process_time()
    for batch in batches:
        encode_spans([stock(record) for record in batch]).SerializeToString()
    stock_seconds = time.process_time() - began
    return {
        "spans": len(made),
        "built_per_second": len(made) / built,
        "encoded_per_second": len(made) / encoded,
        "stock_encoded_per_second": len(made) / stock_seconds,
        "spans_per_second": len(made) / (built + encoded),
        "bytes_per_span": size / len(made),
    }


def ended_calls(quick: bool) -> dict[str, Any]:
    """Memory after very many calls came and went. The ids of the last 200,000 are remembered on purpose, so that none
    is followed twice: the growth is theirs, and after 200,000 it must be over."""
    from exporter.calls.observations import Agent
    from exporter.calls.tracker import Tracker
    from exporter.outputs.prometheus.metrics import Metrics
    from exporter.outputs.recorder import Outputs
    from exporter.simulator import recorded

    calls = 20_000 if quick else 300_000
    metrics = Metrics(version="0")
    tracker = Tracker(Outputs(metrics, lambda _: None))
    templates = [
        [json.dumps(event, separators=(",", ":")).encode() for event in recorded(1, number)[:60]]
        for number in range(20)
    ]
    ids = [json.loads(lines[0])["call_id"].encode() for lines in templates]
    marks: dict[int, float] = {}
    agent = Agent("65f0c0ffee00000000000001", "Agent")
    began = time.process_time()
    for number in range(calls):
        lines, old = templates[number % 20], ids[number % 20]
        call = b"CALL-%013d-%06x" % (1_700_000_000_000 + number, number)
        tracked = tracker.open(call.decode(), agent=agent)
        for line in lines[number % 7 :: 5]:
            tracker.feed(tracked, line.replace(old, call), 1_767_225_600.0)
        tracker.end(call.decode(), "completed")
        if (number + 1) % (calls // 10) == 0:
            gc.collect()
            marks[number + 1] = rss_kib()
    first, half, last = marks[calls // 10], marks[calls // 10 * 8], marks[calls]
    return {
        "calls": calls,
        "rss_kib_by_calls": marks,
        "growth_bytes_per_call": (half - first) * 1024 / (calls // 10 * 7),
        "last_fifth_growth_kib": last - half,
        "cpu_seconds": time.process_time() - began,
    }


def hour(quick: bool) -> dict[str, Any]:
    """Memory of calls of an hour at 6 events/s each: state, identities of their events, and all."""
    from exporter.calls.observations import Agent
    from exporter.calls.tracker import Tracker
    from exporter.outputs.prometheus.metrics import Metrics
    from exporter.outputs.recorder import Outputs
    from exporter.simulator.steady import SteadyCall

    calls = 4 if quick else 16
    tracker = Tracker(Outputs(Metrics(version="0"), lambda _: None))
    agent = Agent("65f0c0ffee00000000000001", "Agent")
    with tempfile.TemporaryDirectory() as directory:
        for number in range(calls + 2):  # on disk: what makes the events must not be in the figure
            steady = SteadyCall(1, number, 1_767_225_600_000, "2026", 6.0)
            steady.connected(1_767_225_600_000)
            with (Path(directory) / f"{number}").open("wb") as file:
                file.writelines(steady.take()[1][len(b"data: ") : -1] for _ in range(HOUR_EVENTS))

        def follow(number: int) -> None:
            tracked = tracker.open(f"hour-{number}", agent=agent)
            own = steady.call_id.encode()[:-6]
            with (Path(directory) / f"{number}").open("rb") as file:
                for line in file:
                    start = line.index(own)
                    call = line[start : start + len(own) + 6]
                    tracker.feed(tracked, line.replace(call, b"hour-%d" % number).rstrip(), 1_767_225_600.0)
            assert len(tracked.seen) == HOUR_EVENTS

        for number in range(2):  # whatever is cached once
            follow(number)
        gc.collect()
        before = rss_kib()
        for number in range(2, 2 + calls):
            follow(number)
        gc.collect()
        after = rss_kib()
    return {"calls": calls, "events": HOUR_EVENTS, "kib_per_call": (after - before) / calls}


def start(quick: bool) -> dict[str, Any]:
    """``--version`` and, beside a silent simulator, the time until ``/-/ready`` answers 200."""
    from benchmarks.live import Child

    def version() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "exporter", "--version"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    def ready() -> float:
        source = Child("benchmarks.source", "--calls", "1")
        base = json.loads(source.line(30))["base_url"]
        with tempfile.TemporaryFile() as nothing:
            port = _free_port()
            began = time.perf_counter()
            listen = f"127.0.0.1:{port}"
            process = subprocess.Popen(
                [sys.executable, "-m", "exporter", "run", "--api.base-url", base, "--web.listen-address", listen],
                env={**os.environ, "ATOMS_API_KEY": "simulated-key", "ATOMS_EXPORTER_STATE__PATH": ""},
                stderr=nothing,
            )
            try:
                while time.perf_counter() - began < 60:
                    try:
                        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                            return time.perf_counter() - began
                    except OSError:
                        time.sleep(0.01)
                raise SystemExit("not ready within a minute")
            finally:
                process.kill()
                process.wait()
                source.end()

    repeat = 3 if quick else 5
    return {"version_seconds": min(version() for _ in range(repeat)), "ready_seconds": min(ready() for _ in range(3))}


def _free_port() -> int:
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
    return port


PARTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "replay": replay,
    "pages": pages,
    "spans": spans,
    "ended_calls": ended_calls,
    "hour": hour,
    "start": start,
}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]]("--quick" in sys.argv)))
