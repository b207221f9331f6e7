"""Pictures are drawn of whatever a study measured, with and without incidents."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from sadik_sim.study import report_of, run_study, study_from_text

pytestmark = pytest.mark.system

TEXT = """
title = "Tiny"
seconds = 6
samples = 1000
[sites.here]
nodes = 3
[workload]
per_second = 20
keys = 10
probe_ms = 10
[[settings]]
r = 3
w = [1, 3]
strict = true
"""

CRASH = """
[[incidents]]
kind = "crash"
site = "here"
nodes = 1
at_s = 2
for_s = 1
"""


@pytest.fixture
def plots(skip_or_fail: Callable[[str], None]) -> ModuleType:
    try:
        return importlib.import_module("sadik_sim.study.plots")
    except ImportError:
        skip_or_fail("needs matplotlib: pip install 'sadik-sim[study]'")
        raise


@pytest.mark.parametrize("incidents", ["", CRASH])
def test_every_picture_is_drawn_twice(incidents: str, tmp_path: Path, plots: ModuleType) -> None:
    study = study_from_text(TEXT + incidents, "tiny")
    written = plots.draw(study, report_of(study, run_study(study)), tmp_path)
    names = {"latency", "visibility", "versions", "availability", "repair"}
    assert {path.name for path in written} == {f"{n}.{e}" for n in names for e in ("png", "svg")}
    for path in written:
        start = path.read_bytes()[:200]
        assert start.startswith(b"\x89PNG") if path.suffix == ".png" else b"<?xml" in start
