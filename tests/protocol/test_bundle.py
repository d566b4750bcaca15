"""Chunks of bundles: sealed, recognised and read; damage and lies give RemoteProtocolError and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.codec.dagcbor import encode_dagcbor
from berty_core.crypto.boxes import seal_secretbox
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import DeviceId
from berty_core.protocol.bundle import (
    CHUNK,
    LENGTH_LENGTH,
    MAX_CONTENT,
    MAX_DIGESTS,
    MAX_UNFINISHED,
    PART,
    Author,
    BundleKeys,
    Entries,
    Padding,
    Part,
    PartsInWaiting,
    Statement,
    is_for,
    open_chunk,
    pack_blocks,
    padded_count,
    padding_step,
    seal_entries,
    seal_padding,
    seal_part,
    seal_statement,
    who_states,
)
from berty_core.protocol.entry import MAX_BLOCK
from berty_core.protocol.group import LogKind, new_group

NONCE = bytes(range(24))
GROUP = new_group(random.Random(1).randbytes)[0]
OTHER = new_group(random.Random(2).randbytes)[0]
KEYS, OTHER_KEYS = BundleKeys.of(GROUP.link_key), BundleKeys.of(OTHER.link_key)
TIME = 1_700_000_000_123
DEVICE = PrivateKey(b"\7" * 32)
HEADS = {LogKind.METADATA: [Cid.of(b"one"), Cid.of(b"two")], LogKind.MESSAGES: [Cid.of(b"three")]}
WANTED: dict[LogKind, list[Cid]] = {LogKind.METADATA: [], LogKind.MESSAGES: [Cid.of(b"four")]}


def blocks(seed: int, sizes: list[int]) -> list[bytes]:
    """Some blocks of these sizes."""
    chance = random.Random(seed)
    return [chance.randbytes(size) for size in sizes]


def statement(device: PrivateKey | None = DEVICE) -> bytes:
    """A chunk with a statement."""
    return seal_statement(KEYS, NONCE, GROUP, device, HEADS, WANTED, TIME)


def test_entries_come_back() -> None:
    """What is sealed is opened by whoever has the link key, and the chunk has its one size."""
    chunk = seal_entries(KEYS, NONCE, LogKind.MESSAGES, [b"one", b"two"])
    assert len(chunk) == CHUNK
    assert is_for(KEYS, chunk)
    assert open_chunk(BundleKeys.of(GROUP.reduced().link_key), chunk) == Entries(LogKind.MESSAGES, (b"one", b"two"))


def test_strangers_recognise_nothing() -> None:
    """Another group's keys neither recognise nor open a chunk."""
    for chunk in (statement(), seal_padding(KEYS, NONCE), seal_entries(KEYS, NONCE, LogKind.METADATA, [b"x"])):
        assert not is_for(OTHER_KEYS, chunk)
        with pytest.raises(RemoteProtocolError):
            open_chunk(OTHER_KEYS, chunk)


def test_a_statement_names_its_device_to_members() -> None:
    """A member learns who states what; a replica, which lacks the secret, learns the heads and no device."""
    stated = open_chunk(KEYS, statement())
    assert isinstance(stated, Statement)
    assert stated.heads == {kind: tuple(cids) for kind, cids in HEADS.items()}
    assert stated.wanted[LogKind.MESSAGES] == (Cid.of(b"four"),)
    assert who_states(GROUP, stated) == Author(DeviceId(DEVICE.public), TIME)
    with pytest.raises(RemoteProtocolError):
        who_states(GROUP.reduced(), stated)
    assert DEVICE.public not in stated.member


def test_a_replicas_statement_proves_no_device() -> None:
    """Without a device nobody is named."""
    stated = open_chunk(KEYS, statement(None))
    assert isinstance(stated, Statement)
    assert who_states(GROUP, stated) is None
    reduced = open_chunk(KEYS, seal_statement(KEYS, NONCE, GROUP.reduced(), DEVICE, HEADS, WANTED, TIME))
    assert isinstance(reduced, Statement)
    assert reduced.member == b""


