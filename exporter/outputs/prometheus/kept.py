"""The numbers of all series, out of memory and back into it: what of them changed, and what another life had.

Gauges are not kept: they say what is, not what was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import NamedTuple

from exporter.outputs.prometheus.children import Child, packed, unpacked
from exporter.outputs.prometheus.series import Family, Labels, Store

_MOST = 2.0**53


class KeptSeries(NamedTuple):
    """One series as it is kept: ``numbers`` and ``base`` as ``children.packed`` writes them."""

    family: str
    labels: Labels
    numbers: bytes
    born: int
    created_at: float
    base: bytes | None
    resting: bool


class Taken(NamedTuple):
    """A series that changed, and its numbers at one moment."""

    family: str
    labels: Labels
    child: Child
    version: float
    numbers: list[float]
    resting: bool

    def packed(self) -> KeptSeries:
        """As it is kept."""
        child = self.child
        return KeptSeries(
            self.family, self.labels, packed(self.numbers), child.born, child.created_at, child.base, self.resting
        )


def layouts(store: Store) -> dict[str, str]:
    """What the families look like whose numbers are kept."""
    return {name: family.layout for name, family in _families(store)}


def changed(store: Store, *, everything: bool = False) -> list[Taken]:
    """The series whose numbers are not those kept. Of one moment: call it where the counting is done."""
    taken: list[Taken] = []
    for name, family in _families(store):
        for resting, children in ((False, family.children), (True, family.resting)):
            for labels, child in children.items():
                if (version := child.version) != child.kept_version or everything:
                    child.moved = False
                    taken.append(Taken(name, labels, child, version, child.numbers(), resting))
    return taken


def forgotten(store: Store) -> list[tuple[str, Labels]]:
    """Series that need not be kept any more since the last time this was asked."""
    gone: list[tuple[str, Labels]] = []
    for name, family in _families(store):
        gone.extend((name, labels) for labels in family.forgotten if labels not in family.children)
        family.forgotten = []
    return gone


def restore(
    store: Store, rows: Iterable[KeptSeries], kept_layouts: Mapping[str, str], edition: int
) -> tuple[int, list[str]]:
    """Take the numbers of another life, before anything is counted or shown. How many series came back, and the
    families that begin anew because their labels or buckets are others now.

    :param edition: of the last page that life began.
    """
    store.moment.edition = edition + 1
    ours = layouts(store)
    anew = sorted(name for name, layout in kept_layouts.items() if name in ours and ours[name] != layout)
    came_back = 0
    for row in rows:
        if ours.get(row.family) is not None and kept_layouts.get(row.family) == ours[row.family]:
            came_back += _restore_one(store[row.family], row)
    for _, family in _families(store):
        for child in family.children.values():
            if child.kept is None:  # there from the start, and nobody has seen it
                child.born = store.moment.newest = store.moment.edition
    return came_back, anew


def _restore_one(family: Family, row: KeptSeries) -> bool:
    child = family.children.get(row.labels) or family.blank()
    numbers = _numbers(row.numbers, len(child.numbers()))
    if numbers is None or len(row.labels) != len(family.spec.labels):
        return False
    child.become(numbers)
    child.born, child.created_at = row.born, row.created_at
    child.base = row.base if row.base is None or _numbers(row.base, len(numbers)) is not None else row.numbers
    child.kept, child.kept_version = row.numbers, child.version
    if row.resting:
        family.children.pop(row.labels, None)
        family.resting[row.labels] = child
    else:
        family.children[row.labels] = child
    return True


def _numbers(content: bytes, how_many: int) -> list[float] | None:
    """Numbers that can be a child's: finite, and counts are not negative (a histogram's sum may be)."""
    try:
        numbers = unpacked(content)
    except ValueError:
        return None
    counts = numbers[1:] if how_many > 1 else numbers
    sound = len(numbers) == how_many and isfinite(numbers[0]) and all(0 <= count <= _MOST for count in counts)
    return numbers if sound else None


def _families(store: Store) -> Iterable[tuple[str, Family]]:
    return ((name, family) for name, family in store.families.items() if family.is_kept)
