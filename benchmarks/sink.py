"""An OTLP collector that accepts every trace over HTTP and throws it away, in a process of its own.

It counts requests and bytes, and spans by the length of the list in the message: proof that they were sent.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_HEAD_END = b"\r\n\r\n"


class Sink(asyncio.Protocol):
    """One connection. ``GET`` anything gives the counts."""

    requests = 0
    bytes = 0
    spans = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no asyncio.Transport
        self._unread = bytearray()

    def data_received(self, data: bytes) -> None:
        unread = self._unread
        unread += data
        while (end := unread.find(_HEAD_END)) >= 0:
            head = bytes(unread[:end]).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            if len(unread) < end + 4 + length:
                return
            body = bytes(unread[end + 4 : end + 4 + length])
            del unread[: end + 4 + length]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        answer, kind = b"", b"application/x-protobuf"
        if head.startswith(b"post"):
            Sink.requests += 1
            Sink.bytes += len(body)
            if b"content-encoding: gzip" in head:
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                Sink.spans += sum(len(scope.spans) for scope in resource.scope_spans)
        else:
            answer = json.dumps({"requests": Sink.requests, "bytes": Sink.bytes, "spans": Sink.spans}).encode()
            kind = b"application/json"
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(answer), answer)
        )


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    from benchmarks.measuring import in_loop

    in_loop(_serve())
