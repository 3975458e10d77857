"""What calls use, and an estimate of what that costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.slo.prices import PRICE

from .capacity import billed, capacity
from .frame import Board, agents, datasources, nodes, price, scraped
from .panels import graph, number, ranking, rows
from .queries import AGENT, BY_AGENT, BY_NODE, NODE, Query, increase, quantile, rate, share

TOKENS, DETAILS = "atoms_llm_tokens_total", "atoms_llm_token_details_total"
TURNS = "atoms_turn_latency_seconds_count"
_EXAMPLE = "An example: type your own contract's price."


def cost() -> dict[str, Any]:
    """Tokens, characters, audio; by model and node; with prices, money."""
    board = Board(
        "atoms-cost",
        "Atoms / Capacity and cost",
        "Usage is measured; what calls cost is what the API bills; the estimate splits it by the prices of `prices:` "
        "in the configuration, or those typed in above.",
        variables=[
            *datasources(),
            *scraped(),
            agents(),
            nodes(),
            price("price_prompt", "$ / 1M prompt tokens", "0.40", f"Prompt tokens that were not cached. {_EXAMPLE}"),
            price("price_cached", "$ / 1M cached tokens", "0.10", f"Prompt tokens read from the cache. {_EXAMPLE}"),
            price("price_completion", "$ / 1M completion tokens", "1.60", f"Tokens of answers. {_EXAMPLE}"),
            price("price_other", "$ / 1M other tokens", "0.40", f"Tokens a provider counts as neither. {_EXAMPLE}"),
            price("price_tts", "$ / 1k characters spoken", "0.02", f"Speech. {_EXAMPLE}"),
            price("price_stt", "$ / hour transcribed", "0.25", f"Transcription. {_EXAMPLE}"),
        ],
        span="now-24h",
    )
    board.row("Capacity", *capacity()).row("What calls cost", *billed()).row("Estimate", *_estimate()).row(
        "Tokens", *_tokens()
    ).row("Speech", *_speech())
    return board.row("Who uses it", *_who()).document()


def _money(*by: str, count: Callable[..., str] = increase) -> str:
    """Dollars in the time range (or per second, counting with ``rate``); never below zero.

    A part nobody used has no series and costs nothing. A model whose price the rules record costs that, any other what
    is typed in above.
    """
    tokens = (*by, "model")

    def used(metric: str, selector: str = NODE, *, labels: tuple[str, ...] = by) -> str:
        return count(metric, selector, *labels)

    prompt = used(TOKENS, f'{NODE},type="prompt"', labels=tokens)
    cached = used(DETAILS, f'{NODE},detail="cache_read"', labels=tokens)
    # What came from the cache is part of the prompt. Extrapolated apart, the part may exceed the whole a little.
    fresh = f"clamp_min({prompt} - ({cached} or 0 * {prompt}), 0)"
    parts = {
        "prompt": _priced(fresh, "prompt"),
        "cached": _priced(cached, "cached"),
        "answer": _priced(used(TOKENS, f'{NODE},type="completion"', labels=tokens), "completion"),
        "other": _priced(used(TOKENS, f'{NODE},type!~"prompt|completion"', labels=tokens), "other"),
        "spoken": used("atoms_tts_characters_total") + " * $price_tts / 1e3",
        "heard": used("atoms_stt_audio_seconds_total") + " * $price_stt / 3600",
    }
    # The parts are stacked by a label of their own, so that a missing one leaves the sum alone.
    labelled = " or ".join(f'label_replace({expr}, "part", "{name}", "", "")' for name, expr in parts.items())
    grouping = f"sum by ({', '.join(by)})" if by else "sum"
    return f"{grouping} ({labelled})"


def _priced(by_model: str, kind: str) -> str:
    """Dollars for tokens of one kind, at the model's recorded price or the one typed in."""
    price = f'max by (model) ({PRICE}{{type="{kind}"}})'
    known = f"{by_model} * on (model) group_left () {price}"
    return f"({known} or ({by_model} unless on (model) {price}) * $price_{kind}) / 1e6"


def _estimate() -> list[Any]:
    calls = increase("atoms_calls_ended_total", f'{AGENT},outcome="completed"')
    turns = increase(TURNS, NODE)
    cached = increase(DETAILS, f'{NODE},detail="cache_read"')
    prompt = increase(TOKENS, f'{NODE},type="prompt"')
    return [
        number(
            "Estimated cost",
            "Of the time range: models at the price that `prices:` of the configuration gives them, others at those "
            "typed in above.",
            "currencyUSD",
            Query(_money()),
            width=5,
            decimals=2,
        ),
        number(
            "Per completed call",
            "The estimate over the calls completed in the time range. Filter by agent, not by node, "
            "for this to make sense.",
            "currencyUSD",
            Query(f"{_money()} / ({calls} > 0)"),
            width=5,
            decimals=4,
        ),
        number(
            "Per turn",
            "The estimate over all turns.",
            "currencyUSD",
            Query(f"{_money()} / ({turns} > 0)"),
            width=5,
            decimals=5,
        ),
        number("Tokens", "Of the time range.", "short", Query(increase(TOKENS, NODE)), width=5),
        number(
            "Prompt tokens from the cache",
            "Cached prompts are cheaper and faster. Low: put what never changes at the beginning of the prompt.",
            "percentunit",
            Query(share(cached, prompt)),
            decimals=1,
        ),
    ]


