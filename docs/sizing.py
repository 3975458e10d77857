"""What an account costs Prometheus: series, page and memory by agents and nodes, group by group.

    python docs/sizing.py                                   # the tables of docs/sizing.md
    python docs/sizing.py --agents 40 --nodes 15            # those of your account
    python docs/sizing.py --agents 40 --nodes 15 --tools 3 --disable stages,processors

Series are counted on a page that is really rendered, filled for one agent with some nodes as ``PER_NODE`` and
``PER_AGENT`` say; the rest is multiplication. Memory is by the rule that Prometheus' developers published for 2.x:
732 bytes a series, 32 a label pair, 120 a label value, the series' name twice, all of it doubled for the garbage
collector; and three hours of samples at two bytes with half as much again for empty room, doubled, too.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from exporter.outputs.prometheus.catalogue import CALL_METRICS, Kind, MetricSpec
from exporter.outputs.prometheus.groups import GROUPS
from exporter.outputs.prometheus.metrics import Metrics

SCRAPE_SECONDS = 15
SOME = ("stages", "processors", "words")
ACCOUNTS = ((1, 8), (5, 8), (20, 10), (50, 12), (200, 12))

STAGES = (
    *("stt_api", "stt_to_llm", "smart_turn", "llm_api", "llm_to_tts", "tts_api", "tts_to_audio"),
    *("tool", "knowledgebase", "unattributed"),
)
_LLM, _STT, _TTS = ("AgentProcessor", "gpt-4o"), ("PulseSTTService", "pulse-large"), ("WavesTTSService", "lightning")

PER_NODE: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "atoms_turn_latency_seconds": (("true",), ("false",)),
    "atoms_turn_stage_latency_seconds": tuple((stage,) for stage in STAGES),
    "atoms_processor_latency_seconds": (_LLM, _STT, _TTS),
    "atoms_tts_first_audio_seconds": (_TTS,),
    "atoms_llm_first_answer_seconds": (_LLM,),
    "atoms_end_of_turn_prediction_seconds": (("SmartTurn", ""),),
    "atoms_llm_tokens_total": ((*_LLM, "prompt"), (*_LLM, "completion")),
    "atoms_llm_token_details_total": ((*_LLM, "cache_read"), (*_LLM, "reasoning")),
    "atoms_llm_request_tokens": ((*_LLM, "prompt"), (*_LLM, "completion")),
    "atoms_tts_characters_total": (_TTS,),
    "atoms_stt_audio_seconds_total": (_STT,),
    "atoms_words_total": (("user",), ("agent",)),
    "atoms_node_exits_total": (("user_hangup",), ("agent_hangup",)),
    "atoms_api_calls_total": (("pre", "POST"),),
    "atoms_api_call_failures_total": (("pre", "POST"),),
    "atoms_agent_errors_total": (("LLM_TIMEOUT", "fatal"),),
    "atoms_agent_logs_total": (("other", "info"),),
}
"""What one node's calls bring, beyond the node labels: one model of each kind, ten stages."""
_CHANNELS = (("telephony_inbound",), ("telephony_outbound",))
_OUTCOMES = ("completed", "failed", "no_answer", "busy", "blocked", "cancelled", "lost")
_REASONS = ("user_hangup", "agent_hangup", "dial_no_answer", "system_error")
PER_AGENT: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "atoms_calls_ended_total": tuple((*channel, outcome) for channel in _CHANNELS for outcome in _OUTCOMES),
    "atoms_call_end_reasons_total": tuple((*channel, reason) for channel in _CHANNELS for reason in _REASONS),
    "atoms_call_attempts_total": tuple(
        (*channel, attempt) for channel in _CHANNELS for attempt in ("initial", "retry")
    ),
    "atoms_agent_version_info": (("12",),),
    "atoms_recordings_total": (("completed",),),
    "atoms_disposition_results_total": (("resolved", "true"), ("resolved", "false"), ("sentiment", "positive")),
    "atoms_disposition_value": (("score",),),
    "atoms_node_hops_total": (),
}
"""What one agent's calls bring, beyond the agent labels: two channels."""
_HOPS_PER_NODE = 2


class Size(NamedTuple):
    """Series and bytes of a page, and what Prometheus needs for it."""

    series: int
    page_bytes: int
    memory_bytes: int


def rendered(agents: int, nodes: int, tools: int, without: Collection[str] = ()) -> str:
    """The page of so many agents, each with so many nodes, of which each calls so many tools."""
    metrics = Metrics(version="1.0.0", max_series_per_metric=10**6, without=without)
    for number in range(agents):
        _fill(metrics, (f"66f0a1c2d3e4f5a6b7c8d{number:03}", f"Broadband Support - Triage {number:03}"), nodes, tools)
    return metrics.store.render(True, [spec.name for spec in CALL_METRICS])


def _fill(metrics: Metrics, agent: tuple[str, str], nodes: int, tools: int) -> None:
    for spec in CALL_METRICS:
        for labels in _label_sets(spec, nodes, tools):
            child = metrics.store[spec.name].labels(*agent, *labels)
            if spec.kind is Kind.HISTOGRAM:
                child.observe(1.2345)  # type: ignore[attr-defined]  # as the line above says
            else:
                child.inc(12345)  # type: ignore[attr-defined]  # the same


