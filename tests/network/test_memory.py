"""128 MB of anything: what the process takes meanwhile stays under the bound that docs/operations.md gives."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator

import pytest

from tests.network.matrix import bomb, endless_body, endless_head
from tests.network.peers import KINDS, Peer, Play, good

MEGABYTE = 1 << 20
PAGE_MEGABYTES, HISTORY_MEGABYTES, BACKEND_MEGABYTES = 100, 350, 20


def _packed(parts: Iterator[bytes]) -> Play:
    """JSON that is only large once it is unpacked."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(part) for part in parts) + packer.flush()

    def play(connection: socket.socket, path: str) -> None:
        asked = path if path in KINDS else "/conversation"  # a call's history is JSON, too
        good(connection, asked, "Content-Encoding: gzip", body=packed)

    return play


def _json(unit: bytes, megabytes: float) -> Iterator[bytes]:
    yield b'{"data":{"callId":"CALL-1","events":[0],"logs":['
    for _ in range(int(megabytes * 16)):
        yield unit * (MEGABYTE // 16 // len(unit))
    yield unit.rstrip(b",") + b"]}}"


_FAT = b'{"callId":"c","duration":1' + b"0" * 400 + b',"createdAt":1e400},'
PLAYS = {
    "head": endless_head,
    "body": endless_body,
    "compressed body": bomb,
    "zeros": _packed(_json(b"0,", 128)),
    "zeros within the bound of bytes": _packed(_json(b"0,", 15)),
    "objects": _packed(_json(b"{},", 0.8)),
    "nested": _packed(b"[" * MEGABYTE for _ in range(15)),
    "nested objects": _packed(_json(b'{"data":', 15)),
    "numbers of 400 digits": _packed(_json(_FAT, 15)),
}

_ASKING = """
import asyncio, json, resource, sys, warnings
from exporter.calls.telemetry import NoTelemetry
from exporter.errors import AtomsExporterError
from exporter.outputs.otlp import settings
from exporter.outputs.otlp.http import HttpSender
from exporter.protocol.api import decode_call_log, decode_call_page
from exporter.receivers.client import AtomsApi
import structlog

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

async def ask(url, source):
    api = AtomsApi(url + "/api/v1", "t", telemetry=NoTelemetry(), log=structlog.get_logger(), env={}, read_timeout=60)
    try:
        if source == "poll":
            await api.get("conversation", source="poll", read=decode_call_page)
        else:
            read = lambda body: decode_call_log(body, "CALL-1")
            await api.get("conversation", "CALL-1", source="history", read=read)
    except AtomsExporterError as error:
        print(type(error).__name__, error, file=sys.stderr)
    finally:
        await api.aclose()

url, what = sys.argv[1:]
env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
sender = HttpSender(settings.endpoint(env, "traces"), env)
before = megabytes()
if what == "otlp":
    print(sender.send(b"", 60.0), file=sys.stderr)
else:
    asyncio.run(ask(url, what))
print(json.dumps(megabytes() - before))
"""


@pytest.mark.parametrize(
    ("play", "what", "bound"),
    [
        *((play, "poll", PAGE_MEGABYTES) for play in PLAYS),
        *((play, "history", HISTORY_MEGABYTES) for play in PLAYS),
        *((play, "otlp", BACKEND_MEGABYTES) for play in ("head", "body", "compressed body")),
    ],
)
def test_whatever_comes_the_memory_stays_under_its_bound(play: str, what: str, bound: int) -> None:
    with Peer(PLAYS[play]) as peer:
        url = f"http://127.0.0.1:{peer.port}"
        ended = subprocess.run([sys.executable, "-c", _ASKING, url, what], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) < bound, ended.stderr
