"""Why a node does not start, or must stop: a sentence and an exit code."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["EXIT_FAILED", "EXIT_REFUSED", "NodeError", "find_cause"]

E = TypeVar("E", bound=BaseException)

EXIT_FAILED = 1
"""The machine or the cluster did not do it: a port is taken, a disk failed."""

EXIT_REFUSED = 2
"""What the operator asked for cannot be: a wrong configuration, another cluster's directory."""


class NodeError(Exception):
    """The message is the sentence for the operator; ``exit_code`` what the process ends with."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def find_cause(error: BaseException, kind: type[E]) -> E | None:
    """The first error of this kind that an error is, or that a group of errors holds."""
    if isinstance(error, kind):
        return error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            found = find_cause(each, kind)
            if found is not None:
                return found
    return None
