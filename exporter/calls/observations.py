"""What becomes known about a call: frozen facts, each with the place it belongs to.

Times are Unix seconds of the events' own clock (``_at``), durations are seconds (``_seconds``). Observations carry
what metrics and spans need, and, only when content capture is on, the words that were said (``content``).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from exporter.calls.account import UNKNOWN_ACCOUNT, Account

Content = Mapping[str, str] | None


class Agent(Struct, frozen=True):
    """Who answers the call. An unknown agent has ``unknown`` for both."""

    agent_id: str = "unknown"
    name: str = "unknown"
    single_prompt: bool = False
    """The agent has no workflow: its calls never show a node."""
    version: str = ""
    """Of the agent, where versions are told apart; ``unknown`` where nobody says which."""


class Place(Struct, frozen=True, gc=False, cache_hash=True):
    """Where in the workflow: the node labels of a metric."""

    agent_id: str
    agent_name: str
    node_id: str
    node_name: str
    version: str = ""
    """As ``Agent`` has it."""


class Where(Struct, frozen=True, gc=False):
    """One visit to a place, in one call."""

    call_id: str
    place: Place
    visit: str
    """Identity of the visit within its call: the parent span of whatever happens in it."""
    visit_index: int
    trace_id: str = ""
    """The call's trace, 32 hex digits."""
    span_id: str = ""
    """The visit's span, or the call's where there are no nodes: 16 hex digits."""


class Observation(Struct, frozen=True, gc=False):
    """Base of all facts."""


class Located(Observation, frozen=True, gc=False):
    """A fact that belongs to a node."""

    where: Where


class Timed(Located, frozen=True, gc=False):
    """A fact with a moment."""

    at: float


class Shown(Timed, frozen=True, gc=False, kw_only=True):
    """A fact with a span of its own, known by its moment."""

    nth: int = 0
    """Tells it from others of its kind in the same millisecond: usually 0."""


class SampleSkipped(Observation, frozen=True, gc=False):
    """A value was not counted; ``reason`` is one of ``protocol.units.Skip``."""

    reason: str


class CallStarted(Observation, frozen=True, gc=False):
    """The first sign of a call."""

    call_id: str
    agent: Agent
    channel: str


class CallResumed(Observation, frozen=True, gc=False):
    """A call that an earlier life of this process began to count is being followed again."""

    call_id: str
    agent: Agent
    channel: str


class CallEnded(Observation, frozen=True, gc=False):
    """Nothing more will come of this call."""

    call_id: str
    agent: Agent
    channel: str
    outcome: str
    first_at: float | None
    ended_at: float | None
    duration_seconds: float | None
    telephony_id: str | None
    unfinished: bool
    """The call was closed without its own end having been seen."""
    hops: int
    turns: int
    prompt_tokens: int
    completion_tokens: int
    other_tokens: int
    account: Account = UNKNOWN_ACCOUNT
    """What its log says beside its events."""


class NodeEntered(Timed, frozen=True, gc=False):
    """A visit to a node began."""


class NodeLeft(Timed, frozen=True, gc=False):
    """A visit to a node ended (by a hop, or with the call)."""

    entered_at: float
    duration_seconds: float | None
    node_type: str | None
    from_node_id: str | None
    from_node_name: str | None
    prompt_tokens: int
    completion_tokens: int
    other_tokens: int
    error: str | None


class Hopped(Observation, frozen=True, gc=False):
    """The agent moved from one node to another."""

    origin: Place
    target: Place


class LoopClosed(Located, frozen=True, gc=False):
    """A hop went back to the node left in the hop before; counted where it went."""


class HopAnswered(Timed, frozen=True, gc=False):
    """The first answer after a hop was heard, in the node hopped to."""

    seconds: float


class UserSpoke(Located, frozen=True, gc=False):
    """The caller finished saying something, in so many words; which, nobody keeps."""

    words: int = 0


class TurnUnanswered(Located, frozen=True, gc=False):
    """The caller spoke and was not answered in time. Said when the call is over: an answer may come late."""


class DeadAir(Timed, frozen=True, gc=False):
    """Neither side was heard for long; it ended ``at``, where the call was then. Said when the call is over."""

    seconds: float


