"""``/metrics`` as a whole page: content types, both formats, the real promtool."""

from __future__ import annotations

import gzip
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.errors import Malformed
from exporter.outputs.prometheus.exposition import OPENMETRICS, TEXT, render, wants_openmetrics
from exporter.simulator import recorded
from tests.golden import SCENARIOS, events_of
from tests.support.lives import Life
from tests.support.peers import need_program
from tests.support.wire import encoded

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.1"
)


@pytest.fixture(scope="module")
def life() -> Life:
    """One after some of everything."""
    life = Life()
    for name, scenario in SCENARIOS.items():
        life.call_id = name
        life.feed([payload.replace(b"CALL-1758124225863-80752e", name.encode()) for payload in events_of(name)])
        life.end(scenario.outcome)
    for number in range(5):
        events = recorded(1, number)
        life.call_id = str(events[0]["call_id"])
        life.feed([encoded(event) for event in events])
        life.end()
    life.metrics.refresh()
    return life


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0", True),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.3, text/plain;q=0.7", False),
        ("text/plain;q=0.3, application/openmetrics-text;q=0.7", True),
        ("text/plain, application/openmetrics-text", False),
        ("application/openmetrics-text, text/plain", True),
        ("application/openmetrics-text;q=0.5, */*;q=0.6", False),
        ('application/openmetrics-text; version="1.0.0"; charset=utf-8', True),
        ("application/openmetrics-text;q=nan, text/plain;q=0.1", False),
        (",;,=;q=x,", False),
        ("text/plain;version=0.0.4", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("*/*", False),
        ("", False),
        ("application/openmetrics-text-but-not-really", False),
    ],
)
def test_openmetrics_is_for_those_who_ask(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


def test_the_page_in_openmetrics_ends_and_carries_exemplars(life: Life) -> None:
    kind, body = render(life.metrics.store, life.metrics.others, PROMETHEUS)
    assert kind == OPENMETRICS
    assert body.endswith(b"# EOF\n")
    families = {family.name: family for family in parse_openmetrics(body.decode())}
    assert "process_open_fds" in families
    exemplars = [sample.exemplar for sample in families["atoms_turn_latency_seconds"].samples if sample.exemplar]
    assert exemplars
    for exemplar in exemplars:
        assert set(exemplar.labels) == {"trace_id", "span_id", "call_id"}
        assert sum(len(name) + len(value) for name, value in exemplar.labels.items()) <= 128
        assert exemplar.timestamp


def test_exemplars_point_at_spans_that_exist(life: Life) -> None:
    spans = {(f"{span.trace_id:032x}", f"{span.span_id:016x}") for span in life.spans}
    for family in life.metrics.store.collect():
        for sample in family.samples:
            if sample.exemplar is not None:
                assert (sample.exemplar.labels["trace_id"], sample.exemplar.labels["span_id"]) in spans, sample.name


def test_the_page_in_the_text_format(life: Life) -> None:
    kind, body = render(life.metrics.store, life.metrics.others, "text/plain")
    assert kind == TEXT
    assert b" # {" not in body
    names = [family.name for family in parse_text(body.decode())]
    assert len(names) == len(set(names))
    assert {"atoms_turn_latency_seconds", "process_cpu_seconds", "python_gc_collections"} <= set(names)


def test_only_what_was_asked_for(life: Life) -> None:
    _, body = render(life.metrics.store, life.metrics.others, "", ["atoms_calls_active", "process_open_fds"])
    assert {family.name for family in parse_text(body.decode())} == {"atoms_calls_active", "process_open_fds"}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("atoms_turn_latency_seconds_bucket", "atoms_turn_latency_seconds"),
        ("atoms_turn_latency_seconds_count", "atoms_turn_latency_seconds"),
        ("atoms_calls_started", "atoms_calls_started"),
        ("atoms_calls_started_total", "atoms_calls_started"),
        ("process_cpu_seconds_total", "process_cpu_seconds"),
    ],
)
def test_a_family_is_found_by_the_names_of_its_samples(life: Life, name: str, family: str) -> None:
    for accept in ("", PROMETHEUS):
        _, body = render(life.metrics.store, life.metrics.others, accept, [name])
        parse = parse_openmetrics if accept else parse_text
        assert {found.name for found in parse(body.decode())} == {family}


def test_names_nobody_has_are_no_empty_page(life: Life) -> None:
    with pytest.raises(Malformed):
        render(life.metrics.store, life.metrics.others, "", ["atoms_nothing", "_total", ""])


def test_no_created_timestamps(life: Life) -> None:
    _, body = render(life.metrics.store, life.metrics.others, PROMETHEUS)
    assert b"_created" not in body


def test_pages_compress_well(life: Life) -> None:
    _, body = render(life.metrics.store, life.metrics.others, "")
    assert len(gzip.compress(body, 1)) * 10 < len(body)


def test_promtool_has_nothing_to_say(life: Life) -> None:
    promtool = need_program("promtool")
    _, body = render(life.metrics.store, life.metrics.others, "")
    found = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, timeout=60, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
