"""Opening streams: driving a handshake over one, and telling the other side why not."""

from __future__ import annotations

from collections.abc import Callable

import trio

from sadik_comms import CommsError, Stream
from sadik_machine import SECOND
from sadik_members.handshake import Handshake
from sadik_members.hello import (
    HANDSHAKE_BYTES_MAX,
    HANDSHAKE_TIMEOUT_NS,
    VERSION_MAX,
    VERSION_MIN,
    Established,
    Hello,
    Refusal,
    RefusalReason,
    Refused,
    Role,
    StreamKind,
)
from sadik_members.messenger.link import Link
from sadik_members.proof import ClusterSecrets
from sadik_members.settings import Identity

__all__ = ["Admit", "Greeter", "drive", "judge_crossing", "say_refusal"]

REFUSAL_WRITE_S = 1.0

Admit = Callable[[Hello, frozenset[str] | None], Refusal | None]
"""Judges a hello, with the names that its stream has proven."""


class Greeter:
    """What one node says of itself, and how it has others prove what they say."""

    def __init__(
        self, identity: Identity, cluster_name: str, secrets: ClusterSecrets | None
    ) -> None:
        self._identity = identity
        self._cluster_name = cluster_name
        self.cluster_id = b""
        """Empty while it has none."""
        self.secrets = secrets

    def hello(
        self, kind: StreamKind, nonce: bytes, attempt: int, expected: bytes, link: bytes
    ) -> Hello:
        """This node's hello; the arguments are as in `Hello`."""
        identity = self._identity
        return Hello(
            version_min=VERSION_MIN,
            version_max=VERSION_MAX,
            cluster_id=self.cluster_id,
            cluster_name=self._cluster_name,
            node_id=identity.node_id,
            boot_number=identity.boot_number,
            boot_nonce=identity.boot_nonce,
            kind=int(kind),
            peer=identity.peer,
            nonce=nonce,
            attempt=attempt,
            expected=expected,
            link=link,
            name=identity.name,
        )

    def handshake(self, role: Role, stream: Stream, hello: Hello, admit: Admit) -> Handshake:
        """A handshake over ``stream``, with the secrets of now."""
        names = stream.proven_names
        return Handshake(
            role,
            hello,
            int(trio.current_time() * SECOND),
            lambda peer: admit(peer, names),
            secrets=self.secrets,
            names=names,
        )


async def drive(stream: Stream, handshake: Handshake) -> Established | Refused:
    """Drive a handshake to its outcome, and return in the very turn that brings it.

    What is left to send then is the caller's to send: a link must be known before anything is
    awaited, or the other side's dial could be taken in between. Cancelled, it aborts the stream.
    """
    try:
        with trio.move_on_after(HANDSHAKE_TIMEOUT_NS / SECOND):
            try:
                while handshake.outcome is None:
                    data = handshake.data_to_send()
                    if data:
                        await stream.send_all(data)
                    handshake.receive(await stream.receive_some(HANDSHAKE_BYTES_MAX))
            except CommsError:
                if handshake.outcome is None:
                    handshake.receive(b"")
    except BaseException:
        stream.abort()
        raise
    if handshake.outcome is None:
        handshake.refuse(Refusal(RefusalReason.TIMEOUT, "no handshake within 5 seconds"))
    assert handshake.outcome is not None
    return handshake.outcome


async def say_refusal(stream: Stream, handshake: Handshake) -> None:
    """Send what a refused handshake has left to say, and close the stream."""
    async with stream:
        data = handshake.data_to_send()
        if not data:
            return
        with trio.move_on_after(REFUSAL_WRITE_S):
            try:
                await stream.send_all(data)
                await stream.send_eof()
                # Closing with bytes unread would break the stream under the reason.
                while await stream.receive_some(HANDSHAKE_BYTES_MAX):
                    pass
            except CommsError:
                pass


def judge_crossing(hello: Hello, link: Link | None, me: bytes) -> Refusal | None:
    """Whether the incoming small stream of ``hello`` takes the place of ``link``, if there is one.

    See `sadik_members.messenger.messenger` for the rules.
    """
    if link is None or not link.is_boot_of(hello):
        return None
    is_newer = hello.attempt > link.hello.attempt
    has_crossed_and_wins = link.is_ours and hello.node_id > me
    if is_newer or has_crossed_and_wins:
        return None
    return Refusal(RefusalReason.DUPLICATE, "there is a link already")
