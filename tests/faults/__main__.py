"""Play the fault suite and print its table.

python -m tests.faults                      # all of it, a few minutes
python -m tests.faults drop gap             # some cases
python -m tests.faults --write              # … and put the table into docs/faults.md
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.cases import CASES
from tests.faults.suite import Case, Outcome, play_all
from tests.system.books import report

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
_BEGIN, _END = "<!-- table: python -m tests.faults --write -->", "<!-- end of table -->"
_HEAD = ("fault", "struck", "calls", "events sent", "counted", "came again", "recovered", "lost", "")


def rows(cases: Sequence[Case], outcomes: Mapping[str, Outcome]) -> list[tuple[str, ...]]:
    """The table's lines, in the order of the suite."""
    found = []
    for case in cases:
        came = outcomes[case.name]
        numbers = (came.struck, came.calls, came.sent, came.counted, came.duplicates, came.recovered, came.lost)
        note = "; ".join(filter(None, (came.note, "**not as it must be**" if came.problems else "")))
        found.append((case.title, *(f"{number:,}" for number in numbers), note))
    return found


def markdown(cases: Sequence[Case], outcomes: Mapping[str, Outcome]) -> str:
    """The table for the documentation."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|---|" + "---:|" * (len(_HEAD) - 2) + "---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(cases, outcomes)]
    return "\n".join(lines)


def write(table: str) -> None:
    """Put the table between its marks."""
    text = DOCUMENT.read_text("utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    DOCUMENT.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="CASE", help="only these: " + ", ".join(c.name for c in CASES))
    parser.add_argument("--write", action="store_true", help="put the table into docs/faults.md")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="cases played at one time")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the exporters' logs there")
    options = parser.parse_args()
    if unknown := set(options.names) - {case.name for case in CASES}:
        parser.error(f"no case {', '.join(sorted(unknown))}")
    cases = [case for case in CASES if not options.names or case.name in options.names]
    began = time.monotonic()

    def done(case: Case, outcome: Outcome) -> None:
        verdict = "exact" if not outcome.problems else report(outcome.problems)
        sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {case.name}: {verdict}\n")

    with TemporaryDirectory() as scratch:
        outcomes = asyncio.run(play_all(cases, options.keep or Path(scratch), at_once=options.at_once, done=done))
    table = markdown(cases, outcomes)
    sys.stdout.write(table + "\n")
    if options.write:
        write(table)
    return int(any(outcome.problems for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
