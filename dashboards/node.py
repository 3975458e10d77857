"""One workflow node, or several side by side: what a turn is made of there."""

from __future__ import annotations

from typing import Any

from .colours import BAD_SHARE_STEPS, SLOWEST_STEPS, TURN_STEPS
from .conversation import silence
from .frame import Board, agents, datasources, node_of_series, nodes, scraped, slow_turns_of_node
from .panels import graph, heat, ranking, rows
from .queries import BY_NODE, HEARD, NODE, NODE_LEGEND, WHOLE, Query, increase, mean, quantile, rate, share

TURNS = "atoms_turn_latency_seconds"
STAGES = "atoms_turn_stage_latency_seconds"


def node() -> dict[str, Any]:
    """Turn latency, stages, speech, model, tools, tokens, visits, by node."""
    board = Board(
        "atoms-node",
        "Atoms / Node",
        "Choose one node, or several to compare. Reads from symptom (turn latency) to cause (stage, processor, tool).",
        variables=[*datasources(), *scraped(), agents(), nodes()],
    )
    # Who is not answered at all has no latency: it stands beside what has one.
    board.row("Turn latency", *_latency()).row("Heard and answered", *silence())
    board.row("What a turn is made of", *_stages())
    board.row("Speech and model", *_processors()).row("Tools and other work", *_tools()).row("Lookups", *_lookups())
    return board.row("Use", *_use()).closed_row("Turn latency, node by node", _heat()).document()


def _latency() -> list[Any]:
    return [
        graph(
            "Turn latency p95 by node",
            "Dots are single turns with their trace. One node up: its prompt, tools or model. All up: the platform.",
            "s",
            Query(quantile(0.95, TURNS, HEARD, *BY_NODE), NODE_LEGEND, exemplars=True),
            width=12,
            steps=SLOWEST_STEPS,
            links=[slow_turns_of_node(), node_of_series()],
        ),
        ranking(
            "Mean turn latency by node",
            "The twelve slowest of the time range. Good below 0.9 s, acceptable below 2 s.",
            "s",
            Query(f"topk(12, {mean(TURNS, HEARD, *BY_NODE, window=WHOLE)})", NODE_LEGEND),
            width=6,
            steps=TURN_STEPS,
        ),
        graph(
            "Interrupted turns by node",
            "Share of turns the caller talked over at this node. High: shorten what the node says.",
            "percentunit",
            Query(
                share(
                    rate(f"{TURNS}_count", f'{NODE},interrupted="true"', *BY_NODE),
                    rate(f"{TURNS}_count", NODE, *BY_NODE),
                ),
                NODE_LEGEND,
            ),
            width=6,
        ),
    ]


def _heat() -> Any:
    return heat(
        "Turn latency at $node",
        "How turn latencies spread over time; dots are turns with traces. Two bands mean two kinds of turns, "
        "such as with and without a tool.",
        Query(rate(f"{TURNS}_bucket", HEARD, "le"), "{{le}}", exemplars=True),
        width=24,
        each="node",
    )


def _stages() -> list[Any]:
    stage = rate(f"{STAGES}_sum", NODE, "stage")
    turns = f"max({rate(f'{STAGES}_count', NODE, 'stage')})"
    table = mean(STAGES, NODE, *BY_NODE, "stage", window=WHOLE)
    return [
        graph(
            "Stages of the mean turn",
            "Stacked, they are the mean turn. llm_api: the model or its prompt; tts_api: speech; "
            "smart_turn: waiting for "
            "the caller to finish; tool, knowledgebase, variable_extraction, api_call: what ran beside the model; "
            "unattributed: what nothing accounts for. These are told when a call is over.",
            "s",
            Query(f"{stage} / on () group_left () {turns}", "{{stage}}"),
            width=10,
            stacked=True,
        ),
        rows(
            "Slowest stages by node",
            "Mean of each stage. Work on the top line first.",
            Query(table),
            columns={
                "agent_id": "AgentId",
                "node_id": "NodeId",
                "agent_name": "Agent",
                "node_name": "Node",
                "stage": "Stage",
                "Value #A": "Mean",
            },
            units={"Mean": "s"},
            colours={"Mean": TURN_STEPS},
            hidden=["AgentId", "NodeId"],
            sort="Mean",
            width=8,
            height=8,
        ),
        graph(
            "Response after a hop p95",
            "From entering a node to its first answer. High only here: the node does work on entry (tools, lookups).",
            "s",
            Query(quantile(0.95, "atoms_hop_response_seconds", NODE, *BY_NODE), NODE_LEGEND, exemplars=True),
            width=6,
            steps=SLOWEST_STEPS,
            links=[slow_turns_of_node()],
        ),
    ]


