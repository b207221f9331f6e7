"""One thing that was looked at, and what to do about it."""

from __future__ import annotations

import enum

from attrs import frozen

__all__ = ["Finding", "Verdict"]


class Verdict(enum.Enum):
    """How it stands: ``WARN`` will hurt some day, ``FAIL`` keeps a node from running or serving."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@frozen
class Finding:
    """What was found of one thing. ``advice`` is empty where there is nothing to do."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""

    def __attrs_post_init__(self) -> None:
        assert bool(self.advice) == (self.verdict in (Verdict.WARN, Verdict.FAIL)), self.what

    def document(self) -> dict[str, str]:
        """As ``--json`` shows it."""
        return {
            "what": self.what,
            "verdict": self.verdict.value,
            "found": self.found,
            "advice": self.advice,
        }
