"""Where settings come from: flags, the environment, a YAML file. Each source says what it sets and where it said so.

A source is read into leaves: a key of the tree and what was written there. Keys that do not exist are errors with a
suggestion, wherever they are.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exporter.config.model import Config, Section
from exporter.config.places import AUTO, File
from exporter.config.types import read_json
from exporter.errors import ConfigError
from exporter.strict_yaml import Document, Place, read_yaml_file

__all__ = ["ENVIRONMENT_PREFIX", "Key", "Setting", "dotted", "from_environment", "from_file", "from_flags", "leaf_keys"]
__all__ += ["environment_name", "suggestion"]

Key = tuple[str, ...]

ENVIRONMENT_PREFIX = "ATOMS_EXPORTER_"
CONFIG_FILE_VARIABLE = "ATOMS_EXPORTER_CONFIG_FILE"

_API_KEY: Key = ("api", "api_key")
_SPECIAL: Mapping[str, Key] = MappingProxyType(
    {
        "SMALLEST_API_KEY": _API_KEY,
        "ATOMS_API_KEY": _API_KEY,
        "ATOMS_API_KEY_FILE": ("api", "api_key_file"),
        "ATOMS_BASE_URL": ("api", "base_url"),
        "ATOMS_WEBHOOK_SECRET": ("discovery", "webhook", "secret"),
        "ATOMS_WEBHOOK_SECRET_FILE": ("discovery", "webhook", "secret_file"),
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": ("traces", "capture_content"),
    }
)
_CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURE_WORDS = {"span_only": "true", "span_and_event": "true", "event_only": "false", "no_content": "false"}

# What Kubernetes puts into the environment of every pod beside a Service called atoms-exporter….
_SERVICE_LINK = re.compile(
    r"ATOMS_EXPORTER_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)", re.ASCII
)
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://\S+|tcp|udp|sctp|\d{1,5}|[0-9a-fA-F.:]+", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Setting:
    """What one source wrote for one key, and where; not shown, it may be a secret."""

    value: Any
    where: str
    place: Place = ()
    document: Document | None = None

    def source(self, inside: Place = ()) -> str:
        """The flag, variable, or file and line that said it."""
        if self.document is None:
            return self.where
        return self.document.where((*self.place, *inside))


_MOST_UNKNOWN = 5
_A_SLIP = 2  # keys that are wrong by mistake; more of them, and none right, are another file
_LIKE_A_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,59}")

Leaves = dict[Key, Setting]


def dotted(key: Iterable[str | int]) -> str:
    """``slo[0].name`` for a key and places inside its value."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def environment_name(key: Key) -> str:
    """The variable that sets a key."""
    return ENVIRONMENT_PREFIX + "__".join(key).upper()


def sections(model: type[Section]) -> dict[str, type[Section]]:
    """The keys of a mapping that are mappings themselves."""
    found = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found[name] = field.annotation
    return found


@functools.cache
def leaf_keys() -> Mapping[Key, Any]:
    """Every key that takes a value, with its pydantic field, in the order of the tree."""
    return MappingProxyType(dict(_leaves(Config, ())))


def _leaves(model: type[Section], above: Key) -> Iterator[tuple[Key, Any]]:
    inner = sections(model)
    for name, field in model.model_fields.items():
        if name in inner:
            yield from _leaves(inner[name], (*above, name))
        else:
            yield (*above, name), field


def suggestion(written: str, allowed: Iterable[str]) -> str:
    """``; did you mean …?`` or a list of what there is."""
    allowed = list(allowed)
    close = difflib.get_close_matches(written[:100], allowed, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(allowed)}"


def _unknown(key: Place, where: str, siblings: Iterable[str]) -> ConfigError:
    name = str(key[-1])
    siblings = list(siblings)
    elsewhere = [dotted(leaf) for leaf in leaf_keys() if leaf[-1] == name]
    if elsewhere and not difflib.get_close_matches(name[:100], siblings, n=1, cutoff=0.8):
        hint = f"did you mean {elsewhere[0]}?"
    else:
        hint = suggestion(name, siblings)
    shown = (*key[:-1], name if _LIKE_A_KEY.fullmatch(name) else "(something that is no name of a key)")
    return ConfigError(dotted(shown), f"unknown key; {hint} ({where})")


