"""Results of post-call analytics as facts fit for labels, each once for its call.

A webhook may bring them, or the call log, or both, and a delivery may come again after a restart: what is remembered of
a result is 64 bits of its call and identifier, so that it can be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import xxhash

from exporter.calls.observations import Agent, DispositionGiven
from exporter.protocol.dispositions import Disposition
from exporter.protocol.labels import label

MOST_REMEMBERED = 200_000
"""Results that are known again: 10 MB at the most."""
MOST_IDENTIFIERS = 5_000
"""Identifiers, of all agents, whose words are known."""
MOST_WORDS = 50
"""Words an identifier may have: an ENUM of more is no closed set, and its others are ``other``."""
_LONGEST_WORD = 64
_LARGEST = 1e15
_LONGEST_NUMBER = 16
_YES, _NO = frozenset(("true", "yes", "1")), frozenset(("false", "no", "0"))
_WORDS = frozenset(("STRING", "DATETIME", "ENUM"))
"""Kinds whose digits are no number: they may be somebody's."""

Allowed = Mapping[str, frozenset[str]]
"""Words that the operator allows as values, by identifier."""


class Analyses:
    """Decides which results are counted, and as what.

    :param allowed: the operator's lists of words, by identifier.
    :param counted: told the identity of each result that is counted, for the state.
    :param remember: how many results to know again; the oldest are forgotten first.
    """

    def __init__(
        self,
        allowed: Mapping[str, Iterable[str]] | None = None,
        *,
        counted: Callable[[int], None] = lambda _: None,
        remember: int = MOST_REMEMBERED,
    ) -> None:
        self.allow(allowed or {})
        self._tell = counted
        self._remember = remember
        self._counted: dict[int, None] = {}
        self._words: dict[tuple[str, str], set[str]] = {}

    def allow(self, words: Mapping[str, Iterable[str]]) -> None:
        """These words may become labels from now on."""
        self._allowed = {name: frozenset(allowed) for name, allowed in words.items()}

    def facts(self, call_id: str, agent: Agent, dispositions: Iterable[Disposition]) -> list[DispositionGiven]:
        """What is to be counted of these results: those whose call and identifier were not counted before."""
        found = []
        for given in dispositions:
            identifier = label(given.identifier)
            fact = disposition_fact(
                agent, identifier, given.value, given.kind, self._allowed, self._words_of(agent, identifier, given)
            )
            if fact is not None and self._is_new(call_id, identifier):
                found.append(fact)
        return found

    def uncounted(self, call_id: str, dispositions: Iterable[Disposition]) -> list[int]:
        """The identities of results that were not counted here."""
        identities = (_identity(call_id, label(given.identifier)) for given in dispositions)
        return [identity for identity in identities if identity not in self._counted]

    def restore(self, identities: Iterable[int]) -> None:
        """Results that an earlier life has counted."""
        for identity in identities:
            self._counted[identity] = None

    def _is_new(self, call_id: str, identifier: str) -> bool:
        identity = _identity(call_id, identifier)
        if identity in self._counted:
            return False
        self._counted[identity] = None
        if len(self._counted) > self._remember:
            del self._counted[next(iter(self._counted))]
        self._tell(identity)
        return True

    def _words_of(self, agent: Agent, identifier: str, given: Disposition) -> frozenset[str]:
        """The words a closed set may add: those it names as its choices, or what was seen of it, up to a bound."""
        if given.kind != "ENUM" and not given.choices:
            return frozenset()
        words = self._words.get((agent.agent_id, identifier))
        if words is None:
            if len(self._words) >= MOST_IDENTIFIERS:
                return frozenset()
            words = self._words[agent.agent_id, identifier] = set()
        for word in given.choices or (str(given.value),):
            if len(words) < MOST_WORDS and len(word) <= _LONGEST_WORD:
                words.add(word)
        return frozenset(words)


def _identity(call_id: str, identifier: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{call_id}\n{identifier}".encode("utf-8", "replace"))


def disposition_fact(
    agent: Agent,
    identifier: str,
    value: object,
    kind: str | None,
    allowed: Allowed,
    words: frozenset[str] = frozenset(),
) -> DispositionGiven | None:
    """A result as a fact: yes or no as they are, numbers (also whole ones in text) as numbers, words only from a closed
    set (the operator's list, or ``words``), every other of it ``other``. A free text or a date without a list is no
    fact: it may be somebody's name."""
    if not isinstance(value, bool | int | float | str):
        return None
    if kind == "BOOLEAN" or isinstance(value, bool):
        return _yes_or_no(agent, identifier, value)
    closed = allowed.get(identifier, frozenset()) | words
    if isinstance(value, str) and value in closed:
        return DispositionGiven(agent, identifier, label(value), None)
    if kind not in _WORDS and (number := _number(value)) is not None:
        return DispositionGiven(agent, identifier, None, number)
    return DispositionGiven(agent, identifier, "other", None) if closed and isinstance(value, str) else None


def _yes_or_no(agent: Agent, identifier: str, value: object) -> DispositionGiven | None:
    said = str(value).strip().lower()
    if said in _YES or said in _NO:
        return DispositionGiven(agent, identifier, "true" if said in _YES else "false", None)
    return None


def _number(value: int | float | str) -> float | None:
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _LONGEST_NUMBER or not (text.isascii() and text.removeprefix("-").isdigit()):
            return None
        value = int(text)
    return float(value) if abs(value) <= _LARGEST else None  # NaN is not
