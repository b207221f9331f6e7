"""Each system call of a commit fails in turn: no acknowledgement without the data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sadik_storage.conformance.tools import child_environment

HERE = Path(__file__).parent

BACKENDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "lmdb": ("sadik_storage.lmdb", "LmdbStore", {"verify_bytes": 0}),
    "journaled": ("sadik_storage.journaled", "JournaledLmdbStore", {"verify_bytes": 0}),
    "journaled-full-files": (
        "sadik_storage.journaled",
        "JournaledLmdbStore",
        {"verify_bytes": 0, "journal_bytes": 2**16},
    ),
    "sqlite": ("sadik_storage.sqlite", "SqliteStore", {}),
    "sqlite-checkpoints": ("sadik_storage.sqlite", "SqliteStore", {"checkpoint_bytes": 2**16}),
    "rocksdb": ("sadik_storage.rocksdb", "RocksStore", {}),
}


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory, require_program: Callable[..., str]) -> Path:
    """The library that makes calls fail."""
    compiler = require_program("cc", package="build-essential")
    library = tmp_path_factory.mktemp("shim") / "faulty_calls.so"
    source = str(HERE / "faulty_calls.c")
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), source, "-ldl"], check=True)
    return library


@pytest.mark.system
@pytest.mark.parametrize("name", BACKENDS)
def test_no_commit_is_acknowledged_that_a_failed_call_has_cost(
    name: str, shim: Path, tmp_path: Path
) -> None:
    module, cls, options = BACKENDS[name]
    program = [sys.executable, str(HERE / "faulty_commits.py"), module, cls, json.dumps(options)]
    ran = subprocess.run(
        [*program, str(tmp_path)],
        env={**child_environment(), "LD_PRELOAD": str(shim)},
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ran.returncode == 0, f"{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
    tried = Counter((line.split()[0], *line.split()[2:]) for line in ran.stdout.splitlines())
    # What proves that calls were met, and that each kind of failure was told.
    assert tried["EIO", "sync", "failed"] >= 1
    assert sum(count for (kind, *_), count in tried.items() if kind == "ENOSPC") >= 2
    assert sum(count for (kind, what, _), count in tried.items() if what == "write") >= 3
