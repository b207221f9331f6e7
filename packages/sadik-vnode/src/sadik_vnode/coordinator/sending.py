"""What the other owners are sent of a write, in the forms in which messages carry it.

Who takes rows is sent the record as it is at the coordinator, where that is one version, the new
one: mostly it replaces all that is there, and is stored as it came. Anybody else is sent the
version, with the context that it was written under. A row covers more: all that the coordinator
has, which is what anti-entropy would bring a replica later.
"""

from __future__ import annotations

from sadik_causality import Context, Dot
from sadik_vnode.record import Record
from sadik_vnode.version import PlainVersion, Version

__all__ = ["Sending"]


class Sending:
    """``record`` is the coordinator's after the write of ``version`` as ``dot``, under the context
    ``covered``, the dot included. Each form is made once, when it is wanted first.
    """

    __slots__ = ("_context", "_covered", "_dot", "_row", "_version", "_versions", "record")

    def __init__(self, record: Record, version: Version, dot: Dot, covered: Context) -> None:
        self.record = record
        self._version = version
        self._dot = dot
        self._covered = covered
        self._row = b""
        self._versions: tuple[PlainVersion, ...] = ()
        self._context: object = ()

    @property
    def is_row(self) -> bool:
        """Whether there is a row to be sent."""
        return self.record.only is not None

    @property
    def row(self) -> bytes:
        """As `ReplicaWrite.row`."""
        if not self._row:
            self._row = self.record.row_for_others()
        return self._row

    @property
    def versions(self) -> tuple[PlainVersion, ...]:
        """As `ReplicaWrite.versions`."""
        if not self._versions:
            self._versions = (self._version.to_plain(self._dot),)
        return self._versions

    @property
    def context(self) -> object:
        """As `ReplicaWrite.context`."""
        if not self._context:
            self._context = self._covered.to_plain()
        return self._context
