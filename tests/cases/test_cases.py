"""What each input of this folder comes to, through ``replay``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest
import structlog

from exporter.calls.observations import Agent
from exporter.config import load
from exporter.offline.replay import replay, spans_of_file
from exporter.outputs.spans import SpanRecord
from exporter.protocol.api import decode_call_page
from tests.system.books import Page

FOLDER = Path(__file__).parent


def replayed(*names: str, settings: Mapping[str, str] | None = None) -> Page:
    """The page of these files, replayed together."""
    config = load(settings or {}, {}, None)
    paths = [str(FOLDER / name) for name in names]
    text, _ = replay(paths, config, {}, Agent(), "unknown", structlog.get_logger("tests"))
    return Page(text)


def spans(name: str) -> list[SpanRecord]:
    """The spans of a file that holds one call."""
    [trace] = spans_of_file(str(FOLDER / name), load({}, {}, None)).values()
    return trace


def by(page: Page, sample: str, *names: str) -> dict[tuple[str, ...], float]:
    """A sample's values by these labels."""
    return {
        tuple(dict(labels)[name] for name in names): value for labels, value in page.samples.get(sample, {}).items()
    }


def test_long_turns_stay_long() -> None:
    page = replayed("slow-turns.jsonl")
    assert page.total("atoms_turn_latency_seconds_count") == 3
    assert page.total("atoms_turn_latency_seconds_sum") == pytest.approx(181.65)
    assert page.total("atoms_turn_latency_seconds_bucket", le="0.8") == 0
    assert page.total("atoms_exporter_samples_skipped_total", reason="implausible") == 1


def test_a_processor_s_name_tells_its_unit() -> None:
    page = replayed("stage-names.jsonl")
    took = by(page, "atoms_processor_latency_seconds_sum", "processor")
    assert took == pytest.approx(
        {("lightning_tts",): 0.24, ("pulse_stt",): 0.0385, ("electron_llm",): 0.512, ("WavesTTSService",): 0.21}
    )
    assert by(page, "atoms_tts_characters_total", "processor") == {("WavesTTSService",): 77}


def test_the_operator_s_word_on_units_comes_before_a_name() -> None:
    page = replayed("stage-names.jsonl", settings={"metrics.units.processor": "ms"})
    took = by(page, "atoms_processor_latency_seconds_sum", "processor")
    assert took[("WavesTTSService",)] == pytest.approx(0.07721)
    assert took[("lightning_tts",)] == 0.24
    assert page.total("atoms_tts_characters_total") == 0


def test_tokens_sum_to_the_usage_whatever_its_shape() -> None:
    page = replayed("token-shapes.jsonl")
    assert by(page, "atoms_llm_tokens_total", "type") == {
        ("prompt",): 940 + 21 + 500,
        ("completion",): 12 + 280 + 20,
        ("other",): 55,
    }
    assert page.total("atoms_llm_tokens_total") == 952 + 301 + 55 + 520
    assert page.total("atoms_llm_request_tokens_sum") == 1828


def test_two_events_with_one_id_are_two_and_the_same_two_again_are_none() -> None:
    page = replayed("one-id-two-events.jsonl")
    assert page.total("atoms_node_visits_total") == 1
    assert page.total("atoms_llm_tokens_total") == 6
    assert page.total("atoms_exporter_events_duplicate_total") == 2


def test_a_log_without_turns_among_its_events_tells_them_itself_and_none_is_in_1970() -> None:
    page = replayed("log-without-turn-events.json")
    assert page.total("atoms_turn_latency_seconds_count") == 2
    assert page.total("atoms_turn_latency_seconds_sum") == pytest.approx(0.64 + 1.31)
    assert page.total("atoms_call_duration_seconds_sum") == 95
    assert by(page, "atoms_calls_ended_total", "outcome")["completed",] == 1
    trace = spans("log-without-turn-events.json")
    assert [span.name for span in trace if span.parent_id is None] == ["call"]
    began, ended = (parse(f"2026-09-21T14:{at}Z") for at in ("13:20", "15:00"))
    assert all(began <= span.start_ns / 1e9 <= span.end_ns / 1e9 <= ended for span in trace)


def test_half_an_emoji_and_a_nan_cost_a_list_nothing_but_themselves() -> None:
    page = decode_call_page((FOLDER / "list-with-half-an-emoji.json").read_bytes())
    assert [call.call_id[-2:] for call in page.calls] == ["c6", "c7", "c8"]
    assert [call.status for call in page.calls] == ["active"] * 3
    assert page.unreadable == 0


@pytest.mark.parametrize("name", ["slow-turns.jsonl", "token-shapes.jsonl", "log-without-turn-events.json"])
def test_a_file_given_twice_counts_once(name: str) -> None:
    once, twice = replayed(name), replayed(name, name)
    assert counted(twice) == counted(once)


def counted(page: Page) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """What callers experienced."""
    return {name: dict(rows) for name, rows in page.samples.items() if not name.startswith("atoms_exporter")}


def parse(date: str) -> float:
    """A date as Unix seconds."""
    return datetime.fromisoformat(date).timestamp()
