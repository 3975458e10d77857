"""Throw generated configurations at the loader: whatever comes in, out comes a Config or a ConfigError.

    python -m tests.fuzz.fuzz_config --examples 1000000 --seed 1

The generator starts from configurations that nearly work (the real keys, plausible and hostile values, as YAML, as
variables, as flags) and damages the bytes of the file: pure noise would end in the YAML parser every time.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from exporter.config import Config, effective, load, reference
from exporter.config.sources import dotted, environment_name, leaf_keys
from exporter.errors import ConfigError

CANARY = "sk-canary-5e7d1c"

VALUES = [
    "", "~", "null", "true", "no", "0", "1", "-1", "1.5", "1e400", "nan", ".inf", "0x10", "0o7", "1_000", "1:30",
    "5s", "1h30m", "500ms", "30d", "-5s", "99999y", "9" * 50, "auto", "ms", "info", "json", "active", "webcall",
    "CALL-1758124225863-80752e", "a/b", "[]", "{}", "[1, 2]", "{a: b}", "[active]", "[[[[]]]]", "{a: {b: {c: d}}}",
    "https://api.smallest.ai/atoms/v1", "http://u:p@x", "https://x:0", "https://[::1", "//x", ":9464", "[::1]:1", "::",
    "127.0.0.1:99999", "/webhooks/atoms", "/metrics", "../..", "/dev/null", "~nobody/x", "~", "\\u0000", "\"\\0\"",
    "'quoted'", "\"\\ud800\"", "|\n  block\n", "&a x", "*a", "!!binary eA==", "!!int x", "!x y", "<<", "%", "@", "`",
    "[0.1, 0.2, +Inf]", "[2, 1]", "0.1,0.5,1", "[{name: a, threshold: 2s, objective: 0.99}]", "[{name: a}]",
    '[{"name": "a", "threshold": 2, "objective": 0.95, "window": "7d", "by": ["node_id"]}]', '{"a": ["b"]}',
    "[{name: [], threshold: {}, objective: x, window: 0s, minimum_events: 1e9}]", "ü", "\U0001f600", CANARY,
]  # fmt: skip
SPECIAL = [
    "ATOMS_API_KEY", "SMALLEST_API_KEY", "ATOMS_API_KEY_FILE", "ATOMS_BASE_URL", "ATOMS_WEBHOOK_SECRET",
    "ATOMS_WEBHOOK_SECRET_FILE", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "ATOMS_EXPORTER_CONFIG_FILE",
    "ATOMS_EXPORTER_", "ATOMS_EXPORTER___", "ATOMS_EXPORTER_PORT", "ATOMS_EXPORTER_API", "ATOMS_EXPORTER_API__X__Y",
]  # fmt: skip
NOISE = [b"\x00", b"\xff", b"\t", b"\n", b" ", b":", b"- ", b"&a ", b"*a", b"{", b"[", b"]", b"'", b'"', b"#", b"---\n"]
NOISE += [
    b"!!python/object:x ",
    b"%YAML 9.9\n",
    b"? ",
    b"<<: ",
    b"|",
    b">",
    b"\xef\xbb\xbf",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
]

Sources = tuple[dict[str, object], dict[str, str], bytes | None]


PLAUSIBLE = {key: str(default) for key, _, default, _ in reference() if default is not None}


def value(rng: random.Random, key: str) -> str:
    """Mostly something that fits the key, so that a whole configuration can come out right."""
    return PLAUSIBLE[key] if key in PLAUSIBLE and rng.random() < 0.8 else rng.choice(VALUES)


def sources(rng: random.Random) -> Sources:
    """Flags, environment and file content of one attempt."""
    keys = list(leaf_keys())
    flags: dict[str, object] = {
        dotted(rng.choice(keys)): rng.choice([rng.choice(VALUES), rng.randint(-5, 10**20), None, True, 0.5, [1], {}])
        for _ in range(rng.choice([0, 0, 1, 2]))
    }
    env = {rng.choice(SPECIAL): rng.choice([CANARY, *VALUES]) for _ in range(rng.choice([0, 0, 0, 1]))}
    for key in rng.sample(keys, rng.randrange(4)):
        env[environment_name(key)] = value(rng, dotted(key))
    return flags, env, yaml_file(rng) if rng.random() < 0.85 else None


def yaml_file(rng: random.Random) -> bytes:
    tree: dict[str, object] = {}
    for key in rng.sample(list(leaf_keys()), rng.randrange(6)):
        inner = tree
        for name in key[:-1]:
            below = inner.setdefault(name, {})
            inner = below if isinstance(below, dict) else {}
        inner[key[-1] if rng.random() < 0.97 else key[-1][:-1]] = value(rng, dotted(key))
    content = bytearray(b"".join(_lines(tree, 0)))
    for _ in range(rng.choice([0, 0, 1, 2, 5])):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(3):
            case 0:
                content[at:at] = rng.choice(NOISE)
            case 1:
                del content[at : at + rng.randrange(1, 9)]
            case _:
                start = rng.randrange(len(content) + 1)
                content[at:at] = content[start : start + rng.randrange(1, 40)]
    return bytes(content)


def _lines(tree: Mapping[str, object], depth: int) -> Iterator[bytes]:
    for name, value in tree.items():
        indent = "  " * depth
        if isinstance(value, dict):
            yield f"{indent}{name}:\n".encode()
            yield from _lines(value, depth + 1)
        else:
            yield f"{indent}{name}: {value}\n".encode("utf-8", "surrogatepass")


def attempt(given: Sources, file: Path) -> bool:
    """Load once; True when it was a configuration. Anything but Config or ConfigError comes out as it is."""
    flags, env, content = given
    if content is not None:
        file.write_bytes(content)
    outcome: Config | ConfigError
    try:
        outcome = load(flags, env, file if content is not None else None)
    except ConfigError as error:
        outcome = error
    if isinstance(outcome, ConfigError):
        assert outcome.problem
        return False
    shown = repr(outcome.api) + str(effective(outcome)["api"])
    key = outcome.api.api_key
    assert key is None or key.get_secret_value() != CANARY or CANARY not in shown
    return True


def run(examples: int, seed: int, directory: Path) -> tuple[int, int]:
    """How many of ``examples`` attempts were configurations, how many were refused."""
    rng = random.Random(seed)
    file = directory / "config.yaml"
    good = 0
    for number in range(examples):
        given = sources(rng)
        try:
            good += attempt(given, file)
        except BaseException:
            print(f"attempt {number} of seed {seed}: {given!r}", file=sys.stderr)  # noqa: T201 - a command line tool
            raise
    return good, examples - good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        good, refused = run(options.examples, options.seed, Path(directory))
    seconds = time.perf_counter() - started
    print(f"{options.examples} configurations: {good} good, {refused} refused, 0 surprises, {seconds:.0f} s")  # noqa: T201 - a command line tool


if __name__ == "__main__":
    main()
