"""The documentation as the tests read it: pages, their code blocks, the commands in them."""

from __future__ import annotations

import importlib.util
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").glob("*.md")]))
RUNBOOK = ROOT / "dashboards" / "runbook.md"

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text."""

    page: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks in these languages."""
    found = []
    for page in PAGES:
        for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
            indent, language, text = match.groups()
            if language in languages:
                lines = [line.removeprefix(indent) for line in text.splitlines()]
                found.append(Block(page.name, language, "\n".join(lines) + "\n"))
    return found


def inline(page: Path) -> list[str]:
    """What stands between backticks within a line, outside fenced blocks."""
    return _INLINE.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))


def shell_lines() -> list[tuple[str, str]]:
    """(page, line) of every line of every shell block, continuations joined."""
    return [
        (block.page, line.strip())
        for block in blocks("sh")
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.strip()
    ]


def exporter_commands() -> list[tuple[str, list[str]]]:
    """(page, arguments) of every call of atoms-exporter, in shell blocks and between backticks."""
    texts = shell_lines() + [
        (page.name, text) for page in PAGES for text in inline(page) if re.search(r"(^|/| )atoms-exporter [a-z]", text)
    ]
    found = []
    for page, text in texts:
        words = shlex.split(text, comments=True)
        while words and _ASSIGNMENT.fullmatch(words[0]):
            del words[0]
        if words and words[0].rpartition("/")[2] == "atoms-exporter" and words[1:]:
            found.append((page, words[1:]))
    return found


def generator() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
