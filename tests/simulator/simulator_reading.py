"""A reader of the wire that shares no code with the simulator or the exporter: the unit rules, written down again."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

STAGES = ("stt_api", "stt_to_llm", "smart_turn", "llm_api", "llm_to_tts", "tts_api", "tts_to_audio")
DETAILS = {
    "cache_read_input_tokens": "cache_read",
    "cache_creation_input_tokens": "cache_creation",
    "reasoning_tokens": "reasoning",
    "input_audio_tokens": "input_audio",
    "output_audio_tokens": "output_audio",
    "cache_read_input_audio_tokens": "cache_read_audio",
}


def seconds(value: float, timestamp: Any) -> float:
    """Counting rule 3, for a value without a unit in its name, from somebody whose name does not tell either."""
    whole = float(value).is_integer()
    if isinstance(timestamp, str):
        return value / 1000 if whole or value >= 60 else value
    return value / 1000 if whole and value > 120 else value


def is_stage(processor: str) -> bool:
    """Named as the vendor names them: milliseconds, and nothing else."""
    return processor == processor.lower() and "_" in processor


def is_tts(processor: str) -> bool:
    """``PulseSTTService`` has the letters TTS too."""
    return "TTS" in processor.replace("STT", "")


def unix(timestamp: Any) -> float:
    if isinstance(timestamp, str):
        return datetime.fromisoformat(timestamp).timestamp()
    return timestamp


def milliseconds_at(event: dict[str, Any]) -> int:
    return round(unix(event["timestamp"]) * 1000)


def facts_of(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Every number in a call, with its time, in seconds, free of the dialect."""
    return [(milliseconds_at(event), event["event_type"], *_numbers(event)) for event in events]


def _numbers(event: dict[str, Any]) -> list[Any]:
    at = event["timestamp"]
    match event["event_type"]:
        case "turn_latency":
            total = event.get("total_turn_ms")
            latency = total / 1000 if total is not None else seconds(event["turn_latency"], at)
            stages = [event.get(f"{stage}_ms") for stage in STAGES]
            return [latency, *stages, event["interrupted"], event["turn_index"]]
        case "tts_completed":
            return [seconds(event["tts_latency"], at), event["tts_text"]]
        case "knowledgebase" | "variable_extraction":
            return [seconds(event["latency"], at), event["error"]]
        case "metrics":
            return [read_metric(record, at) for record in event["metrics"]]
        case "hopping":
            return [event["from_node_id"], event["to_node_id"]]
        case "agent_node_state":
            return [event["node_id"], event["node_name"]]
        case "tool_call_end":
            return [event["function_name"], event["latency_ms"], event["success"]]
        case _:
            return []


def read_metric(record: dict[str, Any], at: Any) -> tuple[Any, ...]:
    """(what it is, processor, model, number) of one metrics[] entry."""
    who = (record["processor"].split("#")[0], record["model"] or "")
    for name in ("ttfa", "ttfat"):
        if name in record:
            return (name, *who, record[name])
    if "e2e_processing_time_ms" in record:
        return ("end_of_turn", *who, record["e2e_processing_time_ms"] / 1000)
    value = record["value"]
    if isinstance(value, dict):
        if "audio_seconds" in value:
            return ("audio", *who, value["audio_seconds"])
        details = {short: value[name] for name, short in DETAILS.items() if value.get(name)}
        return ("tokens", *who, *_shared(value, details), tuple(sorted(details.items())))
    if value == 0:
        return ("zero", *who)
    if is_stage(who[0]):
        return ("time", *who, value / 1000)
    if is_tts(who[0]) and isinstance(value, int):
        return ("characters", *who, value)
    return ("time", *who, value)


def _shared(value: dict[str, Any], details: dict[str, int]) -> tuple[int, int, int]:
    """Counting rule 4: (prompt, completion, other)."""
    if value.get("prompt_tokens") is None:
        return 0, 0, value["total_tokens"]
    prompt, completion = value["prompt_tokens"], value["completion_tokens"]
    missing = value["total_tokens"] - prompt - completion
    if missing == 0:
        return prompt, completion, 0
    if missing == details.get("cache_read", 0) + details.get("cache_creation", 0):
        return prompt + missing, completion, 0
    assert missing == details["reasoning"]
    return prompt, completion + missing, 0


