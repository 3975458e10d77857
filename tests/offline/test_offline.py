"""Calls that are over: replay, explain and backfill, as commands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from exporter.simulator import Simulator, SimulatorOptions, call_log, recorded, sse_bytes
from tests.command import Said, command
from tests.system.books import Page
from tests.system.traces import Backend, flaws
from tests.system.world import free_port, until

SEED, NUMBER = 1, 1


def lines(seed: int = SEED, number: int = NUMBER, dialect: str = "2026") -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in recorded(seed, number, dialect))


def capture() -> bytes:
    """A raw capture of the stream: comments, CRLF, connection frames, an id, no last blank line."""
    body = sse_bytes(recorded(SEED, NUMBER)).replace(b"\n", b"\r\n")
    opening = b': hello\r\n\r\nid: 1\r\ndata: {"event_type":"sse_init","event_time":"2026-01-01T00:01:30Z"}\r\n\r\n'
    closing = b'data: {"event_type":"sse_close","event_time":"2026-01-01T00:03:30Z"}'
    return opening + body + closing


def call_metrics(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What callers experienced: everything but the exporter's own metrics."""
    page = Page(text)
    return {
        (name, labels): value
        for name, series in page.samples.items()
        if name.startswith("atoms_") and not name.startswith("atoms_exporter_")
        for labels, value in series.items()
        if value
    }


