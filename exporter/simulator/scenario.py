"""A call from its number: which agent, which way through the workflow, how it ends. Pure and seeded.

``script(seed, number, schedule)`` gives the same call for the same arguments, on any machine, in any order. A change
of conditions in the middle leaves what happened before it exactly as it was.
"""

from __future__ import annotations

from random import Random

from .agents import AGENTS, QUIET
from .conversation import Conversation
from .happenings import CallScript, Conditions, Happening, Schedule
from .measures import lognormal_ms
from .workflow import END, Agent, Node

PLAIN: Schedule = ((0, Conditions()),)
"""Nothing but chance."""

_MOST_TURNS = 36
_VERSION, _NEXT_VERSION = 3, 4
_STATUS = {
    "completed": "completed",
    "failed": "failed",
    "no_answer": "no_answer",
    "busy": "failed",
    "blocked": "blocked",
    "cancelled": "cancelled",
}
_ERRORS = (
    ("LLM_TIMEOUT", "the model did not answer in time", "timeout"),
    ("TTS_UNAVAILABLE", "no voice available", "system_error"),
    ("TRANSPORT_LOST", "media transport lost", "connection_error"),
)


def script(seed: int, number: int, schedule: Schedule = PLAIN) -> CallScript:
    """Call ``number`` of the seed under these conditions."""
    rng = Random(f"call/{seed}/{number}")
    fault_rng = Random(f"fault/{seed}/{number}")
    account = Random(f"account/{seed}/{number}")
    agent = rng.choices(AGENTS, [agent.share for agent in AGENTS])[0]
    first = schedule[0][1]
    if first.quiet_agents:
        agent = _seldom_called(first.quiet_agents, Random(f"quiet/{seed}/{number}")) or agent
    channel = rng.choices([name for name, _ in agent.channels], [weight for _, weight in agent.channels])[0]
    fails, endless, silent = (fault_rng.random() for _ in range(3))
    plan = _plan(rng, channel)
    if fails < first.call_failure:
        plan = "failed"
    refused = Random(f"blocked/{seed}/{number}")
    if refused.random() < first.blocked:
        plan = "blocked"
    never_ends = endless < first.never_ends and plan != "blocked"
    talk = Conversation(agent, schedule, rng, fault_rng)
    over = Random(f"over/{seed}/{number}")
    reason = _play(talk, plan, rng, over)
    ended = talk.now
    outcome = "completed" if plan in ("agent_hangup", "user_hangup") else plan
    talked = plan in ("agent_hangup", "user_hangup", "failed")
    if outcome == "completed" and over.random() < first.broken_end:
        reason = over.choice(("connection_error", "connection_error", "system_error", "timeout"))
    wordless = plan == "blocked" and refused.random() < 0.5
    if not never_ends and not wordless:
        _end(talk, outcome, reason, without_end=silent < first.call_without_end, talked=talked)
    return CallScript(
        seed=seed,
        number=number,
        agent_id=agent.id,
        channel=channel,
        outcome=outcome,
        status=_STATUS[outcome],
        reason=reason,
        failure=reason if outcome in ("failed", "busy") else "",
        from_phone=talk.words("+15550100"),
        to_phone=talk.words(f"+1555{rng.randrange(10**6):07d}"),
        variables={"customer_name": talk.words("Alex Doe"), "agent_name": agent.name},
        analytics=_analytics(talk, rng, outcome) if talked else (),
        happenings=_in_order(talk.happenings),
        answered_ms=190,
        ended_ms=ended,
        never_ends=never_ends,
        attempt=account.choices((0, 1, 2, 3), (85, 9, 4, 2))[0] if channel == "telephony_outbound" else 0,
        version=_NEXT_VERSION if account.random() < first.new_version else _VERSION,
        is_test=number % 16 == 5,
        dear=first.dear_factor if over.random() < first.dear else 1.0,
    )


def _seldom_called(share: float, rng: Random) -> Agent | None:
    return rng.choice(QUIET) if rng.random() < share else None


def _plan(rng: Random, channel: str) -> str:
    chance = rng.random()
    if channel == "telephony_outbound":
        if chance < 0.05:
            return "no_answer"
        if chance < 0.07:
            return "busy"
    if chance < 0.085:
        return "cancelled"
    if chance < 0.1:
        return "failed"
    return "user_hangup" if chance < 0.3 else "agent_hangup"


