"""The floors hold, and a planted import that breaks one is reported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# (importing package, what it must not import)
PLANTED = [
    ("sadik_machine", "sadik_hashing"),
    ("sadik_hashing", "sadik_causality"),
    ("sadik_causality", "sadik_hashing"),
    ("sadik_comms", "sadik_storage"),
    ("sadik_storage", "sadik_metrics"),
    ("sadik_metrics", "sadik_comms"),
    ("sadik_members", "sadik_vnode"),
    ("sadik_members", "sadik_comms"),
    ("sadik_members", "sadik_client"),
    ("sadik_register", "sadik_members"),
    ("sadik_members", "sadik_register"),
    ("sadik_client", "sadik_members"),
    ("sadik_client", "sadik_comms"),
    ("sadik_vnode", "sadik_storage"),
    ("sadik_vnode", "sadik_metrics"),
    ("sadik_vnode", "sadik_node"),
    ("sadik_machine", "time"),
    ("sadik_hashing", "threading"),
    ("sadik_causality", "socket"),
    ("sadik_members", "trio"),
    ("sadik_client", "socket"),
    ("sadik_client", "trio"),
    ("sadik_vnode", "asyncio"),
    ("sadik_storage", "trio"),
]


def lint_imports(workspace: Path) -> subprocess.CompletedProcess[str]:
    """Run the import contracts of ``workspace`` over its own sources."""
    sources = sorted(str(path) for path in workspace.glob("packages/*/src"))
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sources), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for source in ROOT.glob("packages/*/src"):
        shutil.copytree(source, tmp_path / source.relative_to(ROOT))
    return tmp_path


def test_the_floors_hold(workspace: Path) -> None:
    result = lint_imports(workspace)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_planted_import_is_reported(workspace: Path) -> None:
    for importer, imported in PLANTED:
        package = importer.replace("_", "-")
        path = workspace / f"packages/{package}/src/{importer}/planted_{imported}.py"
        path.write_text(f"import {imported}\n", encoding="utf-8")
    result = lint_imports(workspace)
    assert result.returncode == 1, result.stdout + result.stderr
    reported = " ".join(result.stdout.split())
    missing = [
        (importer, imported)
        for importer, imported in PLANTED
        if f"{importer}.planted_{imported} -> {imported} " not in reported
    ]
    assert missing == [], result.stdout


def test_the_messenger_alone_may_use_a_stream(workspace: Path) -> None:
    members = workspace / "packages/sadik-members/src/sadik_members"
    with (members / "messenger.py").open("a", encoding="utf-8") as messenger:
        messenger.write("\nimport sadik_comms\nimport trio\n")
    result = lint_imports(workspace)
    assert result.returncode == 0, result.stdout + result.stderr
