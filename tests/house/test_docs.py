"""The documentation says what the code does: names exist, commands parse, links lead somewhere, samples load."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import subprocess
from pathlib import Path

import pytest
import typer
import typer.main
import yaml

from exporter.cli.app import app
from exporter.config import Config, load, reference
from exporter.config.sources import environment_name
from exporter.offline.replay import spans_of_file
from exporter.outputs.prometheus.catalogue import CATALOGUE, Kind
from exporter.protocol.webhooks import PreConversation, decode_delivery

from .pages import PAGES, ROOT, RUNBOOK, blocks, exporter_commands, generator, inline, shell_lines

_KEYS = {key for key, *_ in reference()}
_SECTIONS = {key.rsplit(".", depth)[0] for key in _KEYS for depth in range(1, key.count(".") + 1)}
_PLACEHOLDER = re.compile(r"[A-Z_|]+|FILE…|…|--help")
_RECORDED = re.compile(r"\batoms_[a-z0-9_]+\b(?!:)")  # with a colon: a recording rule


def _sample_names() -> set[str]:
    names = set()
    for spec in CATALOGUE:
        names.add(spec.name)
        if spec.kind is Kind.HISTOGRAM:
            names |= {f"{spec.name}_{part}" for part in ("bucket", "sum", "count")}
    return names


def test_the_generated_parts_are_what_the_code_says() -> None:
    assert not [page.name for page in generator().stale()], "run: make docs"


@pytest.mark.parametrize("page", [*PAGES, RUNBOOK], ids=lambda page: page.name)
def test_every_metric_named_exists(page: Path) -> None:
    named = set(_RECORDED.findall(page.read_text(encoding="utf-8")))
    assert named - _sample_names() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_configuration_key_named_exists(page: Path) -> None:
    first = {key.partition(".")[0] for key in _KEYS}
    named = {
        text.partition(":")[0]
        for text in inline(page)
        if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+(: .*)?", text) and text.partition(".")[0] in first
    }
    assert named - _KEYS - _SECTIONS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_environment_variable_of_ours_exists(page: Path) -> None:
    ours = {environment_name(tuple(key.split("."))) for key in _KEYS} | {"ATOMS_EXPORTER_CONFIG_FILE"}
    named = set(re.findall(r"\bATOMS_EXPORTER_\w+", page.read_text(encoding="utf-8")))
    assert named - ours - {"ATOMS_EXPORTER_IMAGE"} == set()  # the last one is the compose file's


def _target(page: Path, link: str) -> tuple[Path, str]:
    path, _, anchor = link.partition("#")
    return (page.parent / path if path else page), anchor


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if re.match(r"https?:", link):
            continue
        target, anchor = _target(page, link)
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_every_command_has_its_options() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    seen = set()
    for page, words in exporter_commands():
        if words[0] in ("COMMAND", "--version"):
            continue
        command = group.get_command(typer.Context(group), words[0])
        assert command is not None, f"{page}: no command {words[0]}"
        if words[1:] not in ([], ["--help"]):
            command.make_context(words[0], [word for word in words[1:] if word != "…"])
        seen.add(words[0])
    assert seen >= {"run", "simulate", "replay", "explain", "backfill", "rules", "check-config", "trace-id"}


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for _, line in shell_lines() if re.match(r"make [a-z]", line)}
    named |= {text.split()[1] for page in PAGES for text in inline(page) if re.match(r"make [a-z]", text)}
    assert named - targets == set()
    assert {"demo", "test"} <= named


def _own_configurations() -> list[tuple[str, str]]:
    return [
        (block.page, block.text)
        for block in blocks("yaml")
        if set(yaml.safe_load(block.text)) <= set(Config.model_fields)
    ]


def test_every_sample_configuration_loads(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    samples = _own_configurations()
    assert len(samples) >= 3
    for page, text in samples:
        file = tmp_path / f"{page}.yml"
        file.write_text(re.sub(r"/run/secrets/[\w-]+", str(tmp_path / "secret"), text))
        load({}, {}, file)


def test_the_commands_that_need_no_network_run_as_they_stand(tmp_path: Path, atoms_exporter: str) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "config.yml").write_text(next(text for page, text in _own_configurations() if page == "README.md"))
    offline = {"explain", "replay", "trace-id", "rules", "check-config"}
    ran = set()
    for page, words in exporter_commands():
        complete = len(words) > 1 and not any(_PLACEHOLDER.fullmatch(word) for word in words)
        if words[0] not in offline or not complete or any(word.startswith("deploy/") for word in words):
            continue
        done = subprocess.run(
            [atoms_exporter, *words],
            cwd=tmp_path,
            env={"ATOMS_API_KEY": "k"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{page}: {words}: {done.stderr}"
        ran.add(words[0])
    assert ran == offline
    assert "alert: AtomsSLO" in (tmp_path / "slo-rules.yml").read_text()


def test_every_query_is_promql(tmp_path: Path, promtool: str) -> None:
    queries = [block.text for block in blocks("promql")]
    assert queries
    rules = [{"record": f"documented:{number}", "expr": text} for number, text in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "documented", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sample_scrape_configuration_is_prometheus_own(tmp_path: Path, promtool: str) -> None:
    (sample,) = (block.text for block in blocks("yaml") if "scrape_configs" in yaml.safe_load(block.text))
    file = tmp_path / "prometheus.yml"
    file.write_text(sample)
    done = subprocess.run([promtool, "check", "config", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sample_webhook_is_one() -> None:
    (sample,) = (line for _, line in shell_lines() if line.startswith("body="))
    body = sample.removeprefix("body=").strip("'").encode()
    delivery = decode_delivery(body)
    assert isinstance(delivery, PreConversation)
    assert delivery.call_id == "CALL-1758124225863-80752e"
    # what the documented openssl line computes
    signed = subprocess.run(["openssl", "dgst", "-sha256", "-hmac", "s"], input=body, capture_output=True, check=True)
    assert signed.stdout.decode().split()[-1] == hmac.new(b"s", body, hashlib.sha256).hexdigest()


def test_every_span_attribute_is_documented_and_every_documented_one_exists() -> None:
    sources = [ROOT / "exporter" / "outputs" / "spans.py", *(ROOT / "exporter" / "calls").glob("*.py")]
    literal = re.compile(r'"((?:atoms|gen_ai|error|http)\.[a-z_.]+)"')
    in_code = {name for source in sources for name in literal.findall(source.read_text(encoding="utf-8"))}
    page = ROOT / "docs" / "traces.md"
    documented = {text for text in inline(page) if re.fullmatch(r"(?:atoms|gen_ai|error|http)\.[a-z_.]+", text)}
    assert in_code == documented


def test_the_example_call_has_the_attributes_the_page_promises() -> None:
    (spans,) = spans_of_file(str(ROOT / "docs" / "example" / "call.json"), load({}, {}, None)).values()
    documented = set(inline(ROOT / "docs" / "traces.md"))
    assert {name for span in spans for name in span.attributes} <= documented
    kinds = {span.name.split(" ")[0] for span in spans}
    assert {"call", "hop", "turn", "stt", "chat", "tts", "text_to_speech", "execute_tool"} <= kinds


def test_every_dashboard_of_the_readme_exists() -> None:
    boards = {json.loads(file.read_text())["title"] for file in (ROOT / "dashboards" / "grafana").glob("*.json")}
    assert len(boards) == 6


def test_no_page_names_a_package_index_or_a_path_of_somebodys_machine() -> None:
    for page in [*PAGES, ROOT / "constraints.txt", ROOT / "Dockerfile"]:
        assert not re.search(r"pypi\.org/simple|index-url|find-links|/root/|/home/", page.read_text()), page.name
