"""The simulator's own books: what a perfect consumer would count, by the counting rules, from dialect-neutral calls.

A family is named like the exporter's sample it can be compared with (``atoms_turn_latency_seconds_count``); its labels
are the documented ones without the names of agents and nodes, for which the ids stand. Sums are kept in milliseconds,
so that they are exact, and given in seconds. Nothing here is shared with the exporter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from .accounted import Accounts
from .book import Book
from .happenings import CallScript, Duration, Happening, Tokens
from .measures import STAGES

UNANSWERED_MS = 10_000
DEAD_AIR_MS = 5_000
"""How long a caller waits, and nobody is heard, before it counts."""

_DETAILS = {
    "cache_read_input_tokens": "cache_read",
    "cache_creation_input_tokens": "cache_creation",
    "reasoning_tokens": "reasoning",
    "input_audio_tokens": "input_audio",
    "output_audio_tokens": "output_audio",
    "cache_read_input_audio_tokens": "cache_read_audio",
}


class CallBook:
    """The book of one call, written event by event. ``book`` is complete after ``close``."""

    def __init__(self, agent_id: str, channel: str) -> None:
        self.book = Book()
        self._agent = agent_id
        self._channel = channel
        self._node: str | None = None
        self._first_node: str | None = None
        self._left: str | None = None
        self._hop_open = False
        self._tools: dict[str, int] = {}
        self._waiting: list[tuple[str, tuple[str, ...], float]] = []
        self._visits: Counter[str] = Counter()
        self._named: set[str] = set()
        self._connected_ms: int | None = None
        self._spoke_ms: int | None = None
        self._heard_ms: int | None = None
        self._asked: tuple[int, str | None] | None = None
        self._told_at_the_end: list[tuple[str, str | None, float]] = []
        self._accounts = Accounts()

    def see(self, happening: Happening) -> None:
        """The next event of the call."""
        self.book.add("events_total", (happening.kind,))
        facts = happening.facts
        match happening.kind:
            case "call_start":
                self._connected_ms = happening.at_ms
                self.book.add("atoms_calls_started_total", (self._agent, self._channel))
            case "agent_node_state":
                self._named.add(facts["node_id"])
                if self._node is None:
                    self._enter(facts["node_id"])
            case "hopping":
                self._hop(facts["from_node_id"], facts["to_node_id"])
                self._accounts.moments.append(happening.at_ms)
            case "user_interim_transcription":
                self._hear(happening.at_ms)
            case "user_transcription":
                self._count("atoms_user_turns_total")
                self._words("user", facts["user_transcription_text"])
                self._ask(happening.at_ms)
                self._accounts.moments.append(happening.at_ms)
            case "turn_latency":
                self._turn(facts, happening.at_ms)
                self._answer(happening.at_ms)
            case "tts_completed":
                self._timed("atoms_tts_latency_seconds", facts["tts_latency"].ms)
                self._words("agent", facts["tts_text"])
                self._answer(happening.at_ms)
            case "metrics":
                for record in facts["metrics"]:
                    self._record(record)
            case "tool_call_start":
                self._tools[facts["tool_call_id"]] = happening.at_ms
            case "tool_call_end" | "tool_call_error":
                self._tool(facts, happening.at_ms)
            case "knowledgebase":
                self._service("atoms_knowledgebase", "queries", facts)
                self._ran("knowledgebase", happening.at_ms, facts["latency"].ms)
            case "variable_extraction":
                self._service("atoms_variable_extraction", "s", facts)
                self._ran("variable_extraction", happening.at_ms, facts["latency"].ms)
            case "pre_call_api" | "post_call_api":
                self._accounts.apis.append(happening.at_ms)
                self._api(happening.kind.partition("_")[0], facts)
            case "agent_log":
                told = facts["metadata"]
                self._count("atoms_agent_logs_total", str(told["name"]), str(told.get("severity", "unknown")))
            case "call_recording":
                self.book.add("atoms_recordings_total", (self._agent, facts["status"]))
            case "agent_error":
                code = facts["metadata"].get("code") or facts["payload"]["error_class"]
                self._count("atoms_agent_errors_total", str(code), facts.get("severity", "unknown"))

    def close(self, script: CallScript, *, ended: bool, over: bool, waited_ms: int = 0) -> Book:
        """Nothing is left waiting. One that never ends has not ``ended``; but nothing more of it will come (``over``),
        and it has its end when somebody gives it up."""
        if over:
            if self._connected_ms is None:  # nobody let it through, and yet there was a call
                self.book.add("atoms_calls_started_total", (self._agent, self._channel))
            self._conclude()
            self._account(script, ended=ended, waited_ms=waited_ms)
        if self._node is None:
            self._settle("none")
        for node_id, visits in self._visits.items():
            if node_id not in self._named:
                self.book.add("nameless_visits_total", (self._agent, node_id), visits)
        if ended:
            self.book.add("atoms_calls_ended_total", (self._agent, self._channel, script.outcome))
        return self.book

    def _account(self, script: CallScript, *, ended: bool, waited_ms: int) -> None:
        """What the call log says beside the events."""
        where = (self._agent, self._channel)
        reason = script.reason if ended and script.reason else "unknown"
        self.book.add("atoms_call_end_reasons_total", (*where, reason))
        self.book.add("atoms_node_exits_total", (self._agent, self._node or "none", reason))
        self.book.add("atoms_call_attempts_total", (*where, "retry" if script.attempt else "initial"))
        if ended:
            self.book.add("atoms_call_cost_total", where, script.cost)
        if script.is_test:
            self.book.add("atoms_test_calls_total", (self._agent,))
        if self._connected_ms is not None:
            self.book.add("atoms_call_setup_seconds_count", where)
            self.book.add("atoms_call_setup_seconds_sum", where, waited_ms + self._connected_ms)

    # -- who was heard, and who was not answered: told when the call is over

    def _hear(self, at_ms: int) -> None:
        if self._heard_ms is not None and at_ms - self._heard_ms > DEAD_AIR_MS:
            self._told_at_the_end.append(("atoms_dead_air_seconds", self._node, at_ms - self._heard_ms))
        self._heard_ms = max(at_ms, self._heard_ms or at_ms)

    def _ask(self, at_ms: int) -> None:
        self._hear(at_ms)
        if self._asked is None or at_ms - self._asked[0] > UNANSWERED_MS:
            self._give_up_waiting()
            self._asked = at_ms, self._node

    def _answer(self, at_ms: int) -> None:
        self._hear(at_ms)
        if self._spoke_ms is None:
            self._spoke_ms = at_ms
        if self._asked is not None and at_ms - self._asked[0] > UNANSWERED_MS:
            self._give_up_waiting()
        self._asked = None

    def _give_up_waiting(self) -> None:
        if self._asked is not None:
            self._told_at_the_end.append(("atoms_unanswered_turns_total", self._asked[1], 1))

    def _conclude(self) -> None:
        self._give_up_waiting()
        for family, node_id, amount in self._told_at_the_end:
            where = (self._agent, node_id or self._first_node or "none")
            if family.endswith("_seconds"):
                self.book.add(f"{family}_count", where)
                self.book.add(f"{family}_sum", where, amount)
            else:
                self.book.add(family, where, amount)
        for node_id, spent in self._accounts.split():
            for stage, ms in spent.items():
                labels = (self._agent, node_id or self._first_node or "none", stage)
                self.book.add("atoms_turn_stage_latency_seconds_count", labels)
                self.book.add("atoms_turn_stage_latency_seconds_sum", labels, ms)
        if self._connected_ms is not None and self._spoke_ms is not None:
            where = (self._agent, self._channel)
            self.book.add("atoms_first_word_seconds_count", where)
            self.book.add("atoms_first_word_seconds_sum", where, self._spoke_ms - self._connected_ms)

    def _words(self, speaker: str, text: str) -> None:
        if words := len(text.split()):
            self._count("atoms_words_total", speaker, amount=words)

    # -- where things count

    def _count(self, family: str, *labels: str, amount: float = 1) -> None:
        """In the node the call is in; before the first node is known it waits for it."""
        if self._node is None:
            self._waiting.append((family, labels, amount))
        else:
            self.book.add(family, (self._agent, self._node, *labels), amount)

    def _timed(self, family: str, ms: float, *labels: str) -> None:
        self._count(f"{family}_count", *labels)
        self._count(f"{family}_sum", *labels, amount=ms)

    def _settle(self, node_id: str) -> None:
        waiting, self._waiting = self._waiting, []
        for family, labels, amount in waiting:
            self.book.add(family, (self._agent, node_id, *labels), amount)

    def _enter(self, node_id: str) -> None:
        if self._node is None:
            self._first_node = node_id
            self._settle(node_id)
        self._node = node_id
        self._visits[node_id] += 1
        self._count("atoms_node_visits_total")

    def _hop(self, from_id: str, to_id: str) -> None:
        if self._node is None:
            self._enter(from_id)
        self.book.add("atoms_node_hops_total", (self._agent, from_id, to_id))
        back = self._left == to_id
        self._left = from_id
        self._enter(to_id)
        if back:
            self._count("atoms_node_loops_total")
        self._hop_open = True

    # -- what counts

    def _ran(self, kind: str, at_ms: int, ms: float) -> None:
        self._accounts.ran.append((kind, at_ms - int(ms), at_ms))

    def _turn(self, facts: Mapping[str, Any], at_ms: int) -> None:
        ms = facts["turn_latency"].ms
        if ms < 0:
            self.book.add("samples_skipped_total", ("negative",))
            return
        self._timed("atoms_turn_latency_seconds", ms, "true" if facts["interrupted"] else "false")
        stages = {stage: facts[f"{stage}_ms"] for stage in STAGES if f"{stage}_ms" in facts}
        for stage, stage_ms in stages.items():
            self._timed("atoms_turn_stage_latency_seconds", stage_ms, stage)
        self._accounts.turns.append((self._node, at_ms, ms, sum(stages.values())))
        if self._hop_open:
            self._hop_open = False
            self._count("atoms_hop_response_seconds_count")

    def _record(self, record: Mapping[str, Any]) -> None:
        who = (record["processor"].partition("#")[0], record["model"] or "")
        match record:
            case {"ttfa": seconds}:
                self._timed("atoms_tts_first_audio_seconds", round(seconds * 1000), *who)
            case {"ttfat": seconds}:
                self._timed("atoms_llm_first_answer_seconds", round(seconds * 1000), *who)
            case {"e2e_processing_time_ms": ms}:
                self._timed("atoms_end_of_turn_prediction_seconds", ms, *who)
            case {"value": Duration(ms=0)}:
                self.book.add("samples_skipped_total", ("initial_zero",))
            case {"value": Duration(ms=ms)}:
                self._timed("atoms_processor_latency_seconds", ms, *who)
            case {"value": int(characters)}:
                self._count("atoms_tts_characters_total", *who, amount=characters)
            case {"value": {"audio_seconds": seconds}}:
                self._count("atoms_stt_audio_seconds_total", *who, amount=round(seconds * 1000))
            case {"value": Tokens() as used}:
                self._usage(used, who)

    def _usage(self, used: Tokens, who: tuple[str, str]) -> None:
        """Of a total alone nobody can tell what was the prompt's."""
        parts = {"prompt": used.prompt, "completion": used.completion}
        if used.told == "total":
            parts = {"other": used.prompt + used.completion}
        for kind, count in parts.items():
            self._count("atoms_llm_tokens_total", *who, kind, amount=count)
            self._count("atoms_llm_request_tokens_count", *who, kind)
            self._count("atoms_llm_request_tokens_sum", *who, kind, amount=count)
        for name, detail in _DETAILS.items():
            if part := used.details.get(name):
                self._count("atoms_llm_token_details_total", *who, detail, amount=part)

    def _tool(self, facts: Mapping[str, Any], at_ms: int) -> None:
        """An error says no latency: then it is the time since the start."""
        function = facts["function_name"]
        started_ms = self._tools.pop(facts["tool_call_id"], at_ms)
        self._count("atoms_tool_calls_total", function)
        if not facts.get("success", False):
            self._count("atoms_tool_call_failures_total", function)
        took = facts.get("latency_ms", at_ms - started_ms)
        self._timed("atoms_tool_call_latency_seconds", took, function)
        self._ran("tool", at_ms, took)

    def _service(self, family: str, plural: str, facts: Mapping[str, Any]) -> None:
        self._count(f"{family}s_total" if plural == "s" else f"{family}_{plural}_total")
        if facts["error"] is not None:
            self._count(f"{family}_failures_total")
        self._count(f"{family}_latency_seconds_sum", amount=facts["latency"].ms)

    def _api(self, phase: str, facts: Mapping[str, Any]) -> None:
        self._count("atoms_api_calls_total", phase, facts["method"])
        if not facts["success"]:
            self._count("atoms_api_call_failures_total", phase, facts["method"])


def book_of(script: CallScript, happenings: Iterable[Happening] | None = None, waited_ms: int = 0) -> Book:
    """The book of a whole call, or of the given part of it (then without an end); ``waited_ms`` it was in the queue."""
    page = CallBook(script.agent_id, script.channel)
    seen = script.happenings if happenings is None else tuple(happenings)
    for happening in seen:
        page.see(happening)
    over = happenings is None or (script.never_ends and len(seen) == len(script.happenings))
    ended = happenings is None and not script.never_ends
    return page.close(script, ended=ended, over=over, waited_ms=waited_ms)