def _label_sets(spec: MetricSpec, nodes: int, tools: int) -> Iterator[tuple[str, ...]]:
    places = [(f"{number:05}", f"Verify Account {number:03}") for number in range(nodes)]
    if spec.name == "atoms_node_hops_total":
        for number, place in enumerate(places):
            yield from ((*place, *places[number - step]) for step in range(_HOPS_PER_NODE))
    elif "function" in spec.labels:
        yield from ((*place, f"function_{tool}") for place in places for tool in range(tools))
    elif "node_id" in spec.labels:
        yield from ((*place, *more) for place in places for more in PER_NODE.get(spec.name, ((),)))
    elif spec.labels[:1] == ("agent_id",):
        yield from PER_AGENT.get(spec.name, _CHANNELS if "channel" in spec.labels else ((),))


def size(page: str) -> Size:
    """Of a page as it is."""
    names = [line.rpartition("} ")[0] for line in page.splitlines() if line and not line.startswith("#")]
    values = {pair for name in names for pair in re.findall(r'(\w+="[^"]*")', name)}
    cardinality = sum(732 + 32 * (name.count('="') + 3) + 2 * len(name) for name in names) + 120 * len(values)
    samples = len(names) * 3 * 3600 / SCRAPE_SECONDS * 2 * 1.5
    return Size(len(names), len(page), round(2 * (cardinality + samples)))


def account(agents: int, nodes: int, tools: int = 1, without: Collection[str] = ()) -> Size:
    """Of an account: measured on small ones, and multiplied."""
    empty, two, three = (size(rendered(1 if n else 0, n, tools, without)) for n in (0, 2, 3))
    node = [after - before for before, after in zip(two, three, strict=True)]
    agent = [whole - start - 2 * part for whole, start, part in zip(two, empty, node, strict=True)]
    return Size(*(start + agents * (a + nodes * n) for start, a, n in zip(empty, agent, node, strict=True)))


def groups_table(tools: int = 1) -> list[tuple[str, str, str, str, str]]:
    """By group: series for each node and for each agent, and what it adds to the page for them."""
    rows = []
    for group, names in GROUPS.items():
        two, three = (size(_of(rendered(1, n, tools), names)) for n in (2, 3))
        node = three.series - two.series
        agent = two.series - 2 * node
        kilobytes = (three.page_bytes - two.page_bytes) / 1000
        rows.append(
            (f"`{group}`", ", ".join(f"`{name}`" for name in names), f"{node}", f"{agent}", f"{kilobytes:.1f} kB")
        )
    return rows


def _of(page: str, names: Collection[str]) -> str:
    mine = tuple(name.removesuffix("_total") for name in names)
    return "\n".join(line for line in page.splitlines() if line.startswith(mine)) + "\n"


def accounts_table(accounts: Collection[tuple[int, int]] = ACCOUNTS, tools: int = 1) -> list[tuple[str, ...]]:
    """By account: series, page and memory; with everything, without some groups, without all of them."""
    rows = []
    for agents, nodes in accounts:
        row = [f"{agents} × {nodes}"]
        for without in ((), SOME, tuple(GROUPS)):
            found = account(agents, nodes, tools, without)
            row.append(f"{found.series:,} · {found.page_bytes / 1e6:.1f} MB · {found.memory_bytes / 2**20:,.0f} MiB")
        row.append(f"{agents * nodes * len(STAGES):,}")
        rows.append(tuple(row))
    return rows


def switches_table() -> list[tuple[str, str]]:
    """Series for each node, by what is switched off."""
    rows = []
    for without, said in (
        ((), "nothing"),
        *(((group,), f"`{group}`") for group in SOME),
        (SOME, ", ".join(f"`{g}`" for g in SOME)),
        (tuple(GROUPS), "every group"),
    ):
        one, two = (size(rendered(1, n, 1, without)).series for n in (2, 3))
        rows.append((said, str(two - one)))
    return rows


SWITCHES_HEAD = ("switched off", "series per node")
ACCOUNTS_HEAD = (
    "agents × nodes each",
    "everything",
    f"without {', '.join(SOME)}",
    "without any group",
    "label sets of the largest metric",
)
GROUPS_HEAD = ("group", "metrics", "series per node", "and per agent", "page per node")


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int)
    parser.add_argument("--nodes", type=int, default=10, help="of each agent")
    parser.add_argument("--tools", type=int, default=1, help="of each node")
    parser.add_argument("--disable", default="", help="groups that are switched off, comma-separated")
    given = parser.parse_args()
    if given.agents is None:
        for row in (GROUPS_HEAD, *groups_table(given.tools), ACCOUNTS_HEAD, *accounts_table(tools=given.tools)):
            print("\t".join(row))  # noqa: T201  # a command
        return
    without = tuple(group for group in given.disable.split(",") if group)
    found = account(given.agents, given.nodes, given.tools, without)
    print(f"{found.series} series, {found.page_bytes} bytes a page, {found.memory_bytes} bytes of Prometheus' memory")  # noqa: T201  # a command


if __name__ == "__main__":
    main()
