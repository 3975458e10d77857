"""Passwords against bcrypt hashes: in a thread, one at a time, what was checked remembered, guessers last.

A check takes a core for a tenth of a second, on purpose. So who waits for one is a queue with places: a few for each
network, and whoever has guessed wrong comes after whoever has not.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

import bcrypt

__all__ = ["Passwords"]

LONGEST_WAIT_SECONDS: Final = 1.0
"""As many checks wait as are done within this."""
PLACES_PER_NETWORK: Final = 2
MOST_PLACES: Final = 64
_REMEMBERED: Final = 100
_GUESSERS: Final = 4096
_FORGIVEN_SECONDS: Final = 600.0
_LONGEST_BCRYPT_PASSWORD: Final = 72
_NOBODY: Final = "a7G6TfwF8vRk9wrLr61s9.vw4I3dwkaTWNXgONMiTWycunoTKGxr6"
"""Salt and hash that no password is known for, checked for users that do not exist so that they take as long."""


class _Waiting:
    """Somebody who waits for his turn. ``turn`` gives True when it has come, False when there is no room for him."""

    __slots__ = ("failures", "network", "order", "turn")

    def __init__(self, network: str, failures: int, order: int) -> None:
        self.network = network
        self.failures = failures
        self.order = order
        self.turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def rank(self) -> tuple[int, int]:
        return self.failures, self.order


class Passwords:
    """Checks passwords.

    What is remembered is a keyed digest, never a password, and a bounded number of right ones and of wrong ones,
    so that guessing does not push a scraper's out.

    :param bound_hit: told ``passwords`` of each check that found no place.
    """

    def __init__(
        self, bound_hit: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._bound_hit = bound_hit
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting: list[_Waiting] = []
        self._checking: str | None = None
        self._check_seconds = 0.1
        self._order = 0

    async def right(self, users: Mapping[str, str], user: str, password: str, network: str = "") -> bool | None:
        """Whether this is that user's password; None when there is no place for one more to wait.

        :param network: where the client comes from.
        """
        hashed = users.get(user)
        digest = self._digest(user, hashed or "", password)
        if (known := self._remembered(digest)) is None:
            if not await self._turn(network):
                self._bound_hit("passwords")
                return None
            try:
                if (known := self._remembered(digest)) is None:
                    known = await self._check(password, hashed or _nobody(users)) and hashed is not None
                    self._remember(digest, known)
            finally:
                self._next()
        right = known and hashed is not None
        self._learn(network, right)
        return right

    async def _check(self, password: str, hashed: str) -> bool:
        began = self._clock()
        matches = await asyncio.to_thread(_matches, password, hashed)
        self._check_seconds += (self._clock() - began - self._check_seconds) / 4
        return matches

    # -- whose turn it is

    async def _turn(self, network: str) -> bool:
        if self._checking is None and not self._waiting:
            self._checking = network
            return True
        self._order += 1
        newcomer = _Waiting(network, self._failures_of(network), self._order)
        if not self._place_for(newcomer):
            return False
        self._waiting.append(newcomer)
        try:
            return await newcomer.turn
        except asyncio.CancelledError:
            if newcomer in self._waiting:
                self._waiting.remove(newcomer)
            elif newcomer.turn.done() and not newcomer.turn.cancelled() and newcomer.turn.result():
                self._next()  # it left in the moment of its turn
            raise

    def _place_for(self, newcomer: _Waiting) -> bool:
        """Whether he may wait; who has guessed more often gives up his place for it."""
        of_network = Counter(one.network for one in self._waiting)
        if of_network[newcomer.network] >= PLACES_PER_NETWORK:
            return False
        places = max(1, min(MOST_PLACES, int(LONGEST_WAIT_SECONDS / max(self._check_seconds, 0.001))))
        if len(self._waiting) < places:
            return True
        last = max(self._waiting, key=lambda one: one.rank)
        if last.failures <= newcomer.failures:
            return False
        self._waiting.remove(last)
        last.turn.set_result(False)
        return True

    def _next(self) -> None:
        self._checking = None
        if self._waiting:
            first = min(self._waiting, key=lambda one: one.rank)
            self._waiting.remove(first)
            self._checking = first.network
            first.turn.set_result(True)

    # -- what is remembered

    def _failures_of(self, network: str) -> int:
        failures, at = self._failures.get(network, (0, 0.0))
        return failures if self._clock() - at < _FORGIVEN_SECONDS else 0

    def _learn(self, network: str, right: bool) -> None:
        if right:
            self._failures.pop(network, None)
            return
        self._failures[network] = self._failures_of(network) + 1, self._clock()
        self._failures.move_to_end(network)
        if len(self._failures) > _GUESSERS:
            self._failures.popitem(last=False)

    def _digest(self, *parts: str) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            encoded = part.encode("utf-8", "surrogateescape")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.digest()

    def _remembered(self, digest: bytes) -> bool | None:
        if digest in self._right:
            self._right.move_to_end(digest)
            return True
        return False if digest in self._wrong else None

    def _remember(self, digest: bytes, right: bool) -> None:
        known = self._right if right else self._wrong
        known[digest] = None
        if len(known) > _REMEMBERED:
            known.popitem(last=False)


def _nobody(users: Mapping[str, str]) -> str:
    """A hash as expensive as the real ones."""
    cost = max((hashed[4:6] for hashed in users.values()), default="10")
    return f"$2b${cost}${_NOBODY}"


def _matches(password: str, hashed: str) -> bool:
    # Longer passwords are cut as htpasswd and Prometheus cut them; the library would refuse.
    try:
        return bcrypt.checkpw(password.encode("utf-8", "surrogateescape")[:_LONGEST_BCRYPT_PASSWORD], hashed.encode())
    except ValueError:
        return False
