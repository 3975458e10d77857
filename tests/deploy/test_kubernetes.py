"""The manifests as kustomize builds them, against the schemas of Kubernetes."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.peers import need_program
from tests.webserver import Backstage, site

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE, WITH_OPERATOR = KUBERNETES / "base", KUBERNETES / "with-operator"
OPERATOR_KINDS = {"ServiceMonitor", "PrometheusRule"}
VERSIONS = ("1.29", "1.33")
RULE = {
    "type": "object",
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
    "required": ["expr"],
    "properties": {
        "alert": {"type": "string"},
        "record": {"type": "string"},
        "expr": {"type": "string"},
        "for": {"type": "string"},
        "keep_firing_for": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}
"""A rule by the PrometheusRule resource definition."""


@cache
def built(folder: Path) -> list[dict[str, Any]]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    answer = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 0, answer.stderr
    return list(yaml.safe_load_all(answer.stdout))


def one(kind: str) -> dict[str, Any]:
    (found,) = (resource for resource in built(WITH_OPERATOR) if resource["kind"] == kind)
    return found


def container() -> dict[str, Any]:
    (found,) = one("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid(version: str) -> None:
    checked = [resource for resource in built(WITH_OPERATOR) if resource["kind"] not in OPERATOR_KINDS]
    assert len(checked) > 8
    for resource in checked:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_validator_would_notice() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[0], strict=True)


def test_the_examples_are_valid_and_not_applied_with_the_rest() -> None:
    for name, kind in (("secret", "Secret"), ("namespace", "Namespace")):
        example = yaml.safe_load((KUBERNETES / f"{name}.example.yaml").read_text())
        kubernetes_validate.validate(example, VERSIONS[0], strict=True)
        assert kind not in {resource["kind"] for resource in built(WITH_OPERATOR)}
    secret = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text())
    assert set(secret["stringData"]) == {"api-key", "webhook-secret"}


@pytest.mark.parametrize("folder", [KUBERNETES, BASE], ids=["plain", "base"])
def test_nothing_but_kubernetes_is_needed(folder: Path) -> None:
    for resource in built(folder):
        kubernetes_validate.validate(resource, VERSIONS[0], strict=True)
    assert OPERATOR_KINDS.isdisjoint(resource["kind"] for resource in built(folder))


def test_in_somebody_elses_namespace_it_touches_nobody_else(tmp_path: Path) -> None:
    """What an overlay with ``namespace: monitoring`` makes: nothing that belongs to the whole namespace."""
    place = tmp_path / "deploy" / "kubernetes"
    shutil.copytree(BASE, place / "base")
    overlay = place / "mine"
    overlay.mkdir()
    kustomization = {"namespace": "monitoring", "resources": ["../base"], "nameSuffix": "-eu"}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    resources = {resource["kind"]: resource for resource in built(overlay)}
    assert "Namespace" not in resources
    assert {resource["metadata"]["namespace"] for resource in resources.values()} == {"monitoring"}
    labels = resources["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selected = resources["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert selected, "an empty selector means every pod of the namespace"
    assert selected.items() <= labels.items()


def test_the_base_goes_where_it_is_put() -> None:
    assert not [resource for resource in built(BASE) if "namespace" in resource["metadata"]]


def probes() -> dict[str, list[str]]:
    return {name: container()[f"{name}Probe"]["exec"]["command"] for name in ("startup", "liveness", "readiness")}


def test_probes_are_patient_enough_for_what_they_start() -> None:
    for name in probes():
        assert container()[f"{name}Probe"]["timeoutSeconds"] >= 5


WITH_PASSWORD = "basic_auth_users:\n  prometheus: $2y$10$tzdnaRoQG10iUYn4jczcuOVaMT/WFU7nm6KW9ixMnm1X4VgcbqDTe\n"


async def test_probes_work_with_passwords_and_tell_not_ready_without(tmp_path: Path) -> None:
    """The manifest's own commands, against the real web server."""
    web_config = tmp_path / "web.yml"
    web_config.write_text(WITH_PASSWORD)
    for config_file, ready, wanted in (
        (None, True, {"startup": 0, "liveness": 0, "readiness": 0}),
        (None, False, {"startup": 0, "liveness": 0, "readiness": 1}),
        (web_config, True, {"startup": 0, "liveness": 0, "readiness": 0}),
    ):
        async with site(Backstage(ready=(ready, "draining")), config_file) as running:
            env = {"ATOMS_EXPORTER_WEB__LISTEN_ADDRESS": f"127.0.0.1:{running.port}", "PATH": "/usr/bin"}
            said = {}
            for name, (python, *words) in probes().items():
                assert python == "python"
                process = await asyncio.create_subprocess_exec(sys.executable, *words, env=env, cwd=ROOT)
                said[name] = await process.wait()
            assert said == wanted
            assert (await running.client.get("/metrics")).status_code == (401 if config_file else 200)


