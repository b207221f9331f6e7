"""Frames: the same payloads however the stream is cut, and a bound on what a peer makes us hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import (
    FRAME_HEADER_BYTES,
    FrameReader,
    LocalProtocolError,
    RemoteProtocolError,
    frame,
)

PAYLOADS = st.lists(st.binary(min_size=1, max_size=300), max_size=20)


def test_a_frame_is_a_big_endian_length_and_the_bytes() -> None:
    assert frame(b"abc") == b"\x00\x00\x00\x03abc"


def test_there_is_no_empty_frame() -> None:
    with pytest.raises(LocalProtocolError):
        frame(b"")


@given(PAYLOADS)
def test_payloads_come_out_whole_when_fed_byte_by_byte(payloads: list[bytes]) -> None:
    reader = FrameReader(300)
    received = []
    for byte in b"".join(map(frame, payloads)):
        received += reader.feed(bytes([byte]))
    assert received == payloads
    assert reader.buffered_bytes == 0


@given(PAYLOADS, st.data())
def test_payloads_come_out_whole_however_the_stream_is_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(frame, payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    reader = FrameReader(300)
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += reader.feed(stream[start:end])
        assert reader.buffered_bytes < 300 + FRAME_HEADER_BYTES
        taken = sum(FRAME_HEADER_BYTES + len(payload) for payload in received)
        assert taken + reader.buffered_bytes == end
    assert received == payloads


def test_payloads_are_bytes_of_their_own() -> None:
    reader = FrameReader(10)
    [payload] = reader.feed(frame(b"abc"))
    assert type(payload) is bytes
    reader.feed(frame(b"xyz"))
    assert payload == b"abc"


@pytest.mark.parametrize("size", [0, 11, 1 << 20, (1 << 32) - 1])
def test_a_frame_outside_of_the_bound_is_refused_as_soon_as_its_length_is_there(size: int) -> None:
    reader = FrameReader(10)
    header = size.to_bytes(4, "big")
    assert reader.feed(header[:3]) == []
    with pytest.raises(RemoteProtocolError) as refused:
        reader.feed(header[3:])
    assert refused.value.reason == "frame_size"


def test_a_frame_of_exactly_the_bound_is_taken() -> None:
    assert FrameReader(10).feed(frame(b"0123456789")) == [b"0123456789"]


def test_a_refused_stream_stays_refused() -> None:
    reader = FrameReader(10)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            reader.feed(b"\xff\xff\xff\xff")


@given(st.binary(max_size=2000), st.integers(1, 64))
def test_arbitrary_bytes_give_payloads_within_the_bound_or_are_refused(
    stream: bytes, bound: int
) -> None:
    reader = FrameReader(bound)
    try:
        payloads = reader.feed(stream)
    except RemoteProtocolError as error:
        assert error.reason == "frame_size"  # noqa: PT017 - either outcome is right
    else:
        assert all(0 < len(payload) <= bound for payload in payloads)
        assert reader.buffered_bytes < bound + FRAME_HEADER_BYTES