def _tokens() -> list[Any]:
    per_turn = f"{rate(TOKENS, NODE, *BY_AGENT)} / ({rate(TURNS, NODE, *BY_AGENT)} > 0)"
    cached, prompt = (
        rate(metric, f"{NODE},{selector}", "processor", "model")
        for metric, selector in ((DETAILS, 'detail="cache_read"'), (TOKENS, 'type="prompt"'))
    )
    return [
        graph(
            "Tokens per minute by type",
            "Prompt tokens usually outnumber completion tokens many times: history and instructions "
            "are sent each turn.",
            "short",
            Query(f"60 * {rate(TOKENS, NODE, 'type')}", "{{type}}"),
            stacked=True,
        ),
        graph(
            "Tokens per minute by model",
            "Move nodes that need no thinking to a smaller model.",
            "short",
            Query(f"60 * {rate(TOKENS, NODE, 'processor', 'model')}", "{{processor}} {{model}}"),
            stacked=True,
        ),
        graph(
            "Tokens per turn by agent",
            "Alerts when the last hour takes half as much again as the day before. Rising within calls is normal: the "
            "history grows.",
            "short",
            Query(per_turn, "{{agent_name}}"),
        ),
        graph(
            "Cached share of prompt tokens by model",
            "A fall after a deployment: something near the top of the prompt changes from call to call.",
            "percentunit",
            Query(share(cached, prompt), "{{processor}} {{model}}"),
            top=1.0,
        ),
        graph(
            "Parts of the tokens per minute",
            "Cached, reasoning and audio tokens are parts of prompt or completion: never add them to the total.",
            "short",
            Query(f"60 * {rate(DETAILS, NODE, 'detail')}", "{{detail}}"),
        ),
        graph(
            "Size of a model request",
            "p50 and p95 of prompt and completion tokens of one request.",
            "short",
            Query(quantile(0.95, "atoms_llm_request_tokens", NODE, "type"), "{{type}} p95"),
            Query(quantile(0.5, "atoms_llm_request_tokens", NODE, "type"), "{{type}} p50"),
        ),
    ]


def _speech() -> list[Any]:
    return [
        graph(
            "Characters spoken per minute",
            "By speech model.",
            "short",
            Query(f"60 * {rate('atoms_tts_characters_total', NODE, 'processor', 'model')}", "{{processor}} {{model}}"),
            stacked=True,
        ),
        graph(
            "Audio transcribed",
            "Seconds of audio per second, by model: about the number of callers on the line.",
            "short",
            Query(rate("atoms_stt_audio_seconds_total", NODE, "processor", "model"), "{{processor}} {{model}}"),
            stacked=True,
        ),
        graph(
            "Estimated cost per hour",
            "The same estimate over time.",
            "currencyUSD",
            Query(f"3600 * {_money(count=rate)}", "estimate"),
        ),
    ]


def _who() -> list[Any]:
    return [
        rows(
            "By agent and node",
            "Sort by cost and start at the top.",
            Query(_money(*BY_NODE)),
            Query(increase(TOKENS, NODE, *BY_NODE)),
            Query(f"{increase(TOKENS, NODE, *BY_NODE)} / ({increase(TURNS, NODE, *BY_NODE)} > 0)"),
            Query(increase("atoms_tts_characters_total", NODE, *BY_NODE)),
            Query(increase("atoms_stt_audio_seconds_total", NODE, *BY_NODE)),
            columns={
                "agent_id": "AgentId",
                "node_id": "NodeId",
                "agent_name": "Agent",
                "node_name": "Node",
                "Value #A": "Estimate",
                "Value #B": "Tokens",
                "Value #C": "Tokens per turn",
                "Value #D": "Characters",
                "Value #E": "Audio",
            },
            units={
                "Estimate": "currencyUSD",
                "Tokens": "short",
                "Tokens per turn": "short",
                "Characters": "short",
                "Audio": "s",
            },
            decimals={"Estimate": 2, "Tokens": 0, "Tokens per turn": 0, "Characters": 0},
            hidden=["AgentId", "NodeId"],
            sort="Estimate",
            width=16,
            height=10,
        ),
        ranking(
            "Tokens by model",
            "Of the time range.",
            "short",
            Query(f"sort_desc({increase(TOKENS, NODE, 'processor', 'model')})", "{{processor}} {{model}}"),
            height=10,
        ),
    ]
