"""The four that reach others, each asked the same: try once, and say how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog

from exporter.calls.telemetry import NoTelemetry
from exporter.errors import Interrupted, Malformed, Refused
from exporter.outputs.otlp import settings
from exporter.outputs.otlp.answer import Answer
from exporter.outputs.otlp.grpc import GrpcSender
from exporter.outputs.otlp.http import HttpSender
from exporter.outputs.otlp.retry import Sender
from exporter.protocol.api import decode_call_page
from exporter.receivers.client import AtomsApi
from exporter.receivers.reading import reader_for


class Ended(NamedTuple):
    """How one attempt ended: ``works``, or a word for what was wrong; what is said of it; what is done then."""

    how: str
    said: str = ""
    then: str = "tried again"


class Client:
    """One way out. ``path`` is what it asks its peer for."""

    title = ""
    grpc = False

    def attempt(
        self, url: str, env: Mapping[str, str], seconds: float = 15.0, then: Callable[[Ended], object] | None = None
    ) -> Ended:
        """Try once; how it ended. With ``then``, which is told of that: try once more with the same client."""
        raise NotImplementedError


class _OfTheApi(Client):
    def attempt(
        self, url: str, env: Mapping[str, str], seconds: float = 15.0, then: Callable[[Ended], object] | None = None
    ) -> Ended:
        async def run() -> Ended:
            api = AtomsApi(
                f"{url}/api/v1",
                "token",
                telemetry=NoTelemetry(),
                log=structlog.get_logger(),
                env=env,
                connect_timeout=seconds,
                read_timeout=seconds,
                idle_timeout=seconds,
            )
            try:
                ended = await self._once(api, seconds)
                if then is not None:
                    then(ended)
                    ended = await self._once(api, seconds)
            finally:
                await api.aclose()
            return ended

        return asyncio.run(run())

    async def _once(self, api: AtomsApi, seconds: float) -> Ended:
        try:
            await self.ask(api, seconds)
        except Interrupted as error:
            return Ended(error.reason, str(error))
        except Malformed as error:
            return Ended(error.reason, str(error))
        except Refused as error:
            return Ended(f"HTTP {error.status}", str(error), "slowly again")
        except TimeoutError:
            return Ended("idle")
        return Ended("works")

    async def ask(self, api: AtomsApi, seconds: float) -> None:
        raise NotImplementedError


class Streams(_OfTheApi):
    title = "event streams"

    async def ask(self, api: AtomsApi, seconds: float) -> None:
        response = await api.open_stream("CALL-1")
        reader = reader_for(response, 1 << 20, api.shares)
        heard: list[bytes] = []
        async with asyncio.timeout(seconds):
            await reader.drain(heard.append, lambda: None)
        if reader.oversize:
            raise Malformed("an event beyond its bound", reason="oversize")
        if not heard:
            raise Interrupted("the stream ended without an event", reason="cut")


class Answers(_OfTheApi):
    title = "the API's answers"

    async def ask(self, api: AtomsApi, seconds: float) -> None:
        await api.get("conversation", source="poll", read=decode_call_page)


class Otlp(Client):
    protocol = "http/protobuf"

    def sender(self, url: str, env: Mapping[str, str]) -> Sender:
        variables = {**env, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol}
        endpoint = settings.endpoint(variables, "traces")
        assert endpoint is not None
        return GrpcSender(endpoint, variables) if self.grpc else HttpSender(endpoint, variables)

    def attempt(
        self, url: str, env: Mapping[str, str], seconds: float = 15.0, then: Callable[[Ended], object] | None = None
    ) -> Ended:
        sender = self.sender(url, env)
        try:
            ended = _ended(sender.send(b"", seconds))
            if then is not None:
                then(ended)
                ended = _ended(sender.send(b"", seconds))
        finally:
            sender.close()
        return ended


def _ended(answer: Answer) -> Ended:
    if answer.verdict == "taken":
        return Ended("works", answer.detail)
    then = {"later": "tried again", "never": "not again", "smaller": "in halves"}
    return Ended(str(answer.reason), answer.detail, then[answer.verdict])


class OtlpHttp(Otlp):
    title = "OTLP over http"


class OtlpGrpc(Otlp):
    title = "OTLP over gRPC"
    protocol = "grpc"
    grpc = True


CLIENTS = (Streams(), Answers(), OtlpHttp(), OtlpGrpc())
