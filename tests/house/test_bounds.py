"""The table of bounds in SECURITY.md, walked: whoever adds an input without a bound is told here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.bounds import BOUNDS, MOST_MEMORY_MIB, Bound
from exporter.outputs.prometheus.catalogue import BOUNDS_HIT, CATALOGUE
from exporter.web import build_app
from tests.attack.test_hostile_calls import MOST_BYTES
from tests.webserver import Backstage

ROOT = Path(__file__).resolve().parents[2]
EXPORTER = ROOT / "exporter"

READING = frozenset(
    {
        *("open", "read_text", "read_bytes", "fdopen", "readline", "readlines", "getresponse", "urlopen"),
        *("iter_any", "iter_chunked", "aiter_raw", "aiter_bytes", "aiter_text", "aiter_lines", "aread", "feed_data"),
        *("recv", "sock_recv", "sock_accept", "decompress", "getenv", "getproxies", "getaddrinfo"),
        *("load_verify_locations", "load_cert_chain"),
    }
)
"""Calls by which something from outside comes in."""
NAMED = frozenset({"environ", "stdin", "data_received", "buffer_updated"})
"""And what is read, or takes what was, by name."""

OF_OURS = {
    "calls/tracker.py": "opens a call, not a file",
    "receivers/following.py": "the same",
    "receivers/followed.py": "the same",
    "fleet/scripts/__init__.py": "reads what ships with it",
}
"""Modules in which a word of ``READING`` is no input."""


def modules() -> Iterator[str]:
    for path in sorted(EXPORTER.rglob("*.py")):
        name = path.relative_to(EXPORTER).as_posix()
        if not name.startswith("simulator/") and reads(ast.parse(path.read_text(encoding="utf-8"))):
            yield name


def reads(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in READING:
                return True
        if isinstance(node, ast.Attribute) and node.attr in NAMED:
            return True
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in NAMED:
            return True
    return False


def test_every_module_that_reads_something_from_outside_has_a_row() -> None:
    known = {module for bound in BOUNDS for module in bound.read_in}
    assert {module for module in modules() if module not in OF_OURS} - known == set()
    assert known - set(modules()) - {"cli/printing.py"} <= {module for module in known if (EXPORTER / module).exists()}


def test_every_path_of_our_port_has_a_row() -> None:
    app = build_app(Backstage().ports())
    paths = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    bounded = {where for bound in BOUNDS for where in bound.where}
    assert paths - bounded == set()


def test_every_question_to_the_api_has_a_row() -> None:
    asked = set()
    for path in sorted([*(EXPORTER / "receivers").glob("*.py"), *(EXPORTER / "offline").glob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and any(keyword.arg == "source" for keyword in node.keywords):
                first = node.args[0] if node.args else None
                if isinstance(node.func, ast.Attribute) and node.func.attr == "get" and isinstance(first, ast.Constant):
                    asked.add(f"GET /{first.value}")
    assert {"GET /conversation", "GET /agent"} <= asked
    assert asked - {where for bound in BOUNDS for where in bound.where} == set()


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.what)
def test_every_row_says_how_much_how_many_how_long_and_what_then(bound: Bound) -> None:
    assert all((bound.where, bound.size, bound.count, bound.time, bound.beyond, bound.counted))
    assert sum(text == "–" for text in (bound.size, bound.count, bound.time)) <= 2
    metrics = {spec.name for spec in CATALOGUE}
    for word in bound.counted.replace("`", "").split(", "):
        assert word == "–" or word in BOUNDS_HIT or word in metrics, word


def test_every_word_of_the_counter_has_a_row() -> None:
    said = {word for bound in BOUNDS for word in bound.counted.replace("`", "").split(", ")}
    assert set(BOUNDS_HIT) - said == set()


def test_the_memory_that_stands_there_is_what_the_attacks_are_held_to() -> None:
    assert f"**{MOST_MEMORY_MIB} MiB**" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert MOST_BYTES == MOST_MEMORY_MIB << 20
