"""Boxes: NaCl's own vector, round trips, and None for whatever does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.crypto.boxes import OVERHEAD, open_box, open_secretbox, precompute_box, seal_box, seal_secretbox
from berty_core.crypto.keys import x25519_pair
from berty_core.errors import RemoteProtocolError

KEYS = st.binary(min_size=32, max_size=32)
NONCES = st.binary(min_size=24, max_size=24)


def test_nacl_vector() -> None:
    """The secret box of NaCl's own tests: tag and first block."""
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    plain = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129"
        "6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde"
        "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
    )
    assert seal_secretbox(key, nonce, plain)[:32].hex() == (
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce"
    )


@given(KEYS, NONCES, st.binary(max_size=100), st.integers(0, 10_000))
def test_secret_boxes(key: bytes, nonce: bytes, plain: bytes, bit: int) -> None:
    """A box opens under its key and nonce, and with no bit changed."""
    box = seal_secretbox(key, nonce, plain)
    assert len(box) == len(plain) + OVERHEAD
    assert open_secretbox(key, nonce, box) == plain
    broken = bytearray(box)
    broken[bit // 8 % len(box)] ^= 1 << bit % 8
    assert open_secretbox(key, nonce, bytes(broken)) is None


@given(st.binary(max_size=40), st.binary(max_size=30), st.binary(max_size=60))
def test_any_bytes(key: bytes, nonce: bytes, box: bytes) -> None:
    """Nothing but None comes of bytes that are no box."""
    assert open_secretbox(key, nonce, box) is None


@given(KEYS, KEYS, NONCES, st.binary(max_size=60))
def test_boxes_between_two(own: bytes, other: bytes, nonce: bytes, plain: bytes) -> None:
    """Both ends of a pair share one box key."""
    (left, left_public), (right, right_public) = x25519_pair(own), x25519_pair(other)
    box = seal_box(left, right_public, nonce, plain)
    assert open_box(right, left_public, nonce, box) == plain
    assert precompute_box(left, right_public) == precompute_box(right, left_public)


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), b"short"])
def test_bad_public_keys(public: bytes) -> None:
    """Points of low order and other lengths are refused."""
    with pytest.raises(RemoteProtocolError):
        precompute_box(b"\x05" * 32, public)
