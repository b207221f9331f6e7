"""What a good campaign makes happen now and then; what never happens shows where it is blind."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SOMETIMES", "never_happened"]

SOMETIMES: dict[str, str] = {
    "births damaged": "which actors were used is not known any more",
    "bit flipped": "what was synced is not what is read",
    "damaged row mended": "the other owners make a row whole again",
    "engine: damaged records": "a checksum does not match",
    "Body never written": "a replica could not send a large value back",
    "ForwardMany never written": "forwarded writes of one message are tried elsewhere, each",
    "ForwardMany sent": "writes of a batch enter at a node that does not coordinate them",
    "ForwardWrite never written": "a forwarded write is tried elsewhere",
    "ReplicaRead never written": "a read asks another replica",
    "ReplicaWrite never written": "a write finds a fallback, or leaves a note",
    "WriteMany never written": "writes of one message find fallbacks, each",
    "WriteMany sent": "writes of a batch are replicated together",
    "WriteRows never written": "writes of one message find fallbacks, each",
    "WriteRows sent": "writes of a batch are replicated together, as rows",
    "asked owner answered": "a client is answered by who stored a copy, not by the coordinator",
    "row sent": "a copy is the coordinator's record",
    "clock jumped": "clocks order nothing",
    "commit failed as full": "what was built on a batch fails with it",
    "condition did not hold": "a conditional write comes too late",
    "device broke": "a node stops and comes back",
    "engine: anti entropy differences": "replicas differ when they are compared",
    "engine: anti entropy repaired": "anti-entropy brings an owner up to date",
    "engine: anti entropy rounds": "owners are compared",
    "engine: duplicate forwards": "a forwarded write comes twice, past the messenger",
    "engine: forwards": "a write enters at a node that does not coordinate it",
    "engine: hints delivered": "an owner that was away gets what it missed",
    "engine: hints dropped": "the bound of the notes is met",
    "engine: lost tails": "a node sees its own dots beyond its record",
    "engine: read repairs": "a replica is behind when it is read",
    "engine: stale answers": "an answer comes after its request ended",
    "engine: strangers": "a node speaks before it is known",
    "fallback acknowledged": "a fallback stands in for an owner",
    "fallback coordinated a write": "no owner of a key can be reached",
    "foreign record handed off": "a fallback gives the owners what it kept for them",
    "hint delivered": "a note goes",
    "replica held the same": "a replica need not send what the asker holds",
    "network split": "two sides write on",
    "new instance taken": "peers remember a later life of a node",
    "node crashed": "what was not synced is gone",
    "node paused": "a node is silent and its streams stand",
    "node stopped cleanly": "a node starts again under its old instance",
    "old copy put back": "what was synced is gone",
    "engine: registers decided": "nodes know different epochs for a while",
    "engine: transferred records": "a node is brought a partition",
    "node joined": "the ring grows under load",
    "node left": "the ring shrinks under load",
    "node removed": "a dead node's data come from the survivors",
    "record reaped": "what is gone is taken away by proof",
    "engine: old generations": "what was read too long ago is refused",
    "engine: rollbacks": "a node finds that its store was put back",
    "engine: rolled back versions": "such a store has what no owner has",
    "replica answered FAILED": "a replica cannot read its record",
    "replica answered FULL": "a replica's disk is full",
    "replica answered HINTS_FULL": "a fallback is at its bound",
    "replica answered NEWER_EPOCH": "a coordinator learns of a newer register",
    "replica answered NOT_READY": "a replica has no ring yet",
    "replica answered OK": "a write is replicated",
    "session read its write beyond a partition": "it wrote through one node and reads through one "
    "that was cut off from it in between",
    "session found nobody as new": "what a session saw is out of its reach",
    "siblings read": "clients see concurrent writes",
    "value expired": "a value is there and then gone",
    "write acknowledged with a fallback": "a sloppy quorum",
}
"""Names of "sometimes" events, with what each is there to exercise."""

UNREACHABLE: dict[str, str] = {
    "replica answered FAILED": "a write to a damaged record goes on from nothing, and is mended",
    "engine: duplicate forwards": "the messenger takes duplicates out before the engine sees them",
}
"""Those that cannot happen as the code is now, and why; the list says when that changes."""


def never_happened(happened: Mapping[str, int]) -> list[str]:
    """The events that should have happened in a long campaign and did not."""
    return [name for name in SOMETIMES if not happened.get(name) and name not in UNREACHABLE]
