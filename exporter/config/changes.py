"""What differs between two configurations, and a third one made of both."""

from __future__ import annotations

from collections.abc import Collection

from exporter.config.model import Config, Section
from exporter.config.sources import Key, dotted, leaf_keys, sections


def changed_keys(before: Config, after: Config) -> list[str]:
    """The dotted names of the keys whose values differ, in the order of the tree."""
    return [dotted(key) for key in leaf_keys() if _at(before, key) != _at(after, key)]


def with_keys(before: Config, after: Config, keys: Collection[str]) -> Config:
    """``before``, with the values ``after`` has for these dotted keys."""
    mixed = _mixed(before, after, (), keys)
    assert isinstance(mixed, Config)
    return mixed


def _mixed(before: Section, after: Section, above: Key, keys: Collection[str]) -> Section:
    inner = sections(type(before))
    update = {}
    for name in type(before).model_fields:
        key = (*above, name)
        if name in inner:
            update[name] = _mixed(getattr(before, name), getattr(after, name), key, keys)
        elif dotted(key) in keys:
            update[name] = getattr(after, name)
    return before.model_copy(update=update)


def _at(config: Config, key: Key) -> object:
    value: object = config
    for name in key:
        value = getattr(value, name)
    return value
