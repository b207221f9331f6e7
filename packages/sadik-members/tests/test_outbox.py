"""What is offered to an outbox leaves it once and in order, at once or by the writer."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from sadik_comms import Stream
from sadik_machine import FrameReader
from sadik_members.messenger.outbox import SEQUENCE_BYTES, Outbox


class Taking(Stream):
    """A stream that takes so many bytes at once, by turns."""

    def __init__(self, takes: list[int]) -> None:
        self.takes = takes
        self.taken = b""

    @property
    def peer(self) -> str:
        return "peer"

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        size = min(self.takes.pop(0) if self.takes else 0, len(data))
        self.taken += data[:size]
        return size

    async def receive_some(self, max_bytes: int = 1) -> bytes:
        raise NotImplementedError

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.taken += data
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


OFFERS = st.lists(st.lists(st.binary(min_size=1, max_size=40), max_size=5), max_size=8)


@given(OFFERS, st.lists(st.integers(0, 200)), st.integers(1, 200))
async def test_all_that_is_offered_is_written_once_and_in_order(
    turns: list[list[bytes]], takes: list[int], about_bytes: int
) -> None:
    outbox, stream = Outbox(1 << 20, may_exceed=False), Taking(takes)
    written = 0

    async def write() -> None:
        nonlocal written
        outbox.stream = stream
        while await outbox.wait():
            data, count = outbox.take(about_bytes)
            await stream.send_all(data)
            outbox.wrote()
            written += count

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        for number, payloads in enumerate(turns):
            if number % 3:
                await trio.testing.wait_all_tasks_blocked()
            for payload in payloads:
                assert outbox.offer(payload, payload)
            _, count = outbox.take_now(about_bytes)
            if count:
                outbox.wrote()
                written += count
            else:
                outbox.wake()
        outbox.close()
    offered = [payload for payloads in turns for payload in payloads]
    frames = FrameReader(100).feed(stream.taken)
    assert [frame[SEQUENCE_BYTES:] for frame in frames] == offered
    assert [int.from_bytes(frame[:SEQUENCE_BYTES], "big") for frame in frames] == [
        *range(1, len(offered) + 1)
    ]
    assert written == len(offered)
    assert outbox.pending_bytes == 0


@pytest.mark.parametrize(("takes", "unsent"), [(0, ["first", "second"]), (5, ["second"])])
async def test_what_a_stream_took_in_part_may_have_arrived(takes: int, unsent: list[str]) -> None:
    outbox = Outbox(1 << 20, may_exceed=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.wait)
        await trio.testing.wait_all_tasks_blocked()
        outbox.stream = Taking([takes])
        outbox.offer("first", b"first")
        assert outbox.take_now(100) == (takes, 0)
        outbox.offer("second", b"second")
    assert outbox.take_unsent() == unsent
