"""Words on pictures: values with units and legends as Grafana writes them."""

from __future__ import annotations

import pytest

from dashboards.answers import legend, written


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.25, "s", "250 ms"),
        (1.494, "s", "1.49 s"),
        (1120.0, "s", "18.7 min"),
        (0.153, "percentunit", "15.3%"),
        (21.4, "currencyUSD", "$21.4"),
        (6_860_000.0, "short", "6.86 M"),
        (12_345.0, "short", "12.3 K"),
        (7.0, "short", "7"),
        (float("nan"), "short", "–"),
    ],
)
def test_values_are_short(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text


def test_a_legend_takes_its_labels_from_the_series() -> None:
    assert legend("{{node_name}} p95", {"node_name": "Start"}) == "Start p95"
    assert legend("{{nothing}}", {"node_name": "Start"}) == ""
    assert legend("__auto", {"__name__": "up", "job": "a", "instance": "b"}) == "a b"
