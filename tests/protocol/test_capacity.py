"""What the API tells of the account's limits, read leniently."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import Malformed
from exporter.protocol.capacity import Concurrency, Reserved, decode_concurrency, decode_total

AGENT = {"agentId": "a1", "agentName": "Sales", "webcall": 1, "outbound": 2, "inbound": 3, "chat": 0}


def answer(**data: Any) -> bytes:
    return json.dumps({"success": True, "data": data}).encode()


def test_the_limit_what_is_shared_and_what_each_agent_has() -> None:
    told = decode_concurrency(answer(orgLimit=100, totalReserved=6, unreservedPool=94, agents=[AGENT]))
    assert (told.limit, told.unreserved) == (100, 94)
    assert {(each.agent_id, each.agent_name, each.channel): each.calls for each in told.reserved} == {
        ("a1", "Sales", "telephony_inbound"): 3,
        ("a1", "Sales", "telephony_outbound"): 2,
        ("a1", "Sales", "webcall"): 1,
        ("a1", "Sales", "chat"): 0,
    }


def test_what_is_shared_follows_from_the_rest_where_it_is_not_told() -> None:
    assert decode_concurrency(answer(orgLimit=10, totalReserved=4)) == Concurrency(10, 6)
    assert decode_concurrency(answer(orgLimit=10, totalReserved=40)) == Concurrency(10, 0)
    assert decode_concurrency(answer(orgLimit=10)) == Concurrency(10, None)


def test_a_surprise_costs_a_number_not_the_answer() -> None:
    agents = [{**AGENT, "inbound": "many", "webcall": -1, "chat": None, "outbound": 1e300}, {"inbound": 3}, 7, None]
    told = decode_concurrency(answer(orgLimit="100", unreservedPool=5, agents=agents))
    assert told == Concurrency(None, 5, ())
    assert decode_concurrency(answer(unreservedPool=5, agents=[{"_id": 7, "chat": 2.0}])).reserved == (
        Reserved("7", None, "chat", 2),
    )


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 1}', b'{"data": {"orgLimit": null}}', b"<html>"])
def test_an_answer_without_a_limit_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_concurrency(body)


def test_a_list_says_how_many_calls_it_has() -> None:
    assert decode_total(answer(logs=[], pagination={"total": 17})) == 17
    for pagination in ({}, {"total": None}, {"total": -1}, {"total": "17"}, None):
        with pytest.raises(Malformed):
            decode_total(answer(logs=[], pagination=pagination))


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(
        lambda given: json.dumps({"data": {"orgLimit": given, "agents": given}}).encode()
    )
)
def test_whatever_comes_is_read_or_malformed(body: bytes) -> None:
    for decode in (decode_concurrency, decode_total):
        try:
            decode(body)
        except Malformed:
            pass