def test_a_statement_cannot_be_changed_or_moved() -> None:
    """Other heads under the same proof, and the proof in another group, are refused."""
    stated = open_chunk(KEYS, statement())
    assert isinstance(stated, Statement)
    changed = Statement({**stated.heads, LogKind.METADATA: ()}, stated.wanted, stated.nonce, stated.member)
    with pytest.raises(RemoteProtocolError, match="signature"):
        who_states(GROUP, changed)
    with pytest.raises(RemoteProtocolError):
        who_states(OTHER, stated)


def test_many_heads_are_cut() -> None:
    """A statement tells the first heads, as many as a chunk has room for."""
    many = [Cid.of(bytes([n])) for n in range(MAX_DIGESTS + 9)]
    both = {LogKind.METADATA: many, LogKind.MESSAGES: many}
    stated = open_chunk(KEYS, seal_statement(KEYS, NONCE, GROUP, DEVICE, both, both, TIME))
    assert isinstance(stated, Statement)
    assert stated.heads[LogKind.MESSAGES] == tuple(many[:MAX_DIGESTS])
    assert who_states(GROUP, stated) == Author(DeviceId(DEVICE.public), TIME)


@given(st.integers(0, CHUNK - 1), st.integers(0, 7))
def test_any_flipped_bit_is_seen(place: int, bit: int) -> None:
    """No bit of a chunk can be changed: it is not recognised, or it does not open."""
    chunk = bytearray(statement())
    chunk[place] ^= 1 << bit
    with pytest.raises(RemoteProtocolError):
        open_chunk(KEYS, bytes(chunk))


@given(st.binary(max_size=100) | st.integers(0, 2**32).map(lambda seed: random.Random(seed).randbytes(CHUNK)))
def test_any_bytes(data: bytes) -> None:
    """Bytes of any kind are no chunk of ours."""
    assert not is_for(KEYS, data)
    with pytest.raises(RemoteProtocolError):
        open_chunk(KEYS, data)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=7),
)
shapes = st.one_of(
    values,
    st.lists(values, max_size=8),
    st.tuples(st.just(1), st.integers(0, 4), *[values] * 5).map(list),
    st.tuples(st.just(1), st.just(0), *[st.sampled_from([0, 31, 32, 64, 32 * 97]).map(bytes)] * 5).map(list),
    st.tuples(
        st.just(1), st.just(2), st.integers(0, 2), st.just(bytes(32)), st.integers(0, MAX_BLOCK + 1),
        st.sampled_from([0, 1, PART, 2 * PART, -PART]), st.sampled_from([0, 1, PART - 1, PART]).map(bytes),
    ).map(list),
)  # fmt: skip


@given(shapes, st.integers(-3, 3))
def test_any_content_from_a_member(value: object, off: int) -> None:
    """Whatever a holder of the key seals gives a value or RemoteProtocolError."""
    data = encode_dagcbor(value)
    length = max(0, len(data) + off).to_bytes(LENGTH_LENGTH, "big")
    plaintext = length + data.ljust(MAX_CONTENT, b"\0")
    honest = seal_padding(KEYS, NONCE)
    chunk = honest[:40] + seal_secretbox(KEYS.seal, NONCE, plaintext)
    try:
        content = open_chunk(KEYS, chunk)
    except RemoteProtocolError:
        return
    assert isinstance(content, Entries | Part | Padding | Statement)
    if isinstance(content, Statement):
        try:
            who_states(GROUP, content)
        except RemoteProtocolError:
            pass