def told_by_events(
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float],
) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The same without what only a call log knows: what a call cost, how it was set up, why it ended."""
    logs_alone = (
        "atoms_agent_version_info",
        "atoms_call_attempts",
        "atoms_call_cost",
        "atoms_call_setup",
        "atoms_call_end_reasons",
        "atoms_node_exits",
        "atoms_test_calls",
    )
    return {sample: value for sample, value in samples.items() if not sample[0].startswith(logs_alone)}


def about_agent(log: dict) -> list[str]:
    """The flags that say what a call log knows by itself."""
    data = log["data"]
    agent = ["--agent-id", data["agentId"], "--agent-name", data["agent"]["name"], "--channel", data["type"]]
    return agent + (["--single-prompt"] if data["agent"]["workflowType"] == "single_prompt" else [])


async def ran(*words: str, given: bytes = b"", env: dict[str, str] | None = None) -> Said:
    return await asyncio.to_thread(command, *words, given=given, env=env)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(lines() + lines(number=2))
    first, second = command("replay", str(file)), command("replay", "-", given=file.read_bytes())
    assert first.code == second.code == 0
    assert first.out == second.out
    assert first.out.endswith("# EOF\n")
    assert first.err == ""
    assert Page(first.out).total("atoms_calls_started_total") == 2


def test_lines_a_capture_and_a_call_log_of_one_call_give_the_same_call_metrics(tmp_path: Path) -> None:
    log = call_log(SEED, NUMBER)
    files = {"events.jsonl": lines(), "capture.sse": capture(), "log.json": json.dumps(log, indent=1).encode()}
    files["one-line.json"] = json.dumps(log["data"]).encode()
    files["list.json"] = json.dumps(log["data"]["events"]).encode()
    found = {}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        said = command("replay", *about_agent(log), str(tmp_path / name))
        assert (said.code, said.err) == (0, ""), name
        found[name] = told_by_events(call_metrics(said.out))
    assert len(found["events.jsonl"]) > 100
    for name, samples in found.items():
        assert samples == found["events.jsonl"], name


def test_what_several_files_tell_of_one_call_counts_once(tmp_path: Path) -> None:
    whole, log = lines(), call_log(SEED, NUMBER)
    rows = whole.splitlines(keepends=True)
    third = len(rows) // 3
    files = {
        "all.jsonl": whole,
        "one.jsonl": b"".join(rows[: 2 * third]),
        "two.jsonl": b"".join(rows[third:]),
        "gap.jsonl": b"".join(rows[:third] + rows[2 * third :]),
        "log.json": json.dumps(log).encode(),
        "capture.sse": capture(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def replayed(*names: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        said = command("replay", *about_agent(log), *(str(tmp_path / name) for name in names))
        assert (said.code, said.err) == (0, ""), names
        return told_by_events(call_metrics(said.out))

    once = replayed("all.jsonl")
    for names in (
        ("one.jsonl", "two.jsonl"),
        ("all.jsonl", "all.jsonl"),
        ("log.json", "log.json"),
        ("log.json", "all.jsonl"),
        ("gap.jsonl", "log.json"),
        ("capture.sse", "log.json", "one.jsonl"),
    ):
        assert replayed(*names) == pytest.approx(once), names
    renamed = json.dumps(log).replace("evt_", "other_").encode()
    (tmp_path / "renamed.json").write_bytes(renamed)
    said = command("replay", *about_agent(log), str(tmp_path / "all.jsonl"), str(tmp_path / "renamed.json"))
    assert told_by_events(call_metrics(said.out)) == pytest.approx(once)
    assert "other ids" in said.err
    assert Page(said.out).total("atoms_exporter_events_rejected_total", reason="other_ids") == len(rows)


def test_a_stream_is_given_the_agent_of_its_log(tmp_path: Path) -> None:
    log = call_log(SEED, NUMBER)
    (tmp_path / "all.jsonl").write_bytes(lines())
    (tmp_path / "log.json").write_bytes(json.dumps(log).encode())
    said = command("replay", str(tmp_path / "all.jsonl"), str(tmp_path / "log.json"))
    agents = {dict(labels)["agent_name"] for labels in Page(said.out).samples["atoms_turn_latency_seconds_count"]}
    assert agents == {log["data"]["agent"]["name"]}


def test_both_dialects_give_the_same_call_metrics() -> None:
    assert call_metrics(command("replay", "-", given=lines(dialect="2025")).out) == pytest.approx(
        call_metrics(command("replay", "-", given=lines(dialect="2026")).out)
    )


@pytest.mark.parametrize("content", [b"hello\nworld\n", b"\x00\x01\x02", b"<html></html>", b"[1, 2"])
def test_what_is_no_recording_is_said(content: bytes) -> None:
    said = command("replay", "-", given=content)
    assert said.code == 2
    assert "Traceback" not in said.err
    assert said.err.startswith("atoms-exporter: FILE: -: ")


def test_an_empty_recording_has_no_calls_and_lines_that_are_no_events_are_counted() -> None:
    said = command("replay", "-")
    assert said.code == 0
    assert call_metrics(said.out) == {}
    said = command("replay", "-", given=lines() + b"{broken\n\n[]\n")
    assert said.code == 0
    assert Page(said.out).total("atoms_exporter_events_rejected_total") == 2


async def test_replay_exports_traces_where_an_endpoint_is_set() -> None:
    backend = await Backend().start()
    said = await ran("replay", "-", given=lines(), env=backend.env)
    await backend.stop()
    assert said.code == 0
    assert not flaws(backend.spans, {}, calls=False)
    assert [span.name for span in backend.spans].count("call") == 1


def test_a_call_is_explained_in_a_hundred_columns() -> None:
    said = command("explain", "-", given=lines())
    assert said.code == 0
    golden = Path(__file__).parents[1] / "golden" / "explained.txt"
    assert said.out == golden.read_text("utf-8"), "if this is meant: explain the same events into golden/explained.txt"
    assert all(len(line) <= 100 and line == line.rstrip() for line in said.out.splitlines())
    assert "\x1b" not in said.out, "plain when piped"


def test_explain_says_when_there_is_nothing_to_explain() -> None:
    said = command("explain", "-", given=b'{"event_type": "sse_init", "event_time": "2026-01-01T00:00:00Z"}\n')
    assert said.code == 1
    assert "no events" in said.err


async def test_explain_and_backfill_fetch_from_the_api() -> None:
    simulator = Simulator(SimulatorOptions(calls=5, total_calls=6, speed=100.0, ramp_seconds=0.0))
    url = await simulator.start()
    backend = await Backend().start()
    env = {"ATOMS_API_KEY": "simulated-key", "ATOMS_BASE_URL": url}
    try:
        await until(lambda: simulator.switchboard.ended >= 3)
        await simulator.drained()
        ledger = simulator.ledger
        call_id = next(iter(ledger["calls"]))
        said = await ran("explain", call_id, env=env)
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith(call_id)
        unknown = await ran("explain", "CALL-1758124225863-80752e", env=env)
        assert unknown.code == 1
        assert "404" in unknown.err
        wrong = await ran("explain", call_id, env=env | {"ATOMS_API_KEY": "wrong"})
        assert wrong.code == 1
        assert "401" in wrong.err

        said = await ran("backfill", "--last", "50", env=env | backend.env)
        assert said.code == 0, said.err
        assert "6 of 6 calls exported" in said.err
        assert said.out == ""
        assert not (wrong_spans := flaws(backend.spans, ledger)), wrong_spans
        before = {span.span_id for span in backend.spans}
        again = await ran("backfill", call_id, "CALL-1758124225863-80752e", env=env | backend.env)
        assert again.code == 1, "one of them does not exist"
        assert "1 of 2 calls exported" in again.err
        assert "CALL-1758124225863-80752e: " in again.err
        assert {span.span_id for span in backend.spans} == before, "the same ids again"
        refused = Backend(status=400)
        await refused.start()
        said = await ran("backfill", call_id, env=env | refused.env)
        await refused.stop()
        assert said.code == 1
        assert "spans were not delivered" in said.err
    finally:
        await backend.stop()
        await simulator.stop()


async def test_backfill_leaves_calls_in_progress_alone() -> None:
    simulator = Simulator(SimulatorOptions(calls=2, total_calls=2, ramp_seconds=0.0))
    url = await simulator.start()
    backend = await Backend().start()
    try:
        await until(lambda: len(simulator.switchboard.live) == 2)
        env = {"ATOMS_API_KEY": "simulated-key", "ATOMS_BASE_URL": url} | backend.env
        said = await ran("backfill", "--last", "2", env=env)
        assert said.code == 0
        assert "2 still going on" in said.err
        assert backend.spans == []
    finally:
        await backend.stop()
        await simulator.stop()


def test_backfill_needs_to_know_where_traces_go_and_whom_to_ask() -> None:
    said = command("backfill", "--last", "1", env={"ATOMS_API_KEY": "x"})
    assert said.code == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in said.err
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    said = command("backfill", "--last", "1", env=endpoint)
    assert said.code == 2
    assert "ATOMS_API_KEY" in said.err
    nobody = {"ATOMS_API_KEY": "x", "ATOMS_BASE_URL": f"http://127.0.0.1:{free_port()}"}
    said = command("explain", "CALL-1758124225863-80752e", env=nobody)
    assert said.code == 1
    assert "Traceback" not in said.err
