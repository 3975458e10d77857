"""Simulator, exporter, a real Prometheus and a real Alertmanager on one machine: for tests and for pictures.

Time is compressed: rules are generated with ``time_scale``, so that an hour's window passes in a minute.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from exporter.slo import AlertThresholds, Objective, render_rules

_T = TypeVar("_T")
TIME_SCALE = 1 / 60
_OFTEN = {"ATOMS_EXPORTER_CAPACITY__INTERVAL": "10s"}
"""As often as it may be: a minute between two looks is an hour here."""
_EXPORTER = 1
"""The exporter's place among the processes."""


def missing_servers() -> list[str]:
    """Which of the real servers this machine lacks."""
    return [name for name in ("prometheus", "prometheus-alertmanager") if shutil.which(name) is None]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Pager:
    """A webhook that keeps what Alertmanager delivers."""

    def __init__(self) -> None:
        self.deliveries: list[dict[str, Any]] = []
        kept = self.deliveries

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kept.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Deliveries are kept, not logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def alerts(self, name: str, status: str) -> list[dict[str, Any]]:
        """Alerts delivered so far, by name and status (``firing``, ``resolved``)."""
        delivered = [alert for delivery in list(self.deliveries) for alert in delivery["alerts"]]
        return [alert for alert in delivered if alert["labels"]["alertname"] == name and alert["status"] == status]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Rehearsal:
    """Everything running; addresses without a trailing slash."""

    folder: Path
    calls: int = 40
    speed: float = 4.0
    objectives: tuple[Objective, ...] = ()
    thresholds: AlertThresholds | None = None
    time_scale: float = TIME_SCALE
    options: tuple[str, ...] = ()
    """Of the simulator, beside the number of calls and their speed."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the exporter, as environment variables."""
    pager: Pager = field(default_factory=Pager)
    simulator: str = ""
    exporter: str = ""
    prometheus: str = ""
    alertmanager: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[Rehearsal]:
        """Start in order, wait until all are ready, and end everything that was started."""
        try:
            self._start_simulator_and_exporter()
            self._start_alertmanager()
            self._start_prometheus()
            yield self
        finally:
            self._end()

    @contextlib.contextmanager
    def routing(self) -> Iterator[Rehearsal]:
        """Only Alertmanager and the pager: what becomes of alerts that are posted to it."""
        try:
            self._start_alertmanager()
            yield self
        finally:
            self._end()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Rehearsal]:
        """Only the simulator and the exporter: for its own pages."""
        try:
            self._start_simulator_and_exporter()
            yield self
        finally:
            self._end()

    def _end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
        self.pager.close()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant query; series whose value is not a number are left out."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expr}, timeout=60)
        result = answer.json()
        if result["status"] != "success":
            raise ValueError(f"{result['error']}: {expr}")
        data = result["data"]
        series = data["result"] if data["resultType"] == "vector" else [{"metric": {}, "value": data["result"]}]
        return [one for one in series if one["value"][1] != "NaN"]

    def firing(self) -> set[tuple[str, str]]:
        """Alerts firing in Prometheus now: name and severity."""
        answer = httpx.get(f"{self.prometheus}/api/v1/alerts", timeout=30).json()
        alerts = [alert["labels"] for alert in answer["data"]["alerts"] if alert["state"] == "firing"]
        return {(labels["alertname"], labels["severity"]) for labels in alerts}

    def misbehave(self, faults: Mapping[str, Any]) -> None:
        """Switch the simulator's faults on, as its side door takes them."""
        httpx.post(f"{self.simulator}/_simulator/faults", json=dict(faults), timeout=60).raise_for_status()

    def restart_exporter(self) -> None:
        """End the exporter as an operator would, and start it again at the same address."""
        process = self.processes[_EXPORTER]
        process.terminate()
        process.wait(60)
        self._start_exporter()
        self.processes[_EXPORTER] = self.processes.pop()

    def behave(self) -> None:
        """All faults off."""
        httpx.delete(f"{self.simulator}/_simulator/faults", timeout=60).raise_for_status()

    def wait_for(self, what: str, found: Callable[[], _T], seconds: float = 240.0, every: float = 0.5) -> _T:
        """The first truthy answer of ``found``; TimeoutError names ``what`` when none comes."""
        deadline = time.monotonic() + seconds
        while True:
            answer = found()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {seconds:g} s")
            time.sleep(every)

    def _start(self, name: str, *command: str, **environment: str) -> None:
        log = (self.folder / f"{name}.log").open("wb")
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder), **environment}
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=_ROOT))
        log.close()

    def _await(self, name: str, url: str, accepted: Callable[[httpx.Response], bool]) -> None:
        def answered() -> bool:
            process = self.processes[-1]
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: {(self.folder / f'{name}.log').read_text()[-2000:]}")
            try:
                return accepted(httpx.get(url, timeout=5))
            except httpx.TransportError:
                return False

        self.wait_for(f"{name} at {url}", answered, 180)

    def _start_simulator_and_exporter(self) -> None:
        simulator = free_port()
        self.simulator, self.exporter = (f"http://127.0.0.1:{port}" for port in (simulator, free_port()))
        options = ("--calls", str(self.calls), "--speed", str(self.speed), "--ramp", str(5 * self.speed), *self.options)
        webhooks = ("--webhook-url", f"{self.exporter}/webhooks/atoms", "--webhook-secret", "rehearsal")
        listen = ("--listen-address", f"127.0.0.1:{simulator}")
        self._start("simulator", sys.executable, "-m", "exporter.simulator", *listen, *options, *webhooks)
        self._await("simulator", f"{self.simulator}/_simulator/faults", lambda answer: answer.is_success)
        self._start_exporter()

    def _start_exporter(self) -> None:
        listen = self.exporter.removeprefix("http://")
        command = ("run", "--api.base-url", f"{self.simulator}/atoms/v1", "--web.listen-address", listen)
        keys = {"ATOMS_API_KEY": "simulated-key", "ATOMS_WEBHOOK_SECRET": "rehearsal", **_OFTEN, **self.settings}
        self._start("exporter", sys.executable, "-m", "exporter", *command, "--log.level", "warning", **keys)
        self._await("exporter", f"{self.exporter}/-/ready", lambda answer: answer.is_success)

    def _start_alertmanager(self) -> None:
        port = free_port()
        self.alertmanager = f"http://127.0.0.1:{port}"
        shipped = yaml.safe_load((_ROOT / "deploy" / "compose" / "alertmanager.yml").read_text())
        shipped["route"] |= {"group_wait": "1s", "group_interval": "2s", "repeat_interval": "1h"}
        for receiver in shipped["receivers"]:
            receiver["webhook_configs"] = [{"url": self.pager.url, "send_resolved": True}]
        path = self.folder / "alertmanager.yml"
        path.write_text(yaml.safe_dump(shipped))
        self._start(
            "alertmanager",
            str(shutil.which("prometheus-alertmanager")),
            f"--config.file={path}",
            f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        )
        self._await("alertmanager", f"{self.alertmanager}/-/ready", lambda answer: answer.is_success)

    def _start_prometheus(self) -> None:
        port = free_port()
        self.prometheus = f"http://127.0.0.1:{port}"
        rules = self.folder / "rules.yml"
        given: dict[str, Any] = {"objectives": self.objectives} if self.objectives else {}
        rules.write_text(render_rules(**given, time_scale=self.time_scale, thresholds=self.thresholds))
        scrape = {
            "job_name": "atoms-exporter",
            "static_configs": [{"targets": [self.exporter.removeprefix("http://")]}],
        }
        alertmanagers = [{"static_configs": [{"targets": [self.alertmanager.removeprefix("http://")]}]}]
        path = self.folder / "prometheus.yml"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "alerting": {"alertmanagers": alertmanagers},
            "scrape_configs": [scrape],
        }
        path.write_text(yaml.safe_dump(config))
        self._start(
            "prometheus",
            str(shutil.which("prometheus")),
            f"--config.file={path}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            "--rules.alert.resend-delay=1s",
        )
        self._await("prometheus", f"{self.prometheus}/-/ready", lambda answer: answer.is_success)


_ROOT = Path(__file__).parents[1]