class Recount:
    """The counting rules, once more, over raw JSON events: family → Counter of labels, times in seconds."""

    def __init__(self, agent_id: str) -> None:
        self.counts: dict[str, Counter[tuple[str, ...]]] = {}
        self.agent_id = agent_id

    def add(self, family: str, *labels: str, amount: float = 1) -> None:
        self.counts.setdefault(family, Counter())[labels] += amount

    def call(self, events: list[dict[str, Any]]) -> None:
        first = next((e["node_id"] for e in events if e["event_type"] == "agent_node_state"), "none")
        node, before, shown, hop_open = first, None, False, False
        started: dict[str, int] = {}
        for event in events:
            kind, here = event["event_type"], (self.agent_id, node)
            self.add("events_total", kind)
            if kind == "agent_node_state" and not shown:
                shown = True
                self.add("atoms_node_visits_total", *here)
            elif kind == "hopping":
                origin, target = event["from_node_id"], event["to_node_id"]
                self.add("atoms_node_hops_total", self.agent_id, origin, target)
                self.add("atoms_node_visits_total", self.agent_id, target)
                if before == target:
                    self.add("atoms_node_loops_total", self.agent_id, target)
                node, before, hop_open = target, origin, True
            elif kind == "user_transcription":
                self.add("atoms_user_turns_total", *here)
                words = len(event["user_transcription_text"].split())
                self.add("atoms_words_total", *here, "user", amount=words)
            elif kind == "agent_log":
                self.add("atoms_agent_logs_total", *here, event["metadata"]["name"], event["metadata"]["severity"])
            elif kind == "call_recording":
                self.add("atoms_recordings_total", self.agent_id, event["status"])
            elif kind == "turn_latency":
                self._turn(event, here)
                if hop_open:
                    self.add("atoms_hop_response_seconds_count", *here)
                    hop_open = False
            elif kind == "tts_completed":
                self._timed("atoms_tts_latency_seconds", seconds(event["tts_latency"], event["timestamp"]), *here)
                self.add("atoms_words_total", *here, "agent", amount=len(event["tts_text"].split()))
            elif kind == "metrics":
                for record in event["metrics"]:
                    self._metric(record, event["timestamp"], here)
            elif kind == "tool_call_start":
                started[event["tool_call_id"]] = milliseconds_at(event)
            elif kind in ("tool_call_end", "tool_call_error"):
                self._tool(event, started.pop(event["tool_call_id"]), here)
            elif kind == "agent_error":
                code = event["metadata"].get("code") or event["payload"]["error_class"]
                self.add("atoms_agent_errors_total", *here, code, event.get("severity", "unknown"))
            elif kind in ("pre_call_api", "post_call_api"):
                labels = (*here, kind.split("_")[0], event["method"])
                self.add("atoms_api_calls_total", *labels)
                if not event["success"]:
                    self.add("atoms_api_call_failures_total", *labels)
            elif kind in ("knowledgebase", "variable_extraction"):
                self._service(event, here)

    def _timed(self, family: str, took: float, *labels: str) -> None:
        self.add(f"{family}_count", *labels)
        self.add(f"{family}_sum", *labels, amount=took)

    def _turn(self, event: dict[str, Any], here: tuple[str, str]) -> None:
        latency = _numbers(event)[0]
        self._timed("atoms_turn_latency_seconds", latency, *here, str(event["interrupted"]).lower())
        rest = latency
        for stage in STAGES:
            if event.get(f"{stage}_ms") is not None:
                rest -= event[f"{stage}_ms"] / 1000
                self._timed("atoms_turn_stage_latency_seconds", event[f"{stage}_ms"] / 1000, *here, stage)
        self._timed("atoms_turn_stage_latency_seconds", rest, *here, "unattributed")

    def _metric(self, record: dict[str, Any], at: Any, here: tuple[str, str]) -> None:
        what, *rest = read_metric(record, at)
        who = (*here, *rest[:2])
        families = {
            "time": "atoms_processor_latency_seconds",
            "ttfa": "atoms_tts_first_audio_seconds",
            "ttfat": "atoms_llm_first_answer_seconds",
            "end_of_turn": "atoms_end_of_turn_prediction_seconds",
        }
        if what in families:
            self._timed(families[what], rest[2], *who)
        elif what == "zero":
            self.add("samples_skipped_total", "initial_zero")
        elif what == "characters":
            self.add("atoms_tts_characters_total", *who, amount=rest[2])
        elif what == "audio":
            self.add("atoms_stt_audio_seconds_total", *who, amount=rest[2])
        else:
            for kind, count in zip(("prompt", "completion", "other"), rest[2:5], strict=True):
                if (kind == "other") != bool(rest[4]):
                    continue
                self.add("atoms_llm_tokens_total", *who, kind, amount=count)
                self._timed("atoms_llm_request_tokens", count, *who, kind)
            for detail, count in rest[5]:
                self.add("atoms_llm_token_details_total", *who, detail, amount=count)

    def _tool(self, event: dict[str, Any], started_ms: int, here: tuple[str, str]) -> None:
        labels = (*here, event["function_name"])
        self.add("atoms_tool_calls_total", *labels)
        if not event.get("success"):
            self.add("atoms_tool_call_failures_total", *labels)
        took = event.get("latency_ms", milliseconds_at(event) - started_ms) / 1000
        self._timed("atoms_tool_call_latency_seconds", took, *labels)

    def _service(self, event: dict[str, Any], here: tuple[str, str]) -> None:
        name, plural = {
            "knowledgebase": ("atoms_knowledgebase", "_queries"),
            "variable_extraction": ("atoms_variable_extraction", "s"),
        }[event["event_type"]]
        self.add(f"{name}{plural}_total", *here)
        if event["error"]:
            self.add(f"{name}_failures_total", *here)
        self.add(f"{name}_latency_seconds_sum", *here, amount=seconds(event["latency"], event["timestamp"]))
