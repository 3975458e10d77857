"""The manifests as kustomize builds them, against the schemas of Kubernetes."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
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
    (found,) = (resource for resource in built(KUBERNETES) if resource["kind"] == kind)
    return found


def container() -> dict[str, Any]:
    (found,) = one("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid(version: str) -> None:
    checked = [resource for resource in built(KUBERNETES) if resource["kind"] not in OPERATOR_KINDS]
    assert len(checked) > 8
    for resource in checked:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_validator_would_notice() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[0], strict=True)


def test_the_example_secret_is_valid_and_not_applied_with_the_rest() -> None:
    secret = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text())
    kubernetes_validate.validate(secret, VERSIONS[0], strict=True)
    assert "Secret" not in {resource["kind"] for resource in built(KUBERNETES)}
    assert set(secret["stringData"]) == {"api-key", "webhook-secret"}


def test_the_base_stands_alone_without_the_operator() -> None:
    assert OPERATOR_KINDS.isdisjoint(resource["kind"] for resource in built(KUBERNETES / "base"))


def test_probes_ask_the_right_paths() -> None:
    found = {name: container()[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert found == {"startup": "/-/healthy", "liveness": "/-/healthy", "readiness": "/-/ready"}


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
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(spec))
    answer = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_dashboard_is_a_config_map_for_the_sidecar() -> None:
    maps = [resource for resource in built(KUBERNETES) if resource["kind"] == "ConfigMap"]
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
