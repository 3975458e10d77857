"""Tokens of language model requests: which were the prompt's, which the answer's, and what they come to.

Providers count differently. Some leave what came from a cache out of the prompt, or what a model thought out of its
answer; some tell a total alone. The total is gross everywhere, so it says what is missing.
"""

from __future__ import annotations

from math import isfinite
from operator import attrgetter
from typing import NamedTuple

from exporter.calls.call import Call
from exporter.calls.observations import TokensUsed
from exporter.protocol.events import MetricValue, Number
from exporter.protocol.units import Skip

DETAILS = {
    "cache_read": "cache_read_input_tokens",
    "cache_creation": "cache_creation_input_tokens",
    "reasoning": "reasoning_tokens",
    "input_audio": "input_audio_tokens",
    "output_audio": "output_audio_tokens",
    "cache_read_audio": "cache_read_input_audio_tokens",
}
"""Parts of the prompt and completion counts: ``detail`` label to wire field."""
_details_of = attrgetter(*DETAILS.values())

_MOST_TOKENS = 1e8


class Usage(NamedTuple):
    """One request's tokens. ``other`` are those of its total that neither count can be shown to lack."""

    prompt: int | None
    completion: int | None
    other: int = 0


def usage_of(
    prompt: int | None, completion: int | None, total: int | None, *, cached: tuple[int, int] = (0, 0), thought: int = 0
) -> Usage:
    """The counts with what they left out.

    What the total has more than both is the prompt's where it is just what the cache took, the completion's where it is
    just the thinking, or both; else it is nobody's. A count smaller than a part of it has certainly left that part out.

    :param cached: tokens read from the cache, and written to it.
    """
    missing = max(0, (total or 0) - (prompt or 0) - (completion or 0))
    read, written = cached
    for net in dict.fromkeys((read + written, read, written, 0)) if missing else ():
        for unsaid in (0, thought):
            if net + unsaid == missing and (prompt is not None or not net) and (completion is not None or not unsaid):
                return Usage(_more(prompt, net), _more(completion, unsaid))
    net = read + written if prompt is not None and prompt < read + written else 0
    unsaid = thought if completion is not None and completion < thought else 0
    if total is None or net + unsaid <= missing:
        return Usage(_more(prompt, net), _more(completion, unsaid), max(0, missing - net - unsaid))
    return Usage(prompt, completion, missing)


def _more(count: int | None, left_out: int) -> int | None:
    return count + left_out if count is not None else None


def tokens_used(call: Call, value: MetricValue, processor: str, model: str) -> bool:
    """Count what a usage object says of tokens; ``False`` when it says nothing of them."""
    details = {}
    for detail, number in zip(DETAILS, _details_of(value), strict=True):
        if number is not None and (count := _tokens(call, number)) is not None:
            details[detail] = count
    usage = usage_of(
        _tokens(call, value.prompt_tokens),
        _tokens(call, value.completion_tokens),
        _tokens(call, value.total_tokens),
        cached=(details.get("cache_read", 0), details.get("cache_creation", 0)),
        thought=details.get("reasoning", 0),
    )
    if usage.prompt is not None or usage.completion is not None or usage.other or details:
        call.spend(usage.prompt or 0, usage.completion or 0, usage.other, model)
        call.say(TokensUsed(call.visit.where, processor, model, *usage, tuple(details.items())))
        return True
    return value.prompt_tokens is not None or value.completion_tokens is not None or bool(value.total_tokens)


def _tokens(call: Call, number: Number) -> int | None:
    if number is None:
        return None
    count = plausible_amount(number, _MOST_TOKENS)
    if type(count) is Skip:
        call.skip(count)
        return None
    return int(count)


def plausible_amount(number: int | float, most: float) -> float | Skip:
    """An amount, if one event can have used so much. A counter that took 1e300 would never move again."""
    if 0 <= number <= most:
        return float(number)
    if not isfinite(number):
        return Skip.NON_FINITE
    return Skip.NEGATIVE if number < 0 else Skip.IMPLAUSIBLE
