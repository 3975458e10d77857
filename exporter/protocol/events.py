"""The Atoms event stream, one frozen class per wire type.

Field names are the wire's. Every field may be missing (``None``): what upstream leaves out must not cost the event.
What the exporter has no use for (interim transcripts, request headers, recording URLs) is not declared, and so is
never even decoded: a secret that was not read cannot leak.

Source: the vendor's event guide (2025) and OpenAPI description (2026).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""An integer that survives JSON everywhere. JSON knows no limit; arithmetic does."""

Number = Whole | float | None
"""A JSON number. Integers and floats are kept apart: the unit rules need to know which was written."""

LONGEST_NAME: Final = 512
"""Characters of a name or an id that are read; what is longer is cut before anybody remembers it."""

MOST_RECORDS: Final = 1024
"""Entries of one ``metrics`` event that are read: a pipeline has some ten processors."""

Name = Annotated[str, Meta(max_length=LONGEST_NAME)]
"""What becomes a label, or is kept with a call."""

Identifier = Name | Whole | None
"""An id that is a string in the documentation and, now and then, a number on the wire."""

Timestamp = Whole | float | datetime | None
"""Unix seconds (2025 dialect) or ISO 8601 (2026 dialect)."""


class Event(Struct, frozen=True, gc=False, kw_only=True, tag_field="event_type"):
    """What every forwarded event carries."""

    event_id: str | None = None
    timestamp: Timestamp = None
    call_id: str | None = None


class SSEInit(Event, frozen=True, gc=False, kw_only=True, tag="sse_init"):
    """The stream is open. Carries no id and no call."""


class SSEClose(Event, frozen=True, gc=False, kw_only=True, tag="sse_close"):
    """The server is about to close the stream."""


class CallStart(Event, frozen=True, gc=False, kw_only=True, tag="call_start"):
    """The call connected."""

    telephony_id: Identifier = None


class CallEnd(Event, frozen=True, gc=False, kw_only=True, tag="call_end"):
    """The call is over."""


class CallCancelled(Event, frozen=True, gc=False, kw_only=True, tag="call_cancelled"):
    """The call was cancelled before or while it ran."""


class UserInterimTranscription(Event, frozen=True, gc=False, kw_only=True, tag="user_interim_transcription"):
    """What the caller seems to be saying. About two a second, and nobody counts them: only the envelope is read."""


class UserTranscription(Event, frozen=True, gc=False, kw_only=True, tag="user_transcription"):
    """What the caller said."""

    user_transcription_text: str | None = None


class AgentNodeState(Event, frozen=True, gc=False, kw_only=True, tag="agent_node_state"):
    """The node that has just answered, with its name."""

    node_id: Identifier = None
    node_name: Name | None = None
    node_type: Name | None = None
    context: Any = None


class Hopping(Event, frozen=True, gc=False, kw_only=True, tag="hopping"):
    """The agent moves on: the next answer comes from ``to_node_id``."""

    from_node_id: Identifier = None
    to_node_id: Identifier = None


class LLMFullResponseEnd(Event, frozen=True, gc=False, kw_only=True, tag="llm_full_response_end"):
    """The language model finished its answer."""

    llm_text: str | None = None


class TTSCompleted(Event, frozen=True, gc=False, kw_only=True, tag="tts_completed"):
    """Speech was synthesised; ``tts_latency`` ends at the event's timestamp."""

    tts_latency: Number = None
    tts_text: str | None = None


class TurnLatency(Event, frozen=True, gc=False, kw_only=True, tag="turn_latency"):
    """From the caller's last word to the agent's first; ends at the event's timestamp."""

    turn_latency: Number = None
    stt_api_ms: Number = None
    stt_to_llm_ms: Number = None
    smart_turn_ms: Number = None
    llm_api_ms: Number = None
    llm_to_tts_ms: Number = None
    tts_api_ms: Number = None
    tts_to_audio_ms: Number = None
    total_turn_ms: Number = None
    turn_index: Number = None
    interrupted: bool | None = None
    smart_turn_enabled: bool | None = None


