"""Compile the pure packages, and of a node what every request passes: its engine costs about half
as much time then, and what is around it some fifth less.

All of it is plain typed Python, and stays that. What is compiled (by mypyc, which comes with
mypy) is a copy, in ``build/compiled``, with its attrs classes written out (``native_classes.py``).
Whatever runs in ``.venv`` takes the copy as long as the sources are what it was made of
(``compiled_site.py``); with ``PURE_PYTHON=1`` in the environment it takes the sources. Both do the
same: the simulator's traces are compared (tests/workspace/test_compiled.py).

``make compile`` runs this. It needs a C compiler and Python's headers. Modules that wait (on trio)
but for those in `WAITING`, those that define protocols checked at run time, and those in `LEFT`
stay interpreted.

mypyc believes types that an interpreter never looks at. Where it is known to believe something
wrong, the compilation is refused and says where: `_refuse_one_name_for_two`, `_refuse_stale_none`
and `_refuse_patterns`. What it does wrong by itself is mended: `_mend_slices`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from compiled_site import is_current, line_of, sources
from native_classes import DESCRIBER, plain_classes

__all__ = ["COMPILED", "main"]

COMPILED = (
    "sadik-machine",
    "sadik-hashing",
    "sadik-causality",
    "sadik-register",
    "sadik-members",
    "sadik-vnode",
    "sadik-sim",
)
"""Packages whose modules are compiled."""

_HTTP = (
    "access", "answers", "application", "batch", "batch_lines", "connection", "entity_tags",
    "exchange", "framing", "hosts", "known_headers", "kv", "names", "output", "refusals",
    "request_reader", "server", "service", "target",
)  # fmt: skip

PARTS = {
    "sadik-node": (
        "sadik_node/clock.py",
        "sadik_node/committer.py",
        "sadik_node/host.py",
        "sadik_node/loads.py",
        "sadik_node/overlay.py",
        "sadik_node/reactor.py",
        "sadik_node/worker.py",
        *(f"sadik_node/http/{name}.py" for name in _HTTP),
    ),
    "sadik-storage": (
        "sadik_storage/bounds.py",
        "sadik_storage/journal.py",
        "sadik_storage/journaled.py",
        "sadik_storage/merged_scan.py",
    ),
    "sadik-metrics": ("sadik_metrics/histogram.py",),
}
"""Packages of which only what every request passes is compiled."""

WAITING = (
    "sadik_members/messenger/",
    "sadik_node/host.py",
    "sadik_node/http/server.py",
    "sadik_node/reactor.py",
)
"""Modules that wait (on trio) and are compiled all the same, for every request passes them."""

LEFT = (
    # They inherit from built-in errors, which mypyc does not do.
    "sadik_sim/violation.py",
    "sadik_sim/study/runner.py",
    # They exchange code, which only works with what is interpreted.
    "sadik_sim/planted",
    "sadik_sim/registers/bugs.py",
    # Command lines: click writes on their functions.
    "sadik_sim/__main__.py",
    "sadik_sim/cli.py",
    "sadik_sim/registers/command.py",
    "sadik_sim/study/command.py",
)
"""Modules and packages that stay interpreted, each with its reason."""

OPEN_CLASSES = frozenset({"Engine", "Membership", "World"})
"""Interpreted code subclasses these: benchmarks watch machines so."""

VALUES = frozenset({"Context", "Key", "Record"})
"""Classes whose instances are in no cycle of references, ever: what they hold leads to values
alone. Python's collector of cycles is spared them, and who makes and drops them does less."""

VALUE_MODULES = (
    "sadik_machine/effects.py", "sadik_machine/inputs.py",
    "sadik_members/messages.py", "sadik_register/messages.py",
    "sadik_vnode/messages.py", "sadik_vnode/requests/objects.py", "sadik_vnode/version.py",
)  # fmt: skip
"""Modules whose attrs classes are all of that kind."""

