"""What language models cost, recorded as constants for the estimate on the dashboards.

atoms_price:dollars_per_million_tokens    {model, type}    `type` is prompt, cached, completion or other
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .promql import number

PRICE = "atoms_price:dollars_per_million_tokens"
Prices = Mapping[str, Mapping[str, float]]


def price_rules(prices: Prices) -> list[dict[str, Any]]:
    """One constant for each price. ``prices`` are dollars per million tokens, by model and kind."""
    return [
        {"record": PRICE, "expr": f"vector({number(dollars)})", "labels": {"model": model, "type": kind}}
        for model, kinds in prices.items()
        for kind, dollars in kinds.items()
    ]
