"""The node logic of Sadik, pure: coordinator, replica, quorums, hints, read repair."""

from sadik_vnode.config import EngineConfig
from sadik_vnode.counters import Counters
from sadik_vnode.engine import Engine
from sadik_vnode.keyspace import SAVED_RANGE, VOICE_ROW
from sadik_vnode.messages import MESSAGES
from sadik_vnode.record import DamagedRecord

__all__ = [
    "MESSAGES",
    "SAVED_RANGE",
    "VOICE_ROW",
    "Counters",
    "DamagedRecord",
    "Engine",
    "EngineConfig",
]
