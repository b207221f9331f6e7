"""``sadik-sim`` as people call it."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sadik_sim.cli import main
from sadik_sim.plan import Options, draw_plan, plan_from_json, plan_to_json
from sadik_sim.planted import BUGS

pytestmark = pytest.mark.system

QUICK = ["--seconds", "3", "--operations", "60"]


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_a_clean_campaign_sums_up_and_exits_with_0() -> None:
    result = call("run", "--seeds", "3", "--jobs", "1", *QUICK)
    assert result.exit_code == 0, result.output
    assert "3 seeds, 0 failed" in result.output
    assert "replica answered OK" in result.output
    assert "never happened in 3 seeds" in result.output


def test_a_replay_ends_with_its_trace() -> None:
    first, second = (call("replay", "4", *QUICK) for _ in range(2))
    assert first.exit_code == 0
    assert first.stdout.splitlines()[-1].startswith("trace ")
    assert first.stdout == second.stdout


def test_a_failing_seed_is_shrunk_to_a_schedule_that_replays(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    words = ["3", "--bug", "ack-before-store", "--runs", "60"]
    shrunk = call("shrink", *words, "--out", str(path), *QUICK)
    assert shrunk.exit_code == 0, shrunk.output
    least = plan_from_json(path.read_text("utf-8"))
    assert least.bug == "ack-before-store"
    assert len(least.operations) <= 3
    assert least.faults == ()
    assert f"schedule: {path}" in shrunk.output
    replayed = call("replay", str(path))
    assert replayed.exit_code == 1
    assert "BROKEN after" in replayed.output
    assert replayed.stdout.splitlines()[-1] == shrunk.stdout.splitlines()[-1]


def test_what_breaks_nothing_cannot_be_shrunk() -> None:
    result = call("shrink", "1", *QUICK)
    assert result.exit_code == 1
    assert "breaks no invariant" in result.output


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_a_file_that_is_no_schedule_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "schedule.json"
    path.write_text(text, "utf-8")
    result = call("replay", str(path))
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {path}: ")


def test_a_missing_file_is_refused_in_a_line() -> None:
    result = call("replay", "nowhere.json")
    assert result.exit_code == 1
    assert result.output.startswith("Error: nowhere.json: ")


def test_a_schedule_file_replays_without_its_bug(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(plan_to_json(draw_plan(1, Options(seconds=2, operations=20))), "utf-8")
    assert call("replay", str(path)).exit_code == 0


def test_planted_bugs_are_looked_for_and_counted() -> None:
    result = call("bugs", "--limit", "5", "--jobs", "1", "owner-twice", "last-told-wins")
    assert result.exit_code == 0, result.output
    assert "owner-twice" in result.output
    assert "1 seeds" in result.output
    assert "by test_planted.py::test_member_entries_merge_alike_in_any_order" in result.output
    assert "2 of 2 planted bugs are found" in result.output


def test_help_names_every_command() -> None:
    result = call("--help")
    for name in ("run", "replay", "shrink", "bugs", "study"):
        assert f"  {name}" in result.output


@pytest.mark.parametrize("verb", ["run", "replay", "shrink", "bugs", "registers", "study"])
def test_help_has_an_example_and_fits_a_screen(verb: str) -> None:
    output = call(verb, "--help").output
    assert f"sadik-sim {verb}" in output.partition("Example:\n")[2]
    assert len(output.splitlines()) <= 50
    assert max(map(len, output.splitlines())) <= 80


def test_planted_bugs_are_listed_with_what_they_are() -> None:
    lines = call("bugs", "--list").output.splitlines()
    assert len(lines) == len(BUGS)
    assert any(line.startswith("ack-before-store ") and "before" in line for line in lines)
    assert call("bugs", "--list", "owner-twice").output.count("\n") == 1


def test_without_the_extra_dask_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = call("run", "--seeds", "1", "--dask", "tcp://127.0.0.1:1")
    assert result.exit_code == 1
    assert "sadik-sim[dask]" in result.output


def test_the_command_imports_no_adapter() -> None:
    """The simulator runs where trio, sockets and LMDB are out of reach."""
    program = (
        "import sys\n"
        "for name in ('trio', 'lmdb', 'matplotlib', 'distributed'): sys.modules[name] = None\n"
        "import sadik_sim.cli, sadik_sim.report, sadik_sim.planted\n"
        "from sadik_sim.plan import Options, draw_plan\n"
        "from sadik_sim.run import execute\n"
        "assert not execute(draw_plan(1, Options(seconds=1, operations=20))).invariant\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
