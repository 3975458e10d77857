"""What each fact about a call counts in which series.

Children are looked up once per place and kept; an observation on the way from the wire costs one dictionary look-up
and one bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from exporter.calls.observations import (
    Agent,
    AgentFailed,
    AgentLogged,
    ApiCalled,
    AudioTranscribed,
    CallEnded,
    CallResumed,
    CallStarted,
    CharactersSpoken,
    DeadAir,
    DispositionGiven,
    FirstWordHeard,
    HopAnswered,
    Hopped,
    KnowledgebaseQueried,
    LoopClosed,
    NodeEntered,
    NodeExited,
    NodeLeft,
    Observation,
    Place,
    ProcessorMeasured,
    RecordingMade,
    SampleSkipped,
    Shown,
    SpeechSynthesised,
    TokensUsed,
    ToolCalled,
    ToolFailed,
    ToolTimed,
    TurnAnswered,
    TurnExplained,
    TurnUnanswered,
    UserSpoke,
    VariablesExtracted,
    Where,
    WordsSaid,
)
from exporter.outputs.prometheus.catalogue import CALL_METRICS, OUTCOMES
from exporter.outputs.prometheus.counted_in import BY_KIND, COUNTED_IN
from exporter.outputs.prometheus.series import Gauge, Store
from exporter.outputs.spans import speech_span_id, turn_span_id

_MOST_KEPT_PLACES = 50_000
_MOST_VERSIONS = 2_000
_TURNS = "atoms_turn_latency_seconds"
_ENTERED = "entered"
_Kept = dict[Any, Any]  # children of one place, by what distinguishes them there


class _OwnSpan:
    """The span of a fact, other than that of the visit it belongs to. Its id is a hash: taken when somebody looks."""

    __slots__ = ("_fact", "_identify")

    def __init__(self, fact: Shown, identify: Callable[[Shown], int]) -> None:
        self._fact = fact
        self._identify = identify

    @property
    def trace_id(self) -> str:
        return self._fact.where.trace_id

    @property
    def span_id(self) -> str:
        return f"{self._identify(self._fact):016x}"

    @property
    def call_id(self) -> str:
        return self._fact.where.call_id


def _not_counted(fact: Any) -> None:
    """Its group is switched off."""


class CallMetrics:
    """Counts facts. ``recorders`` has a way to count for every class of them."""

    def __init__(self, store: Store, *, version_label: bool = False) -> None:
        self._store = store
        self._version_label = version_label
        self._places: dict[Place, _Kept] = {}
        self._versions: dict[tuple[str, str], str] = {}
        self.recorders: dict[type[Observation], Callable[[Any], None]] = {
            ProcessorMeasured: self._processor_measured,
            SampleSkipped: self._sample_skipped,
            TurnAnswered: self._turn_answered,
            TurnExplained: self._turn_explained,
            SpeechSynthesised: self._speech_synthesised,
            TokensUsed: self._tokens_used,
            CharactersSpoken: self._characters_spoken,
            AudioTranscribed: self._audio_transcribed,
            UserSpoke: self._user_spoke,
            NodeEntered: self._node_entered,
            TurnUnanswered: self._counts("atoms_unanswered_turns_total"),
            DeadAir: self._dead_air,
            WordsSaid: self._words_said,
            FirstWordHeard: self._first_word_heard,
            NodeExited: self._node_exited,
            AgentLogged: self._agent_logged,
            RecordingMade: self._recording_made,
            LoopClosed: self._counts("atoms_node_loops_total"),
            NodeLeft: self._node_left,
            Hopped: self._hopped,
            HopAnswered: self._hop_answered,
            ToolCalled: self._tool_called,
            ToolTimed: self._tool_timed,
            ToolFailed: self._tool_failed,
            KnowledgebaseQueried: self._looks_up("atoms_knowledgebase", "queries"),
            VariablesExtracted: self._looks_up("atoms_variable_extraction", "s"),
            ApiCalled: self._api_called,
            AgentFailed: self._agent_failed,
            CallStarted: self._call_started,
            CallResumed: self._call_resumed,
            CallEnded: self._call_ended,
            DispositionGiven: self._disposition_given,
        }
        self._stages = not store.is_off("atoms_turn_stage_latency_seconds")
        for fact, names in COUNTED_IN.items():
            if all(store.is_off(name) for name in names):
                self.recorders[fact] = _not_counted

    def sweep(self) -> None:
        """Forget series that did not change since the last sweep."""
        self._places.clear()
        self._store.sweep(spec.name for spec in CALL_METRICS)

    def _turn_answered(self, fact: TurnAnswered) -> None:
        where, kept = fact.where, self._kept(fact.where.place)
        interrupted = "true" if fact.interrupted else "false"
        turn = self._in(kept, _TURNS, where.place, interrupted, *self._version(where.place))
        turn.observe_with(fact.seconds, fact.at, _OwnSpan(fact, turn_span_id))
        if self._stages:
            for stage, took in fact.stages:
                self._stage(kept, where, stage, took, fact.at)

    def _turn_explained(self, fact: TurnExplained) -> None:
        where = fact.where
        kept = self._kept(where.place)
        for stage, took in fact.stages:
            self._stage(kept, where, stage, took, fact.at)

    def _stage(self, kept: _Kept, where: Where, stage: str, took: float, at: float) -> None:
        child = self._in(kept, "atoms_turn_stage_latency_seconds", where.place, stage)
        child.observe_with(took, at, where)

    def _speech_synthesised(self, fact: SpeechSynthesised) -> None:
        place = fact.where.place
        kept = self._kept(place)
        child = self._in(kept, "atoms_tts_latency_seconds", place)
        child.observe_with(fact.seconds, fact.at, _OwnSpan(fact, speech_span_id))
        if fact.words:
            self._in(kept, "atoms_words_total", place, "agent").inc(fact.words)

    def _processor_measured(self, fact: ProcessorMeasured) -> None:
        where = fact.where
        kept = self._places.get(where.place)
        if kept is None:
            kept = self._kept(where.place)
        key = (fact.kind, fact.processor, fact.model)
        child = kept.get(key)
        if child is None:
            child = self._child(kept, key, BY_KIND[fact.kind], where.place, fact.processor, fact.model)
        child.observe_with(fact.seconds, fact.at, where)

    def _tokens_used(self, fact: TokensUsed) -> None:
        kept, place = self._kept(fact.where.place), fact.where.place
        for kind, count in (("prompt", fact.prompt), ("completion", fact.completion), ("other", fact.other or None)):
            if count is not None:
                labels = (fact.processor, fact.model, kind)
                self._in(kept, "atoms_llm_tokens_total", place, *labels).inc(count)
                self._in(kept, "atoms_llm_request_tokens", place, *labels).observe(count)
        for detail, count in fact.details:
            labels = (fact.processor, fact.model, detail)
            self._in(kept, "atoms_llm_token_details_total", place, *labels).inc(count)

    def _characters_spoken(self, fact: CharactersSpoken) -> None:
        place = fact.where.place
        kept = self._places.get(place)
        if kept is None:
            kept = self._kept(place)
        key = ("characters", fact.processor, fact.model)
        child = kept.get(key)
        if child is None:
            child = self._child(kept, key, "atoms_tts_characters_total", place, fact.processor, fact.model)
        child.value += fact.count

    def _audio_transcribed(self, fact: AudioTranscribed) -> None:
        place = fact.where.place
        kept = self._kept(place)
        self._in(kept, "atoms_stt_audio_seconds_total", place, fact.processor, fact.model).inc(fact.seconds)

    def _node_entered(self, fact: NodeEntered) -> None:
        place = fact.where.place
        kept = self._kept(place)
        self._in(kept, "atoms_node_visits_total", place).inc()
        if _ENTERED not in kept:
            kept[_ENTERED] = None
            self._expect(kept, place)

    def _expect(self, kept: _Kept, place: Place) -> None:
        """What any visit to a node may count is there, at 0, from the first visit on."""
        for name in ("atoms_node_loops_total", "atoms_user_turns_total", "atoms_node_duration_seconds"):
            self._in(kept, name, place)
        self._in(kept, _TURNS, place, "false", *self._version(place))

    def _node_left(self, fact: NodeLeft) -> None:
        if fact.duration_seconds is not None:
            where = fact.where
            child = self._in(self._kept(where.place), "atoms_node_duration_seconds", where.place)
            child.observe_with(fact.duration_seconds, fact.at, where)

    def _hopped(self, fact: Hopped) -> None:
        origin, target = fact.origin, fact.target
        labels = (target.agent_id, target.agent_name, origin.node_id, origin.node_name)
        self._store.counter("atoms_node_hops_total", *labels, target.node_id, target.node_name).inc()

    def _hop_answered(self, fact: HopAnswered) -> None:
        where = fact.where
        child = self._in(self._kept(where.place), "atoms_hop_response_seconds", where.place)
        child.observe_with(fact.seconds, fact.at, where)

    def _tool_called(self, fact: ToolCalled) -> None:
        place = fact.where.place
        kept = self._kept(place)
        self._in(kept, "atoms_tool_calls_total", place, fact.function).inc()
        self._in(kept, "atoms_tool_call_failures_total", place, fact.function)  # at 0 from the first call

    def _tool_failed(self, fact: ToolFailed) -> None:
        place = fact.where.place
        self._in(self._kept(place), "atoms_tool_call_failures_total", place, fact.function).inc()

    def _tool_timed(self, fact: ToolTimed) -> None:
        where = fact.where
        child = self._in(self._kept(where.place), "atoms_tool_call_latency_seconds", where.place, fact.function)
        child.observe_with(fact.seconds, fact.at, where)

    def _api_called(self, fact: ApiCalled) -> None:
        place = fact.where.place
        kept = self._kept(place)
        self._in(kept, "atoms_api_calls_total", place, fact.phase, fact.method).inc()
        failures = self._in(kept, "atoms_api_call_failures_total", place, fact.phase, fact.method)
        if fact.failed:
            failures.inc()

    def _agent_failed(self, fact: AgentFailed) -> None:
        place = fact.where.place
        labels = (fact.code, fact.severity, *self._version(place))
        self._in(self._kept(place), "atoms_agent_errors_total", place, *labels).inc()

    def _dead_air(self, fact: DeadAir) -> None:
        where = fact.where
        child = self._in(self._kept(where.place), "atoms_dead_air_seconds", where.place)
        child.observe_with(fact.seconds, fact.at, where)

    def _user_spoke(self, fact: UserSpoke) -> None:
        place = fact.where.place
        kept = self._kept(place)
        self._in(kept, "atoms_user_turns_total", place).inc()
        if fact.words:
            self._in(kept, "atoms_words_total", place, "user").inc(fact.words)

    def _words_said(self, fact: WordsSaid) -> None:
        place = fact.where.place
        self._in(self._kept(place), "atoms_words_total", place, "agent").inc(fact.count)

    def _first_word_heard(self, fact: FirstWordHeard) -> None:
        agent = fact.agent
        self._store.histogram("atoms_first_word_seconds", agent.agent_id, agent.name, fact.channel).observe(
            fact.seconds
        )

    def _node_exited(self, fact: NodeExited) -> None:
        place = fact.where.place
        self._in(self._kept(place), "atoms_node_exits_total", place, fact.reason).inc()

    def _recording_made(self, fact: RecordingMade) -> None:
        agent = fact.agent
        self._store.counter("atoms_recordings_total", agent.agent_id, agent.name, fact.status).inc()

    def _agent_logged(self, fact: AgentLogged) -> None:
        place = fact.where.place
        self._in(self._kept(place), "atoms_agent_logs_total", place, fact.name, fact.severity).inc()

    def _call_started(self, fact: CallStarted) -> None:
        agent = fact.agent
        labels = (agent.agent_id, agent.name, fact.channel, *self._version(agent))
        self._store.counter("atoms_calls_started_total", *labels).inc()
        self._begun(agent, fact.channel)

    def _call_resumed(self, fact: CallResumed) -> None:
        agent = fact.agent
        labels = (agent.agent_id, agent.name, fact.channel, *self._version(agent))
        self._store.counter("atoms_calls_started_total", *labels)
        self._begun(agent, fact.channel)

    def _begun(self, agent: Agent, channel: str) -> None:
        """A call is under way: what its end will count is there from now on."""
        self._active(agent).inc()
        for outcome in OUTCOMES:
            labels = (agent.agent_id, agent.name, channel, outcome, *self._version(agent))
            self._store.counter("atoms_calls_ended_total", *labels)
        self._store.histogram("atoms_call_duration_seconds", agent.agent_id, agent.name, channel)

    def _call_ended(self, fact: CallEnded) -> None:
        agent = fact.agent
        labels = (agent.agent_id, agent.name, fact.channel, fact.outcome, *self._version(agent))
        self._store.counter("atoms_calls_ended_total", *labels).inc()
        self._accounted(fact)
        self._active(agent).inc(-1)
        if fact.duration_seconds is not None:
            child = self._store.histogram("atoms_call_duration_seconds", agent.agent_id, agent.name, fact.channel)
            child.observe(fact.duration_seconds)

    def _accounted(self, fact: CallEnded) -> None:
        """What the call's log says beside its events."""
        account, agent = fact.account, fact.agent
        who, where = (agent.agent_id, agent.name), (agent.agent_id, agent.name, fact.channel)
        self._store.counter("atoms_call_end_reasons_total", *where, account.end_reason).inc()
        if account.cost is not None:
            self._store.counter("atoms_call_cost_total", *where).inc(account.cost)
        if account.attempt is not None:
            self._store.counter("atoms_call_attempts_total", *where, account.attempt).inc()
        if account.setup_seconds is not None:
            self._store.histogram("atoms_call_setup_seconds", *where).observe(account.setup_seconds)
        if account.is_test:
            self._store.counter("atoms_test_calls_total", *who).inc()
        if account.version is not None and self._versions.get(who) != account.version:
            if who in self._versions:
                self._store["atoms_agent_version_info"].children.pop((*who, self._versions[who]), None)
            elif len(self._versions) >= _MOST_VERSIONS:
                return
            self._versions[who] = account.version
            self._store.gauge("atoms_agent_version_info", *who, account.version).set(1)

    def _active(self, agent: Agent) -> Gauge:
        return self._store.gauge("atoms_calls_active", agent.agent_id, agent.name)

    def _disposition_given(self, fact: DispositionGiven) -> None:
        agent = fact.agent
        if fact.word is not None:
            self._store.counter(
                "atoms_disposition_results_total", agent.agent_id, agent.name, fact.identifier, fact.word
            ).inc()
        if fact.number is not None:
            self._store.histogram("atoms_disposition_value", agent.agent_id, agent.name, fact.identifier).observe(
                fact.number
            )

    def _sample_skipped(self, fact: SampleSkipped) -> None:
        self._store.counter("atoms_exporter_samples_skipped_total", fact.reason).inc()

    def _counts(self, name: str) -> Callable[[Any], None]:
        def count(fact: Any) -> None:
            place = fact.where.place
            self._in(self._kept(place), name, place).inc()

        return count

    def _looks_up(self, prefix: str, calls: str) -> Callable[[Any], None]:
        total = f"{prefix}_{calls}_total" if calls != "s" else f"{prefix}s_total"

        def count(fact: KnowledgebaseQueried | VariablesExtracted) -> None:
            where = fact.where
            kept = self._kept(where.place)
            self._in(kept, total, where.place).inc()
            failures = self._in(kept, f"{prefix}_failures_total", where.place)
            if fact.failed:
                failures.inc()
            if fact.seconds is not None:
                latency = self._in(kept, f"{prefix}_latency_seconds", where.place)
                latency.observe_with(fact.seconds, fact.at, where)

        return count

    def _version(self, whose: Agent | Place) -> tuple[str, ...]:
        """The label value, where there is that label."""
        return (whose.version or "unknown",) if self._version_label else ()

    def _kept(self, place: Place) -> _Kept:
        return self._places.get(place) or {}

    def _in(self, kept: _Kept, name: str, place: Place, *labels: str) -> Any:
        key = (name, *labels)
        child = kept.get(key)
        if child is None:
            child = self._child(kept, key, name, place, *labels)
        return child

    def _child(self, kept: _Kept, key: Hashable, name: str, place: Place, *labels: str) -> Any:
        """Looked up, and kept if it is a series of its own: names that are folded are as many as somebody makes up."""
        family = self._store[name]
        values = (place.agent_id, place.agent_name, place.node_id, place.node_name, *labels)
        child = family.labels(*values)
        if values in family.children or self._store.is_off(name):
            if not kept:
                if len(self._places) >= _MOST_KEPT_PLACES:
                    self._places.clear()
                kept = self._places.setdefault(place, kept)
            kept[key] = child
        return child