_ROOT = Path(__file__).resolve().parents[1]
_TARGET = _ROOT / "build" / "compiled"
_GROUP = "sadik"
# Types have been checked before, with attrs' own classes: these know attrs by its functions.
_OPTIONS = ["--config-file=", "--ignore-missing-imports", "--disable-error-code=misc",
            "--disable-error-code=arg-type"]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Compile what is not compiled yet; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--opt-level", default="2", help="of the C compiler (default 2)")
    parser.add_argument(
        "--into", type=Path, help="a directory to compile into, to be put on PYTHONPATH by hand"
    )
    given = parser.parse_args(arguments)
    target = given.into or _TARGET
    recipe = _recipe(given.opt_level)
    if given.into is None:
        _install_hook()
        if is_current(str(_ROOT), str(target)) and (target / "recipe").read_text() == recipe:
            return 0
    wrong = _lacking() or "".join(_refused())
    if not wrong:
        print("compile: compiling, which takes some minutes", flush=True)
        wrong = _compile(target.resolve(), given.opt_level, recipe)
    if wrong:
        print(f"compile: {wrong}", file=sys.stderr)
    return int(bool(wrong))


def _lacking() -> str:
    """What is missing for a compilation."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler}): on Debian and Ubuntu, install build-essential"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers are not there: on Debian and Ubuntu, install python3-dev"
    return ""


def _install_hook() -> None:
    """Have every Python of this environment ask which code it is to run."""
    site = Path(sysconfig.get_path("purelib"))
    shutil.copyfile(Path(__file__).with_name("compiled_site.py"), site / "_sadik_compiled.py")
    # Read in the order of their names, and these packages before those that are edited in place.
    line = f"import _sadik_compiled; _sadik_compiled.use({str(_ROOT)!r})\n"
    (site / "_0_sadik_compiled.pth").write_text(line)


def _recipe(opt_level: str) -> str:
    """All that decides what comes out, but the sources: a change of it compiles anew."""
    compiler = [version("mypy"), sysconfig.get_config_var("CC"), opt_level]
    scripts = [_ROOT / "scripts" / name for name in ("compile_engine.py", "native_classes.py")]
    digests = [hashlib.blake2b(script.read_bytes()).hexdigest() for script in scripts]
    return " ".join(map(str, [*compiler, *digests]))


def _compile(target: Path, opt_level: str, recipe: str) -> str:
    """Replace what was compiled before. Returns what went wrong, if anything did."""
    began = time.monotonic()
    shutil.rmtree(target, ignore_errors=True)
    work = target.with_name(f"{target.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    known = [line_of(str(_ROOT), name) for name in sources(str(_ROOT), {*COMPILED, *PARTS})]
    native = _copy(work)
    log = work / "log"
    with log.open("w") as output:
        made = subprocess.run(
            [sys.executable, __file__, "--generate", opt_level, *native],
            cwd=work, stdout=output, stderr=output, check=False,
        )  # fmt: skip
    if made.returncode:
        for line in log.read_text().splitlines()[-20:]:
            print(line[:200], file=sys.stderr)
        return f"it failed; {log} has all of it"
    shutil.rmtree(work / "build")
    (work / "sources").write_text("\n".join([sys.implementation.cache_tag, *known]) + "\n")
    (work / "recipe").write_text(recipe)
    work.rename(target)
    print(f"compile: {len(native)} modules in {time.monotonic() - began:.0f} s")
    return ""


def _modules() -> Iterator[tuple[str, Path, str]]:
    """The modules that are compiled: name, path in its package, and source."""
    for package in (*COMPILED, *PARTS):
        inside = _ROOT / "packages" / package / "src"
        for path in sorted(inside.rglob("*.py")):
            source = path.read_text()
            name = str(path.relative_to(inside))
            waits = "\nimport trio\n" in source and not name.startswith(WAITING)
            is_part = name.startswith(PARTS.get(package, ("",)))
            if is_part and not (waits or "runtime_checkable" in source or name.startswith(LEFT)):
                yield name, path, source


def _copy(work: Path) -> list[str]:
    """Copy the packages, their classes written out; the modules to compile, by path in the copy."""
    (work / "_sadik_described.py").write_text(DESCRIBER)
    for package in (*COMPILED, *PARTS):
        shutil.copytree(
            _ROOT / "packages" / package / "src", work,
            dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
    native = []
    for name, _, source in _modules():
        values = None if name.startswith(VALUE_MODULES) else VALUES
        (work / name).write_text(plain_classes(source, open_classes=OPEN_CLASSES, values=values))
        native.append(name)
    return native


# What mypyc gets wrong


def _refused() -> Iterator[str]:
    """Where the sources have what mypyc is known to get wrong."""
    for _, path, source in _modules():
        tree = ast.parse(source)
        for line, what in [*_refuse_one_name_for_two(tree), *_refuse_patterns(tree)]:
            yield f"\n{path.relative_to(_ROOT)}:{line}: {what}"


def _refuse_one_name_for_two(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Errors of two classes that a function calls by one name: the second would be a TypeError."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        caught: dict[str, str] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                kind = ast.unparse(node.type)
                if caught.setdefault(node.name, kind) != kind:
                    yield node.lineno, f"{node.name!r} is an error of another class before"


def _refuse_patterns(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Patterns that are matched wrongly: ``*rest`` of a tuple, and ``A() | B() as name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.MatchStar) and node.name is not None:
            yield node.lineno, "a pattern takes the rest of a sequence"
        if isinstance(node, ast.MatchAs) and isinstance(node.pattern, ast.MatchOr):
            yield node.lineno, "a pattern names one of several"


def _refuse_stale_none() -> None:
    """Refuse code that reads as None what mypy believes is still None.

    mypy takes an attribute for what was assigned to it last, also after a call that may have
    changed it. Interpreted code does not care, and compiled code would raise a TypeError there.
    """
    pattern = re.compile(r'CPy_TypeErrorTraceback\("([^"]*)", "([^"]*)", (\d+), [^,]*, "None"')
    found = {
        match.groups()
        for path in Path("build").rglob("*.c")
        for match in pattern.finditer(path.read_text())
    }
    if found:
        lines = "".join(f"\n{path}:{line}: {name}" for path, name, line in sorted(found))
        raise SystemExit(f"read again what may have changed, in a function of its own:{lines}")


def _mend_slices(library: Path) -> None:
    """Mend mypyc's slices of bytes: one that ends before it begins is empty, and no SystemError."""
    wrong, right = "slice_len = endn - startn;", "slice_len = endn > startn ? endn - startn : 0;"
    source = library.read_text()
    if wrong not in source:
        raise SystemExit(f"{library} is another than it was: see whether slices still need mending")
    library.write_text(source.replace(wrong, right))


