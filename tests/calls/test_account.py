"""What a call log says of a call, read with suspicion."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.calls.account import END_REASONS, account_of, end_reason_of
from exporter.protocol.api import decode_call_log
from tests.support.lives import Life
from tests.support.wire import node, payloads

CALL = "CALL-1758124225863-80752e"


def told(**log: Any) -> Any:
    body = {"data": {"callId": CALL, "status": "completed", "createdAt": "2026-09-21T14:13:20.000Z", **log}}
    return decode_call_log(json.dumps(body).encode(), CALL)


@pytest.mark.parametrize("reason", [each for each in END_REASONS if each not in ("other", "unknown")])
def test_a_reason_is_known_however_it_is_spelled(reason: str) -> None:
    camel = reason.title().replace("_", "")
    assert {end_reason_of(word) for word in (reason, reason.upper(), reason.replace("_", "-"), camel)} == {reason}


def test_a_reason_nobody_knows_is_other_and_none_is_unknown() -> None:
    assert [end_reason_of(word) for word in ("alien abduction", "", None)] == ["other", "unknown", "unknown"]


def test_an_account_holds_what_the_log_tells() -> None:
    log = told(
        disconnectionReason="user_hangup",
        callCost=0.25,
        versionNumber=7,
        versionId="v",
        isTest=True,
        retryAttemptNumber=2,
    )
    account = account_of(log, connected_at=log.created_at + 4.5)
    assert (account.end_reason, account.cost, account.version, account.is_test) == ("user_hangup", 0.25, "7", True)
    assert (account.attempt, account.setup_seconds) == ("retry", 4.5)


def test_what_cannot_be_is_not_taken() -> None:
    account = account_of(told(callCost=-1, versionNumber=None, isTest="yes", retryAttemptNumber="x"), connected_at=1.0)
    assert (account.cost, account.version, account.is_test, account.attempt) == (None, None, False, None)
    assert account.setup_seconds is None  # it cannot have connected before it was created
    assert account_of(told(callCost=1e300), None).cost is None


def test_an_agent_has_one_version_that_of_its_latest_call() -> None:
    life = Life()
    for number, version in enumerate(("1", "1", "2")):
        call_id = f"CALL-175812422586{number}-80752e"
        life.call_id = call_id
        life.feed(payloads([node(100, "1", "One")], call_id=call_id))
        body = json.dumps({"data": {"callId": call_id, "versionNumber": version}}).encode()
        life.tracker.end(call_id, "completed", log=decode_call_log(body, call_id))
    assert life.by("atoms_agent_version_info", "agent_id", "version") == {("a1", "2"): 1}
