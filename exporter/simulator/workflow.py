"""What a simulated agent is made of."""

from __future__ import annotations

from dataclasses import dataclass

END = ""
"""The way out of a node that ends the call (the agent hangs up)."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call in a node: ``chance`` per turn, latency log-normal around ``median_ms``."""

    name: str
    median_ms: int = 320
    chance: float = 0.35
    failing: float = 0.04


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a workflow. ``ways`` lead to other nodes (or END) with weights; ``pace`` multiplies its latency."""

    id: str
    name: str
    ways: tuple[tuple[str, float], ...]
    says: tuple[str, ...]
    hears: tuple[str, ...] = ("Yes.", "Okay, go ahead.", "Sorry, what was that?")
    kind: str = "default"
    stay: float = 0.22
    pace: float = 1.0
    tools: tuple[Tool, ...] = ()
    knowledge: float = 0.0
    extracts: tuple[str, ...] = ()
    api_method: str = ""


@dataclass(frozen=True, slots=True)
class Agent:
    """One voice agent. ``share`` is its part of the traffic; a single-prompt agent's only node is never shown."""

    id: str
    name: str
    workflow_type: str
    channels: tuple[tuple[str, float], ...]
    nodes: tuple[Node, ...]
    greeting: str
    llm_processor: str
    llm_model: str | None
    tts_model: str = "lightning-v2"
    stt_model: str = "pulse-large-v4.1"
    processors: str = "pipecat"
    """Who names what its calls' ``metrics`` report: ``pipecat`` (``WavesTTSService#0``) or the ``vendor``
    (``lightning_tts``)."""
    usage: str = "whole"
    """How its model's provider tells what a request used: see ``Tokens.told``."""
    share: float = 1.0
    before_call_api: str = ""
    after_call_api: str = ""
    dispositions: tuple[str, ...] = ("goal_reached", "sentiment", "satisfaction_score")

    @property
    def shows_nodes(self) -> bool:
        """Whether its calls carry ``agent_node_state`` and ``hopping``."""
        return self.workflow_type == "workflow_graph"

    def node(self, node_id: str) -> Node:
        """The node with this id; KeyError when the workflow has none."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)


FLOW_PROCESSOR = "AtomsConversationFlowAgentProcessor"
"""What runs workflow graphs; its metrics name no model."""
