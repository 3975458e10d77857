"""Webhook deliveries, taken in: signed by the platform, of a sane size, each once. No web framework in here."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from exporter.calls.telemetry import Telemetry
from exporter.errors import AtomsExporterError, Malformed, Refused
from exporter.protocol.webhooks import (
    AnalyticsCompleted,
    OtherWebhook,
    PostConversation,
    PreConversation,
    decode_delivery,
)

MAX_BODY_BYTES: Final = 1 << 20
REMEMBERED: Final = 20_000

_BEGAN: Final = re.compile(r"CALL-(\d{13})-")

AnyDelivery = PreConversation | PostConversation | AnalyticsCompleted | OtherWebhook


class DuplicateDelivery(AtomsExporterError):
    """The delivery was taken before: do nothing, acknowledge it as the first time. ``identity`` is None for one that
    could only have been taken long ago."""

    def __init__(self, message: str, identity: bytes | None = None) -> None:
        super().__init__(message)
        self.identity = identity


class ElsewhereDelivery(AtomsExporterError):
    """The delivery is about a call that another process follows: acknowledge it, do nothing."""


class Webhooks:
    """Decides about deliveries and counts those that are not taken; what became of the others shows later.

    :param secrets: the signing secrets in force; several while they rotate.
    :param remember: how many deliveries to know again. The platform does not retry: a repeated one comes from a proxy
        that passes on what was not acknowledged, or is a mistake or an attack.
    :param oldest_seconds: a delivery about a call that began longer ago is none that comes for the first time: what
        was taken is not remembered for longer. By the call's id, which holds the moment.
    :param ours: whether calls of this id are followed here.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        telemetry: Telemetry,
        remember: int = REMEMBERED,
        oldest_seconds: float = math.inf,
        ours: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not secrets or not all(secrets):
            raise ValueError("a webhook needs a secret, and an empty one is none")
        self.use(secrets)
        self._telemetry = telemetry
        self._remember = remember
        self._oldest_seconds = oldest_seconds
        self._ours = ours
        self._clock = clock
        self._taken: OrderedDict[bytes, None] = OrderedDict()

    def use(self, secrets: Sequence[str]) -> None:
        """Signatures are made with these from now on."""
        self._secrets = [secret.encode() for secret in secrets]

    def accept(self, raw: bytes, signature: str | None) -> AnyDelivery:
        """The delivery in a request's raw body.

        Raises Refused with status 413 or 401, Malformed, DuplicateDelivery, or ElsewhereDelivery.
        """
        if len(raw) > MAX_BODY_BYTES:
            self._telemetry.webhook("other", "too_large")
            raise Refused("a webhook of more than 1 MiB", status=413)
        if not self._signed(raw, signature):
            self._telemetry.webhook("other", "bad_signature")
            raise Refused("a webhook without a valid signature", status=401)
        try:
            delivery = decode_delivery(raw)
        except Malformed:
            self._telemetry.webhook("other", "malformed")
            raise
        if delivery.call_id is not None and not self._ours(delivery.call_id):
            self._telemetry.webhook(delivery.kind, "elsewhere")
            raise ElsewhereDelivery("the delivery is about a call that is followed elsewhere")
        if self._is_too_old(delivery):
            self._telemetry.bound_hit("webhook_age")
            self._telemetry.webhook(delivery.kind, "duplicate")
            raise DuplicateDelivery("the delivery is about a call of long ago")
        identity = identity_of(delivery, raw)
        if not self._is_new(identity):
            self._telemetry.webhook(delivery.kind, "duplicate")
            raise DuplicateDelivery("the delivery was taken before", identity)
        return delivery

    def forget(self, identity: bytes) -> None:
        """The delivery could not be used after all: the next one like it is new."""
        self._taken.pop(identity, None)

    def remember(self, identity: bytes) -> None:
        """An earlier life of the process has taken this delivery."""
        self._is_new(identity)

    def _is_too_old(self, delivery: AnyDelivery) -> bool:
        began = _BEGAN.match(delivery.call_id or "")
        return began is not None and self._clock() - int(began[1]) / 1000 > self._oldest_seconds

    def _signed(self, raw: bytes, signature: str | None) -> bool:
        given = (signature or "").strip().removeprefix("sha256=").lower().encode("utf-8", "backslashreplace")
        good = False
        for secret in self._secrets:  # all of them, always: how long it takes tells nothing
            good |= hmac.compare_digest(hmac.new(secret, raw, hashlib.sha256).hexdigest().encode(), given)
        return good

    def _is_new(self, identity: bytes) -> bool:
        if identity in self._taken:
            self._taken.move_to_end(identity)
            return False
        self._taken[identity] = None
        if len(self._taken) > self._remember:
            self._taken.popitem(last=False)
        return True


def identity_of(delivery: AnyDelivery, raw: bytes) -> bytes:
    """By its id, event and call: the id alone may be that of the endpoint. Without an id, by its content."""
    digest = hashlib.blake2b(digest_size=16)
    if delivery.delivery_id is None:
        digest.update(raw)
    else:
        for part in (delivery.delivery_id, delivery.kind, delivery.call_id or ""):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.digest()
