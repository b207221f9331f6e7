"""Console blocks of a document as a reader would type them, in one shell.

A line that starts with ``$ `` is a command; the lines below it, up to the next command, are what it
prints. Where nothing stands below a command, what it prints is not told.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from attrs import define, frozen

__all__ = ["Done", "Shell", "Step", "console_steps"]

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@frozen
class Step:
    """One command, and what it is said to print; empty where that is not told."""

    command: str
    printed: str


@define
class Done:
    """What came of a command."""

    step: Step
    output: str
    code: int


def console_steps(document: str) -> list[Step]:
    """The commands of all console blocks of a Markdown document, in order."""
    steps: list[Step] = []
    for block in _BLOCK.findall(document):
        command, printed = "", []
        for line in [*block.splitlines(), "$ "]:
            if not line.startswith("$ "):
                assert command, f"output before the first command: {line!r}"
                printed.append(line)
                continue
            if command:
                steps.append(Step(command, "\n".join(printed)))
            command, printed = line.removeprefix("$ "), []
    return steps


class Shell:
    """One bash in which commands run one after another, and variables stay."""

    _MARK = "--- done, code "

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        within_s: float,
        errors: IO[bytes] | None = None,
    ) -> None:
        """Commands run in ``directory``; one that takes longer than ``within_s`` ends the shell.
        What they say on standard error goes to ``errors``."""
        self._within_s = within_s
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Progress meters: not what a tour shows.
            stderr=subprocess.DEVNULL if errors is None else errors,
            cwd=directory,
            env={**os.environ, **environment},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        process = self._process
        os.killpg(process.pid, signal.SIGKILL)  # what it left in the background, too
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):  # it ended by itself
                stream.close()

    def run(self, step: Step) -> Done:
        """Run one command to its end. EOFError if it, or the shell, did not get there."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        # The command reads nothing of what is typed after it.
        line = f"{{ {step.command}\n}} </dev/null; printf '\\n{self._MARK}%d\\n' $?\n"
        process.stdin.write(line.encode())
        process.stdin.flush()
        output: list[str] = []
        watch = threading.Timer(self._within_s, process.kill)
        watch.start()
        try:
            while True:
                text = process.stdout.readline().decode()
                if not text:
                    raise EOFError(f"{step.command!r} did not end in {self._within_s} s")
                if text.startswith(self._MARK):
                    break
                output.append(text)
        finally:
            watch.cancel()
        code = int(text.removeprefix(self._MARK))
        return Done(step, "".join(output).removesuffix("\n").removesuffix("\n"), code)
