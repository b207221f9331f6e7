"""Every bad input of `bad_inputs/` against a real node: answered as it says there."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_input_cases import CASES, check
from plain_http import ask
from sadik_node.testing import start_cluster


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with start_cluster(nodes=1) as cluster:
        yield cluster.urls[0]


@pytest.mark.parametrize("name", CASES)
def test_bad_inputs_are_answered_as_stated(url: str, name: str) -> None:
    assert CASES[name]
    failed: list[str] = []
    for case in CASES[name]:
        try:
            check(url, case)
        except (AssertionError, OSError, KeyError) as error:
            failed.append(f"{case['name']}: {type(error).__name__} {error}")
    assert not failed, "\n".join(failed)


def _resident_kib() -> int:
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("the kernel tells no resident size")


def _ask_all(url: str) -> None:
    for cases in CASES.values():
        for case in cases:
            check(url, case)


def test_nobody_fails_and_nothing_grows(url: str) -> None:
    assert sum(map(len, CASES.values())) >= 300
    _ask_all(url)
    gc.collect()
    before = _resident_kib()
    _ask_all(url)
    gc.collect()
    assert _resident_kib() - before < 8 * 1024
    started = time.perf_counter()
    said = ask(url, "GET", "/metrics")
    assert time.perf_counter() - started < 5
    failed = re.findall(rb'sadik_requests_total\{[^}]*outcome="failed"\} ([0-9.e+]+)', said.body)
    assert failed, "there is a figure for answers of 500"
    assert not any(map(float, failed))
