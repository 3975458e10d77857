"""``prices``: what language models cost, for the estimate on the dashboards; `rules` writes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from exporter.config.types import Amount, Rule, Text, read_json

__all__ = ["PricesByModel"]

KINDS: Final = ("prompt", "cached", "completion", "other")
_MOST_MODELS: Final = 200


@dataclasses.dataclass(frozen=True)
class PricesByModel(Rule):
    """Dollars per million tokens by kind, by model, as a YAML mapping or JSON."""

    def __call__(self, value: Any) -> dict[str, dict[str, float]]:
        if isinstance(value, str):
            value = read_json(value) if value.strip() else {}
        if not isinstance(value, Mapping) or len(value) > _MOST_MODELS:
            raise ValueError(f"must be a mapping of at most {_MOST_MODELS} models to their prices")
        name = Text(at_most=128, says="must be a model's name of at most 128 characters")
        return {name(model): _priced(str(model), prices) for model, prices in value.items()}

    def show(self, value: Any) -> dict[str, dict[str, float]]:
        return {model: dict(prices) for model, prices in value.items()}


def _priced(model: str, prices: Any) -> dict[str, float]:
    if not isinstance(prices, Mapping) or not prices or not set(prices) <= set(KINDS):
        raise ValueError(f"{model}: must be a mapping of {', '.join(KINDS)} to dollars per million tokens")
    amount = Amount(0, 1_000_000, fractions=True)
    try:
        return {kind: float(amount(one)) for kind, one in prices.items()}
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from None
