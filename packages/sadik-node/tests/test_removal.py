"""A node knows that it was removed when somebody says so whose word counts, and only then."""

from __future__ import annotations

import io
import random
from pathlib import Path

import attrs
import pytest

from sadik_machine import NodeId
from sadik_members import HandshakeRefused, Member, MembersChanged, MemberState
from sadik_node.identity import DataDirectory
from sadik_node.log import Log
from sadik_node.removal import Removal

ME = NodeId(b"m" * 8)
REFUSED = HandshakeRefused("a:1", "removed", "it was removed", True, b"c" * 16, "c", by_peer=True)


def told(state: MemberState) -> MembersChanged:
    return MembersChanged({ME: Member(ME, "n1", "a:1", "a:2", "", 1.0, 1, state, 1, 1)})


@pytest.fixture
def removal() -> Removal:
    return Removal(ME, Log("n1", "json", io.StringIO()))


def end(removal: Removal, path: Path) -> bool:
    """Whether the store was moved aside."""
    directory = DataDirectory.take(path, name="n1", cluster="c", source=random.Random(1))
    directory.store_path.mkdir()
    removal.end(directory)
    directory.close()
    return not directory.store_path.exists()


def test_a_removed_node_moves_its_data_aside(removal: Removal, tmp_path: Path) -> None:
    removal.observe(told(MemberState.UP))
    removal.observe(told(MemberState.LEFT))
    assert end(removal, tmp_path)


def test_a_member_that_refuses_it_is_believed(removal: Removal, tmp_path: Path) -> None:
    removal.refused(REFUSED)
    assert removal.detail == "a member says: it was removed"
    assert end(removal, tmp_path)


@pytest.mark.parametrize("changes", [{"is_proven": False}, {"by_peer": False}, {"reason": "full"}])
def test_nobody_else_is(removal: Removal, tmp_path: Path, changes: dict[str, object]) -> None:
    removal.refused(attrs.evolve(REFUSED, **changes))  # type: ignore[arg-type]
    assert not end(removal, tmp_path)


def test_a_node_that_leaves_by_itself_keeps_its_directory(removal: Removal, tmp_path: Path) -> None:
    for state in (MemberState.LEAVING, MemberState.LEFT):
        removal.observe(told(state))
    assert not end(removal, tmp_path)
