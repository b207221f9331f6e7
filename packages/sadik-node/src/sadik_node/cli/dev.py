"""``dev``: a local cluster of real node processes in one terminal.

Every node is a process of its own, started by the very command line that is printed, so that one
can be killed and brought back by hand. What they say goes to a file each: a terminal that is held
up then never holds up a node. The nodes are in sessions of their own, so that Ctrl-C reaches this
process alone, which then ends them in order; should it be killed, the system tells them to end.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple, Self

import click

from sadik_node.cli.common import EXIT_FAILED, EXIT_USAGE, fail, say

__all__ = ["dev"]

_HOST = "127.0.0.1"
_PORT_STEP = 10
_READY_WITHIN_S = 60.0
_RING_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.1
_DRAIN_S = 10.0
_LOG_LINES_SHOWN = 5
_FORMAT = 1
_PR_SET_PDEATHSIG = 1


class _Plan(NamedTuple):
    """One node: its name, ports and place."""

    name: str
    http_port: int
    peer_port: int
    data_dir: Path

    @classmethod
    def of(cls, number: int, base_port: int, directory: Path) -> _Plan:
        port = base_port + _PORT_STEP * (number - 1)
        return cls(f"n{number}", port, port + 1, directory / f"n{number}")

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.http_port}"

    @property
    def log(self) -> Path:
        return self.data_dir.with_suffix(".log")

    def command(self, seeds: list[_Plan]) -> list[str]:
        line = [sys.executable, "-m", "sadik_node", "serve", "--name", self.name]
        line += ["--data-dir", str(self.data_dir)]
        line += ["--http", f"{_HOST}:{self.http_port}", "--peer", f"{_HOST}:{self.peer_port}"]
        for seed in seeds:
            line += ["--join", f"{_HOST}:{seed.peer_port}"]
        return line


@click.command()
@click.option("--nodes", type=click.IntRange(1, 20), default=3, show_default=True,
              help="How many.")  # fmt: skip
@click.option("--dir", "directory", metavar="DIR", default="./sadik-data", show_default=True,
              type=click.Path(path_type=Path), help="Where their data are kept.")  # fmt: skip
@click.option("--base-port", type=click.IntRange(1, 65534), default=7070, show_default=True,
              help="HTTP of n1; n2 is 10 above, and so on; peers are one above HTTP.")  # fmt: skip
def dev(*, nodes: int, directory: Path, base_port: int) -> None:
    """Run a local cluster until Ctrl-C: real node processes, with their data kept on disk.

    Node i is named n<i>. A node that dies stays down until you bring it back with the line that is
    printed for it; started again on the same --dir, all have the data that they had.

    \b
    Example:
      sadik-node dev
      sadik-node dev --nodes 5 --dir /tmp/five --base-port 8000
    """
    directory = directory.absolute()
    plans = [_Plan.of(number, base_port, directory) for number in range(1, nodes + 1)]
    if plans[-1].peer_port > 0xFFFF:
        raise click.BadParameter(
            f"{nodes} nodes from {base_port} on would need the port {plans[-1].peer_port}",
            param_hint="--base-port",
        )
    with _directory_held(directory):
        formed = _read_marker(directory, nodes)
        for plan in plans:
            _check_ports(plan)
        try:
            with _Cluster(directory, plans, formed=formed) as cluster:
                cluster.run()
        except OSError as error:
            fail(f"{error.filename or directory}: {error.strerror}")
        if cluster.was_forced:
            fail("a node did not end within 10 s of SIGTERM and was killed")


@contextlib.contextmanager
def _directory_held(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "dev.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        fail(f"{directory} cannot be used: {error.strerror}", EXIT_USAGE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        fail(f"another `sadik-node dev` runs on {directory}; end it, or give another --dir")
    try:
        yield
    finally:
        os.close(lock)


def _read_marker(directory: Path, nodes: int) -> bool:
    """Whether a cluster has been formed here; refuse a directory that is not this cluster's."""
    marker = directory / "dev.json"
    try:
        found = json.loads(marker.read_bytes())
        made_with, formed = int(found["nodes"]), bool(found["formed"])
        if found["format"] != _FORMAT:
            fail(f"{marker} was written by another version of sadik-node; use that one", EXIT_USAGE)
    except FileNotFoundError:
        others = [each.name for each in directory.iterdir() if each.name != "dev.lock"]
        if others:
            fail(f"{directory} holds other things ({others[0]}, ...); give another --dir",
                 EXIT_USAGE)  # fmt: skip
        _write_marker(directory, nodes, formed=False)
        return False
    except (OSError, ValueError, KeyError, TypeError) as error:
        fail(f"{marker} cannot be read: {error}; give another --dir", EXIT_USAGE)
    if made_with != nodes:
        fail(
            f"{directory} was made with --nodes {made_with}; start it so, or give another --dir",
            EXIT_USAGE,
        )
    return formed


def _write_marker(directory: Path, nodes: int, *, formed: bool) -> None:
    text = json.dumps({"format": _FORMAT, "nodes": nodes, "formed": formed})
    temporary = directory / "dev.json.new"
    temporary.write_text(f"{text}\n")
    temporary.replace(directory / "dev.json")


def _check_ports(plan: _Plan) -> None:
    for use, port in (("HTTP", plan.http_port), ("peer", plan.peer_port)):
        with socket.socket() as probe:
            # As a node does, so that the remains of closed connections do not count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
                probe.listen(1)
            except OSError as error:
                fail(
                    f"port {port}, {use} of {plan.name}, cannot be had ({error.strerror}); "
                    "end what uses it, or give another --base-port"
                )


