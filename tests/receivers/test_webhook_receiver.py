"""Deliveries are taken when signed, sane and new."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upstream import Heard

from exporter.errors import Malformed, Refused
from exporter.protocol.webhooks import PreConversation, decode_delivery
from exporter.receivers.webhook import DuplicateDelivery, Webhooks, identity_of
from exporter.simulator import signature


def body(event: str = "pre-conversation", call: str = "CALL-1", delivery: str | None = "w1") -> bytes:
    envelope = {"event": f"a1.{event}", "metadata": {"callId": call}}
    return json.dumps(envelope | ({"id": delivery} if delivery else {})).encode()


def webhooks(*secrets: str, **options: Any) -> tuple[Webhooks, Heard]:
    heard = Heard()
    return Webhooks(secrets or ("s3cret",), telemetry=heard, **options), heard


def test_a_signed_delivery_is_accepted() -> None:
    receiver, heard = webhooks()
    raw = body()
    assert isinstance(receiver.accept(raw, signature("s3cret", raw)), PreConversation)
    assert not heard.counts, "who takes it in says what became of it"


def test_every_secret_in_force_is_good() -> None:
    receiver, _ = webhooks("old", "new")
    for number, secret in enumerate(("old", "new")):
        raw = body(call=f"CALL-{number}")
        receiver.accept(raw, signature(secret, raw))


def test_a_signature_may_be_written_in_capitals_or_with_its_algorithm() -> None:
    receiver, _ = webhooks()
    raw, other = body(), body(call="CALL-2")
    receiver.accept(raw, signature("s3cret", raw).upper())
    receiver.accept(other, "sha256=" + signature("s3cret", other))


@pytest.mark.parametrize("given_signature", [None, "", "x", "ä" * 64, "0" * 64, signature("other", body()), "sha256="])
def test_a_bad_or_missing_signature_is_refused(given_signature: str | None) -> None:
    receiver, heard = webhooks()
    with pytest.raises(Refused) as raised:
        receiver.accept(body(), given_signature)
    assert raised.value.status == 401
    assert heard.counts == {("webhook", "other", "bad_signature"): 1}


def test_the_signature_is_of_the_raw_bytes() -> None:
    receiver, _ = webhooks()
    raw = body()
    with pytest.raises(Refused):
        receiver.accept(raw + b" ", signature("s3cret", raw))


def test_no_secret_and_an_empty_secret_are_not_secrets() -> None:
    for secrets in ([], [""], ["good", ""]):
        with pytest.raises(ValueError, match="secret"):
            Webhooks(secrets, telemetry=Heard())


def test_a_delivery_over_a_mebibyte_is_refused_unread() -> None:
    receiver, heard = webhooks()
    raw = b" " * ((1 << 20) + 1)
    with pytest.raises(Refused) as raised:
        receiver.accept(raw, signature("s3cret", raw))
    assert raised.value.status == 413
    assert heard.counts == {("webhook", "other", "too_large"): 1}


def test_a_signed_delivery_that_cannot_be_read_is_malformed() -> None:
    receiver, heard = webhooks()
    for raw in (b"{", b"[]", b'{"event": "a.pre-conversation"}'):
        with pytest.raises(Malformed):
            receiver.accept(raw, signature("s3cret", raw))
    assert heard.counts == {("webhook", "other", "malformed"): 3}


@pytest.mark.parametrize("delivery", ["w1", None])
def test_a_replayed_delivery_is_known_again(delivery: str | None) -> None:
    receiver, heard = webhooks()
    raw = body(delivery=delivery)
    receiver.accept(raw, signature("s3cret", raw))
    with pytest.raises(DuplicateDelivery):
        receiver.accept(raw, signature("s3cret", raw))
    assert heard.counts[("webhook", "pre-conversation", "duplicate")] == 1


def test_the_same_id_for_other_events_and_calls_is_no_replay() -> None:
    receiver, _ = webhooks()
    for raw in (body(), body("post-conversation"), body(call="CALL-2"), body(delivery="w2")):
        receiver.accept(raw, signature("s3cret", raw))


def test_a_delivery_that_could_not_be_used_may_come_again() -> None:
    receiver, _ = webhooks()
    raw = body()
    receiver.forget(identity_of(receiver.accept(raw, signature("s3cret", raw)), raw))
    receiver.accept(raw, signature("s3cret", raw))


def test_only_so_many_deliveries_are_remembered() -> None:
    receiver, _ = webhooks(remember=3)
    raws = [body(call=f"CALL-{number}") for number in range(4)]
    for raw in raws:
        receiver.accept(raw, signature("s3cret", raw))
    receiver.accept(raws[0], signature("s3cret", raws[0]))
    with pytest.raises(DuplicateDelivery):
        receiver.accept(raws[3], signature("s3cret", raws[3]))


@given(st.binary(max_size=300))
def test_any_signed_bytes_are_taken_or_malformed(raw: bytes) -> None:
    receiver, _ = webhooks()
    try:
        receiver.accept(raw, hmac.new(b"s3cret", raw, hashlib.sha256).hexdigest())
    except Malformed:
        pass


def test_a_delivery_about_a_call_of_long_ago_is_acknowledged_and_not_taken() -> None:
    receiver, heard = webhooks(oldest_seconds=3600.0, clock=lambda: 1_758_127_900.0)
    old, young = body(call="CALL-1758124225863-80752e"), body(call="CALL-1758126000000-80752e")
    with pytest.raises(DuplicateDelivery):
        receiver.accept(old, signature("s3cret", old))
    assert heard.counts["bound", "webhook_age"] == 1
    assert isinstance(receiver.accept(young, signature("s3cret", young)), PreConversation)


def test_what_an_earlier_life_has_taken_is_known_again() -> None:
    receiver, _ = webhooks()
    raw = body("analytics-completed", delivery=None)
    receiver.remember(identity_of(receiver.accept(raw, signature("s3cret", raw)), raw))
    later, _ = webhooks()
    later.remember(identity_of(decode_delivery(raw), raw))
    with pytest.raises(DuplicateDelivery):
        later.accept(raw, signature("s3cret", raw))
