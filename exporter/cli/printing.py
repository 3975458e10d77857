"""What commands say: results on stdout, everything else on stderr. Either may be closed, full, or not UTF-8."""

from __future__ import annotations

import errno
import io
import os
import sys

from exporter.errors import AtomsExporterError
from exporter.printable import printable


class CannotSay(AtomsExporterError):
    """The result cannot be written: the disk is full, or stdout was closed."""


def prepare_streams() -> None:
    """At the start, before a file or socket is opened: it would be given the number of a closed stream.

    Results are UTF-8, as the formats they are in want it. A terminal keeps its own encoding; what it cannot show is
    replaced.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace", encoding=None if stream.isatty() else "utf-8")


def say(text: str) -> None:
    """One result. Raises BrokenPipeError when nobody reads any more, CannotSay when it cannot be written."""
    if sys.stdout is None:
        raise CannotSay("the result cannot be written: stdout is closed")
    try:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise CannotSay(f"the result cannot be written to stdout: {problem.strerror}") from problem


def remark(text: str) -> None:
    """Something for the person, not for the pipe."""
    try:
        sys.stderr.write("\n".join(printable(line) for line in text.splitlines()) + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # there is nobody left to tell


def fail(text: str) -> None:
    """Why the command ends here."""
    remark(f"atoms-exporter: {text}")


def stdout_is_lost(problem: OSError) -> bool:
    """Whether this error is about stdout being full or closed, and not about a file or a peer."""
    return problem.filename is None and problem.errno in (errno.ENOSPC, errno.EPIPE, errno.EBADF, errno.EIO)


def give_up_stdout() -> None:
    """Nobody can be told anything on it: what is left in its buffer must not be a last error of the interpreter."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1 if stream is sys.stdout else 2)
