"""One conversation, turn by turn: who speaks when, what the pipeline reports meanwhile, in the guide's order.

The order within a turn: interim transcriptions while the user speaks; the final one; extraction, hop, knowledge
base, tools; the node's state once it has answered; ``turn_latency`` when the answer is heard; ``tts_completed`` then.
About three ``metrics`` events a second throughout and two interim transcriptions a second of speech.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from .happenings import Conditions, Duration, Happening, Schedule, conditions_at
from .measures import Pipeline, lognormal_ms, stage_times
from .workflow import Agent, Node, Tool

_METRICS_EVERY_MS = 370
_INTERIM_EVERY_MS = 480
_WAITS_FOR_AN_ANSWER_MS = 5_000
_DEAD_AIR_MS = 12_000
_CUSTOM_EVENTS = (("escalated", "warning"), ("consent", "info"), ("voicemail", "info"))


@dataclass(slots=True)
class _Turn:
    """One turn while it is being made: ``at`` is the moment reached, all in ms of the call."""

    node: Node
    conditions: Conditions
    spoke_at: int
    stopped_at: int
    at: int
    hears: str
    says: str
    stages: dict[str, int]
    smart_turn: bool
    interrupted: bool
    rest: int = 0
    tts_from: int = 0

    def spend(self, ms: int) -> int:
        """Time that no stage accounts for (extraction, knowledge base, tools, scheduling)."""
        self.rest += ms
        self.at += ms
        return self.at


class Conversation:
    """Makes the events of one call. ``now`` is where the next turn may begin; ``node`` the node the call is in."""

    def __init__(self, agent: Agent, schedule: Schedule, rng: Random, fault_rng: Random) -> None:
        self.agent = agent
        self.happenings: list[Happening] = []
        self.now = 0
        self.turns = 0
        self.node: Node | None = None
        self.pipeline = Pipeline.of(agent, rng)
        self._schedule = schedule
        self._rng = rng
        self._fault_rng = fault_rng
        self._prompt_tokens = 700 + rng.randrange(500)

    def conditions(self) -> Conditions:
        """The conditions in force now."""
        return conditions_at(self._schedule, self.now)

    def emit(self, at_ms: int, kind: str, **facts: Any) -> None:
        """Something happens at this moment of the call."""
        self.happenings.append(Happening(at_ms, kind, facts))

    def words(self, text: str) -> str:
        """A free text, with the canary if there is one."""
        canary = self.conditions().canary
        return f"{text} {canary}" if canary else text

    def metrics(self, at_ms: int, *records: dict[str, Any]) -> None:
        """One ``metrics`` event."""
        self.emit(at_ms, "metrics", metrics=list(records))

    def greet(self) -> None:
        """The greeting: measured from the start of the call, before any node is known."""
        rng, text = self._rng, self.agent.greeting
        begun = self.now
        self.metrics(begun + 35, self.pipeline.tts_overhead(rng))
        first_audio = lognormal_ms(rng, 190)
        self.metrics(begun + 60, self.pipeline.characters(len(text)))
        self.metrics(begun + 60 + first_audio, self.pipeline.tts_time(first_audio))
        done = begun + max(420, lognormal_ms(rng, 760))
        self.emit(done, "tts_completed", tts_latency=Duration(done), tts_text=self.words(text))
        self.now = self._speech(done, _speaking_ms(text))

    def turn(self, node: Node, *, may_interrupt: bool = True) -> None:
        """The user speaks and ``node`` answers; a hop, when the call was in another node."""
        turn = self._listen(node, may_interrupt)
        self._understand(turn)
        if self._strikes(turn.conditions.silent_agent):
            self.now = turn.at + _WAITS_FOR_AN_ANSWER_MS
            return
        self._think(turn)
        self._answer(turn)

    def hang_up(self, after_hop_to: Node | None = None) -> None:
        """The user goes in the middle of a sentence; with ``after_hop_to`` just after the call has hopped on."""
        rng = self._rng
        began = self.now + 250
        ended = began + lognormal_ms(rng, 1100, 0.4)
        self._user_speaks(began, ended, rng.choice(("Sorry, I have to go", "No, thanks", "I will call back")))
        self.now = ended + 80
        if after_hop_to is not None and self.node is not None and self.agent.shows_nodes:
            self.emit(ended + 60, "user_transcription", user_transcription_text=self.words("Okay. One sec."))
            self.emit(ended + 75, "hopping", from_node_id=self.node.id, to_node_id=after_hop_to.id)
            self.node = after_hop_to
            self.now += 120

    # -- the parts of a turn, in order

    def _listen(self, node: Node, may_interrupt: bool) -> _Turn:
        rng, conditions = self._rng, self.conditions()
        self.turns += 1
        began = self.now
        hears = rng.choice((self.node or node).hears)
        stopped = began + min(6000, max(600, lognormal_ms(rng, 1500 + 18 * len(hears), 0.35)))
        self._user_speaks(began, stopped, hears)
        smart_turn = rng.random() < 0.9
        pace = node.pace * conditions.pace_of(self.agent.id, node.id)
        return _Turn(
            node=node,
            conditions=conditions,
            spoke_at=began,
            stopped_at=stopped,
            at=stopped,
            hears=hears,
            says=rng.choice(node.says),
            stages=stage_times(rng, pace, smart_turn=smart_turn),
            smart_turn=smart_turn,
            interrupted=rng.random() < 0.07 and may_interrupt,
        )

    def _user_speaks(self, began: int, stopped: int, text: str) -> None:
        words = text.split()
        heard = 0
        at = began + 260
        while at < stopped:
            heard += 1
            shown = " ".join(words[: max(1, min(len(words), heard))])
            self.emit(at, "user_interim_transcription", interim_transcription_text=self.words(shown))
            at += _INTERIM_EVERY_MS + self._rng.randrange(-60, 60)
        for at in self._every(began + 110, stopped):
            self.metrics(at, self.pipeline.stt_time(self._rng))

    def _understand(self, turn: _Turn) -> None:
        """Transcription, end of turn, variables, the hop, the knowledge base."""
        rng, node = self._rng, turn.node
        turn.at += turn.stages["stt_api"]
        self.emit(turn.at, "user_transcription", user_transcription_text=self.words(turn.hears))
        turn.at += turn.stages.get("smart_turn", 0)
        if turn.smart_turn:
            self.metrics(turn.at + 2, self.pipeline.end_of_turn(rng, complete=True))
        if self.node is not None and self.node.extracts and self.node is not node:
            self._extract(turn, self.node)
        if self.node is not None and self.node is not node and self.agent.shows_nodes:
            hopped = turn.spend(4 + rng.randrange(8))
            self.emit(hopped, "hopping", from_node_id=self.node.id, to_node_id=node.id)
        self.node = node
        if rng.random() < node.knowledge:
            latency = lognormal_ms(rng, 130, 0.4)
            self._look_up(turn.spend(latency), latency, turn.hears)
        turn.at += turn.stages["stt_to_llm"]

    def _extract(self, turn: _Turn, node: Node) -> None:
        rng = self._rng
        latency = lognormal_ms(rng, 120, 0.35)
        failed = rng.random() < 0.02
        at = turn.spend(latency)
        self.emit(
            at,
            "variable_extraction",
            variables={name: self.words(turn.hears) for name in node.extracts},
            variable_extraction_prompt=self.words(f"Extract {', '.join(node.extracts)}."),
            latency=Duration(latency),
            error=self.words("no JSON in the answer") if failed else None,
        )
        self.metrics(at + 1, self.pipeline.extraction_tokens(rng))

    def _look_up(self, at: int, latency: int, question: str) -> None:
        failed = self._rng.random() < 0.02
        self.emit(
            at,
            "knowledgebase",
            knowledge_base_id="66aa00bb11cc22dd33ee44ff",
            user_transcript=self.words(question),
            response=None if failed else self.words("The fee is waived in the first year."),
            latency=Duration(latency),
            error=self.words("index unavailable") if failed else None,
        )

    def _think(self, turn: _Turn) -> None:
        """The model and its tools, until the node has answered."""
        rng, node = self._rng, turn.node
        llm = turn.stages["llm_api"]
        first_byte = max(2, round(llm * (0.7 + 0.2 * rng.random())))
        self.metrics(turn.at + first_byte, self.pipeline.llm_time(first_byte))
        self.metrics(turn.at + first_byte + 3, self.pipeline.llm_first_answer(rng, first_byte))
        for tool in node.tools:
            if rng.random() < tool.chance:
                self._call_tool(turn, tool)
        if node.api_method and rng.random() < 0.6:
            latency = lognormal_ms(rng, 90, 0.3)
            self.call_api(turn.spend(latency), "pre_call_api", node.api_method, next_node_id=node.id)
        turn.at += llm
        if self.agent.shows_nodes:
            self.emit(
                turn.at,
                "agent_node_state",
                node_id=node.id,
                node_name=node.name,
                node_type=node.kind,
                context={"user_response": self.words(turn.hears), "agent_response": self.words(turn.says)},
            )
        self.emit(turn.at + 1, "llm_full_response_end", llm_text=self.words(turn.says))
        self.metrics(turn.at + 2, self.pipeline.llm_time(llm))
        self._prompt_tokens += 20 + len(turn.hears) // 4 + len(turn.says) // 4
        completion = 8 + len(turn.says) // 4 + rng.randrange(12)
        heard = turn.stopped_at - turn.spoke_at
        usage = self.pipeline.tokens(rng, self._prompt_tokens, completion)
        self.metrics(turn.at + 4, usage, self.pipeline.heard(heard))

    def _call_tool(self, turn: _Turn, tool: Tool) -> None:
        rng = self._rng
        call_id = f"call_{rng.getrandbits(48):012x}"
        latency = lognormal_ms(rng, tool.median_ms * self._pace(turn, tool), 0.3)
        configured = turn.conditions.tool_failure
        fails = rng.random() < (tool.failing if configured is None else configured)
        raises = rng.random() < 0.4
        facts = {
            "turn_id": f"turn_{self.turns}",
            "tool_call_id": call_id,
            "function_name": tool.name,
            "context": {"arguments": {"query": self.words(turn.hears)}},
        }
        self.emit(turn.spend(3), "tool_call_start", **facts)
        ended = turn.spend(latency)
        error = self.words("upstream answered 502") if fails else None
        if fails and raises:
            self.emit(ended, "tool_call_error", **facts, error=error)
            return
        response = None if fails else {"result": self.words("ok")}
        self.emit(
            ended, "tool_call_end", **facts, latency_ms=latency, success=not fails, response=response, error=error
        )

    def _pace(self, turn: _Turn, tool: Tool) -> float:
        return turn.conditions.pace_of(self.agent.id, turn.node.id) * turn.conditions.pace_of_tool(tool.name)

    def recording_fails(self) -> bool:
        """Whether there will be no recording of this call."""
        return self._strikes(self.conditions().recording_failure)

    def call_api(self, at: int, kind: str, method: str, next_node_id: str | None = None) -> None:
        """A ``pre_call_api`` or ``post_call_api``: headers and body are a customer's secrets."""
        success = self._rng.random() >= 0.03
        self.emit(
            at,
            kind,
            method=method,
            headers={"Authorization": self.words("Bearer simulated-customer-secret")},
            body=self.words('{"phone": "+15550100"}'),
            timeout=5000,
            response={"status": self.words("ok")} if success else None,
            extracted_variables={"customer_name": self.words("Alex Doe")} if success else {},
            next_node_id=next_node_id,
            success=success,
            error=None if success else self.words("connect ETIMEDOUT"),
        )

    def _answer(self, turn: _Turn) -> None:
        """From the model's text to sound, and to the end of what the agent says."""
        rng, stages = self._rng, turn.stages
        turn.tts_from = turn.at + stages["llm_to_tts"]
        turn.at = turn.tts_from + stages["tts_api"]
        first_audio = stages["tts_api"]
        self.metrics(turn.at, self.pipeline.tts_time(first_audio), self.pipeline.tts_overhead(rng))
        self.metrics(turn.at + 3, self.pipeline.tts_first_audio(rng, first_audio))
        turn.at += stages["tts_to_audio"]
        turn.at += max(6 - stages["tts_to_audio"], 0)
        heard_at = turn.spend(5 + rng.randrange(25))
        total = heard_at - turn.stopped_at
        self.emit(
            heard_at,
            "turn_latency",
            turn_latency=Duration(total),
            **{f"{stage}_ms": ms for stage, ms in stages.items()},
            turn_index=self.turns - 1,
            interrupted=turn.interrupted,
            smart_turn_enabled=turn.smart_turn,
        )
        done = heard_at + 10 + rng.randrange(90)
        latency = Duration(done - turn.tts_from)
        self.emit(done, "tts_completed", tts_latency=latency, tts_text=self.words(" " + turn.says))
        self._misbehave(turn, done + 4)
        speaking = _speaking_ms(turn.says)
        if turn.interrupted:
            self.now = self._speech(done, round(speaking * (0.25 + 0.4 * rng.random())))
        else:
            self.now = self._speech(done, speaking) + 150 + rng.randrange(700)
        if self._strikes(turn.conditions.dead_air):
            self.now += _DEAD_AIR_MS

    def _misbehave(self, turn: _Turn, at: int) -> None:
        """Events no reader should count: a negative latency, a type nobody knows. The draws happen in any case."""
        negative, unknown = self._fault_rng.random(), self._fault_rng.random()
        if negative < turn.conditions.negative_latency:
            self.emit(at, "turn_latency", turn_latency=Duration(-250), interrupted=False, turn_index=self.turns - 1)
        if unknown < turn.conditions.unknown_event:
            self.emit(at + 1, "sentiment_shift", score=0.5, label=self.words("calm"))
        if self._strikes(turn.conditions.agent_error):
            facts = {"code": "E_SIMULATED", "message": self.words("asked for"), "details": self.words("trace 00-00")}
            self.emit(at + 2, "agent_error", error=self.words("asked for"), metadata=facts)
        if self._strikes(turn.conditions.custom_event):
            name, severity = self._fault_rng.choice(_CUSTOM_EVENTS)
            told = {"name": name, "severity": severity, "payload": {"note": self.words("asked for")}}
            self.emit(at + 3, "agent_log", metadata=told)

    def _strikes(self, probability: float) -> bool:
        """Drawn only where there is a chance: calls without this fault stay the calls they were."""
        return probability > 0 and self._fault_rng.random() < probability

    def _speech(self, began: int, lasts: int) -> int:
        """The agent speaks: the synthesiser reports chunk by chunk. Returns when it has finished."""
        ended = began + lasts
        makers: tuple[Callable[[], dict[str, Any]], ...] = (
            lambda: self.pipeline.characters(18 + self._rng.randrange(40)),
            lambda: self.pipeline.tts_time(lognormal_ms(self._rng, 95, 0.3)),
            lambda: self.pipeline.tts_overhead(self._rng),
        )
        for number, at in enumerate(self._every(began + 140, ended)):
            self.metrics(at, makers[number % len(makers)]())
        return ended

    def _every(self, began: int, ended: int) -> Iterator[int]:
        at = began
        while at < ended:
            yield at
            at += _METRICS_EVERY_MS + self._rng.randrange(-50, 50)


def _speaking_ms(text: str) -> int:
    return 500 + 52 * len(text)
