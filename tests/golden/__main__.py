"""``python -m tests.golden --write``: write the golden files again, to look at what a change has changed."""

from __future__ import annotations

import sys

from tests.golden import write

if sys.argv[1:] != ["--write"]:
    raise SystemExit(__doc__)
write()
