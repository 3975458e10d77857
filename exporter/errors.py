"""What can go wrong, named by what the operator (or the caller) does about it."""

from __future__ import annotations


class AtomsExporterError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigError(AtomsExporterError):
    """The configuration cannot be used: the process says why and exits with 2.

    ``key`` is the dotted name the operator wrote (or would write); ``problem`` says what is allowed there.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


class Refused(AtomsExporterError):
    """The peer would give the same answer again: stop asking.

    ``status`` is the HTTP status that said so.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Interrupted(AtomsExporterError):
    """It may work later: back off, then resume.

    ``reason`` is one of a closed set of words fit for a metric label; ``retry_after_seconds`` is what the peer
    asked for, if it did.
    """

    def __init__(self, message: str, *, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class Malformed(AtomsExporterError):
    """Input that cannot be read: count it, skip it, go on. ``reason`` is fit for a metric label."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