class MetricValue(Struct, frozen=True, gc=False):
    """The object form of a metric's value: LLM token usage, STT usage or an end-of-turn prediction."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    total_tokens: Number = None
    cache_read_input_tokens: Number = None
    cache_creation_input_tokens: Number = None
    reasoning_tokens: Number = None
    input_audio_tokens: Number = None
    output_audio_tokens: Number = None
    cache_read_input_audio_tokens: Number = None
    audio_seconds: Number = None
    e2e_processing_time_ms: Number = None
    inference_time_ms: Number = None


class MetricRecord(Struct, frozen=True, gc=False):
    """One entry of ``metrics[]``: a Pipecat metric record with its type tag removed."""

    processor: Name | None = None
    model: Name | None = None
    value: Whole | float | MetricValue | None = None
    ttfa: Number = None
    ttfat: Number = None
    e2e_processing_time_ms: Number = None
    inference_time_ms: Number = None


class Metrics(Event, frozen=True, gc=False, kw_only=True, tag="metrics"):
    """What the pipeline's processors measured."""

    metrics: Annotated[list[MetricRecord], Meta(max_length=MOST_RECORDS)] | None = None


class ToolCallStart(Event, frozen=True, gc=False, kw_only=True, tag="tool_call_start"):
    """A tool was called."""

    turn_id: Identifier = None
    tool_call_id: Identifier = None
    function_name: Name | None = None
    context: Any = None


class ToolCallEnd(Event, frozen=True, gc=False, kw_only=True, tag="tool_call_end"):
    """A tool answered."""

    turn_id: Identifier = None
    tool_call_id: Identifier = None
    function_name: Name | None = None
    latency_ms: Number = None
    success: bool | None = None
    response: Any = None
    error: Any = None


class ToolCallError(Event, frozen=True, gc=False, kw_only=True, tag="tool_call_error"):
    """A tool failed."""

    turn_id: Identifier = None
    tool_call_id: Identifier = None
    function_name: Name | None = None
    latency_ms: Number = None
    error: Any = None


class Knowledgebase(Event, frozen=True, gc=False, kw_only=True, tag="knowledgebase"):
    """A knowledge base was searched."""

    knowledge_base_id: Identifier = None
    user_transcript: Any = None
    response: Any = None
    latency: Number = None
    error: Any = None


class VariableExtraction(Event, frozen=True, gc=False, kw_only=True, tag="variable_extraction"):
    """Variables were taken out of the conversation."""

    variables: Any = None
    latency: Number = None
    error: Any = None


class ApiCall(Event, frozen=True, gc=False, kw_only=True):
    """An HTTP call the workflow made to the customer's own API. Headers and bodies hold secrets and are not read."""

    method: Name | None = None
    success: bool | None = None
    error: Any = None


class PreCallApi(ApiCall, frozen=True, gc=False, kw_only=True, tag="pre_call_api"):
    """… before the conversation."""


class PostCallApi(ApiCall, frozen=True, gc=False, kw_only=True, tag="post_call_api"):
    """… after it."""


class AgentError(Event, frozen=True, gc=False, kw_only=True, tag="agent_error"):
    """The agent failed at something. ``metadata.code``, ``error.code`` or ``payload.error_class`` names it;
    ``severity`` is ``warning`` or ``fatal`` where it is told."""

    error: Any = None
    metadata: Any = None
    payload: Any = None
    severity: Any = None
    error_class: Any = None


class AgentLog(Event, frozen=True, gc=False, kw_only=True, tag="agent_log"):
    """The customer's own event. Its name and severity are read, its payload never."""

    metadata: Any = None


class CallRecording(Event, frozen=True, gc=False, kw_only=True, tag="call_recording"):
    """A recording is available, or is not: its ``status`` says. Its URL is a secret and never read."""

    status: Any = None


class Unknown(Event, frozen=True, gc=False, kw_only=True, tag="__unknown__"):
    """An event type this version does not know: counted, harmless. ``wire_type`` is what it calls itself."""

    wire_type: str = ""


KnownEvent = (
    SSEInit
    | SSEClose
    | CallStart
    | CallEnd
    | CallCancelled
    | UserInterimTranscription
    | UserTranscription
    | AgentNodeState
    | Hopping
    | LLMFullResponseEnd
    | TTSCompleted
    | TurnLatency
    | Metrics
    | ToolCallStart
    | ToolCallEnd
    | ToolCallError
    | Knowledgebase
    | VariableExtraction
    | PreCallApi
    | PostCallApi
    | AgentError
    | AgentLog
    | CallRecording
)

EVENT_CLASSES: dict[str, type[Event]] = {str(cls.__struct_config__.tag): cls for cls in KnownEvent.__args__}
"""Wire name to class, in the order of the documentation."""

WIRE_NAMES: dict[type[Event], str] = {cls: name for name, cls in EVENT_CLASSES.items()} | {Unknown: "other"}
"""Class to the word used in metric labels: the wire name, or ``other``."""
