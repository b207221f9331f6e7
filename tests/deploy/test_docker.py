"""The image's description, its recipe run without Docker, and the Compose file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sadik_node.config import load_settings
from sadik_node.exposure import are_clients_asked

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
NODES = ("n1", "n2", "n3")


def check(*command: str | Path) -> None:
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_hadolint_finds_no_fault() -> None:
    check(BIN / "hadolint", "--no-color", DOCKER / "Dockerfile")


def test_compose_is_as_its_schema_says() -> None:
    check(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec",
          DOCKER / "compose.yaml")  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_a_node_takes_the_environment_that_compose_gives_it(name: str) -> None:
    environment = COMPOSE["services"][name]["environment"]
    found = load_settings(env=environment)
    assert found.node.name == name
    assert str(found.listen.advertised_peer(7071)) == f"{name}:7071"
    # The first founds the cluster; the others join nodes that there are, and not themselves.
    joined = {seed.host for seed in found.cluster.join}
    assert joined == (set() if name == "n1" else set(NODES) - {name})
    assert not found.listen.insecure
    assert are_clients_asked(found)
    assert found.tls.peer.cert is not None
    assert found.auth.cluster_secret_file is not None
    # Each has its own, read-only, and none of another's.
    mounted = COMPOSE["services"][name]["volumes"]
    assert mounted == [f"{name}:/var/lib/sadik", f"{name}-secrets:/etc/sadik:ro"]
    assert COMPOSE["services"][name]["depends_on"]["secrets"] == {
        "condition": "service_completed_successfully"
    }


def test_what_compose_mounts_is_there() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source


def test_the_page_and_the_image_name_one_version() -> None:
    version = json.loads(
        subprocess.run([BIN / "sadik-node", "version", "--json"], capture_output=True, check=True)
        .stdout
    )["version"]  # fmt: skip
    for file in ("Dockerfile", "compose.yaml", "README.md"):
        assert f"sadik:{version}" in (DOCKER / file).read_text("utf-8"), file


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_recipe_makes_a_node_of_a_checkout(tmp_path: Path) -> None:
    """Builds and installs as the image's first stage does, and starts what comes out."""
    environment = {name: value for name, value in os.environ.items() if "SADIK" not in name}
    result = subprocess.run(
        [DOCKER / "install.sh", ROOT, tmp_path / "sadik"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    node = tmp_path / "sadik" / "bin" / "sadik-node"
    check(node, "version", "--json")
    check(node, "config", "check", ROOT / "deploy" / "sadik.example.toml")
    check(tmp_path / "sadik" / "bin" / "python", "-c", "import rocksdict, lmdb, cryptography")
