"""What post-call analytics say of a call, in a webhook or in its log."""

from __future__ import annotations

import msgspec

from exporter.protocol.fields import Fields


class Disposition(msgspec.Struct, frozen=True):
    """One result. ``kind`` is ``INTEGER``, ``STRING``, ``BOOLEAN``, ``ENUM`` or ``DATETIME`` where it is given;
    ``choices`` are the words an ``ENUM`` may have, where they are given."""

    identifier: str
    value: bool | int | float | str
    kind: str | None = None
    choices: tuple[str, ...] = ()


def dispositions_of(analytics: Fields) -> list[Disposition]:
    """The results that have a name and a value, in their order."""
    found = []
    for entry in (*analytics.objects("dispositionMetrics"), *analytics.objects("successMetrics")):
        identifier, value = entry.text("identifier"), entry.scalar("value")
        if identifier and value is not None:
            kind = entry.text("dispositionMetricType") or entry.text("type")
            choices = tuple(word for word in entry.items("choices", str) if word) if entry.has("choices") else ()
            found.append(Disposition(identifier, value, kind.upper() if kind else None, choices))
    return found
