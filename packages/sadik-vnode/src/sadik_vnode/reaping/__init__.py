"""Reaping: taking away, by proof, what only tells that there was something.

A delete leaves its dot, and what has expired leaves its version, so that an older value which still
travels, waits beside a hint or lies on a node that was away is known for what it is. They may go
when no such value can be anywhere any more. Age proves nothing of the kind; three things together
do:

- `generations`: a number that all nodes enter together, and what is too old for it is refused;
- `sadik_vnode.foreign`: what a node does not own it hands off before a generation is over;
- `reaper`: what every owner holds alike, and then some generations more, is taken away.

`rollback` is for a node whose store was put back to an older state: it contributes nothing.
"""

from sadik_vnode.reaping.answering import Answering
from sadik_vnode.reaping.generations import Generations
from sadik_vnode.reaping.reaper import Reaper
from sadik_vnode.reaping.rollback import CatchingUp

__all__ = ["Answering", "CatchingUp", "Generations", "Reaper"]
