"""The manifests of a fleet: the pods of the single exporter, with names that stay, and all that goes with them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from exporter.config import load, objectives
from exporter.durations import parse_duration
from exporter.slo import DEFAULT_OBJECTIVES
from tests.deploy.test_kubernetes import BASE, KUBERNETES, OPERATOR_KINDS, VERSIONS, WITH_OPERATOR, built

FLEET = KUBERNETES / "fleet"
FOLDERS = ("base", "with-operator", "demo")


def one(kind: str, folder: str = "with-operator", name: str = "atoms-exporter") -> dict[str, Any]:
    (found,) = (
        resource
        for resource in built(FLEET / folder)
        if resource["kind"] == kind and resource["metadata"]["name"].startswith(name)
    )
    return found


def pod(kind: str, folder: Path) -> dict[str, Any]:
    (found,) = (
        resource
        for resource in built(folder)
        if resource["kind"] == kind and resource["metadata"]["name"] == "atoms-exporter"
    )
    template: dict[str, Any] = copy.deepcopy(found["spec"]["template"])
    return template


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_resource_is_valid(folder: str, version: str) -> None:
    checked = [resource for resource in built(FLEET / folder) if resource["kind"] not in OPERATOR_KINDS]
    assert {"StatefulSet", "PodDisruptionBudget", "Service"} <= {resource["kind"] for resource in checked}
    for resource in checked:
        kubernetes_validate.validate(resource, version, strict=True)


def test_two_replicas_with_names_that_stay_and_no_volume() -> None:
    spec = one("StatefulSet")["spec"]
    assert spec["replicas"] == 2
    assert spec["serviceName"] == "atoms-exporter-replicas"
    assert "strategy" not in spec
    kinds = {resource["kind"] for resource in built(FLEET / "base")}
    assert not kinds & {"Deployment", "PersistentVolumeClaim"}, "what is counted is kept in Redis"
    assert "/data" not in {mount["mountPath"] for mount in spec["template"]["spec"]["containers"][0]["volumeMounts"]}


def test_a_pod_is_that_of_the_single_exporter_but_for_where_it_keeps_what_it_counts() -> None:
    alone, member = pod("Deployment", BASE)["spec"], pod("StatefulSet", FLEET / "base")["spec"]
    assert member.pop("topologySpreadConstraints")
    assert member.pop("terminationGracePeriodSeconds") > alone.pop("terminationGracePeriodSeconds")
    for spec in (alone, member):
        spec["volumes"] = sorted(volume["name"] for volume in spec["volumes"] if volume["name"] != "state")
        (container,) = spec["containers"]
        container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "state"]
    assert member == alone


def test_the_headless_service_names_the_pods_and_is_not_scraped_beside_the_other() -> None:
    headless = one("Service", name="atoms-exporter-replicas")
    assert headless["spec"]["clusterIP"] == "None"
    labels = one("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert headless["spec"]["selector"].items() <= labels.items()
    selected = one("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    services = [resource for resource in built(FLEET / "with-operator") if resource["kind"] == "Service"]
    scraped = [
        service["metadata"]["name"] for service in services if selected.items() <= service["metadata"]["labels"].items()
    ]
    assert scraped == ["atoms-exporter"], "a pod that two services lead to would be counted twice"


def test_a_replicas_series_are_known_by_its_name_wherever_its_pod_runs() -> None:
    (endpoint,) = one("ServiceMonitor")["spec"]["endpoints"]
    sources = {rule["targetLabel"]: rule for rule in endpoint["relabelings"] if rule["action"] == "replace"}
    assert sources["instance"]["sourceLabels"] == ["__meta_kubernetes_pod_name"]
    assert "replacement" not in sources["instance"]


def test_who_leaves_is_scraped_twice_before_it_is_gone() -> None:
    """A series that is new to a scraper is shown to it at 0 first."""
    interval = parse_duration(one("ServiceMonitor")["spec"]["endpoints"][0]["interval"])
    config = yaml.safe_load((FLEET / "base" / "config.yml").read_text())
    grace = one("StatefulSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert 2 * interval < parse_duration(config["shutdown_timeout"]) < grace


def test_a_node_that_drains_takes_one_replica_at_a_time() -> None:
    budget = one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    labels = one("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_only_the_demo_brings_a_redis() -> None:
    for folder, wanted in (("base", 0), ("with-operator", 0), ("demo", 1)):
        images = [
            container["image"]
            for resource in built(FLEET / folder)
            if resource["kind"] in ("Deployment", "StatefulSet")
            for container in resource["spec"]["template"]["spec"]["containers"]
        ]
        assert sum("valkey" in image or "redis" in image for image in images) == wanted, folder


def test_redis_may_be_reached() -> None:
    ports = {entry["port"] for rule in one("NetworkPolicy", "base")["spec"]["egress"] for entry in rule["ports"]}
    assert {6379, 26379} <= ports


def test_the_configuration_is_one_the_exporter_takes(tmp_path: Path) -> None:
    file = tmp_path / "redis-url"
    file.write_text("redis://redis:6379/0")
    path = FLEET / "base" / "config.yml"
    settings = {"ATOMS_API_KEY": "x", "ATOMS_EXPORTER_FLEET__REDIS_URL_FILE": str(file)}
    config = load({}, settings, path)
    assert config.fleet.redis_url is not None
    assert config.fleet.expect == one("StatefulSet")["spec"]["replicas"]
    assert objectives(config) == DEFAULT_OBJECTIVES
    mounted = yaml.safe_load(path.read_text())["fleet"]["redis_url_file"]
    (secret,) = (
        volume["secret"] for volume in one("StatefulSet")["spec"]["template"]["spec"]["volumes"] if "secret" in volume
    )
    assert mounted.rpartition("/")[2] in {item["path"] for item in secret["items"]}


def test_everything_else_is_what_the_single_exporter_brings() -> None:
    def names(folder: Path) -> set[tuple[str, str]]:
        # A generated ConfigMap's name ends with a hash of its content.
        return {
            (resource["kind"], resource["metadata"]["name"].partition("-dashboard")[0])
            for resource in built(folder)
            if resource["kind"] in {"ServiceAccount", "NetworkPolicy", "PrometheusRule", "ServiceMonitor"}
        }

    assert names(FLEET / "with-operator") == names(WITH_OPERATOR)
