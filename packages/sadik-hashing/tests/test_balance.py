"""The command: a table of figures that are those of the solver, and honest errors."""

import pytest

from sadik_hashing import Claimant, balance_of, claim
from sadik_hashing.balance import main


def table(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    assert main(arguments) == 0
    return [line.split("  ") for line in capsys.readouterr().out.splitlines()]


def cells(row: list[str]) -> list[str]:
    return [cell.strip() for cell in row if cell.strip()]


def test_the_table_shows_the_solvers_figures(capsys: pytest.CaptureFixture[str]) -> None:
    heading, row = table(capsys, "--partitions", "64", "--zones", "2", "--nodes", "5")
    nodes = [Claimant(b"node-%d" % i, f"zone-{i % 2}") for i in range(5)]
    balance = balance_of(claim(nodes, 64, 3), nodes)
    shown = cells(row)
    assert cells(heading)[:5] == ["nodes", "zones", "slots mean", "max", "mean/max"]
    assert shown[:5] == ["5", "2", "38.4", "39", f"{balance.replica.efficiency:.3f}"]
    assert shown[5:8] == ["12.8", "13", f"{balance.first.efficiency:.3f}"]
    assert shown[8] == "2-2"
    joined, join_least, left, leave_least = map(int, shown[9:])
    assert 0 < join_least <= joined <= 1.1 * join_least
    assert 0 < leave_least <= left <= 1.1 * leave_least


def test_sizes_from_three_to_a_hundred_nodes_by_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [cells(row) for row in table(capsys)]
    assert [row[0] for row in rows[1:]] == ["3", "5", "10", "30", "100"]
    assert all(float(row[4]) >= 0.95 for row in rows[1:])
    assert float(rows[4][7]) >= 0.95


def test_a_single_node_cannot_leave(capsys: pytest.CaptureFixture[str]) -> None:
    assert cells(table(capsys, "--nodes", "1", "--replicas", "1")[1])[-2:] == ["-", "-"]


@pytest.mark.parametrize(
    "arguments",
    [("--partitions", "9"), ("--nodes", "0"), ("--replicas", "x"), ("--zones", "-1"), ("more",)],
)
def test_wrong_usage_exits_with_two(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: sadik-balance" in capsys.readouterr().err
