"""A gathering sender keeps order and bound, joins what waits, and tells when there is room."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sadik_comms import (
    WRITE_BYTES,
    Address,
    GatheringSender,
    LocallyClosed,
    MemoryNetwork,
    Stream,
    StreamBroken,
)
from sadik_comms.conformance import receive_all, receive_exactly


class _Recording(Stream):
    """A stream that keeps what each write brought, once let go."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.gate = trio.CapacityLimiter(1)

    @property
    def peer(self) -> str:
        return "recording"

    async def receive_some(self, max_bytes: int = 1) -> bytes:
        raise NotImplementedError

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self.gate:
            self.writes.append(bytes(data))

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


@asynccontextmanager
async def _streams(buffer_bytes: int = 65536) -> AsyncIterator[tuple[Stream, Stream]]:
    network = MemoryNetwork(buffer_bytes=buffer_bytes)
    ends: list[Stream] = []

    async def keep(stream: Stream) -> None:
        ends.append(stream)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listener = await network.transport("b").listen(Address("b", 1))
        nursery.start_soon(listener.serve, keep, nursery)
        near = await network.transport("a").dial(listener.address)
        await wait_all_tasks_blocked()
        yield near, ends[0]
        nursery.cancel_scope.cancel()


async def test_what_gathers_between_turns_is_one_write() -> None:
    stream = _Recording()
    sender = GatheringSender(stream, pending_bytes_max=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.run)
        await wait_all_tasks_blocked()
        assert all(sender.offer(b"%d," % index) for index in range(5))
        assert sender.pending_bytes == 10
        await wait_all_tasks_blocked()
        assert stream.writes == [b"0,1,2,3,4,"]
        assert sender.pending_bytes == 0
        sender.offer(b"alone")
        sender.close()
    assert stream.writes == [b"0,1,2,3,4,", b"alone"]


async def test_one_write_does_not_join_without_end() -> None:
    stream = _Recording()
    sender = GatheringSender(stream, pending_bytes_max=10 * WRITE_BYTES)
    chunks = [b"%06d" % index * 1000 for index in range(200)]
    assert all(sender.offer(chunk) for chunk in chunks)
    assert sender.offer(b"x" * (2 * WRITE_BYTES))
    sender.close()
    await sender.run()
    assert b"".join(stream.writes) == b"".join(chunks) + b"x" * (2 * WRITE_BYTES)
    assert 5 < len(stream.writes) < 10
    assert all(len(write) <= WRITE_BYTES for write in stream.writes[:-1])
    assert sender.pending_bytes == 0


async def test_an_offer_is_taken_whole_or_refused_whole_at_the_bound() -> None:
    stream = _Recording()
    sender = GatheringSender(stream, pending_bytes_max=10)
    assert sender.offer(b"12345")
    assert not sender.offer(b"123456")
    assert sender.offer(b"67890")
    assert not sender.offer(b"x")
    assert sender.pending_bytes == 10
    with pytest.raises(ValueError, match="never fits"):
        sender.offer(b"12345678901")
    sender.close()
    await sender.run()
    assert stream.writes == [b"1234567890"]


async def test_a_write_under_way_counts_until_it_is_done() -> None:
    async with _streams(buffer_bytes=4) as (near, far), trio.open_nursery() as nursery:
        sender = GatheringSender(near, pending_bytes_max=10)
        nursery.start_soon(sender.run)
        assert sender.offer(b"0123456789")
        await wait_all_tasks_blocked()
        assert sender.pending_bytes == 10
        assert not sender.offer(b"x")
        assert await receive_exactly(far, 10) == b"0123456789"
        await wait_all_tasks_blocked()
        assert sender.pending_bytes == 0
        assert sender.offer(b"x")
        sender.close()


async def test_room_is_told_once_after_a_refusal_and_at_half_the_bound() -> None:
    told: list[int] = []
    async with _streams(buffer_bytes=1) as (near, far), trio.open_nursery() as nursery:
        sender = GatheringSender(
            near, pending_bytes_max=8, on_room=lambda: told.append(sender.pending_bytes)
        )
        nursery.start_soon(sender.run)
        assert sender.offer(b"1")
        await wait_all_tasks_blocked()
        assert sender.offer(b"23")
        await wait_all_tasks_blocked()
        assert sender.offer(b"45678")
        assert not sender.offer(b"9ab")
        assert not sender.offer(b"9ab")
        await receive_exactly(far, 3)
        await wait_all_tasks_blocked()
        assert sender.pending_bytes == 5
        assert told == []
        await receive_exactly(far, 5)
        await wait_all_tasks_blocked()
        assert told == [0]
        assert sender.offer(b"9ab")
        await receive_exactly(far, 3)
        await wait_all_tasks_blocked()
        assert told == [0]
        sender.close()


async def test_closing_writes_the_rest_and_takes_no_more() -> None:
    async with _streams(buffer_bytes=4) as (near, far), trio.open_nursery() as nursery:

        async def run() -> None:
            await sender.run()
            await near.aclose()

        sender = GatheringSender(near, pending_bytes_max=100)
        sender.offer(b"the whole rest")
        sender.close()
        with pytest.raises(LocallyClosed):
            sender.offer(b"more")
        nursery.start_soon(run)
        assert await receive_all(far) == b"the whole rest"


async def test_a_broken_stream_ends_the_run_and_later_offers() -> None:
    async with _streams() as (near, far):
        sender = GatheringSender(near, pending_bytes_max=100)
        far.abort()
        sender.offer(b"lost")
        with pytest.raises(StreamBroken):
            await sender.run()
        with pytest.raises(LocallyClosed):
            sender.offer(b"more")


def test_a_bound_below_one_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="pending_bytes_max"):
        GatheringSender(_Recording(), pending_bytes_max=0)
