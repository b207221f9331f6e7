"""The purity check finds every kind of impurity that is planted, and nothing in what we ship."""

import shutil
from pathlib import Path

import pytest

import purity

ROOT = Path(__file__).resolve().parents[2]

PLANTED = {
    "clock module": ("import", "import time"),
    "clock function": ("import", "from time import monotonic_ns"),
    "trio": ("import", "import trio.lowlevel"),
    "threads": ("import", "import threading"),
    "operating system": ("import", "import os.path"),
    "inside a function": ("import", "def late():\n    import socket\n    return socket"),
    "an adapter": ("import", "from sadik_comms import memory"),
    "messenger": ("impure-module", "from sadik_members.messenger import Messenger"),
    "messenger by its package": ("impure-module", "from sadik_members import messenger"),
    "coroutine": ("async", "async def wait():\n    return 1"),
    "async comprehension": ("async", "async def f(xs):\n    return [x async for x in xs]"),
    "global randomness": ("random", "import random\nx = random.random()"),
    "imported randomness": ("random", "from random import shuffle"),
    "system randomness": ("random", "import random\nx = random.SystemRandom()"),
    "seed from the system": ("random", "import random\nx = random.Random()"),
    "wall clock": ("clock", "import datetime\nx = datetime.datetime.now(datetime.UTC)"),
    "today": ("clock", "from datetime import date\nx = date.today()"),
    "open": ("io", 'x = open("x")'),
    "io.open": ("io", 'import io\nx = io.open("x")'),
    "evaluation": ("io", 'x = eval("1")'),
    "hash": ("hash", 'x = hash("x") % 8'),
    "identity": ("hash", "x = id(object())"),
    "loop over a display": ("set-order", 'for x in {"a", "b"}:\n    pass'),
    "loop over a constructor": ("set-order", "def f(xs):\n    for x in set(xs):\n        yield x"),
    "loop over a name": ("set-order", "s = {b'a'} | set()\nfor x in s:\n    pass"),
    "loop over a parameter": ("set-order", "def f(s: frozenset[str]):\n    return [*s]"),
    "list of a set": ("set-order", "def f(s: set[bytes]):\n    return list(s)"),
    "tuple of an optional set": ("set-order", "def f(s: set[str] | None):\n    return tuple(s)"),
    "string annotation": ("set-order", "def f(s: 'set[str]'):\n    return tuple(s)"),
    "join": ("set-order", "def f(s: set[str]):\n    return ','.join(s)"),
    "pop": ("set-order", "def f(s: set[str]):\n    return s.pop()"),
    "dict from a set": ("set-order", "def f(s: set[str]):\n    return {x: 1 for x in s}"),
    "generator over a set": ("set-order", "def f(s: set[str]):\n    yield from (x for x in s)"),
    "difference of views": ("set-order", "def f(a, b):\n    return list(a.keys() - b.keys())"),
    "method of a set": ("set-order", "def f(a: set[str], b):\n    return list(a.union(b))"),
    "field": ("set-order", "class A:\n    s: set[str]\n    def f(self):\n        return [*self.s]"),
    "returned set": ("set-order", "def f() -> set[str]: ...\nx = list(f())"),
    "unpacking": ("set-order", "def f(s: set[str]):\n    a, b = s\n    return a"),
    "tie by key": ("set-order", "def f(s: set[str]):\n    return min(s, key=len)"),
}

ALLOWED = {
    "a seeded generator": "import random\nfrom random import Random\nx = random.Random(7)",
    "sorted members": "def f(s: set[str]):\n    return [x for x in sorted(s)]",
    "membership and size": "def f(s: set[str], x):\n    return x in s and len(s)",
    "order-free consumers": "def f(s: set[str]):\n    return all(x for x in s), {x for x in s}",
    "sorted comprehension": "def f(s: set[str]):\n    return sorted(x + 'a' for x in s)",
    "integers": "def f(s: set[int]):\n    return [*s, *{1, 2}, *set(range(3))]",
    "dictionaries": "def f(d: dict[str, int]):\n    return list(d), list(d.keys()), d.pop('x')",
    "hash in __hash__": "class A:\n    def __hash__(self):\n        return hash(self.x)",
    "a given reason": "def f(s: set[str]):\n    for x in s:  # set-order: any order\n        del x",
    "a moment given": "import datetime\nx = datetime.datetime.fromtimestamp(0, datetime.UTC)",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy of one pure package, a small one, to plant in."""
    source = Path("packages/sadik-causality/src")
    shutil.copytree(ROOT / source, tmp_path / source)
    return tmp_path


def plant(workspace: Path, text: str) -> Path:
    path = Path("packages/sadik-causality/src/sadik_causality/planted.py")
    (workspace / path).write_text(text + "\n", encoding="utf-8")
    return path


def test_the_pure_packages_are_pure() -> None:
    assert purity.find_impurities(ROOT) == []


def test_every_pure_package_is_there_and_looked_at() -> None:
    for package in purity.PURE_PACKAGES:
        assert list((ROOT / "packages" / package / "src").rglob("*.py")), package


@pytest.mark.parametrize(("rule", "text"), PLANTED.values(), ids=PLANTED)
def test_planted_impurity_is_found(workspace: Path, rule: str, text: str) -> None:
    path = plant(workspace, text)
    findings = purity.find_impurities(workspace)
    assert {(finding.path, finding.rule) for finding in findings} == {(path, rule)}


@pytest.mark.parametrize("text", ALLOWED.values(), ids=ALLOWED)
def test_harmless_code_is_let_through(workspace: Path, text: str) -> None:
    plant(workspace, text)
    assert purity.find_impurities(workspace) == []


def test_impure_modules_may_be_impure(workspace: Path) -> None:
    source = workspace / "packages/sadik-members/src/sadik_members"
    source.mkdir(parents=True)
    (source / "messenger.py").write_text("import trio\n", encoding="utf-8")
    assert purity.find_impurities(workspace) == []
    (source / "table.py").write_text("import trio\n", encoding="utf-8")
    assert [finding.path.name for finding in purity.find_impurities(workspace)] == ["table.py"]


def test_a_finding_names_place_and_rule(workspace: Path) -> None:
    path = plant(workspace, "\nimport time")
    [finding] = purity.find_impurities(workspace)
    assert str(finding).startswith(f"{path}:2: import: time")
