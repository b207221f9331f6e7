"""Moves a node's messages over comms streams (extra ``messenger``: trio and sadik-comms).

Where the rest of this package decides, this part waits: see `Messenger`.
"""

from sadik_members.messenger.events import Counters, MessengerEvents, MessengerLimits, Watcher
from sadik_members.messenger.messenger import Messenger

__all__ = ["Counters", "Messenger", "MessengerEvents", "MessengerLimits", "Watcher"]
