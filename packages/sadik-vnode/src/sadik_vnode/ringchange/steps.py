"""Which register comes next: the whole way of one partition, as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sadik_machine import NodeId
from sadik_members import Phase, Register

__all__ = ["abort_of", "after", "givers", "next_list", "sources"]

Owners = tuple[NodeId, ...]


def next_list(owners: Owners, target: Owners) -> Owners:
    """The list of owners one step on from ``owners`` to ``target``.

    One owner slot changes its node at a time. A list that is too short grows to its length at once:
    nobody gives anything up for that. Order changes with the last step only.
    """
    missing = [node for node in target if node not in owners]
    surplus = [node for node in owners if node not in target]
    grown = max(len(target) - len(owners), 0)
    if grown:
        after_growth = (*owners, *missing[:grown])
        return target if not surplus else after_growth
    if len(missing) > 1:
        giver = surplus[0]
        return tuple(missing[0] if node == giver else node for node in owners)
    if missing:
        return (
            target
            if len(surplus) == 1
            else tuple(missing[0] if node == surplus[0] else node for node in owners)
        )
    if len(surplus) > 1:
        return tuple(node for node in owners if node != surplus[-1])
    return target


def after(register: Register, target: Owners) -> Register | None:
    """The register of the next epoch on the way to ``target``; None where it is there."""
    epoch = register.epoch + 1
    match register.phase:
        case Phase.WRITE_BOTH:
            return Register.changing(epoch, Phase.READ_NEW, register.old, register.new)
        case Phase.READ_NEW:
            return Register(epoch, register.new)
        case Phase.DONE:
            if register.owners == target:
                return None
            if sorted(register.owners) == sorted(target):
                return Register(epoch, target)
            new = next_list(register.owners, target)
            return Register.changing(epoch, Phase.WRITE_BOTH, register.owners, new)


def abort_of(register: Register) -> Register:
    """A change that is given up before anybody reads from the new owners."""
    assert register.phase is Phase.WRITE_BOTH, "later it is easier to finish"
    return Register(register.epoch + 1, register.old)


def givers(register: Register) -> Owners:
    """The owners that stop being one."""
    return tuple(node for node in register.old if node not in register.new)


def sources(
    register: Register, receiver: NodeId, has_left: Callable[[NodeId], bool]
) -> Sequence[NodeId]:
    """Of whom ``receiver`` must have everything: the giver, or all survivors of one that is dead.

    Every write that was acknowledged by old owners is then known to each quorum of the new ones: in
    the place of a giver stands somebody who knows as much; where nobody can, all that the others
    know. A list that only grows has no giver, and is filled from all.
    """
    giving = givers(register)
    if giving and not any(map(has_left, giving)):
        found: Sequence[NodeId] = giving
    else:
        found = [node for node in register.old if not has_left(node)]
    return [node for node in found if node != receiver]
