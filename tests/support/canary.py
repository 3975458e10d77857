"""Events and webhooks with a canary in every field that is somebody's words, number, address, data or secret.

Each canary says where it was put, so that one that sings elsewhere names the leak. Feed them to whatever has outputs
and look for ``CANARY`` there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

CANARY = "CaNaRy"
SECRET = f"{CANARY}-secret"
"""In headers, bodies, recording URLs: never leaves the process, whatever is switched on."""
PHONE = 15550100123
"""The canary of number fields: a telephone number."""


def words(where: str) -> str:
    """Somebody's words."""
    return f"{CANARY} said in {where} +{PHONE}"


def secret(where: str) -> str:
    """Somebody's secret."""
    return f"https://{SECRET}.example.com/{where}?token={SECRET}"


def canaried_events(call_id: str, begun: float = 1758124305.0) -> list[dict[str, Any]]:
    """One call with every event type; what is structure (ids and names of nodes, tools, models) is plain."""
    bodies = list(_bodies())
    return [
        {
            "event_id": f"{call_id}_{number}_{round(begun * 1000) + number * 250}",
            "timestamp": begun + number * 0.25,
            "call_id": call_id,
            "observer_class": words("observer_class"),
            "source": words("source"),
            "anything_new": {"x": [words("an unknown field")]},
            **body,
        }
        for number, body in enumerate(bodies)
    ]


def _bodies() -> Iterator[dict[str, Any]]:
    yield {"event_type": "call_start", "telephony_id": "t-1", "from": PHONE, "to": PHONE}
    yield _api("pre_call_api", success=True)
    yield {"event_type": "tts_completed", "tts_latency": 0.7, "tts_text": words("tts_text")}
    yield {"event_type": "user_interim_transcription", "interim_transcription_text": words("interim")}
    yield {"event_type": "user_transcription", "user_transcription_text": words("user_transcription_text")}
    context = {"user_response": words("context.user_response"), "agent_response": words("context.agent_response")}
    yield {"event_type": "agent_node_state", "node_id": "1", "node_name": "One", "node_type": "d", "context": context}
    yield {"event_type": "llm_full_response_end", "llm_text": words("llm_text")}
    yield {"event_type": "turn_latency", "turn_latency": 1.5, "llm_api_ms": 500, "note": words("turn")}
    yield {"event_type": "turn_latency", "turn_latency": words("a number"), "turn_index": PHONE, "interrupted": PHONE}
    yield {"event_type": "metrics", "metrics": [{"processor": "LLM#0", "value": words("value"), "text": words("m")}]}
    tool = {"turn_id": words("turn_id"), "tool_call_id": "t1", "function_name": "look_up"}
    arguments = {"arguments": {"phone": PHONE, "name": words("tool arguments")}}
    yield {"event_type": "tool_call_start", **tool, "context": arguments}
    response = {"result": words("tool response")}
    error = words("tool error")
    yield {"event_type": "tool_call_end", **tool, "success": False, "response": response, "error": error}
    yield {"event_type": "tool_call_error", **tool, "tool_call_id": "t2", "error": words("tool_call_error")}
    yield {
        "event_type": "knowledgebase",
        "knowledge_base_id": words("knowledge_base_id"),
        "user_transcript": words("user_transcript"),
        "response": words("knowledgebase response"),
        "latency": 0.25,
        "error": words("knowledgebase error"),
    }
    yield {
        "event_type": "variable_extraction",
        "variables": {"name": words("variables"), "phone": PHONE},
        "variable_extraction_prompt": words("prompt"),
        "latency": words("latency"),
        "error": words("variable_extraction error"),
    }
    yield {"event_type": "hopping", "from_node_id": "1", "to_node_id": "2", "reason": words("hopping")}
    code = {"code": words("code"), "message": words("message"), "details": {"phone": PHONE}}
    yield {"event_type": "agent_error", "error": words("agent_error"), "metadata": code}
    yield {"event_type": "agent_error", "error": words("agent_error"), "metadata": {"code": PHONE}}
    log = {"name": words("log name"), "payload": words("log payload"), "message": words("log"), "tags": [words("tag")]}
    yield {"event_type": "agent_log", "metadata": log}
    yield {"event_type": "sentiment_shift", "label": words("an unknown event"), "score": PHONE}
    yield {"event_type": words("event_type"), "payload": words("an unknown event")}
    yield _api("post_call_api", success=False)
    yield {"event_type": "call_cancelled", "reason": words("call_cancelled")}
    yield {"event_type": "call_end", "metadata": {"reason": words("metadata"), "phone": PHONE}}
    yield {"event_type": "call_recording", "recording_url": secret("recording_url"), "status": words("status")}


def _api(kind: str, *, success: bool) -> dict[str, Any]:
    return {
        "event_type": kind,
        "method": words("method"),
        "url": secret("url"),
        "headers": {"Authorization": f"Bearer {SECRET}", SECRET: "x"},
        "body": {"secret": SECRET, "phone": PHONE},
        "timeout": 5000,
        "response": {"body": secret("api response")},
        "extracted_variables": {"name": secret("extracted_variables")},
        "next_node_id": words("next_node_id"),
        "success": success,
        "error": None if success else words("api error"),
    }


def canaried_webhooks(call_id: str, agent_id: str) -> list[dict[str, Any]]:
    """The three deliveries about such a call."""
    common = {
        "agentId": agent_id,
        "callId": call_id,
        "conversationType": "webcall",
        "toPhone": f"+{PHONE}",
        "fromPhone": f"+{PHONE}",
    }
    ended = {
        "callDuration": 7,
        "callStatus": "completed",
        "endTime": "2025-09-17T15:51:53Z",
        "fromNumber": f"+{PHONE}",
        "toNumber": f"+{PHONE}",
    }
    transcript = [{"role": "user", "content": words("transcript")}]
    variables = {"name": words("webhook variables")}
    results = [
        {
            "identifier": "mood",
            "value": words("disposition value"),
            "confidence": 0.9,
            "reasoning": words("reasoning"),
            "dispositionMetricPrompt": words("dispositionMetricPrompt"),
            "dispositionMetricType": "STRING",
        },
        {"identifier": "phone", "value": str(PHONE), "dispositionMetricType": "STRING"},
    ]
    analytics = {"summary": words("summary"), "dispositionMetrics": results, "successMetrics": results[:1]}
    extra: dict[str, dict[str, Any]] = {
        "pre-conversation": {},
        "post-conversation": {
            "callData": ended,
            "transcript": transcript,
            "variables": variables,
            "recordingUrl": secret("recordingUrl"),
        },
        "analytics-completed": {"analytics": analytics},
    }
    return [
        {
            "url": secret("webhook url"),
            "description": words("description"),
            "event": f"{agent_id}.{kind}",
            "id": f"delivery-{kind}",
            "metadata": {**common, "eventType": kind, **more},
        }
        for kind, more in extra.items()
    ]


def sings(text: str) -> bool:
    """Whether a canary is in this output. A phone number may have lost its plus on the way."""
    return CANARY.lower() in text.lower() or str(PHONE) in text or f"{PHONE:.10e}"[:12] in text
