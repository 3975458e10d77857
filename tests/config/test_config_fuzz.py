"""A short run of the fuzzer in tests/fuzz; it takes a million with ``python -m tests.fuzz.fuzz_config``."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Config, load
from exporter.config.sources import environment_name, leaf_keys
from exporter.errors import ConfigError
from tests.fuzz.fuzz_config import run


def test_generated_configurations_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    good, refused = run(1_500, 7, tmp_path)
    assert good > 50  # the generator does reach configurations that work
    assert refused > 50


@given(st.dictionaries(st.sampled_from([environment_name(key) for key in leaf_keys()]), st.text(), max_size=3))
def test_any_text_in_any_variable_is_read_or_refused(env: dict[str, str]) -> None:
    outcome: Config | ConfigError
    try:
        outcome = load({}, env, None)
    except ConfigError as error:
        outcome = error
    assert isinstance(outcome, Config) or outcome.problem
