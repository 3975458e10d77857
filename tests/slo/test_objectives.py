"""Which objectives are possible, and what the others are told."""

from __future__ import annotations

import pytest

from exporter.errors import ConfigError
from exporter.outputs.prometheus.catalogue import CATALOGUE
from exporter.slo import BY_NODE, DEFAULT_OBJECTIVES, INDICATORS, BurnRate, Objective, bucket_thresholds
from exporter.slo import check_objectives as check

DAY = 86_400.0


def refusal(**changes: object) -> ConfigError:
    definition: dict[str, object] = {"name": "turns", "objective": 0.95, "threshold_seconds": 2.0}
    with pytest.raises(ConfigError) as caught:
        Objective(**(definition | changes))  # type: ignore[arg-type] # wrong types are the point
    return caught.value


def test_the_defaults_are_the_vendors_numbers() -> None:
    assert [slo.describe() for slo in DEFAULT_OBJECTIVES] == [
        "95% of turns under 2s over 30d",
        "99% of turns under 4s over 30d",
    ]


def test_an_alert_that_could_never_fire_is_refused_with_the_arithmetic() -> None:
    error = refusal(objective=0.90)
    assert error.key == "slo[turns].objective"
    assert "14.4 × (1 − 0.9) = 1.44" in error.problem
    assert "an objective above 0.930556 or a burn rate below 10" in error.problem


def test_the_advice_in_a_refusal_works() -> None:
    Objective("turns", 0.930557, threshold_seconds=2.0)
    slower = (BurnRate(9.9, 3600, 300, 120, "critical"),)
    Objective("turns", 0.90, threshold_seconds=2.0, burn_rates=slower)


def test_a_burn_rate_that_needs_exactly_every_event_to_be_bad_is_refused() -> None:
    assert (
        "10 × (1 − 0.9) = 1," in refusal(objective=0.90, burn_rates=(BurnRate(10, 3600, 300, 120, "critical"),)).problem
    )


def test_a_window_too_short_for_its_alerts_is_refused_with_the_arithmetic() -> None:
    error = refusal(window_seconds=DAY)
    assert error.key == "slo[turns].window"
    assert "1h × 1d / 30d = 2m" in error.problem


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"name": "Turn Latency"}, "slo[Turn Latency].name", "lower-case"),
        ({"name": ""}, "slo[].name", "lower-case"),
        ({"metric": "latency"}, "slo[turns].metric", "turn_latency"),
        ({"objective": 95}, "slo[turns].objective", "0.95"),
        ({"objective": 1.0}, "slo[turns].objective", "between 0 and 1"),
        ({"objective": float("nan")}, "slo[turns].objective", "between 0 and 1"),
        ({"threshold_seconds": None}, "slo[turns].threshold", "such as 2s"),
        ({"threshold_seconds": 0.0}, "slo[turns].threshold", "between 1ms and 2m"),
        ({"threshold_seconds": 120.0}, "slo[turns].threshold", "never observed"),
        (
            {"metric": "tts_first_audio", "threshold_seconds": 0.9},
            "slo[turns].threshold",
            "take one of 0.001s, 0.0025s",
        ),
        ({"metric": "call_success"}, "slo[turns].threshold", "no threshold"),
        ({"metric": "call_success", "threshold_seconds": None, "node_ids": ("1",)}, "slo[turns].node_ids", "by agent"),
        ({"metric": "call_success", "threshold_seconds": None, "by": BY_NODE}, "slo[turns].by", "agent_id"),
        ({"by": ("call_id",)}, "slo[turns].by", "agent_id"),
        ({"by": ()}, "slo[turns].by", "agent_id"),
        ({"agent_names": ("",)}, "slo[turns].agent_names", "selects nothing"),
        ({"window_seconds": 365 * DAY}, "slo[turns].window", "90d"),
        ({"minimum_events": 0}, "slo[turns].minimum_events", "at least 1"),
    ],
)
def test_a_refusal_names_the_key_and_what_is_allowed(changes: dict[str, object], key: str, said: str) -> None:
    error = refusal(**changes)
    assert error.key == key
    assert said in error.problem


def test_two_objectives_cannot_share_a_name() -> None:
    with pytest.raises(ConfigError, match="used twice"):
        check([DEFAULT_OBJECTIVES[0], DEFAULT_OBJECTIVES[0]])


def test_thresholds_are_asked_for_as_buckets_of_their_own_histogram() -> None:
    objectives = [
        *DEFAULT_OBJECTIVES,
        Objective("a", 0.95, threshold_seconds=1.75),
        Objective("b", 0.95, "tts_latency", threshold_seconds=0.75),
        Objective("c", 0.95, "call_success"),
    ]
    assert bucket_thresholds(objectives) == {
        "atoms_turn_latency_seconds": (1.75, 2.0, 4.0),
        "atoms_tts_latency_seconds": (0.75,),
    }


def test_histograms_that_take_no_other_buckets_are_the_ones_of_the_catalogue() -> None:
    specs = {spec.name: spec for spec in CATALOGUE}
    for indicator in INDICATORS.values():
        if indicator.buckets is not None:
            spec = specs[indicator.buckets.removesuffix("_bucket")]
            assert indicator.fixed_bounds == (() if spec.adjustable else spec.buckets)


def test_a_tighter_objective_needs_more_events_before_one_bad_turn_can_wake_anyone() -> None:
    tight = Objective("turns", 0.999, threshold_seconds=2.0)
    assert [tight.minimum_long_events(burn) for burn in tight.burn_rates] == [209, 500, 1000, 3000]
    loose = DEFAULT_OBJECTIVES[0]
    assert [loose.minimum_long_events(burn) for burn in loose.burn_rates] == [10, 10, 20, 60]


def test_every_indicator_can_be_an_objective() -> None:
    for metric, indicator in INDICATORS.items():
        threshold = 1.0 if indicator.buckets else None
        Objective("x", 0.99, metric, threshold_seconds=threshold, by=indicator.labels)
