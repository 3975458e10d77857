"""What the fuzzers of the wire share: JSON that is nearly right, and damage to its bytes."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 0.0, 1.5, -0.25, 1e308, 10**30, -(10**30), 91, 245, 1758124305.194836, 1758124305194,
    "", " ", "x", "0", "1.5", "2026-03-02T10:00:01.123Z", "2026-03-02", "yesterday", "CALL-1758124225863-80752e",
    "workflow_graph", "completed", "no-answer", "telephonyInbound", "BOOLEAN", "a.pre-conversation", ".", "a" * 2000,
    "\u2028", "\x00", "\U0001f600", "\ud800", "WavesTTSService#0", [], {}, [[]], [None], [1, "x", {}], {"a": {"b": []}},
]  # fmt: skip
NOISE = [b"\x00", b"\xff", b"\xed\xa0\x80", b"\n", b"\r", b"\r\n", b"\n\n", b"data:", b"data: ", b": ", b"retry: 5\n"]
NOISE += [b"{", b"}", b"[", b"]", b'"', b",", b"NaN", b"Infinity", b"1e999", b"\\u", b"\\ud800", b"\xef\xbb\xbf", b"-"]


def surprised(rng: random.Random, fields: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The object with some members missing, replaced, or added."""
    given = dict(fields)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
        name = rng.choice([*given, *names])
        if rng.random() < 0.3:
            given.pop(name, None)
        else:
            given[name] = rng.choice(VALUES)
    return given


def written(rng: random.Random, value: Any) -> bytes:
    """The value as JSON, in one of the ways it may be written."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7, indent=rng.choice([None, None, None, 1]))
    return text.encode("utf-8", "surrogatepass")


def damaged(rng: random.Random, data: bytes, most: int = 4) -> bytes:
    """The bytes with some inserted, removed, repeated or changed."""
    content = bytearray(data)
    for _ in range(rng.randrange(most + 1)):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(4):
            case 0:
                content[at:at] = rng.choice(NOISE)
            case 1:
                del content[at : at + rng.randrange(1, 20)]
            case 2:
                start = rng.randrange(len(content) + 1)
                content[at:at] = content[start : start + rng.randrange(1, 60)]
            case _:
                content[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(content)


def run(attempt: Callable[[random.Random], str], examples: int, seed: int) -> Counter[str]:
    """How often each outcome came out of ``examples`` attempts; each has a generator of its own to repeat it by."""
    outcomes: Counter[str] = Counter()
    for number in range(examples):
        try:
            outcomes[attempt(random.Random(f"{seed}/{number}"))] += 1
        except BaseException:
            print(f"attempt {number} of seed {seed} failed", file=sys.stderr)  # noqa: T201 - a command line tool
            raise
    return outcomes


def main(description: str | None, attempt: Callable[[random.Random], str]) -> None:
    """The command line of a fuzzer."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    outcomes = run(attempt, options.examples, options.seed)
    counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    seconds = time.perf_counter() - started
    print(f"{options.examples} inputs: {counted}, 0 surprises, {seconds:.0f} s")  # noqa: T201 - a command line tool
