"""Large blocks go back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

PINNED = """
import os, sys
from exporter.memory import give_back_large_blocks
if not give_back_large_blocks():
    sys.exit(77)
from concurrent.futures import ThreadPoolExecutor
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
pages, lines = [], []
def render(number):
    pages.append(b"x" * 2_000_000)
    lines.append(b"x" * (600 + number % 100))  # a small block that stays, between large ones that go
with ThreadPoolExecutor(6) as threads:
    list(threads.map(render, range(100)))
held = resident() - before
pages.clear()
print(held >> 20, (resident() - before) >> 20)
"""


def test_pages_that_were_let_go_are_given_back_though_small_blocks_between_them_stay() -> None:
    done = subprocess.run([sys.executable, "-c", PINNED], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("the C library is not glibc")
    held, kept = map(int, done.stdout.split())
    assert held > 150
    assert kept < 20
