"""The manifests are what Kubernetes takes, and start nodes with the configuration they name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sadik_node.config import load_settings

KUBERNETES = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
BIN = Path(sys.executable).parent
VERSIONS = ("1.29", "1.32")
MANIFESTS = sorted(file for directory in ("common", "statefulset")
                   for file in (KUBERNETES / directory).glob("*.yaml")
                   if file.name != "kustomization.yaml")  # fmt: skip


def documents(text: str) -> dict[tuple[str, str], Any]:
    return {
        (each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text) if each
    }


def validate(*files: Path) -> None:
    for version in VERSIONS:
        result = subprocess.run(
            [BIN / "kubernetes-validate", "--strict", "--no-warn", "-k", version, *files],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def written() -> dict[tuple[str, str], Any]:
    """All objects as the files have them."""
    return documents("\n---\n".join(file.read_text("utf-8") for file in MANIFESTS))


def built(directory: str) -> str:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, which neither Debian nor the package index has as a new one")
    result = subprocess.run([kubectl, "kustomize", str(KUBERNETES / directory)],
                            capture_output=True, text=True, check=False)  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_files_are_as_the_schemas_say() -> None:
    validate(*MANIFESTS)


@pytest.mark.parametrize("directory", ["base", "three-zones"])
def test_what_kustomize_makes_of_them_is_as_the_schemas_say(
    directory: str, tmp_path: Path, written: dict[tuple[str, str], Any]
) -> None:
    text = built(directory)
    (tmp_path / "all.yaml").write_text(text)
    validate(tmp_path / "all.yaml")
    found = documents(text)
    assert {key for key in written if key[0] != "StatefulSet"} < found.keys()


def test_every_file_is_listed_in_its_kustomization() -> None:
    for directory in ("common", "statefulset"):
        listed = yaml.safe_load((KUBERNETES / directory / "kustomization.yaml").read_text("utf-8"))
        there = {file.name for file in MANIFESTS if file.parent.name == directory}
        assert set(listed["resources"]) == there


def test_one_cluster_of_three_zones(written: dict[tuple[str, str], Any]) -> None:
    found = documents(built("three-zones"))
    sets = [each for (kind, _), each in found.items() if kind == "StatefulSet"]
    zones = []
    for each in sets:
        pod = each["spec"]["template"]
        environment = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
        zone = environment["SADIK_NODE__ZONE"]
        assert pod["spec"]["nodeSelector"] == {"topology.kubernetes.io/zone": zone}
        assert environment["FOUNDER"] == "sadik-a-0"
        # Two StatefulSets never take each other's pods, and the services take all of them.
        assert each["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert each["spec"]["selector"]["matchLabels"]["sadik-zone"] == zone
        selector = written["Service", "sadik"]["spec"]["selector"]
        assert selector.items() <= pod["metadata"]["labels"].items()
        zones.append(zone)
    assert sorted(zones) == ["zone-a", "zone-b", "zone-c"]


def test_labels_ports_and_names_fit_each_other(written: dict[tuple[str, str], Any]) -> None:
    stateful = written["StatefulSet", "sadik"]["spec"]
    pod = stateful["template"]
    labels = pod["metadata"]["labels"]
    assert stateful["serviceName"] == "sadik-peers"
    assert written["Service", "sadik-peers"]["spec"]["clusterIP"] == "None"
    assert written["Service", "sadik-peers"]["spec"]["publishNotReadyAddresses"] is True
    for kind, name in (("Service", "sadik"), ("Service", "sadik-peers")):
        assert written[kind, name]["spec"]["selector"].items() <= labels.items()
    budget = written["PodDisruptionBudget", "sadik"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    ports = {each["name"] for each in pod["spec"]["containers"][0]["ports"]}
    probes = [
        pod["spec"]["containers"][0][f"{p}Probe"] for p in ("startup", "liveness", "readiness")
    ]
    assert all(probe["httpGet"]["port"] in ports for probe in probes)
    assert all(probe["httpGet"]["scheme"] == "HTTPS" for probe in probes)
    assert probes[1]["httpGet"]["path"] == "/healthz", "a node that waits for others is not killed"
    # The services lead elsewhere, then the drain; before the pod is killed.
    wait = int(pod["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] >= wait + 10 + 10


@pytest.mark.parametrize(
    ("pod", "joins"), [("sadik-0", []), ("sadik-2", ["sadik-0.sadik-peers:7071"])]
)
def test_a_pod_starts_its_node_with_what_it_is(
    pod: str, joins: list[str], written: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    """The start script runs, and what it hands to the node is a configuration that a node takes."""
    data = written["ConfigMap", "sadik"]["data"]
    (tmp_path / "sadik.toml").write_text(data["sadik.toml"])
    stand_in = tmp_path / "sadik-node"
    stand_in.write_text('#!/bin/sh\nenv | grep ^SADIK_\necho "ARGUMENTS $*"\n')
    stand_in.chmod(0o755)
    containers = written["StatefulSet", "sadik"]["spec"]["template"]["spec"]["containers"]
    environment = {e["name"]: e["value"] for e in containers[0]["env"] if "value" in e}
    result = subprocess.run(
        ["/bin/sh", "-c", data["start.sh"]],
        env={**environment, "POD_NAME": pod, "PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert lines[-1] == "ARGUMENTS serve --config /etc/sadik/sadik.toml"
    given = dict(line.split("=", 1) for line in lines[:-1])
    settings = load_settings(tmp_path / "sadik.toml", given)
    assert settings.node.name == pod
    assert [str(seed) for seed in settings.cluster.join] == joins
    assert str(settings.listen.advertise) == f"{pod}.sadik-peers:7071"
    assert not settings.listen.insecure
    assert settings.tls.http.cert == settings.tls.peer.cert == Path(f"/etc/sadik-secret/{pod}.crt")
    assert settings.tls.http.key == settings.tls.peer.key == Path(f"/etc/sadik-secret/{pod}.key")
    mounts = {each["mountPath"] for each in containers[0]["volumeMounts"]}
    assert str(settings.node.data_dir.parent) in mounts
    assert str(settings.auth.cluster_secret_file).rpartition("/")[0] in mounts