def test_nothing_hides_behind_the_content() -> None:
    """What stands behind the content is zeros, or the chunk is refused: no two chunks say the same in two ways."""
    data = encode_dagcbor([1, 3])
    for rest, fits in ((b"", True), (b"\1", False)):
        plaintext = len(data).to_bytes(2, "big") + data + rest.rjust(MAX_CONTENT - len(data), b"\0")
        chunk = seal_padding(KEYS, NONCE)[:40] + seal_secretbox(KEYS.seal, NONCE, plaintext)
        if fits:
            assert open_chunk(KEYS, chunk) == Padding()
            continue
        with pytest.raises(RemoteProtocolError, match="length"):
            open_chunk(KEYS, chunk)


def test_later_versions_are_refused_by_name() -> None:
    """A chunk of another version says so."""
    data = encode_dagcbor([2, 9, "news"])
    plaintext = len(data).to_bytes(2, "big") + data.ljust(MAX_CONTENT, b"\0")
    chunk = seal_padding(KEYS, NONCE)[:40] + seal_secretbox(KEYS.seal, NONCE, plaintext)
    with pytest.raises(RemoteProtocolError, match="version 2"):
        open_chunk(KEYS, chunk)


@given(st.lists(st.integers(0, 3 * CHUNK), max_size=12))
@settings(max_examples=40)
def test_packing_keeps_blocks_and_order(sizes: list[int]) -> None:
    """All blocks come out as they went in, in their order, by chunks that have room for them."""
    wanted = blocks(3, sizes)
    waiting, found = PartsInWaiting(), []
    for content in pack_blocks(LogKind.METADATA, wanted):
        chunk = (
            seal_part(KEYS, NONCE, content)
            if isinstance(content, Part)
            else seal_entries(KEYS, NONCE, content.kind, content.blocks)
        )
        opened = open_chunk(KEYS, chunk)
        assert opened == content
        if isinstance(opened, Entries):
            found += opened.blocks
        elif isinstance(opened, Part) and (whole := waiting.add(opened)) is not None:
            found.append(whole)
    assert found == wanted
    assert len(waiting) == 0


def test_packing_wastes_little() -> None:
    """A thousand texts of 1,500 bytes fill their chunks to more than nine tenths."""
    contents = list(pack_blocks(LogKind.MESSAGES, blocks(4, [1500] * 1000)))
    assert len(contents) <= 1_500_000 / (0.9 * CHUNK)


def test_too_much_for_a_chunk_is_our_fault() -> None:
    """Sealing refuses what does not fit, and a nonce of another length."""
    with pytest.raises(LocalProtocolError):
        seal_entries(KEYS, NONCE, LogKind.METADATA, [bytes(CHUNK)])
    with pytest.raises(LocalProtocolError):
        seal_padding(KEYS, NONCE[:12])


def test_parts_in_any_order_and_twice() -> None:
    """Parts make their block in any order, also if some come twice; another block under its name is dropped."""
    (block,) = blocks(5, [5 * CHUNK])
    parts = [part for part in pack_blocks(LogKind.METADATA, [block]) if isinstance(part, Part)]
    waiting = PartsInWaiting()
    assert [waiting.add(part) for part in [*parts[3:], parts[0], parts[0], parts[2]]] == [None] * (len(parts))
    assert waiting.add(parts[1]) == block
    false = [Part(part.kind, part.cid, part.size, part.offset, bytes(len(part.data))) for part in parts]
    assert [waiting.add(part) for part in false] == [None] * len(parts)
    assert len(waiting) == 0


def test_unfinished_blocks_are_bounded() -> None:
    """Of blocks that never become whole only the last few are kept."""
    waiting = PartsInWaiting()
    for block in blocks(6, [3 * CHUNK] * 50):
        waiting.add(next(part for part in pack_blocks(LogKind.METADATA, [block]) if isinstance(part, Part)))
    assert len(waiting) == MAX_UNFINISHED


@given(st.integers(0, 1 << 30))
def test_padding(count: int) -> None:
    """The padded count is a step, no less than what is needed, and at most an eighth (or three chunks) more."""
    padded = padded_count(count)
    assert padded % padding_step(count) == 0
    assert count <= padded <= max(count + 3, count * 9 // 8 + 1)
    assert padded_count(padded) == padded
