"""What Compose and Kubernetes start, with the secrets that their pages make: started, without them.

Docker and Kubernetes are not there, so each node gets what its container would: its environment and
files, under names and addresses of loopback in namespaces of this test's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from alone import DIRECTORIES, can_be_alone, is_alone, run_alone
from attrs import define
from pages import ROOT, blocks_of
from real_cluster import eventually

BIN = Path(sys.executable).parent
DEPLOY = ROOT / "deploy"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("SADIK_")}


@define
class Container:
    """A node as something starts it: what is run, and with which variables."""

    name: str
    host: str
    command: list[str]
    environment: Mapping[str, str]


def run(*command: str | Path, env: Mapping[str, str], code: int = 0) -> str:
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True,
                          check=False, timeout=60)  # fmt: skip
    assert done.returncode == code, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


@contextmanager
def started(place: Path, containers: list[Container]) -> Iterator[dict[str, dict[str, str]]]:
    """The nodes, each at an address of its own; what a shell within the container of each has."""
    hosts = [f"127.0.0.{number} {each.host}" for number, each in enumerate(containers, 1)]
    Path("/etc/hosts").write_text("\n".join(["127.0.0.1 localhost", *hosts, ""]))
    environments, processes = {}, []
    try:
        for number, each in enumerate(containers, 1):
            environment = {
                **CLEAN,
                **each.environment,
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                # In a container of its own it is 0.0.0.0, and there is one directory.
                "SADIK_LISTEN__HTTP": f"127.0.0.{number}:7070",
                "SADIK_LISTEN__PEER": f"127.0.0.{number}:7071",
                "SADIK_NODE__DATA_DIR": str(place / f"data-{each.name}"),
            }
            environments[each.host] = environment
            with (place / f"{each.name}.log").open("wb") as log:
                node = subprocess.Popen(each.command, env=environment, stdout=log, stderr=log,
                                        stdin=subprocess.DEVNULL)  # fmt: skip
            processes.append(node)
            is_well = (sys.executable, DEPLOY / "docker" / "healthcheck.py")
            health = {**environment, "SADIK_TLS__HTTP__CERT": "of the start script"}

            def is_ready(command: tuple[Any, ...] = is_well, env: Any = health) -> bool:
                done = subprocess.run(command, env=env, capture_output=True, check=False)
                return done.returncode == 0

            # The check asks 127.0.0.1, where the first is.
            if number == 1:
                eventually(30, is_ready, (place / f"{each.name}.log").read_text())
        yield environments
        for process in processes:
            process.terminate()
        assert [process.wait(20) for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for name in place.glob("*.log"):
        assert "insecure" not in name.read_text(), "a node that nobody is asked at says so"


def check_it_is_secure(inside: Mapping[str, dict[str, str]], ca: Path) -> None:
    """What an operator types works, and what a stranger does not; by hosts that nodes tell."""
    node = BIN / "sadik-node"
    first, *_, last = inside
    env = {**inside[first], "SADIK_NODE": f"https://{first}:7070"}

    def are_all_up() -> bool:
        return run(node, "members", env=env).count(" up ") == len(inside)

    eventually(30, are_all_up, "the members are up")
    for host in inside:
        ready = ("curl", "-sf", "--cacert", ca, f"https://{host}:7070/readyz")

        def is_ready(ready: tuple[Any, ...] = ready) -> bool:
            return subprocess.run(ready, capture_output=True, check=False).returncode == 0

        eventually(30, is_ready, f"{host} is ready")
    run(node, "put", "notes", "hello", "world", env=env)
    assert run(node, "get", "notes", "hello", "--node", f"https://{last}:7070", env=env) == "world"
    run(node, "hints", "--json", env=env)

    stranger = {**CLEAN, "PATH": env["PATH"], "SADIK_NODE": env["SADIK_NODE"]}
    assert "certificate" in run(node, "get", "notes", "hello", env=stranger, code=1)
    told = run(node, "get", "notes", "hello", "--ca", ca, env=stranger, code=1)
    assert "SADIK_TOKEN_FILE" in told
    run(node, "get", "notes", "hello", "--node", f"http://{first}:7070", env=stranger, code=1)


@pytest.fixture
def alone(request: pytest.FixtureRequest, skip_or_fail: Callable[[str], None]) -> bool:
    """Whether the test is to go on; where not, it has been run in namespaces of its own."""
    if is_alone():
        return True
    if not can_be_alone(DIRECTORIES):
        skip_or_fail("needs namespaces of its own, with mounts (unshare --net --mount)")
    run_alone(f"{__file__}::{request.node.name}", DIRECTORIES)
    return False


def test_what_compose_starts_is_secured(alone: bool, tmp_path: Path) -> None:
    if not alone:
        return
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text("utf-8"))
    volumes = [each.partition(":/secrets/")[2] for each in compose["services"]["secrets"]["volumes"]
               if ":/secrets/" in each]  # fmt: skip
    secrets = tmp_path / "secrets"
    for volume in volumes:
        (secrets / volume).mkdir(parents=True)
    script = DEPLOY / "docker" / "make-secrets.sh"
    assert str(script.name) in compose["services"]["secrets"]["entrypoint"][1]
    path = {**CLEAN, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    run("sh", script, secrets, env=path)
    before = (secrets / "n1" / "node.key").read_bytes()
    run("sh", script, secrets, env=path)
    assert (secrets / "n1" / "node.key").read_bytes() == before, "the next `up` makes nothing anew"
    assert len({(secrets / name / "node.key").read_bytes() for name in ("n1", "n2", "n3")}) == 3
    assert not list((secrets / "n1").glob("ca.key"))

    containers = []
    for name in ("n1", "n2", "n3"):
        given = compose["services"][name]["environment"]
        # Where its volume is mounted in the container.
        environment = {key: value.replace("/etc/sadik/", f"{secrets}/{name}/")
                       for key, value in given.items()}  # fmt: skip
        containers.append(Container(name, name, [str(BIN / "sadik-node"), "serve"], environment))
    with started(tmp_path, containers) as inside:
        check_it_is_secure(inside, secrets / "watch" / "ca.crt")
        # Prometheus' token opens the figures, and nothing else.
        token = (secrets / "watch" / "prometheus.token").read_text().strip()
        curl = ["curl", "-sf", "--cacert", str(secrets / "watch" / "ca.crt"),
                "-H", f"Authorization: Bearer {token}"]  # fmt: skip
        assert "sadik_requests_total" in run(*curl, "https://n2:7070/metrics", env=CLEAN)
        run(*curl, "https://n2:7070/v1/kv/notes/hello", env=CLEAN, code=22)
        # A token more: the page's way, which gives the nodes the file while they run.
        tokens = secrets / "authority" / "tokens.toml"
        run(BIN / "sadik-node", "token", "add", tokens, "app", "--scope", "read", env=path)
        run("sh", script, secrets, env=path)
        assert "app" in (secrets / "n3" / "tokens.toml").read_text()


def test_what_kubernetes_starts_is_secured(alone: bool, tmp_path: Path) -> None:
    if not alone:
        return
    page = DEPLOY / "kubernetes" / "README.md"
    [making] = [block for block in blocks_of(page) if "not run" not in block.notes]
    path = {**CLEAN, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", "-euc", making.text], cwd=tmp_path, env=path, check=True,
                   capture_output=True, timeout=60)  # fmt: skip
    pods = ("sadik-0", "sadik-1", "sadik-2")
    # What `kubectl create secret` is told to take, as the volume has it.
    mounted = Path("/etc/sadik-secret")
    mounted.mkdir()
    [creating] = [block for block in blocks_of(page) if "kubectl create secret" in block.text]
    # What kubectl is told to take, told by a stand-in of it, since it may not be there.
    echo = f"kubectl() {{ printf '%s\\n' \"$@\"; }}\n{creating.text}"
    told = run("bash", "-euc", echo, env=path).splitlines()
    files = [each.removeprefix("--from-file=") for each in told if each.startswith("--from-file=")]
    for name in files:
        shutil.copyfile(tmp_path / name, mounted / Path(name).name)
        (mounted / Path(name).name).chmod(0o440)
    assert "pki/ca.key" not in files

    kubernetes = DEPLOY / "kubernetes"
    configuration = yaml.safe_load(
        (kubernetes / "common" / "configuration.yaml").read_text("utf-8")
    )
    Path("/etc/sadik").mkdir()
    for name, text in configuration["data"].items():
        Path("/etc/sadik", name).write_text(text)
    stateful = yaml.safe_load((kubernetes / "statefulset" / "statefulset.yaml").read_text("utf-8"))
    [container] = stateful["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    containers = [
        Container(pod, f"{pod}.sadik-peers", container["command"], {**given, "POD_NAME": pod})
        for pod in pods
    ]
    with started(tmp_path, containers) as inside:
        check_it_is_secure(inside, mounted / "ca.crt")
