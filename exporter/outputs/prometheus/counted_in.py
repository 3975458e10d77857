"""Which metrics a fact is counted in, where it is counted in nothing else: where all of them are switched off, there is
nothing to do about it."""

from __future__ import annotations

from exporter.calls.observations import (
    AgentLogged,
    ApiCalled,
    AudioTranscribed,
    CharactersSpoken,
    DeadAir,
    DispositionGiven,
    FirstWordHeard,
    HopAnswered,
    Hopped,
    KnowledgebaseQueried,
    LoopClosed,
    NodeExited,
    NodeLeft,
    Observation,
    ProcessorMeasured,
    RecordingMade,
    SpeechSynthesised,
    TokensUsed,
    ToolCalled,
    ToolFailed,
    ToolTimed,
    TurnExplained,
    TurnUnanswered,
    VariablesExtracted,
    WordsSaid,
)

BY_KIND = {
    "latency": "atoms_processor_latency_seconds",
    "first_audio": "atoms_tts_first_audio_seconds",
    "first_answer": "atoms_llm_first_answer_seconds",
    "end_of_turn": "atoms_end_of_turn_prediction_seconds",
}
"""The metric of each kind of a processor's durations."""
_TOOLS = ("atoms_tool_calls_total", "atoms_tool_call_failures_total")
COUNTED_IN: dict[type[Observation], tuple[str, ...]] = {
    TurnExplained: ("atoms_turn_stage_latency_seconds",),
    ProcessorMeasured: tuple(BY_KIND.values()),
    SpeechSynthesised: ("atoms_tts_latency_seconds", "atoms_words_total"),
    TokensUsed: ("atoms_llm_tokens_total", "atoms_llm_token_details_total", "atoms_llm_request_tokens"),
    CharactersSpoken: ("atoms_tts_characters_total",),
    AudioTranscribed: ("atoms_stt_audio_seconds_total",),
    TurnUnanswered: ("atoms_unanswered_turns_total",),
    DeadAir: ("atoms_dead_air_seconds",),
    FirstWordHeard: ("atoms_first_word_seconds",),
    WordsSaid: ("atoms_words_total",),
    NodeExited: ("atoms_node_exits_total",),
    NodeLeft: ("atoms_node_duration_seconds",),
    LoopClosed: ("atoms_node_loops_total",),
    Hopped: ("atoms_node_hops_total",),
    HopAnswered: ("atoms_hop_response_seconds",),
    ToolCalled: _TOOLS,
    ToolFailed: _TOOLS,
    ToolTimed: ("atoms_tool_call_latency_seconds",),
    KnowledgebaseQueried: ("atoms_knowledgebase_queries_total",),
    VariablesExtracted: ("atoms_variable_extractions_total",),
    ApiCalled: ("atoms_api_calls_total",),
    AgentLogged: ("atoms_agent_logs_total",),
    RecordingMade: ("atoms_recordings_total",),
    DispositionGiven: ("atoms_disposition_results_total", "atoms_disposition_value"),
}
