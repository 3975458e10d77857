"""``python -m exporter.simulator`` as a process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from exporter.simulator.__main__ import main


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "exporter.simulator", "--listen-address", "127.0.0.1:0", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_cleanly_when_told(number):
    process = start("--calls", "3", "--ramp", "0", "--fault", "drop=0.1,silence=0.1", "--fault", "html=0:on=any")
    try:
        base_url = process.stdout.readline().strip()
        request = urllib.request.Request(f"{base_url}/conversation", headers={"Authorization": "Bearer simulated-key"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.load(answer)["status"] is True
        with urllib.request.urlopen(base_url.replace("/atoms/v1", "/_simulator/faults"), timeout=20) as answer:
            assert [fault["name"] for fault in json.load(answer)["active"]] == ["drop", "silence"]
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_it_ends_after_its_duration():
    process = start("--calls", "2", "--duration", "0.3")
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_port_that_is_taken_is_said_in_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["--listen-address", f"127.0.0.1:{taken.getsockname()[1]}"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--fault", "nonsense"], ["--dialect", "1999"], ["--calls", "many"]])
def test_a_wrong_argument_is_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_help_names_every_fault(capsys):
    from exporter.simulator import FAULTS

    with pytest.raises(SystemExit):
        main(["--help"])
    shown = "".join(capsys.readouterr().out.split())
    assert all(name in shown for name in FAULTS)
