"""The environment of this process, read in one place: here. Everything below is given what it needs of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType


def environment() -> Mapping[str, str]:
    """A copy, as it was at the start."""
    return MappingProxyType(dict(os.environ))
