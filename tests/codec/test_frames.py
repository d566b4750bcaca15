"""Frames: cut anywhere they come out whole, and no announced length is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.frames import FrameReader, encode_frame
from berty_core.codec.varint import encode_varint
from berty_core.errors import LocalProtocolError, RemoteProtocolError


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_any_cut(payloads: list[bytes], cuts: list[int]) -> None:
    """The same frames come out, however the stream is cut."""
    stream = b"".join(encode_frame(payload, 300) for payload in payloads)
    reader, found, offset, turn = FrameReader(300), [], 0, 0
    while offset < len(stream):
        step = cuts[turn % len(cuts)]
        found += reader.feed(stream[offset : offset + step])
        offset, turn = offset + step, turn + 1
    assert found == payloads
    assert reader.pending == 0


@given(st.integers(301, 2**64 - 1))
def test_long_frames_are_refused_at_their_length(length: int) -> None:
    """A length above the limit is an error before one byte of the payload came."""
    with pytest.raises(RemoteProtocolError, match="limit"):
        FrameReader(300).feed(encode_varint(length))


@given(st.lists(st.binary(max_size=400), max_size=6))
def test_any_bytes_and_bounded_memory(chunks: list[bytes]) -> None:
    """Any bytes give frames or RemoteProtocolError, and no more than a frame is kept."""
    reader = FrameReader(100)
    try:
        for chunk in chunks:
            assert all(len(frame) <= 100 for frame in reader.feed(chunk))
            assert reader.pending <= 110
    except RemoteProtocolError:
        return


def test_own_frames_keep_the_limit() -> None:
    """We do not send what the peer would refuse."""
    with pytest.raises(LocalProtocolError):
        encode_frame(bytes(301), 300)
