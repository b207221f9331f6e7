"""The compiled engine does what the sources do, and is used for nothing but those sources."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import compile_engine
from compiled_site import is_current, line_of, sources

ROOT = Path(__file__).resolve().parents[2]

TRACES = """
import pickle
import sadik_vnode
from sadik_machine import Trace
from sadik_node.http.known_headers import KnownHeaders
from sadik_sim.plan import Options, draw_plan
from sadik_sim.run import execute

print(sadik_vnode.__file__)
for profile in ("default", "membership"):
    for seed in range(SEEDS):
        plan = draw_plan(seed, Options(seconds=6, operations=150, profile=profile))
        result = execute(plan, trace=Trace(keep=0))
        assert pickle.loads(pickle.dumps(result)) == result, "a campaign's processes send it"
        print(profile, seed, result.trace, result.invariant, result.detail)

# A slice that ends before it begins, which mypyc has to be taught.
print(KnownHeaders().find(b"GET / HTTP/1.1", 14))
"""

BAD = {
    "an error of another class": """
def f():
    try:
        pass
    except ValueError as error:
        print(error)
    try:
        pass
    except KeyError as error:
        print(error)
""",
    "is an error of another class": """
async def f():
    try:
        pass
    except ValueError as error:
        print(error)
    except KeyError as error:
        print(error)
""",
    "the rest of a sequence": """
def f(x):
    match x:
        case (first, *rest):
            return rest
""",
    "one of several": """
def f(x):
    match x:
        case (int() | None as number, 1):
            return number
""",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one small package and what was compiled of it."""
    source = tmp_path / "packages" / "small" / "src" / "small"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("x = 1\n")
    compiled = tmp_path / "build" / "compiled"
    compiled.mkdir(parents=True)
    lines = [line_of(str(tmp_path), name) for name in sources(str(tmp_path), {"small"})]
    (compiled / "sources").write_text("\n".join([sys.implementation.cache_tag, *lines]))
    return tmp_path


def is_used(checkout: Path) -> bool:
    return is_current(str(checkout), str(checkout / "build" / "compiled"))


def test_compiled_code_is_used_while_the_sources_are_the_same(checkout: Path) -> None:
    source = checkout / "packages/small/src/small/__init__.py"
    assert is_used(checkout)
    os.utime(source, ns=(1, 1))
    assert is_used(checkout), "touched, and still the same"
    source.write_text("x = 2\n")
    assert not is_used(checkout), "of the same length, and another text"


def test_a_source_more_or_less_or_another_interpreter_ends_its_use(checkout: Path) -> None:
    more = checkout / "packages/small/src/small/more.py"
    more.write_text("")
    assert not is_used(checkout)
    more.unlink()
    assert is_used(checkout)
    stamp = checkout / "build/compiled/sources"
    stamp.write_text(stamp.read_text().replace(sys.implementation.cache_tag, "cpython-27"))
    assert not is_used(checkout)
    shutil.rmtree(checkout / "build")
    assert not is_used(checkout)


@pytest.mark.parametrize("what", BAD)
def test_what_the_compiler_gets_wrong_is_refused(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / "bad.py"
    monkeypatch.setattr(compile_engine, "_modules", lambda: [("bad.py", path, BAD[what])])
    (found,) = compile_engine._refused()
    assert found.startswith("\nbad.py:")
    assert what in found


def test_all_that_is_named_is_there_and_compiled() -> None:
    compiled = {name for name, _, _ in compile_engine._modules()}
    parts = [name for names in compile_engine.PARTS.values() for name in names]
    for named in (*parts, *compile_engine.WAITING, *compile_engine.VALUE_MODULES):
        assert any(name.startswith(named) for name in compiled), named
    for left in compile_engine.LEFT:
        assert not any(name.startswith(left) for name in compiled), left
        assert list(ROOT.glob(f"packages/*/src/{left}*")), left


def test_nothing_of_that_is_in_the_sources() -> None:
    assert list(compile_engine._refused()) == []


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_compiled_and_interpreted_runs_are_the_same_to_the_bit(
    tmp_path: Path, require_program: Callable[..., str]
) -> None:
    require_program("cc", package="build-essential")
    compiled = tmp_path / "compiled"
    script = ROOT / "scripts" / "compile_engine.py"
    subprocess.run([sys.executable, script, "--into", compiled], check=True, timeout=900)
    traces = TRACES.replace("SEEDS", "25")

    def run(**variables: str) -> list[str]:
        told = subprocess.run(
            [sys.executable, "-c", traces], env={**os.environ, **variables},
            capture_output=True, text=True, check=True, timeout=900,
        )  # fmt: skip
        return told.stdout.splitlines()

    where, *of_compiled = run(PYTHONPATH=str(compiled))
    assert where.startswith(str(compiled))
    assert not where.endswith(".py")
    where, *of_sources = run()
    assert where.endswith(".py")
    assert of_compiled == of_sources
