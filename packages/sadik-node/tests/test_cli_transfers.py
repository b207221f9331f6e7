"""How far a change of the ring is, as people are told while they wait for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from contract_server import Cluster, Server, serving
from sadik_node.cli.movement import Movement
from test_cli import run

MB = 10**6


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Cluster()) as server:
        yield server


def row(partition: int, done: int, total: int, state: str = "moving") -> dict[str, Any]:
    return {
        "partition": partition, "from": "n1", "to": "n4", "bytes_done": done,
        "bytes_total": total, "state": state, "reason": "n4 is brought what the partition holds",
    }  # fmt: skip


LOOKS = [
    (0.0, [row(1, 0, 10 * MB), row(2, 0, 0, "planned"), row(3, 0, 10 * MB)]),
    (2.0, [row(1, 4 * MB, 10 * MB), row(2, 0, 20 * MB), row(3, 0, 10 * MB)]),
    (4.0, [row(2, 2 * MB, 20 * MB), row(3, 8 * MB, 10 * MB)]),
    (14.0, [row(2, 20 * MB, 20 * MB)]),
    (40.0, []),
]
"""Seconds, and what is listed then."""

TOLD = [
    "0 of 3 replicas, 0.0 MB of 20.0 MB (0%)",
    "0 of 3 replicas, 4.0 MB of 40.0 MB (10%), 2.0 MB/s, about 18 s left",
    "1 of 3 replicas, 20.0 MB of 40.0 MB (50%), 5.0 MB/s, about 4 s left",
    "2 of 3 replicas, 40.0 MB of 40.0 MB (100%), 2.9 MB/s",
    "3 of 3 replicas, 40.0 MB of 40.0 MB (100%)",
]


def test_what_moved_is_summed_over_all_looks() -> None:
    movement = Movement()
    told = []
    for now_s, transfers in LOOKS:
        movement.look(now_s, transfers)
        told.append(str(movement))
    assert told == TOLD


def test_a_ring_without_data_moves_replicas_alone() -> None:
    movement = Movement()
    movement.look(0, [row(1, 0, 0), row(2, 0, 0)])
    assert (str(movement), movement.rate, movement.left_s) == ("0 of 2 replicas", None, None)
    movement.look(1, [row(2, 0, 0)])
    assert (str(movement), movement.rate, movement.left_s) == ("1 of 2 replicas", 0, None)


@pytest.mark.parametrize(
    ("per_second", "told"), [(1, "about 2 h 47 min left"), (10, "about 17 min left"),
                             (500, "about 20 s left")],
)  # fmt: skip
def test_time_left_is_told_for_people(per_second: int, told: str) -> None:
    movement = Movement()
    movement.look(0, [row(1, 0, 10_000 + per_second)])
    movement.look(1, [row(1, per_second, 10_000 + per_second)])
    assert str(movement).endswith(told)


def test_transfers_are_a_table_with_bytes_done_and_to_do(server: Server) -> None:
    server.views["/v1/transfers"] = {"transfers": LOOKS[1][1], "driver": "n1"}
    result = run("transfers", node=server.url)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["partition", "from", "to", "bytes_done", "bytes_total", "state", "reason"]
    assert lines[1][:6] == ["1", "n1", "n4", "4000000", "10000000", "moving"]
    assert "there already: 0 of 3 replicas, 4.0 MB of 40.0 MB (10%)" in result.stderr
    as_json = json.loads(run("transfers", "--json", node=server.url).stdout)
    assert as_json["transfers"] == LOOKS[1][1]


@pytest.fixture
def looks(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What the node answers goes on by one at each pause, and time with it."""
    at = [0]

    def show() -> None:
        server.views["/v1/transfers"] = {"transfers": LOOKS[at[0]][1], "driver": "n1"}

    def pause(_seconds: float) -> None:
        at[0] += 1
        show()

    clock = SimpleNamespace(sleep=pause, monotonic=lambda: LOOKS[at[0]][0])
    monkeypatch.setattr("sadik_node.cli.membership.time", clock)
    monkeypatch.setattr("sadik_node.cli.progress._LINE_EVERY_S", 0)
    return show


def test_waiting_tells_lines_until_nothing_moves(server: Server, looks: Callable[[], None]) -> None:
    looks()
    result = run("transfers", "--wait", node=server.url)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        *(f"moved: {told}" for told in TOLD[:4]),
        "nothing moves: the ring is where it should be",
    ]


def test_waiting_shows_a_bar_on_a_terminal(
    server: Server, looks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import rich.progress

    seen: list[tuple[int, int, str]] = []

    class Bar:
        def __init__(self, **_options: object) -> None:
            pass

        def add_task(self, _what: str, total: int | None) -> int:
            assert total is None
            return 7

        def start(self) -> None:
            seen.clear()

        def update(self, task: int, *, completed: int, total: int, description: str) -> None:
            assert task == 7
            seen.append((completed, total, description))

        def stop(self) -> None:
            seen.append((0, 0, "stopped"))

    monkeypatch.setattr(rich.progress, "Progress", Bar)
    monkeypatch.setattr("sadik_node.cli.progress.sys", SimpleNamespace(
        stderr=SimpleNamespace(isatty=lambda: True)
    ))  # fmt: skip
    looks()
    assert run("transfers", "--wait", node=server.url).exit_code == 0
    assert seen == [
        (0, 20 * MB, f"moved: {TOLD[0]}"),
        (4 * MB, 40 * MB, f"moved: {TOLD[1]}"),
        (20 * MB, 40 * MB, f"moved: {TOLD[2]}"),
        (40 * MB, 40 * MB, f"moved: {TOLD[3]}"),
        (0, 0, "stopped"),
    ]


def test_waiting_prints_nothing_but_json_to_scripts(
    server: Server, looks: Callable[[], None]
) -> None:
    looks()
    result = run("transfers", "--wait", "--json", node=server.url)
    assert json.loads(result.stdout) == {"transfers": [], "driver": "n1"}