class FirstWordHeard(Observation, frozen=True, gc=False):
    """From the connection to the first thing the agent said. Said when the call is over."""

    agent: Agent
    channel: str
    seconds: float


class WordsSaid(Located, frozen=True, gc=False):
    """The agent said something of which nothing else is counted: how long it took to become speech is not known."""

    count: int


class NodeExited(Located, frozen=True, gc=False):
    """The call ended here; ``reason`` is why."""

    reason: str


class RecordingMade(Observation, frozen=True, gc=False):
    """A recording of the call is there, or is not: ``status`` says which."""

    agent: Agent
    status: str


class AgentLogged(Located, frozen=True, gc=False):
    """The customer's own event: ``name`` from the operator's list, or ``other``."""

    name: str
    severity: str


class TurnAnswered(Shown, frozen=True, gc=False):
    """The agent answered the caller; the turn ended ``at``, and began ``seconds`` before."""

    seconds: float
    interrupted: bool
    stages: tuple[tuple[str, float], ...]
    unreported_seconds: float | None
    """What the reported stages leave of it; ``None`` where there is none."""
    index: int | None
    model: str | None
    prompt_tokens: int
    completion_tokens: int
    other_tokens: int


class TurnExplained(Timed, frozen=True, gc=False):
    """Where the time of a turn went that the platform's own stages leave: what ran in it, and ``unattributed``. Said
    when the call is over: a tool's events may come late."""

    stages: tuple[tuple[str, float], ...]


class SpeechSynthesised(Shown, frozen=True, gc=False):
    """Text became speech."""

    seconds: float
    content: Content
    words: int = 0


class ProcessorMeasured(Timed, frozen=True, gc=False):
    """A pipeline processor reported a duration. ``kind`` is ``latency``, ``first_audio``, ``first_answer`` or
    ``end_of_turn``: each a metric of its own."""

    kind: str
    processor: str
    model: str
    seconds: float


class TokensUsed(Located, frozen=True, gc=False):
    """A language model was paid for. ``other`` tokens are of the request, but of its prompt or its answer nobody can
    tell; ``details`` are parts of the counts, never to be added to them."""

    processor: str
    model: str
    prompt: int | None
    completion: int | None
    other: int
    details: tuple[tuple[str, int], ...]


class CharactersSpoken(Located, frozen=True, gc=False):
    """Characters were sent to a speech synthesiser."""

    processor: str
    model: str
    count: int


class AudioTranscribed(Located, frozen=True, gc=False):
    """Seconds of audio were sent to a transcriber."""

    processor: str
    model: str
    seconds: float


class ToolCalled(Shown, frozen=True, gc=False):
    """A tool call is over; it began at ``started_at`` and took ``seconds``, where that is known.

    ``seconds`` and ``failed`` are for its span: what is counted of them are ``ToolTimed`` and ``ToolFailed``, because
    they may become known later than this.
    """

    function: str
    tool_call_id: str | None
    started_at: float
    seconds: float | None
    failed: bool
    unfinished: bool
    content: Content


class ToolTimed(Timed, frozen=True, gc=False):
    """How long a tool call took is known."""

    function: str
    tool_call_id: str | None
    seconds: float


class ToolFailed(Timed, frozen=True, gc=False):
    """A tool call has failed."""

    function: str
    tool_call_id: str | None


class KnowledgebaseQueried(Shown, frozen=True, gc=False):
    """A knowledge base was searched."""

    seconds: float | None
    failed: bool
    content: Content


class VariablesExtracted(Shown, frozen=True, gc=False):
    """Variables were taken out of the conversation."""

    seconds: float | None
    failed: bool
    content: Content


class ApiCalled(Shown, frozen=True, gc=False):
    """The workflow called the customer's own API; ``phase`` is ``pre`` or ``post`` the conversation."""

    phase: str
    method: str
    failed: bool


class AgentFailed(Shown, frozen=True, gc=False):
    """The agent reported an error of its own; ``severity`` is ``warning``, ``fatal`` or ``unknown``."""

    code: str
    severity: str


class DispositionGiven(Observation, frozen=True, gc=False):
    """Post-call analytics gave a result: a number, or a word from a closed set."""

    agent: Agent
    identifier: str
    word: str | None
    number: float | None