class _Cluster:
    """The node processes; a context, at whose end those that this one started have ended."""

    def __init__(self, directory: Path, plans: list[_Plan], *, formed: bool) -> None:
        self._directory = directory
        self._plans = plans
        self._formed = formed
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = False
        self.was_forced = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end_soon)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it stays so
            signal.signal(signal.SIGHUP, self._end_soon)
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_all()

    def run(self) -> None:
        """Start the nodes, tell about them, and stay until told to end."""
        for plan in self._plans:
            command = plan.command(self._seeds(plan))
            self._start(plan, command)
            click.echo(f"{plan.name}  pid {self._running[plan.name].pid}  {plan.url}")
            click.echo(f"    log:        {plan.log}")
            click.echo(f"    back again: {shlex.join(command)}")
        if not self._await_ready():
            return
        if not self._formed:
            self._await_ring()
            _write_marker(self._directory, len(self._plans), formed=True)
        first = self._plans[0].url
        click.echo(f"\nall {len(self._plans)} nodes are ready; console: {first}/")
        click.echo(f"try: curl -T {shlex.quote(_file_to_try())} {first}/v1/kv/files/hello")
        click.echo(f"     curl {self._plans[-1].url}/v1/kv/files/hello")
        click.echo("Ctrl-C ends them; the data stay.")
        while not self._ending:
            self._note_deaths()
            time.sleep(_LOOK_EVERY_S)

    def _seeds(self, plan: _Plan) -> list[_Plan]:
        if self._formed:
            return [each for each in self._plans if each is not plan]
        return [] if plan is self._plans[0] else [self._plans[0]]

    def _start(self, plan: _Plan, command: list[str]) -> None:
        with plan.log.open("ab") as log:
            self._running[plan.name] = _spawn(command, log)

    def _await_ready(self) -> bool:
        waiting = list(self._plans)
        give_up_at = time.monotonic() + _READY_WITHIN_S
        while waiting and not self._ending:
            for plan in self._note_deaths():
                if plan in waiting:
                    say(f"{plan.name} did not come up; the end of {plan.log}:\n{_tail(plan.log)}")
                    self._end_all()
                    sys.exit(EXIT_FAILED)
            for plan in [each for each in waiting if _is_ready(each)]:
                click.echo(f"{plan.name} is ready")
                waiting.remove(plan)
            if time.monotonic() > give_up_at:
                names = ", ".join(each.name for each in waiting)
                say(f"not ready after {_READY_WITHIN_S:g} s: {names}; see their logs. Waiting on.")
                give_up_at = float("inf")
            time.sleep(_LOOK_EVERY_S)
        return not self._ending

    def _await_ring(self) -> None:
        """Let the new ring become what it is going to be: the first writes then have all owners."""
        give_up_at = time.monotonic() + _RING_WITHIN_S
        while not self._ending and time.monotonic() < give_up_at:
            if _is_ring_formed(self._plans[0], len(self._plans)):
                return
            self._note_deaths()
            time.sleep(_LOOK_EVERY_S)

    def _note_deaths(self) -> list[_Plan]:
        """Tell of nodes that have ended; those that ended of themselves, not killed."""
        gave_up = []
        for plan in self._plans:
            process = self._running.get(plan.name)
            code = None if process is None else process.poll()
            if code is None:
                continue
            del self._running[plan.name]
            if code < 0:
                click.echo(f"{plan.name} was killed by {signal.Signals(-code).name}", nl=False)
            else:
                click.echo(f"{plan.name} ended with exit code {code}", nl=False)
                gave_up.append(plan)
            click.echo(f"; bring it back with: {shlex.join(plan.command(self._seeds(plan)))}")
        return gave_up

    def _end_soon(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._ending:  # a second Ctrl-C: no more patience
            for process in self._running.values():
                process.kill()
        self._ending = True

    def _end_all(self) -> None:
        self._ending = True
        for process in self._running.values():
            process.terminate()
        give_up_at = time.monotonic() + _DRAIN_S
        for name, process in self._running.items():
            try:
                process.wait(max(0.0, give_up_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                say(f"{name} did not end within {_DRAIN_S:g} s; killing it (pid {process.pid})")
                process.kill()
                process.wait()
                self.was_forced = True
        if self._running:
            click.echo("all nodes have ended")
        self._running.clear()


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - it runs this very program
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        # Safe here: this process has one thread.
        preexec_fn=_end_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509
    )


def _end_with_parent() -> Callable[[], None]:
    """What a child runs before it becomes a node: have the system end it if this process dies."""
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl

    def set_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(EXIT_FAILED)

    return set_signal


def _is_ready(plan: _Plan) -> bool:
    return _ask(plan, "/readyz") is not None


def _is_ring_formed(plan: _Plan, nodes: int) -> bool:
    """Whether every partition has all the owners that so many nodes can be, and nothing moves."""
    ring, transfers = _ask(plan, "/v1/ring"), _ask(plan, "/v1/transfers")
    if ring is None or transfers is None:
        return False
    view = json.loads(ring)
    owners = min(nodes, int(view["replicas"]))
    is_full = all(len(each) >= owners for each in view["owners"])
    is_spread = len({name for each in view["owners"] for name in each}) >= nodes
    return is_full and is_spread and not json.loads(transfers)["transfers"]


def _ask(plan: _Plan, path: str) -> bytes | None:
    """What the node answers with 200, or nothing."""
    connection = http.client.HTTPConnection(_HOST, plan.http_port, timeout=1.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == http.client.OK else None


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
    return "\n".join(f"  {line}" for line in lines)


def _file_to_try() -> str:
    for name in ("README.md", "pyproject.toml", "/etc/hostname"):
        if Path(name).is_file():
            return name
    return sys.executable
