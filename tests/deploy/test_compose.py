"""The compose stack: valid, complete, and only for this machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from exporter.config import load, objectives
from exporter.slo import DEFAULT_OBJECTIVES
from tests.support.peers import need_program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
INTERPOLATED = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text())
STACK: dict[str, Any] = yaml.safe_load(INTERPOLATED)
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
RULES = ROOT / "dashboards" / "rules"
FLEET_CONFIG = DEPLOY / "compose" / "fleet.yml"


def config(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "compose" / name).read_text())


def test_the_file_is_valid_by_the_compose_specification() -> None:
    merged = yaml.safe_dump({key: value for key, value in STACK.items() if not key.startswith("x-")})
    stack = compose_spec.PyCompose.from_yaml(merged)
    assert set(stack.service_names()) == set(SERVICES)


def test_the_validator_would_notice() -> None:
    with pytest.raises(ValueError, match="prots"):
        compose_spec.PyCompose.from_yaml("services: {a: {image: x, prots: ['1:1']}}")


def test_every_part_of_the_stack_is_there() -> None:
    parts = {"exporter", "demo", "prometheus", "alertmanager", "grafana", "otel-collector", "tempo"}
    assert parts < set(SERVICES)


def test_the_demo_needs_no_account() -> None:
    assert SERVICES["demo"]["profiles"] == ["demo"]
    assert "ATOMS_API_KEY" not in SERVICES["demo"]["environment"]
    assert SERVICES["demo"]["command"][0] == "demo"
    assert SERVICES["exporter"]["profiles"] == ["live"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_for_this_machine_and_images_pinned(name: str) -> None:
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    image = service["image"]
    assert re.search(r":[\w.-]*\d[\w.-]*$", image) or "build" in service, image


@pytest.mark.parametrize("name", SERVICES)
def test_logs_are_rotated(name: str) -> None:
    options = SERVICES[name]["logging"]["options"]
    assert options["max-size"]
    assert int(options["max-file"]) > 1


def test_grafana_is_one_the_dashboards_are_checked_for() -> None:
    version = SERVICES["grafana"]["image"].rpartition(":")[2]
    assert int(version.partition(".")[0]) in {12, 13}


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source = mount.split(":")[0]
        if source.startswith("."):
            assert (DEPLOY / source).exists(), mount
            assert mount.endswith(":ro"), mount
        else:
            assert source in STACK["volumes"], mount


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_exists_and_can_say_that_it_is_ready(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        assert other in SERVICES


@pytest.mark.parametrize("name", ["exporter", "demo"])
def test_the_exporter_runs_with_nothing_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_prometheus_keeps_as_long_as_the_longest_budget_and_stores_exemplars() -> None:
    command = " ".join(SERVICES["prometheus"]["command"])
    assert "--enable-feature=exemplar-storage" in command
    retention = re.search(r"retention\.time=(\d+)d", command)
    assert retention is not None
    assert int(retention[1]) > 30


def test_prometheus_accepts_its_configuration_with_the_rules(tmp_path: Path) -> None:
    promtool = need_program("promtool")
    text = (DEPLOY / "compose" / "prometheus.yml").read_text()
    path = tmp_path / "prometheus.yml"
    path.write_text(text.replace("/etc/prometheus/rules", str(RULES)))
    answer = subprocess.run([promtool, "check", "config", path], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("rules found") == len(list(RULES.glob("*.yml")))


def test_the_scrape_job_has_the_name_the_rules_know() -> None:
    jobs = {job["job_name"] for job in config("prometheus.yml")["scrape_configs"]}
    assert "atoms-exporter" in jobs
    assert 'up{job="atoms-exporter"}' in (RULES / "exporter.yml").read_text()


def test_alertmanager_accepts_its_configuration() -> None:
    amtool = need_program("amtool")
    path = DEPLOY / "compose" / "alertmanager.yml"
    answer = subprocess.run([amtool, "check-config", path], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_alerts_that_silence_others_exist_and_so_do_the_others() -> None:
    groups = [group for path in RULES.glob("*.yml") for group in yaml.safe_load(path.read_text())["groups"]]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    for rule in config("alertmanager.yml")["inhibit_rules"]:
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]:
            if matcher.startswith("alertname"):
                pattern = matcher.split('"')[1]
                for alternative in pattern.split("|"):
                    assert any(re.fullmatch(alternative, alert) for alert in alerts), alternative


def test_spans_wait_on_disk_while_tempo_is_away() -> None:
    collector = config("otel-collector.yml")
    queue = collector["exporters"]["otlp_grpc/tempo"]["sending_queue"]
    assert queue["storage"] in collector["extensions"]
    assert queue["storage"] in collector["service"]["extensions"]
    directory = collector["extensions"][queue["storage"]]["directory"]
    assert any(mount.endswith(f":{directory}") for mount in SERVICES["otel-collector"]["volumes"])
    assert "batch" not in collector["service"]["pipelines"]["traces"]["processors"], "it would hold spans in memory"
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(collector[kind])


def test_the_collector_says_where_prometheus_asks_for_its_own_metrics() -> None:
    """As the collector reads it since 0.123, where ``telemetry.metrics.address`` went away."""
    metrics = config("otel-collector.yml")["service"]["telemetry"]["metrics"]
    assert set(metrics) == {"readers"}
    (reader,) = metrics["readers"]
    endpoint = reader["pull"]["exporter"]["prometheus"]
    assert endpoint == {"host": "0.0.0.0", "port": 8888}
    jobs = config("prometheus.yml")["scrape_configs"]
    targets = [target for job in jobs for static in job.get("static_configs", ()) for target in static["targets"]]
    assert f"otel-collector:{endpoint['port']}" in targets


def test_whoever_exports_is_scraped_under_a_name_that_stays() -> None:
    """One exporter, or the replicas of the fleet: Prometheus asks for all their names, and ``instance`` is the name."""
    (job,) = (job for job in config("prometheus.yml")["scrape_configs"] if job["job_name"] == "atoms-exporter")
    (names,) = (found["names"] for found in job["dns_sd_configs"])
    exporters = {name for name, service in SERVICES.items() if service.get("command", [""])[0] in ("run", "demo")}
    answering = {name: SERVICES[name]["networks"] for name in exporters}
    reached = {alias for nets in answering.values() if isinstance(nets, dict) for alias in nets["default"]["aliases"]}
    reached |= {name for name, nets in answering.items() if isinstance(nets, list)}
    assert set(names) == reached == {"exporter", "replica-0", "replica-1"}
    assert {"source_labels": ["__meta_dns_name"], "target_label": "instance", "replacement": "$1:9464"} in job[
        "relabel_configs"
    ]


def test_the_fleet_is_two_replicas_with_names_of_their_own_and_a_redis_that_keeps_what_it_is_told() -> None:
    of_fleet = {name for name, service in SERVICES.items() if service.get("profiles") == ["fleet"]}
    assert of_fleet == {"replica-0", "replica-1", "simulator", "redis"}
    for name in ("replica-0", "replica-1"):
        service = SERVICES[name]
        assert service["hostname"] == name, "the name its counters are kept under"
        assert service["read_only"]
        config = load({}, {key: value for key, value in service["environment"].items() if value}, FLEET_CONFIG)
        assert config.fleet.redis_url is not None
        assert config.fleet.redis_url.get_secret_value().startswith("redis://redis:6379")
        assert config.fleet.expect == 2
        assert objectives(config) == DEFAULT_OBJECTIVES
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "noeviction" in command, "nothing that was counted is thrown away to make room"
    assert any(mount.endswith(":/data") for mount in SERVICES["redis"]["volumes"])


def test_services_call_each_other_by_names_that_exist() -> None:
    hosts = set(SERVICES) | {"localhost", "0.0.0.0"}
    texts = [path.read_text() for path in (DEPLOY / "compose").iterdir()]
    texts += [path.read_text() for path in (ROOT / "dashboards" / "provisioning").rglob("*.yml")]
    named = {host for text in texts for host in re.findall(r"(?:http://|endpoint: |\[)([\w.-]+):\d{4,5}\b", text)}
    assert named
    assert named <= hosts


def test_exemplars_lead_to_the_traces_datasource() -> None:
    path = ROOT / "dashboards" / "provisioning" / "datasources" / "atoms.yml"
    sources = {source["type"]: source for source in yaml.safe_load(path.read_text())["datasources"]}
    (link,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "trace_id"
    assert link["datasourceUid"] == sources["tempo"]["uid"]


def test_the_dashboards_are_mounted_where_grafana_looks_for_them() -> None:
    path = ROOT / "dashboards" / "provisioning" / "dashboards" / "atoms.yml"
    (provider,) = yaml.safe_load(path.read_text())["providers"]
    assert any(mount.split(":")[1] == provider["options"]["path"] for mount in SERVICES["grafana"]["volumes"])


def test_no_service_fills_the_disk_with_its_output() -> None:
    for name, service in SERVICES.items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
