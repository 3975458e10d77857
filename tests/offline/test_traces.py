"""A trace id leads to its call at the exporter that knows it; where none does, the error says what to do."""

from __future__ import annotations

import dataclasses
import time

import pytest

from exporter.address import ListenAddress
from exporter.calls.identity import trace_id
from exporter.errors import ConfigError, Interrupted, Refused
from exporter.offline.traces import call_of_trace, own_address
from exporter.web import CallView
from tests.support.peers import free_port
from tests.webserver import Backstage, site

CALL = "CALL-1758124225863-80752e"
TRACE = f"{trace_id(CALL):032x}"
KNOWN = CallView(CALL, "ended", time.time(), trace_id=TRACE, ended_at=time.time())
OTHER = dataclasses.replace(KNOWN, call_id="CALL-2", trace_id=f"{trace_id('CALL-2'):032x}")


async def test_a_call_that_the_exporter_knows_is_found_by_its_trace_in_either_case() -> None:
    async with site(Backstage(calls=[OTHER, KNOWN])) as at:
        for written in (TRACE, TRACE.upper()):
            assert await call_of_trace(written, at.web.urls[0], {}) == CALL


async def test_a_call_far_behind_the_others_is_found_too() -> None:
    """The list comes in pages."""
    many = [dataclasses.replace(OTHER, call_id=f"CALL-{number}", trace_id=f"{number:032x}") for number in range(11_000)]
    async with site(Backstage(calls=[*many, KNOWN])) as at:
        assert await call_of_trace(TRACE, at.web.urls[0], {}) == CALL


async def test_a_trace_that_nobody_knows_says_where_else_its_call_is_written() -> None:
    async with site(Backstage(calls=[OTHER])) as at:
        with pytest.raises(Refused, match=r"does not know trace .* gen_ai\.conversation\.id"):
            await call_of_trace(TRACE, at.web.urls[0], {})


async def test_without_an_exporter_it_says_how_to_name_one() -> None:
    with pytest.raises(Interrupted, match="--exporter URL, or give the call's id"):
        await call_of_trace(TRACE, f"http://127.0.0.1:{free_port()}", {})
    with pytest.raises(ConfigError, match="--exporter"):
        await call_of_trace(TRACE, "nonsense", {})
    async with site(Backstage()) as at:
        with pytest.raises(Interrupted, match="no exporter"):
            await call_of_trace(TRACE, f"{at.web.urls[0].rstrip('/')}/-", {})


@pytest.mark.parametrize(
    ("listen", "tls", "address"),
    [
        (ListenAddress("", 9464), False, "http://127.0.0.1:9464"),
        (ListenAddress("::", 9464), True, "https://127.0.0.1:9464"),
        (ListenAddress("10.0.0.7", 80), False, "http://10.0.0.7:80"),
    ],
)
def test_by_default_it_asks_where_an_exporter_of_this_configuration_listens(
    listen: ListenAddress, tls: bool, address: str
) -> None:
    assert own_address(listen, tls=tls) == address
