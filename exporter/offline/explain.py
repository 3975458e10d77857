"""One call as a person reads it: hops, turns, stages and tools as a tree, with times, the slowest turn marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from exporter.outputs.spans import SpanRecord
from exporter.printable import printable

_BAR_WIDTH = 20
_GOOD_SECONDS = 0.9
_ACCEPTABLE_SECONDS = 2.0
_BESIDE = ("execute_tool ", "knowledgebase", "variable_extraction")
"""What a turn waits for beside its stages."""
_SLOW_TOOL_SECONDS = 2.0
_LONGEST_LINE = 76
_SMALL_SHARE = 0.1
_SHORTEST_SHOWN_SECONDS = 0.0005


def explained(spans: Iterable[SpanRecord]) -> RenderableType:
    """The trace of one call as something rich can print.

    :param spans: all spans of one call, in any order; the root may be missing when the call has not ended.
    """
    known = sorted(
        {span.span_id: _visible(span) for span in spans}.values(), key=lambda span: (span.start_ns, -span.end_ns)
    )
    if not known:
        return Text("no events")
    return _Explanation(known).render()


def _visible(span: SpanRecord) -> SpanRecord:
    """The span with names fit for a terminal: they come from outside, and could move its cursor."""
    attributes = {
        name: _on_a_line(value) if isinstance(value, str) else value for name, value in span.attributes.items()
    }
    error = None if span.error is None else _on_a_line(span.error)
    return msgspec.structs.replace(span, name=_on_a_line(span.name), attributes=attributes, error=error)


def _on_a_line(text: str) -> str:
    return printable(text.replace("\n", " ").replace("\t", " "))


class _Explanation:
    def __init__(self, spans: Sequence[SpanRecord]) -> None:
        self.root = next((span for span in spans if span.parent_id is None), None)
        self.began_ns = self.root.start_ns if self.root is not None else spans[0].start_ns
        ids = {span.span_id for span in spans}
        self.children: dict[int | None, list[SpanRecord]] = defaultdict(list)
        for span in spans:
            if span is not self.root:
                self.children[span.parent_id if span.parent_id in ids else None].append(span)
        self.turns = [span for span in spans if span.name == "turn"]
        self.beside = sorted((span for span in spans if span.name.startswith(_BESIDE)), key=lambda span: span.start_ns)
        self.slowest = max(self.turns, key=_took, default=None)

    def render(self) -> RenderableType:
        tree = Tree(self._headline(), guide_style="dim")
        roots = self.children[None]
        if self.root is not None:
            roots = sorted([*roots, *self.children[self.root.span_id]], key=lambda span: span.start_ns)
        for span in roots:
            self._grow(tree, span)
        return Group(tree, "", self._summary())

    def _grow(self, tree: Tree, span: SpanRecord) -> None:
        if span.name == "turn":
            tree.add(self._turn(span))
            return
        branch = tree.add(self._line(span))
        for child in self.children[span.span_id]:
            self._grow(branch, child)

    # -- one line each

    def _headline(self) -> Text:
        root = self.root
        if root is None:
            return Text("call (not ended)", style="bold")
        said = root.attributes
        line = Text(str(said.get("gen_ai.conversation.id", "call")), style="bold")
        outcome = str(said.get("atoms.call.outcome"))
        if root.start_ns > 0:
            began = datetime.fromtimestamp(root.start_ns / 1e9, UTC)
            line.append(f"  {began:%Y-%m-%d %H:%M:%S} UTC", style="dim")
        line.append(f"\n{said.get('gen_ai.agent.name')} · {said.get('atoms.call.channel')} · ")
        line.append(outcome, style="red" if root.error else "green")
        line.append(f" · {duration(_took(root))}")
        return line

    def _line(self, span: SpanRecord) -> Text:
        line = self._clock(span)
        if span.name.startswith("hop "):
            line.append(span.name.removeprefix("hop "), style="bold cyan")
            line.append(f"  {duration(_took(span))}")
            line.append(f"  node {span.attributes.get('atoms.node.id')}", style="dim")
            came_from = span.attributes.get("atoms.hop.from_node.name")
            if came_from is not None:
                line.append(f" ← {came_from}", style="dim")
        else:
            line.append(span.name, style="magenta" if span.name.startswith("execute_tool") else "")
            took = _took(span)
            if took:
                line.append(f"  {duration(took)}", style="yellow" if took > _SLOW_TOOL_SECONDS else "")
        if span.error is not None:
            line.append(f"  ✗ {span.attributes.get('error.type', span.error)}", style="bold red")
        return line

    def _turn(self, span: SpanRecord) -> Text:
        took = _took(span)
        style = "green" if took < _GOOD_SECONDS else "yellow" if took <= _ACCEPTABLE_SECONDS else "bold red"
        longest = _took(self.slowest) if self.slowest is not None else took
        filled = round(_BAR_WIDTH * took / longest) if longest else 0
        line = self._clock(span)
        line.append("turn ")
        line.append(f"{duration(took):>8} ", style=style)
        line.append("█" * filled, style=style)
        line.append("·" * (_BAR_WIDTH - filled), style="dim")
        if span is self.slowest and len(self.turns) > 1:
            line.append(" ◀ slowest", style="bold red")
        if span.attributes.get("atoms.turn.interrupted"):
            line.append(" interrupted", style="yellow")
        for stages in _in_lines(self._stages(span, took)):
            line.append("\n" + " " * 10 + stages, style="dim")
        return line

    def _stages(self, turn: SpanRecord, took: float) -> list[str]:
        """What the turn's time went into; the small ones together."""
        shown: list[str] = []
        small = 0.0
        for stage in self.children[turn.span_id]:
            spent = _took(stage)
            if "gen_ai.operation.name" in stage.attributes or spent >= took * _SMALL_SHARE:
                shown.append(f"{stage.name} {duration(spent)}")
            else:
                small += spent
        rest = turn.attributes.get("atoms.turn.unreported")
        if isinstance(rest, float):
            for name, spent in self._ran_in(turn):
                given = min(spent, rest)
                rest -= given
                if given >= took * _SMALL_SHARE:
                    shown.append(f"{name} {duration(given)}")
                else:
                    small += given
            small += rest
        if shown and small >= _SHORTEST_SHOWN_SECONDS:
            shown.append(f"other {duration(small)}")
        return shown

    def _ran_in(self, turn: SpanRecord) -> list[tuple[str, float]]:
        """Tools and look-ups that ran inside a turn, and for how long nothing that began before them did."""
        found: list[tuple[str, float]] = []
        reached = turn.start_ns
        for span in self.beside:
            began, ended = max(span.start_ns, reached), min(span.end_ns, turn.end_ns)
            if began < ended:
                found.append((span.name.removeprefix("execute_tool "), (ended - began) / 1e9))
                reached = ended
        return found

    def _clock(self, span: SpanRecord) -> Text:
        seconds = max(0.0, (span.start_ns - self.began_ns) / 1e9)
        return Text().append(f"{int(seconds // 60):>3}:{seconds % 60:04.1f}  ", style="dim")

    # -- the end

    def _summary(self) -> Text:
        said = self.root.attributes if self.root is not None else {}
        parts = [self._turns_told()] if self.turns else []
        if self.root is not None:
            hops = said.get("atoms.call.hops")
            parts.append(Text("1 hop" if hops == 1 else f"{hops} hops"))
        if "gen_ai.usage.input_tokens" in said:
            sent, given = said["gen_ai.usage.input_tokens"], said.get("gen_ai.usage.output_tokens", 0)
            other = said.get("atoms.usage.other_tokens", 0)
            parts.append(Text(f"{int(sent):,} + {int(given):,}{f' + {int(other):,}' if other else ''} tokens"))
        text = Text("; ").join(parts)
        if self.root is not None:
            text.append(f"\ntrace {self.root.trace_id:032x}", style="dim")
        return text

    def _turns_told(self) -> Text:
        latencies = sorted(_took(turn) for turn in self.turns)
        if len(latencies) == 1:
            return Text().append("1 turn", style="bold").append(f", {duration(latencies[0])}")
        middle = latencies[(len(latencies) - 1) // 2]
        text = Text().append(f"{len(latencies)} turns", style="bold")
        text.append(f", median {duration(middle)}, slowest {duration(latencies[-1])}")
        if self.slowest is not None:
            text.append(f" in {self.slowest.attributes.get('atoms.node.name')}")
        return text


def _in_lines(parts: Iterable[str]) -> list[str]:
    """Parts side by side, as many as a line of a terminal takes beside the tree."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 3 <= _LONGEST_LINE:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines


def _took(span: SpanRecord | None) -> float:
    return 0.0 if span is None else (span.end_ns - span.start_ns) / 1e9


def duration(seconds: float) -> str:
    """A time span as people write it: ``350 ms``, ``1.69 s``, ``3 min 12 s``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