def from_file(path: Path, named_by: str, problems: list[ConfigError]) -> Leaves:
    """What a YAML file sets; relative paths in it are relative to it."""
    try:
        document = read_yaml_file(path)
    except ConfigError as error:
        problems.append(ConfigError(named_by, str(error)))
        return {}
    if not isinstance(document.value, dict):
        problems.append(ConfigError(document.name, "must be a mapping of sections (api, discovery, …)"))
        return {}
    if len(document.value) > _A_SLIP and not document.value.keys() & Config.model_fields.keys():
        known = ", ".join(Config.model_fields)
        problems.append(ConfigError(document.name, f"has none of the sections {known}: is it the right file?"))
        return {}
    found: Leaves = {}
    unknown: list[ConfigError] = []
    walked = list(_walk(document.value, Config, (), document, unknown))
    problems.extend(unknown[:_MOST_UNKNOWN])
    if len(unknown) > _MOST_UNKNOWN:
        more = len(unknown) - _MOST_UNKNOWN
        problems.append(ConfigError(document.name, f"has {more} more keys that cannot be used"))
    for place, value in walked:
        if (
            any(isinstance(rule, File) for rule in rules(leaf_keys()[place]))
            and isinstance(value, str)
            and value.strip() not in ("", str(AUTO))
        ):
            value = str(path.parent / Path(value.strip())) if not value.strip().startswith("~") else value
        found[place] = Setting(value, str(path), place, document)
    return found


def rules(field: Any) -> Iterator[Any]:
    """How a field's value is read and shown: its Rules."""
    for metadata in field.metadata:
        if (rule := getattr(metadata, "func", None)) is not None:
            yield rule


def _walk(
    mapping: Mapping[str, Any], model: type[Section], above: Key, document: Document, problems: list[ConfigError]
) -> Iterator[tuple[Key, Any]]:
    inner = sections(model)
    for name, value in mapping.items():
        key = (*above, str(name))
        if name not in model.model_fields:
            problems.append(_unknown(key, document.where(key), model.model_fields))
        elif value is None:
            continue
        elif name not in inner:
            yield key, value
        elif isinstance(value, dict):
            yield from _walk(value, inner[name], key, document, problems)
        else:
            keys = ", ".join(inner[name].model_fields)
            problems.append(ConfigError(dotted(key), f"must be a mapping of {keys} ({document.where(key)})"))


def from_environment(env: Mapping[str, str], problems: list[ConfigError]) -> Leaves:
    """What the environment sets: the variables of their own first, then ATOMS_EXPORTER_<KEY>."""
    found: Leaves = {}
    for name, key in _SPECIAL.items():
        value = env.get(name, "")
        if value.strip():
            if name == _CAPTURE_VARIABLE:
                value = _CAPTURE_WORDS.get(value.strip().lower(), value)
            found[key] = Setting(value, name)
    named = {environment_name(key): key for key in leaf_keys()}
    for name in sorted(env):
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_FILE_VARIABLE:
            continue
        named_key = named.get(name)
        if named_key is None:
            if not _is_service_link(name, env[name]):
                problems.append(ConfigError(name[:100], f"unknown variable; {_variable_like(name, named)}"))
        elif (setting := _variable(named_key, name, env[name], problems)) is not None:
            earlier = found.get(named_key)
            if earlier and earlier.where != "SMALLEST_API_KEY" and earlier.value.strip() != env[name].strip():
                problems.append(ConfigError(dotted(named_key), f"{earlier.where} and {name} differ; set one of them"))
            found[named_key] = setting
    return found


_NESTING = "names are ATOMS_EXPORTER_<KEY> with __ between section and key, such as ATOMS_EXPORTER_API__IDLE_TIMEOUT"


def _variable_like(name: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt variable; the prefix they all share says nothing."""
    tails = [one.removeprefix(ENVIRONMENT_PREFIX) for one in (*known, CONFIG_FILE_VARIABLE)]
    written = name.removeprefix(ENVIRONMENT_PREFIX)[:100]
    close = difflib.get_close_matches(written, tails, n=1, cutoff=0.7)
    return f"did you mean {ENVIRONMENT_PREFIX}{close[0]}?" if close else _NESTING


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name) and _SERVICE_LINK_VALUE.fullmatch(value))


def _variable(key: Key, name: str, value: str, problems: list[ConfigError]) -> Setting | None:
    """An empty variable counts as not set, but for what can be empty: a path, a list."""
    if key == ("slo",):
        try:
            return Setting(read_json(value), name) if value.strip() else None
        except ValueError as error:
            problems.append(ConfigError("slo", f"{error} ({name})"))
            return None
    if not value.strip() and not any(rule.may_be_empty for rule in rules(leaf_keys()[key])):
        return None
    return Setting(value, name)


def from_flags(flags: Mapping[str, object], problems: list[ConfigError], spelled: Mapping[str, str]) -> Leaves:
    """What flags set: dotted keys; None means the flag was not given. ``spelled`` is how each was typed."""
    found: Leaves = {}
    for name, value in flags.items():
        if value is None:
            continue
        key = tuple(name.split("."))
        flag = spelled.get(name, f"--set {name}")
        if key not in leaf_keys():
            problems.append(_unknown(key, flag, [dotted(leaf) for leaf in leaf_keys()]))
        else:
            found[key] = Setting(value, flag)
    return found