# Making libraries


def _generate(opt_level: str, paths: list[str]) -> None:
    """In the copy's directory: C from the modules, and libraries from that."""
    # mypyc asks which of two packagers it is to be used with.
    import setuptools  # type: ignore[import-untyped]  # noqa: F401, PLC0415
    from mypyc.build import mypycify  # noqa: PLC0415

    extensions = mypycify(
        [*_OPTIONS, *paths],
        opt_level=opt_level, debug_level="0", multi_file=True, group_name=_GROUP,
    )  # fmt: skip
    _refuse_stale_none()
    _mend_slices(Path("build", "bytes_ops.c"))
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for extension in extensions:
            flags = [f"-I{path}" for path in [*extension.include_dirs, *_include()]]
            # Nobody outside calls what is in a library: so calls within it take no detour.
            flags += [*extension.extra_compile_args, "-fvisibility=hidden"]
            objects = list(pool.map(lambda c, f=flags: _object(c, f), extension.sources))
            module = Path(*extension.name.split("."))
            _run("LDSHARED", *objects, "-o", str(module.with_name(module.name + suffix)))


def _include() -> Iterable[str]:
    return dict.fromkeys((sysconfig.get_path("include"), sysconfig.get_path("platinclude")))


def _object(c_file: str, flags: list[str]) -> str:
    made = f"{c_file}.o"
    _run("CC", "-DNDEBUG", "-fwrapv", "-fPIC", "-w", *flags, "-Wno-error", "-c", c_file, "-o", made)
    return made


def _run(program: str, *arguments: str) -> None:
    command = shlex.split(sysconfig.get_config_var(program))
    subprocess.run([*command, *arguments], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--generate"]:
        _generate(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main(sys.argv[1:]))
