"""nginx in front of a fleet, with the lines that docs/webhooks.md gives: it passes on what was not acknowledged."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx

from tests.fleet.replicas import Replicas, replicas
from tests.support.peers import free_port, nginx_in
from tests.system.test_webhooks_kept import RESULTS, analysis, signed
from tests.system.world import until

A, B = "replica-0", "replica-1"
_DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"


def _nginx(port: int, here: Replicas) -> str:
    """The documented lines for these replicas."""
    (lines,) = re.findall(r"```nginx\n(upstream .*?)```", _DOCUMENTED.read_text(encoding="utf-8"), re.DOTALL)
    servers = "".join(f"server {here.fleet.replicas[name].url.removeprefix('http://')}; " for name in (A, B))
    upstream, location = re.split(r"(?<=\})\n", lines, maxsplit=1)
    upstream, replaced = re.subn(r"\{.*\}", f"{{ {servers}}}", upstream)
    assert replaced == 1
    return f"{upstream}\nserver {{ listen 127.0.0.1:{port}; {location} }}"


async def test_a_delivery_to_a_replica_that_is_killed_before_it_answers_is_counted_by_another_once(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with replicas(tmp_path, (A, B), calls=1, total_calls=1) as here:
        with nginx_in(tmp_path / "nginx", _nginx(port, here)):
            here.cut(B)
            async with httpx.AsyncClient(trust_env=False, timeout=30) as client:

                async def post(raw: bytes) -> int:
                    url = f"http://127.0.0.1:{port}/webhooks/atoms"
                    return (await client.post(url, content=raw, headers=signed(raw))).status_code

                posted = [analysis(number) for number in range(4)]
                posting = [asyncio.ensure_future(post(raw)) for raw in posted]
                await until(lambda: sum(each.done() for each in posting) >= 1, 10, "the other one answers")
                assert not all(each.done() for each in posting), "what cannot be kept is not acknowledged"
                here.fleet.kill(B)
                assert [await each for each in posting] == [202] * 4
                assert {await post(raw) for raw in posted} == {202}, "they are known"
            assert (await here.fleet.replicas[A].life.page()).total(RESULTS) == 4
