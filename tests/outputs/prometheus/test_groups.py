"""Groups of metrics that are switched off: no series, no trace of them, and everything else as it was."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import load
from exporter.config.rules import call_limits
from exporter.errors import ConfigError
from exporter.outputs.prometheus.catalogue import CALL_METRICS
from exporter.outputs.prometheus.groups import GROUPS, metrics_of
from exporter.outputs.prometheus.kept import changed, layouts, restore
from exporter.outputs.prometheus.metrics import Metrics
from exporter.protocol.api import decode_call_log
from exporter.simulator import call_log, recorded, script
from tests.support.lives import Life
from tests.support.wire import encoded

SIZING = runpy.run_path(str(Path(__file__).resolve().parents[3] / "docs" / "sizing.py"))


def played(*disable: str, calls: int = 1) -> Life:
    """Simulated calls, with these groups switched off."""
    config = load({}, {"ATOMS_API_KEY": "k", "ATOMS_EXPORTER_METRICS__DISABLE": ",".join(disable)}, None)
    life = Life(without=disable, limits=call_limits(config))
    for number in range(4, 4 + calls):
        events = recorded(21, number)
        life.call_id = events[0]["call_id"]
        life.feed(encoded(event) for event in events)
        log = decode_call_log(encoded(call_log(21, number)), life.call_id)
        life.tracker.end(life.call_id, script(21, number).outcome, log=log)
    return life


def test_every_metric_of_a_group_exists_and_is_in_no_other() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
    assert set(names) < {spec.name for spec in CALL_METRICS}


EVERYTHING = played()


@settings(max_examples=15)
@given(st.sets(st.sampled_from(sorted(GROUPS))))
def test_what_is_switched_off_is_gone_and_what_is_not_is_as_it_was(groups: set[str]) -> None:
    off, life = metrics_of(groups), played(*groups)
    assert not off & life.metrics.store.families.keys()
    wanted = {key: value for key, value in EVERYTHING.counted().items() if not key[0].startswith(tuple(off) or ("-",))}
    assert life.counted() == wanted
    assert not any(name in life.text() for name in off)
    assert life.spans == EVERYTHING.spans


def test_an_unknown_group_is_refused_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("metrics: {disable: [stages, verbs]}\n")
    with pytest.raises(ConfigError) as refused:
        load({}, {"ATOMS_API_KEY": "k"}, file)
    assert refused.value.key == "metrics.disable"
    assert ", ".join(GROUPS) in str(refused.value)


def test_what_was_kept_of_a_group_that_is_off_now_is_left_alone() -> None:
    before = played()
    rows, shape = [taken.packed() for taken in changed(before.metrics.store)], layouts(before.metrics.store)
    metrics = Metrics(version="0", without=("stages", "words"))
    came_back, anew = restore(metrics.store, rows, shape, 3)
    assert 0 < came_back < len(rows)
    assert anew == []


def test_the_model_of_an_account_s_size_is_what_simulated_calls_bring() -> None:
    life = played(calls=16)
    nodes = {dict(labels).get("node_id") for _, labels in life.samples("atoms_node_visits")} - {None}
    on_nodes = sum(
        line.count("node_id=") > 0 for line in life.text().splitlines() if not line.startswith("#") and "__" not in line
    )
    everything = int(SIZING["switches_table"]()[0][1])
    assert 0.6 < everything / (on_nodes / len(nodes)) < 1.7


def test_an_account_is_as_large_as_one_that_is_rendered_whole() -> None:
    whole = SIZING["size"](SIZING["rendered"](3, 4, 2))
    model = SIZING["account"](3, 4, 2)
    assert model.series == whole.series
    assert model.page_bytes == pytest.approx(whole.page_bytes, rel=0.01)