def _play(talk: Conversation, plan: str, rng: Random, over: Random) -> str:
    """Everything up to the end; returns the disconnection reason, for which the API has no word where nobody rang."""
    if plan == "blocked":
        return ""
    talk.metrics(5, *talk.pipeline.initial_zeros())
    if talk.agent.before_call_api:
        talk.call_api(90 + rng.randrange(60), "pre_call_api", talk.agent.before_call_api)
    telephony_id = f"{rng.getrandbits(128):032x}"
    talk.emit(190, "call_start", telephony_id=telephony_id)
    talk.now = 200
    if plan in ("no_answer", "busy"):
        talk.now += 18_000 if plan == "no_answer" else 2_500
        return "dial_no_answer" if plan == "no_answer" else plan
    if plan == "cancelled":
        talk.now += lognormal_ms(rng, 3_000)
        return "agent_hangup"
    payload = {"name": "session", "severity": "info", "message": talk.words("session ready"), "tags": ["boot"]}
    talk.emit(260, "agent_log", metadata=payload)
    first = talk.conditions()
    mute, late = over.random() < first.no_greeting, over.random() < first.late_greeting
    talk.now += first.greeting_late_ms if late else 0
    if not mute:
        talk.greet()
    return _converse(talk, plan, rng)


def _converse(talk: Conversation, plan: str, rng: Random) -> str:
    """Turn after turn along the workflow, until someone hangs up or something breaks."""
    node = talk.agent.nodes[0]
    last_turn = _MOST_TURNS if plan == "agent_hangup" else rng.randrange(1, 7)
    for number in range(1, _MOST_TURNS + 1):
        if plan != "agent_hangup" and number > last_turn:
            break
        following = _next(talk.agent, node, rng)
        talk.turn(node, may_interrupt=following is not None)
        if following is None:
            break
        node = following
    if plan == "failed":
        code, message, reason = rng.choice(_ERRORS)
        facts = {"code": code, "message": talk.words(message), "details": talk.words("trace 00-00")}
        talk.emit(
            talk.now + 20,
            "agent_error",
            error={"message": talk.words("retried")},
            metadata={},
            payload={"error_class": "ProviderRetry", "message": talk.words("retried")},
            severity="warning",
        )
        talk.emit(talk.now + 40, "agent_error", error=talk.words(message), metadata=facts, severity="fatal")
        talk.now += 120
        return reason
    if plan == "user_hangup":
        abrupt = node if rng.random() < 0.15 and node is not talk.node else None
        talk.hang_up(after_hop_to=abrupt)
        return "user_hangup"
    return "transfer_complete" if node.kind == "transfer_call" else "agent_hangup"


def _next(agent: Agent, node: Node, rng: Random) -> Node | None:
    if rng.random() < node.stay:
        return node
    chosen = rng.choices([way for way, _ in node.ways], [weight for _, weight in node.ways])[0]
    return None if chosen == END else agent.node(chosen)


def _end(talk: Conversation, outcome: str, reason: str, *, without_end: bool, talked: bool) -> None:
    at = talk.now
    if talk.agent.after_call_api and talked:
        talk.call_api(at, "post_call_api", talk.agent.after_call_api)
    if outcome == "cancelled":
        talk.emit(at + 20, "call_cancelled")
    elif not without_end:
        facts = {"status": outcome, "reason": reason, "duration": (at - 190) / 1000}
        talk.emit(at + 20, "call_end", metadata=facts)
    if talked:
        url = talk.words("https://recordings.example.com/simulated.wav?signature=secret")
        status = "failed" if talk.recording_fails() else "completed"
        talk.emit(at + 420, "call_recording", recording_url=url, status=status)


def _analytics(talk: Conversation, rng: Random, outcome: str) -> tuple[dict[str, object], ...]:
    """What ``analytics-completed`` will say: a BOOLEAN, a STRING and an INTEGER metric."""
    reached = outcome == "completed" and rng.random() < 0.7
    values: tuple[tuple[str, object], ...] = (
        ("BOOLEAN", reached),
        ("STRING", rng.choice(("positive", "neutral", "negative"))),
        ("INTEGER", rng.randrange(1, 11)),
    )
    return tuple(
        {
            "identifier": identifier,
            "value": value,
            "confidence": round(0.6 + 0.4 * rng.random(), 2),
            "reasoning": talk.words("From the tone of the last turns."),
            "dispositionMetricPrompt": talk.words(f"What is {identifier}?"),
            "dispositionMetricType": kind,
        }
        for identifier, (kind, value) in zip(talk.agent.dispositions, values, strict=True)
    )


def _in_order(happenings: list[Happening]) -> tuple[Happening, ...]:
    """By time, and no two in the same millisecond: order must survive a sort by timestamp."""
    ordered: list[Happening] = []
    last = -1
    for happening in sorted(happenings, key=lambda happening: happening.at_ms):
        at_ms = max(happening.at_ms, last + 1)
        ordered.append(Happening(at_ms, happening.kind, happening.facts) if at_ms != happening.at_ms else happening)
        last = at_ms
    return tuple(ordered)