def _processors() -> list[Any]:
    by = ("processor", "model")
    names = "{{processor}} {{model}}"
    return [
        graph(
            "Speech (TTS) p95 by node",
            "Until a whole text had become speech: long texts take longer. Compare with characters per utterance.",
            "s",
            Query(quantile(0.95, "atoms_tts_latency_seconds", NODE, *BY_NODE), NODE_LEGEND, exemplars=True),
            links=[slow_turns_of_node()],
        ),
        graph(
            "First audio p95 by model",
            "From a synthesis request to the first audible sample: what callers hear as silence.",
            "s",
            Query(quantile(0.95, "atoms_tts_first_audio_seconds", NODE, *by), names),
        ),
        graph(
            "First answer token p95 by model",
            "From a model request to the first token of its answer. Up with the prompt size? Shorten the prompt.",
            "s",
            Query(quantile(0.95, "atoms_llm_first_answer_seconds", NODE, *by), names),
        ),
        graph(
            "Processors p95 by model",
            "Time to first byte or processing time in the pipeline. The one that moved with the turn "
            "latency is the cause.",
            "s",
            Query(quantile(0.95, "atoms_processor_latency_seconds", NODE, *by), names),
            width=16,
        ),
        graph(
            "End-of-turn prediction p95",
            "How long it takes to decide that the caller has finished.",
            "s",
            Query(quantile(0.95, "atoms_end_of_turn_prediction_seconds", NODE, *by), names),
        ),
    ]


def _tools() -> list[Any]:
    failed, called = (rate(f"atoms_tool_call{part}_total", NODE, "function") for part in ("_failures", "s"))
    return [
        graph(
            "Tool calls per minute",
            "By tool.",
            "short",
            Query(f"60 * {called}", "{{function}}"),
            width=6,
            stacked=True,
        ),
        graph(
            "Tool latency p95",
            "The caller waits for it. Slow: give the tool a timeout, or let the agent say something first.",
            "s",
            Query(quantile(0.95, "atoms_tool_call_latency_seconds", NODE, "function"), "{{function}}", exemplars=True),
            width=6,
            steps=SLOWEST_STEPS,
        ),
        graph(
            "Tool calls that fail",
            "One tool: its backend. All: network or credentials. Traces show the error of each call.",
            "percentunit",
            Query(share(failed, called), "{{function}}"),
            width=6,
            steps=BAD_SHARE_STEPS,
        ),
        graph(
            "Agent errors per minute",
            "Errors the agent itself reported, by severity and code. A fatal one ends the call.",
            "short",
            Query(f"60 * {rate('atoms_agent_errors_total', NODE, 'severity', 'code')}", "{{severity}} {{code}}"),
            width=6,
            bars=True,
        ),
    ]


def _lookups() -> list[Any]:
    searches, extractions = "atoms_knowledgebase", "atoms_variable_extraction"
    calls = ("phase", "method")
    return [
        graph(
            "Knowledge base and variables p95",
            "Both happen while the caller waits.",
            "s",
            Query(quantile(0.95, f"{searches}_latency_seconds", NODE), "knowledge base", exemplars=True),
            Query(quantile(0.95, f"{extractions}_latency_seconds", NODE), "variable extraction", exemplars=True),
            steps=SLOWEST_STEPS,
        ),
        graph(
            "Lookups per minute",
            "Searches of knowledge bases and extractions of variables, and how many failed.",
            "short",
            Query(f"60 * {rate(f'{searches}_queries_total', NODE)}", "knowledge base"),
            Query(f"60 * {rate(f'{searches}_failures_total', NODE)}", "knowledge base failed"),
            Query(f"60 * {rate(f'{extractions}s_total', NODE)}", "variables"),
            Query(f"60 * {rate(f'{extractions}_failures_total', NODE)}", "variables failed"),
        ),
        graph(
            "Calls of your own API per minute",
            "Before (pre) and after (post) the call. Failures here are your backend's.",
            "short",
            Query(f"60 * {rate('atoms_api_calls_total', NODE, *calls)}", "{{phase}} {{method}}"),
            Query(f"60 * {rate('atoms_api_call_failures_total', NODE, *calls)}", "{{phase}} {{method}} failed"),
        ),
    ]


def _use() -> list[Any]:
    tokens = increase("atoms_llm_tokens_total", NODE, *BY_NODE, "type")
    turns = increase(f"{TURNS}_count", NODE, *BY_NODE)
    per_turn = f"{tokens} / on ({', '.join(BY_NODE)}) group_left () ({turns} > 0)"
    return [
        graph(
            "Turns and visits per minute",
            "User turns are final transcriptions; many turns per visit mean that callers are stuck.",
            "short",
            Query(f"60 * {rate('atoms_user_turns_total', NODE, *BY_NODE)}", f"turns {NODE_LEGEND}"),
            Query(f"60 * {rate('atoms_node_visits_total', NODE, *BY_NODE)}", f"visits {NODE_LEGEND}"),
        ),
        graph(
            "Time spent per visit p50",
            "How long callers stay in a node.",
            "s",
            Query(quantile(0.5, "atoms_node_duration_seconds", NODE, *BY_NODE), NODE_LEGEND),
        ),
        ranking(
            "Tokens per turn",
            "By node and type. Prompt tokens cost latency too: the longest prompts are the first to shorten.",
            "short",
            Query(f"topk(12, {per_turn})", f"{NODE_LEGEND} {{{{type}}}}"),
        ),
    ]