def test_it_runs_without_root_and_cannot_write_to_its_image() -> None:
    pod = one("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    own = container()["securityContext"]
    assert own["readOnlyRootFilesystem"]
    assert not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]}


def test_it_gets_the_time_it_needs_to_drain() -> None:
    assert one("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 25


def test_there_is_never_a_second_one_beside_it() -> None:
    spec = one("Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"]["type"] == "Recreate"


def test_service_and_monitor_and_policy_find_the_pod() -> None:
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert one("Service")["spec"]["selector"].items() <= labels.items()
    assert one("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    monitor = one("ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= one("Service")["metadata"]["labels"].items()
    ports = {port["name"]: port for port in one("Service")["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= set(ports)
    assert ports["http"]["targetPort"] in {port["name"] for port in container()["ports"]}
    assert one("Service")["metadata"]["name"] == "atoms-exporter", "the scrape job's name"


def test_rules_reach_the_operator_as_it_wants_them(tmp_path: Path) -> None:
    spec = one("PrometheusRule")["spec"]
    for group in spec["groups"]:
        for rule in group["rules"]:
            jsonschema.validate(rule, RULE)
    promtool = need_program("promtool")
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(spec))
    answer = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_dashboard_is_a_config_map_for_the_sidecar() -> None:
    maps = [resource for resource in built(WITH_OPERATOR) if resource["kind"] == "ConfigMap"]
    shown = {
        name for item in maps if item["metadata"].get("labels", {}).get("grafana_dashboard") for name in item["data"]
    }
    assert shown == {path.name for path in (ROOT / "dashboards" / "grafana").glob("*.json")}


def test_a_dashboards_config_map_is_small_enough_to_be_applied() -> None:
    for path in (ROOT / "dashboards" / "grafana").glob("*.json"):
        assert path.stat().st_size < 200_000, "kubectl apply keeps a copy in an annotation of at most 256 KiB"


def test_traffic_in_and_out_is_limited() -> None:
    policy = one("NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule["ports"] for rule in [*policy["ingress"], *policy["egress"]])


def let_out(address: str, port: int, protocol: str = "TCP") -> bool:
    """Whether the policy lets packets out to an address that belongs to no pod, as a node's cache or the internet."""
    ip = ipaddress.ip_address(address)
    for rule in one("NetworkPolicy")["spec"]["egress"]:
        if not any((entry["port"], entry["protocol"]) == (port, protocol) for entry in rule["ports"]):
            continue
        blocks = [peer["ipBlock"] for peer in rule.get("to", ()) if "ipBlock" in peer]
        networks = [(ipaddress.ip_network(block["cidr"]), block.get("except", ())) for block in blocks]
        if "to" not in rule or any(
            ip in network and not any(ip in ipaddress.ip_network(hole) for hole in holes) for network, holes in networks
        ):
            return True
    return False


@pytest.mark.parametrize("address", ["169.254.20.10", "10.96.0.10", "fd00:10:96::a", "fe80::1"])
@pytest.mark.parametrize("port", [53, 5353, 8053])
def test_names_are_looked_up_wherever_the_cluster_has_them(address: str, port: int) -> None:
    assert let_out(address, port, "UDP")
    assert let_out(address, port, "TCP")


def test_the_api_is_reached_over_either_protocol_and_nothing_private_is() -> None:
    assert let_out("203.0.113.9", 443)
    assert let_out("2001:db8::9", 443)
    for inside in ("10.0.0.1", "169.254.169.254", "192.168.1.1", "fd00::1", "fe80::1"):
        assert not let_out(inside, 443), inside
