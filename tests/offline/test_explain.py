"""One call as a person reads it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from exporter.calls.observations import Agent
from exporter.offline.explain import duration, explained
from exporter.outputs.spans import SpanRecord
from tests.support.lives import Life
from tests.support.wire import Step, greeting, heard, hop, node, payloads, step, turn


def spans_of(*steps: Step, outcome: str = "completed", end: bool = True, name: str = "Anna") -> list[SpanRecord]:
    life = Life(agent=Agent("a1", name))
    life.feed(payloads(list(steps)))
    if end:
        life.end(outcome)
    return life.spans


def shown(spans: list[SpanRecord], width: int = 100, *, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, highlight=False, legacy_windows=False).print(
        explained(spans)
    )
    return out.getvalue()


CALL = (
    step(0, "call_start"),
    greeting(700, 600),
    node(1000, "1", "Greeting"),
    turn(3000, 900),
    hop(4000, "1", "2"),
    node(6500, "2", "Offer"),
    turn(6600, 2400, interrupted=True, llm_api=1800, tts_api=200),
    step(7000, "tool_call_end", tool_call_id="t", function_name="book", latency_ms=2500, success=False, error="no"),
    step(9000, "call_end"),
)


def test_hops_turns_and_tools_are_a_tree_with_times() -> None:
    text = shown(spans_of(*CALL))
    lines = text.splitlines()
    assert lines[1] == "Anna · webcall · completed · 9.00 s"
    (offer,) = [line for line in lines if "node 2" in line]
    assert "Offer" in offer
    assert "← Greeting" in offer
    (slowest,) = [line for line in lines if "◀ slowest" in line]
    assert "2.40 s" in slowest
    assert "interrupted" in slowest
    assert "chat 1.80 s" in text
    assert "· book 400 ms" in text  # of what its stages leave, what the tool covers
    (tool,) = [line for line in lines if "execute_tool book" in line]
    assert "2.50 s" in tool
    assert "✗ tool_error" in tool
    assert "2 turns, median 900 ms, slowest 2.40 s in Offer; 1 hop\n" in text
    assert lines[-1].startswith("trace ")


def test_a_call_that_has_not_ended_is_shown_as_far_as_it_is_known() -> None:
    text = shown(spans_of(*CALL[:-1], end=False))
    assert text.startswith("call (not ended)")
    assert "turn" in text


def test_no_turn_or_one_is_said_without_statistics() -> None:
    assert "turns" not in shown(spans_of(step(0, "call_start"), step(2000, "call_end")))
    text = shown(spans_of(step(0, "call_start"), node(100, "1", "A"), turn(2000, 800), step(3000, "call_end")))
    assert "1 turn, 800 ms; 0 hops" in text
    assert "slowest" not in text


def test_nothing_is_said_in_a_word() -> None:
    assert shown([]) == "no events\n"


def test_colours_are_for_terminals_and_long_names_keep_the_lines() -> None:
    steps = [*CALL[:2], node(1000, "1", "A name " * 40), *CALL[3:4], heard(3500), CALL[-1]]
    assert "\x1b[" not in shown(spans_of(*steps))
    assert "\x1b[" in shown(spans_of(*steps), terminal=True)
    assert all(len(line) <= 60 for line in shown(spans_of(*steps), width=60).splitlines())


def test_a_name_is_no_markup() -> None:
    assert "[red]Anna[/red] · webcall" in shown(spans_of(*CALL, name="[red]Anna[/red]"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.35, "350 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1.69, "1.69 s"),
        (59.99, "59.99 s"),
        (59.999, "1 min 0 s"),
        (192, "3 min 12 s"),
        (3600, "1 h 0 min"),
        (7325, "2 h 2 min"),
    ],
)
def test_durations_as_people_write_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_names_from_outside_move_no_cursor() -> None:
    text = shown(spans_of(*CALL, name="An\x1b[2Jna\x07\r\u202e\nx"))
    assert "An\\x1b[2Jna\\x07\\x0d\\u202e x" in text
    assert not set(text) & set("\x1b\x07\r\u202e")
