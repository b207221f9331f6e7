"""Every command and every snippet of README and manual: run by this test, or by one that it names.

A page is worked through as a reader would: its blocks in order, in one shell, at the root of a
checkout, with `make run` going in another terminal. That happens in namespaces of its own, so that
ports and directories are those which the page names. `pages` says what the notes above blocks mean.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from alone import DIRECTORIES, can_be_alone, is_alone, run_alone
from console_tour import Shell, Step, console_steps
from pages import COMMANDS, ROOT, Block, blocks_of, is_as_printed, pages
from real_cluster import eventually

# Run by tests of their own; each names its page.
ELSEWHERE: Final = {
    ("README.md", "console"): "tests/acceptance/test_tour.py",
    ("docs/security.md", "sh"): "tests/acceptance/test_security_guide.py",
    ("docs/security.md", "console"): "tests/acceptance/test_security_guide.py",
    ("docs/client.md", "python"): "packages/sadik-client/tests/test_documentation.py",
    ("docs/extending.md", "python"): "tests/workspace/test_manual.py",
    ("docs/testing.md", "python"): "tests/acceptance/test_testing_guide.py",
}
PROGRAMS: Final = {"docs/monitoring.md": {"prometheus": "prometheus"}}
"""What a page wants beyond Sadik and curl, and the Debian package of each."""
FROM_CHECKOUT: Final = ("README.md", "deploy", "docs", "packages")


def blocks_to_run() -> dict[str, list[Block]]:
    """The blocks that are run here, by page; only of pages that have any."""
    found: dict[str, list[Block]] = {}
    for page in pages():
        blocks = [block for block in blocks_of(page) if is_run_here(block)]
        if page.is_relative_to(ROOT / "packages"):
            # The first alone is run by tests/workspace/test_isolated_install.py.
            snippets = [block for block in blocks if block.language == "python"]
            blocks = [block for block in blocks if block not in snippets[:1] or len(snippets) > 1]
        if any(block.language in COMMANDS for block in blocks):
            found[blocks[0].page] = blocks
    return found


def is_run_here(block: Block) -> bool:
    """Whether this test runs it, or compares it with what was run."""
    if "prints" in block.notes:
        return True
    is_elsewhere = (block.page, block.language) in ELSEWHERE
    return block.language in COMMANDS and "not run" not in block.notes and not is_elsewhere


TO_RUN: Final = blocks_to_run()


class Dev:
    """``make run`` in another terminal, but for the set-up."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, directory: str) -> None:
        """A cluster that keeps its data there; the one that ran before is ended."""
        self.stop()
        log = self._place / f"{directory}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sadik_node", "dev", "--dir", directory],
                cwd=self._place, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        eventually(30, lambda: "all 3 nodes are ready" in log.read_text(), log.read_text())

    def stop(self) -> None:
        """Ctrl-C."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()


class Reader:
    """Types what a page shows, in one shell, and compares what comes with what it shows."""

    def __init__(self, place: Path, dev: Dev) -> None:
        self._place = place
        self._dev = dev
        self._output = ""
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {"PATH": programs, "HOME": str(place)}
        self._errors = (place / "stderr").open("wb")
        self._shell = Shell(place, self._environment, within_s=60, errors=self._errors)
        self._snippets = ""
        # The first command that fails ends the shell, also where it is not a block's last.
        self._shell.run(Step("set -e", ""))

    def read(self, block: Block) -> None:
        """Do what one block says."""
        if "new cluster" in block.notes:
            self._dev.start("new-cluster")
        if first := block.notes.get("first"):
            self._type(block, first)
        if "prints" in block.notes:
            assert is_as_printed(block.text, self._output), (str(block), self._output)
        elif block.language == "console":
            for step in console_steps(f"```console\n{block.text}```\n"):
                self._type(block, step.command)
                is_shown = step.printed and "output differs" not in block.notes
                if is_shown and not is_as_printed(step.printed, self._output):
                    pytest.fail(f"{block}: `{step.command}` printed\n{self._output}")
        elif block.language == "sh":
            self._type_all(block)
        else:
            # Each goes on where the one before ended.
            self._snippets += block.text
            script = self._place / "example.py"
            script.write_text(self._snippets, "utf-8")
            self._type(block, f"{sys.executable} -W error {script.name}")

    def _type_all(self, block: Block) -> None:
        command = block.text.rstrip("\n")
        if "in the background" in block.notes:
            self._shell.run(Step(f"{{ {command}\n}} > background.log 2>&1 &", ""))
        elif "until it succeeds" in block.notes:

            def is_done() -> bool:
                tried = Step(f"if ( {command}\n); then echo it did; fi", "")
                return self._shell.run(tried).output.endswith("it did")

            eventually(30, is_done, f"{block} succeeds")
        else:
            self._type(block, command)

    def _type(self, block: Block, command: str) -> None:
        if code := block.notes.get("exit code"):
            command = f"{command} || [ $? = {code} ]"
        try:
            self._output = self._shell.run(Step(command, "")).output
        except EOFError:
            said = (self._place / "stderr").read_text("utf-8", "replace")[-2000:]
            pytest.fail(f"{block} failed:\n{command}\n{said}")

    def close(self) -> None:
        """End the shell and what it started."""
        with suppress(OSError, EOFError):  # it may have ended by itself
            self._shell.run(Step("kill $(jobs -p) || true; wait", ""))
        self._shell.__exit__()
        self._errors.close()


@contextmanager
def reader_in(place: Path) -> Iterator[Reader]:
    """Somebody who sits at a checkout with `make run` going."""
    for name in FROM_CHECKOUT:
        (place / name).symlink_to(ROOT / name)
    dev = Dev(place)
    try:
        dev.start("sadik-data")
        reader = Reader(place, dev)
        try:
            yield reader
        finally:
            reader.close()
    finally:
        dev.stop()


@pytest.mark.slow
@pytest.mark.parametrize("page", TO_RUN)
def test_a_page_does_what_it_says(
    page: str,
    tmp_path: Path,
    require_program: Callable[..., str],
    skip_or_fail: Callable[[str], None],
) -> None:
    for program, package in {"curl": "curl", **PROGRAMS.get(page, {})}.items():
        require_program(program, package=package)
    if is_alone():
        with reader_in(tmp_path) as reader:
            for block in TO_RUN[page]:
                reader.read(block)
    elif can_be_alone(DIRECTORIES):
        run_alone(f"{__file__}::{test_a_page_does_what_it_says.__name__}[{page}]", DIRECTORIES)
    else:
        skip_or_fail("needs namespaces of its own, with mounts (unshare --net --mount)")


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in pages()])
def test_no_block_of_a_page_escapes(page: str) -> None:
    """What can be run is, here or elsewhere, or it is said why not; what is data can be read."""
    for block in blocks_of(ROOT / page):
        assert block.language, f"{block}: in what language?"
        if block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)
        for name in block.notes.get("not run", "").replace("`", " ").split():
            if name.startswith(("tests/", "packages/")):
                assert (ROOT / name.rstrip(",;")).is_file(), f"{block}: {name}"


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in pages()])
def test_commands_stand_in_blocks(page: str) -> None:
    """An indented line is not a block that anybody tests."""
    inside = False
    for number, line in enumerate((ROOT / page).read_text("utf-8").splitlines(), 1):
        inside ^= line.lstrip().startswith("```")
        is_command = line.startswith(("    $ ", "    sadik-", "    make ", "    curl ", "    pip "))
        assert inside or not is_command, f"{page}:{number}"


def test_tests_elsewhere_read_the_pages_that_they_are_named_for() -> None:
    for (page, language), test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text("utf-8"), test
        assert any(block.language == language for block in blocks_of(ROOT / page))
