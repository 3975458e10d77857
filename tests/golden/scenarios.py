"""The calls of the golden files, in no dialect."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.calls.observations import Agent
from tests.support.lives import AGENT
from tests.support.wire import Ms, Step, greeting, heard, hop, measured, node, record, step, tokens, turn


@dataclass(frozen=True)
class Scenario:
    """A call and how it ended. One without steps has only its file."""

    steps: tuple[Step, ...] = ()
    outcome: str = "completed"
    agent: Agent = AGENT


_TOOL = {"turn_id": "turn_1", "tool_call_id": "call_8f2a", "function_name": "get_balance"}
_ZEROS = measured(5, record("WavesTTSService#0", 0.0), record("DeepgramSTTService#0", 0.0), record("LLM#0", 0))

SCENARIOS: dict[str, Scenario] = {
    "guide": Scenario(),
    "guide-whole": Scenario(
        (
            measured(3, record("WavesTTSService#0", 0.0, "lightning-v2"), record("LLM#0", 0.0)),
            measured(5, record("WavesTTSService#0", Ms(1), "lightning-v2")),
            step(195, "call_start", telephony_id="8671288e-654e-4a79-adde-5f4dc714e6ca"),
            measured(900, record("WavesTTSService#0", 91, "lightning-v2")),
            greeting(5718, 5713),
            heard(6577, "Hello?"),
            node(7905, "10001", "Start - Determine If Reached Owner or Gatekeeper"),
            step(7906, "llm_full_response_end", llm_text="Hi, is this the business owner?"),
            turn(8216, 1690),
            step(10037, "user_interim_transcription", interim_transcription_text="Yes. You are."),
            hop(10509, "10001", "10002"),
            node(20905, "10002", "Qualify the Owner"),
            measured(21439, tokens(1292, 46)),
            step(22000, "call_end", metadata={}),
        )
    ),
    "loops": Scenario(
        (
            node(100, "A", "Ask"),
            hop(1000, "A", "B"),
            greeting(1800, 300),
            node(1850, "B", "Explain"),
            hop(3000, "B", "A"),
            turn(4250, 900),
            hop(5000, "A", "B"),
            hop(5500, "B", "C"),
            node(6000, "C", "Close"),
            hop(7000, "C", "C"),
            step(9000, "call_end"),
        )
    ),
    "single-prompt": Scenario(
        (
            _ZEROS,
            step(190, "call_start", telephony_id="t-1"),
            greeting(900),
            heard(2500),
            measured(3000, record("LLM#0", Ms(480), "gpt-4o"), tokens(700, 21)),
            turn(3400, 900, index=0, interrupted=False),
            step(5000, "call_end"),
        ),
        agent=Agent("a2", "One Prompt", single_prompt=True),
    ),
    "no-node-ever": Scenario((measured(10, tokens(5, 5)), heard(1000), turn(2000, 700), step(3000, "call_end"))),
    "stages": Scenario(
        (
            node(100, "A", "Ask"),
            turn(
                3000,
                1500,
                index=0,
                interrupted=False,
                stt_api=200,
                stt_to_llm=20,
                smart_turn=150,
                llm_api=600,
                llm_to_tts=30,
                tts_api=300,
                tts_to_audio=50,
            ),
            measured(3001, tokens(900, 40)),
            turn(6000, 800, index=1, interrupted=True, stt_api=100, llm_api=500),
            turn(9000, 400, index=2, interrupted=False, llm_api=700),
            step(9500, "call_end"),
        )
    ),
    "tools": Scenario(
        (
            node(100, "A", "Ask"),
            step(1000, "tool_call_start", **_TOOL, context={"arguments": {"account": "4711"}}),
            step(1750, "tool_call_end", **_TOOL, latency_ms=750, success=True, response={"balance": 12}),
            step(2000, "tool_call_start", tool_call_id="call_2", function_name="transfer"),
            hop(2100, "A", "B"),
            step(2600, "tool_call_error", tool_call_id="call_2", function_name="transfer", error="no agent free"),
            step(2601, "tool_call_end", tool_call_id="call_2", function_name="transfer", success=False, latency_ms=600),
            step(2700, "tool_call_end", function_name="no_id", latency_ms=5, success=True),
            step(2800, "tool_call_start", tool_call_id="call_3", function_name="never_answers"),
            node(3000, "B", "Transfer"),
            hop(3500, "B", "A"),
            step(4000, "call_end"),
        )
    ),
    "token-details": Scenario(
        (
            node(100, "A", "Ask"),
            measured(
                500,
                tokens(
                    1000,
                    80,
                    cache_read_input_tokens=640,
                    cache_creation_input_tokens=None,
                    reasoning_tokens=16,
                    input_audio_tokens=30,
                    output_audio_tokens=12,
                    cache_read_input_audio_tokens=0,
                ),
            ),
            measured(900, tokens(None, 12), tokens(7, None), tokens(None, None)),
            measured(1000, record("DeepgramSTTService#2", {"audio_seconds": 3.25}, "nova-2")),
            measured(
                1100,
                {"processor": "WavesTTSService#0", "model": "lightning-v2", "ttfa": 0.25, "leading_silence": 0.05},
                {"processor": "LLM#0", "model": "gpt-4o", "ttfat": 0.5, "thinking_time": 0.125},
                {"processor": "SmartTurn#0", "model": None, "is_complete": True, "e2e_processing_time_ms": 12.5},
                record("SmartTurn#0", {"is_complete": False, "probability": 0.25, "inference_time_ms": 25}),
            ),
            step(2000, "call_end"),
        )
    ),
    "agent-error": Scenario(
        (
            node(100, "A", "Ask"),
            step(900, "agent_error", error="late", metadata={"code": "LLM_TIMEOUT", "message": "10 s", "details": {}}),
            step(900, "agent_error", error="late", metadata={"code": "Customer 555-0100 is unknown", "message": ""}),
            step(950, "agent_error", error="late"),
            step(960, "agent_error", error={"code": "TTS_DOWN", "message": "late"}, severity="fatal"),
            step(970, "agent_error", error="LLM_SLOW", severity="warning"),
            step(980, "agent_error", payload={"error_class": "ProviderRetry"}, severity="warning"),
            step(1000, "call_end", metadata={"status": "failed"}),
        ),
        outcome="failed",
    ),
    "lookups": Scenario(
        (
            step(50, "pre_call_api", method="get", headers={"Authorization": "Bearer s"}, success=True, error=None),
            step(50, "pre_call_api", method="POST", body="{}", success=False, error="ETIMEDOUT", next_node_id="A"),
            node(100, "A", "Ask"),
            step(1000, "knowledgebase", knowledge_base_id="kb", response="yes", latency=Ms(130), error=None),
            step(2000, "knowledgebase", knowledge_base_id="kb", response=None, latency=Ms(2500), error="index down"),
            step(3000, "variable_extraction", variables={"name": "Alex"}, latency=Ms(45), error=None),
            step(4000, "variable_extraction", variables={}, error="no JSON"),
            step(5000, "call_end"),
            step(5100, "post_call_api", method="POST", success=True),
            step(5400, "call_recording", recording_url="https://r.example.com/a.wav", status="completed"),
        )
    ),
    "lost": Scenario(
        (node(100, "A", "Ask"), turn(2000, 1100), hop(3000, "A", "B"), measured(3500, tokens(10, 2))), outcome="lost"
    ),
    "cancelled": Scenario((step(190, "call_start"), step(3200, "call_cancelled")), outcome="cancelled"),
    "not-measurements": Scenario(
        (
            _ZEROS,
            node(100, "A", "Ask"),
            turn(1000, -250),
            measured(1100, record("WavesTTSService#0", -3), record("LLM#0", None), record("LLM#0", "0.5")),
            step(1200, "turn_latency", total_turn_ms=120_001),
            step(1300, "turn_latency"),
            step(1400, "tts_completed", tts_latency="soon", tts_text="x"),
            step(1500, "sentiment_shift", score=0.5),
            step(1600, "hopping", from_node_id="A"),
            step(1700, "call_end"),
        )
    ),
}
