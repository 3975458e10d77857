"""From a trace id to its call: a trace id is a hash of the call's id, so only who knows the call can tell.

The running exporter knows the calls it follows and those that ended within the hour.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Final

import httpx

from exporter.address import ListenAddress
from exporter.errors import AtomsExporterError, ConfigError, Interrupted, Refused

TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{32}")
_SECONDS: Final = 10.0
_MOST_BYTES: Final = 64 << 20
"""Of one page."""
_CALLS_ON_A_PAGE: Final = 5_000
_MOST_PAGES: Final = 1_000


def own_address(listen: ListenAddress, *, tls: bool) -> str:
    """Where an exporter of this configuration answers on this machine."""
    return ListenAddress("127.0.0.1" if listen.host in ("", "0.0.0.0", "::") else listen.host, listen.port).url(tls=tls)


async def call_of_trace(trace_id: str, exporter: str, env: Mapping[str, str]) -> str:
    """The call's id, from the exporter at this address (``http://user:password@host:port`` where it wants one).

    Raises Interrupted when it does not answer, Refused when it does not know the trace or wants to know who asks; both
    say what to do.
    """
    async for call in _calls(exporter, env):
        if call.get("trace_id") == trace_id.lower() and isinstance(call.get("call_id"), str):
            return str(call["call_id"])
    raise Refused(
        f"the exporter does not know trace {trace_id.lower()}: it follows no such call, and none ended within the "
        "hour. A trace id cannot be turned back into a call: take the call's id from the trace (the attribute "
        "gen_ai.conversation.id of any of its spans), or ask the replica that follows it (--exporter URL)",
        status=404,
    )


async def _calls(exporter: str, env: Mapping[str, str]) -> AsyncIterator[dict[str, object]]:
    """All that the exporter lists, page by page."""
    page, pages = 1, 1
    while page <= pages:
        calls, pages = await _page(exporter, env, page)
        for call in calls:
            yield call
        page += 1


async def _page(exporter: str, env: Mapping[str, str], page: int) -> tuple[list[dict[str, object]], int]:
    """The calls of one page, and how many pages there are."""
    try:
        trust = ssl.create_default_context(cafile=env.get("SSL_CERT_FILE") or None)
        url = f"{exporter.rstrip('/')}/api/v1/calls?page={page}&limit={_CALLS_ON_A_PAGE}"
        async with (
            httpx.AsyncClient(trust_env=False, timeout=_SECONDS, verify=trust) as client,
            client.stream("GET", url) as answer,
        ):
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > _MOST_BYTES:
                    raise Interrupted("the exporter's list of calls is too long", reason="too_long")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError):
        raise ConfigError("--exporter", "must be an address such as http://127.0.0.1:9464") from None
    except (httpx.HTTPError, OSError) as problem:
        raise _not_there(type(problem).__name__) from None
    if answer.status_code in (401, 403):
        message = "the exporter wants to know who asks: --exporter http://user:password@host:port"
        raise Refused(message, status=answer.status_code)
    return _read(bytes(body))


def _read(body: bytes) -> tuple[list[dict[str, object]], int]:
    try:
        answer = json.loads(body)
        pages = answer.get("pages", 1)
        calls = [call for call in answer["calls"] if isinstance(call, dict)]
        return calls, min(pages, _MOST_PAGES) if isinstance(pages, int) else 1
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _not_there("what answers there is no exporter") from None


def _not_there(why: str) -> AtomsExporterError:
    return Interrupted(
        f"a trace id is looked up at the running exporter, and it does not answer ({why}): say where it is with "
        "--exporter URL, or give the call's id",
        reason="connect",
    )
