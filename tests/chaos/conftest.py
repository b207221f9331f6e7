"""The rig of the scenarios: a network, a cluster on it, and the record that becomes the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from chaos_cluster import ChaosCluster, Rig
from chaos_network import Network, why_no_network
from chaos_record import Record
from chaos_report import write_report

_HERE = Path(__file__).parent
_RECORDS = pytest.StashKey[list[Record]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The length of the pass, and where its report goes."""
    group = parser.getgroup("chaos")
    group.addoption("--long", action="store_true", help="the long pass of the chaos scenarios")
    group.addoption("--minutes", type=float, default=60, help="how long a soak lasts (60)")
    group.addoption("--report", type=Path, help="a directory for the report on chaos scenarios")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to collect records."""
    config.stash[_RECORDS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is a scenario."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            is_soak = item.get_closest_marker("soak") is not None
            item.add_marker(pytest.mark.campaign if is_soak else pytest.mark.chaos)
            item.add_marker(pytest.mark.slow)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report, where one is wanted."""
    directory = session.config.getoption("--report")
    records = session.config.stash[_RECORDS]
    if directory is not None and records:
        write_report(records, directory)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print every scenario's figures."""
    for record in terminalreporter.config.stash[_RECORDS]:
        terminalreporter.write_line(f"{record.name}: {record.outcome}")
        for check in record.checks:
            terminalreporter.write_line(f"    {check}")


@pytest.fixture(scope="session")
def has_network(skip_or_fail: Callable[[str], None]) -> None:
    reason = why_no_network()
    if reason:
        skip_or_fail(reason)


@pytest.fixture
def rig(has_network: None, tmp_path: Path) -> Iterator[Rig]:
    """Makes clusters; they and their networks end with the test."""
    with ExitStack() as stack:

        def make(
            nodes: int = 3,
            *,
            start: bool = True,
            delay_ms: tuple[float, float] | None = None,
            **options: Any,
        ) -> ChaosCluster:
            hosts = nodes + options.get("spare", 0)
            network = stack.enter_context(Network(hosts, delay_ms=delay_ms))
            cluster = stack.enter_context(ChaosCluster(network, tmp_path, **options))
            if start:
                cluster.start()
            return cluster

        yield make


@pytest.fixture
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether this is the long pass."""
    return bool(request.config.getoption("--long"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note how a scenario ended in its record."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    record = getattr(item, "funcargs", {}).get("record")
    if record is not None and (report.when == "call" or report.failed):
        record.outcome = report.outcome


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """The record of this scenario."""
    function = request.function
    record = Record(
        request.node.name.removeprefix("test_"), (function.__doc__ or "").strip().splitlines()[0]
    )
    request.config.stash[_RECORDS].append(record)
    return record
