"""Frames on a bus, their pieces and their seal: any bytes give a value or RemoteProtocolError."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.cid import DAG_CBOR, Cid
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import DeviceId, GroupId
from berty_core.protocol.group import LogKind
from berty_core.protocol.groupcast import parts as groupcast_parts
from berty_core.protocol.groupcast.frames import (
    MAX_HEADS,
    DigestFrame,
    EntryFrame,
    Frame,
    HeadsOf,
    HeldFrame,
    NamedFrame,
    PartFrame,
    SinceFrame,
    UnheldFrame,
    WantFrame,
    confirm_held,
    decode_groupcast,
    encode_groupcast,
    is_held,
)
from berty_core.protocol.groupcast.parts import Reassembly, indices, split_entry
from berty_core.protocol.groupcast.seal import MAX_SENDERS, WINDOW, GroupcastKey, ReplayWindow, Sender

from .logs_in_memory import ANN, BOB, GROUP

NAMES = st.binary(min_size=6, max_size=6)
TUPLES = st.lists(NAMES, max_size=20).map(tuple)
LOGS = st.sampled_from(LogKind)
BYTE = st.integers(0, 255)
HEADS = st.builds(HeadsOf, st.lists(NAMES, max_size=MAX_HEADS).map(tuple), st.one_of(st.just(b""), NAMES))
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(EntryFrame, LOGS, NAMES, st.binary(min_size=1, max_size=100)),
    st.builds(PartFrame, LOGS, NAMES, BYTE, st.integers(0, 1), st.integers(2, 255), st.binary(min_size=1, max_size=9)),
    st.builds(DigestFrame, HEADS, HEADS),
    st.builds(SinceFrame, LOGS, TUPLES, TUPLES),
    st.builds(NamedFrame, LOGS, TUPLES),
    st.builds(WantFrame, LOGS, NAMES, BYTE, st.binary(max_size=32)),
    st.builds(
        HeldFrame,
        st.binary(min_size=4, max_size=4),
        st.lists(st.binary(min_size=10, max_size=10), max_size=9).map(tuple),
        st.binary(min_size=64, max_size=64),
    ),
    st.builds(UnheldFrame, TUPLES),
)


@given(FRAMES)
def test_frames_come_back(frame: Frame) -> None:
    """What was encoded is read."""
    assert decode_groupcast(encode_groupcast(frame)) == frame


@given(st.one_of(st.binary(max_size=260), st.tuples(BYTE, st.binary(max_size=80)).map(lambda p: bytes((p[0],)) + p[1])))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give a frame that encodes to them, nothing for a later kind, or RemoteProtocolError."""
    try:
        frame = decode_groupcast(data)
    except RemoteProtocolError:
        return
    assert (encode_groupcast(frame) == data) if frame is not None else data[0] & 0x7F not in range(1, 9)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x02" + bytes(6) + b"\0\5\5x", b"\x03\x0a", b"\x83\0\0", b"\x05" + bytes(7 + 33), b"\x01" + bytes(6)],
)
def test_malformed_frames(data: bytes) -> None:
    """Nothing, a piece behind the last, too many heads, a log where none is meant, too many pieces, no content."""
    with pytest.raises(RemoteProtocolError):
        decode_groupcast(data)


def cids(count: int) -> tuple[Cid, ...]:
    """Some names."""
    return tuple(Cid(DAG_CBOR + bytes((number,)) * 32) for number in range(count))


def test_a_confirmation_is_signed() -> None:
    """It proves which device has what in which group, and nothing else."""
    held = confirm_held(GROUP.id, ANN, cids(3))
    device = DeviceId(ANN.public)
    assert is_held(GROUP.id, device, held)
    assert not is_held(GROUP.id, DeviceId(BOB.public), held)
    assert not is_held(GroupId(BOB.public), device, held)
    assert not is_held(GROUP.id, device, HeldFrame(held.device, held.names[:2], held.signature))


# -- pieces ------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=3000), st.integers(60, 220), st.randoms())
def test_pieces_in_any_order(data: bytes, room: int, chance: random.Random) -> None:
    """However pieces come, and however often, the whole is there once all are."""
    frames = split_entry((LogKind.MESSAGES, b"abcdef"), data, room)
    assert all(len(encode_groupcast(frame)) <= room for frame in frames)
    if isinstance(frames[0], EntryFrame):
        assert len(frames) == 1 and frames[0].data == data
        return
    parts = [frame for frame in frames if isinstance(frame, PartFrame)]
    chance.shuffle(parts)
    reassembly = Reassembly()
    for part in parts[:-1]:
        assert reassembly.add(part) is None
        assert reassembly.add(part) is None
    partial = reassembly.get((LogKind.MESSAGES, b"abcdef"))
    assert partial is not None and indices(partial.missing) == {parts[-1].index}
    assert reassembly.add(parts[-1]) == data
    assert reassembly.get((LogKind.MESSAGES, b"abcdef")) is None


def test_an_entry_that_is_too_long_waits_for_a_link() -> None:
    """So many pieces and no more."""
    with pytest.raises(LocalProtocolError):
        split_entry((LogKind.MESSAGES, b"abcdef"), bytes(255 * 200 + 1), 210)


def test_memory_for_pieces_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends beginnings of entries without end makes this device keep so much and no more."""
    monkeypatch.setattr(groupcast_parts, "MAX_BYTES", 1000)
    reassembly = Reassembly()
    for number in range(1000):
        reassembly.add(PartFrame(LogKind.MESSAGES, number.to_bytes(6, "big"), 0, 0, 255, bytes(100)))
        assert reassembly._size <= 1000
    assert len(reassembly._partial) == 10
    monkeypatch.setattr(groupcast_parts, "MAX_BYTES", 1 << 20)
    for number in range(1000):
        reassembly.add(PartFrame(LogKind.MESSAGES, number.to_bytes(6, "big"), 0, 0, 255, bytes(1)))
    assert len(reassembly._partial) == groupcast_parts.MAX_PARTIAL


def test_two_forms_are_not_mixed() -> None:
    """Pieces of another form of the same entry begin anew."""
    name = (LogKind.MESSAGES, b"abcdef")
    one, other = split_entry(name, b"a" * 300, 200), split_entry(name, b"b" * 300, 200)
    reassembly = Reassembly()
    assert [reassembly.add(part) for part in (one[0], other[1], other[0])] == [None, None, b"b" * 300]  # type: ignore[arg-type]


# -- the seal ----------------------------------------------------------------------------------


def test_a_seal_opens_for_the_group_alone() -> None:
    """Members read it; a changed byte or another group's key gives nothing."""
    key = GroupcastKey(GROUP)
    datagram = key.seal(b"abcd", 300, b"body")
    opened = key.open(datagram)
    assert opened is not None and (opened.sender, opened.counter, opened.body) == (b"abcd", 300, b"body")
    assert len(datagram) == 16 + 4 + 2 + 4
    for place in range(len(datagram)):
        assert key.open(datagram[:place] + bytes((datagram[place] ^ 1,)) + datagram[place + 1 :]) is None


@given(st.binary(max_size=300))
def test_any_datagram(data: bytes) -> None:
    """What is not of the group is nothing, whatever it is."""
    assert GroupcastKey(GROUP).open(data) is None


@given(st.binary(min_size=1, max_size=30))
def test_what_a_member_seals_may_be_anything(body: bytes) -> None:
    """Too short a head inside the seal is nothing."""
    key = GroupcastKey(GROUP)
    opened = key.open(key._cipher.seal(body))
    assert opened is None or len(body) >= 5


def test_a_stranger_cannot_link() -> None:
    """Two datagrams that say the same share no byte sequence: nothing in clear repeats."""
    key, sender = GroupcastKey(GROUP), Sender(lambda count: b"abcd"[:count])
    sealed = [key.seal(*sender.next(), b"the same") for _ in range(200)]
    for length in (3, 4):
        pieces = [piece[start : start + length] for piece in sealed for start in range(0, len(piece) - length)]
        assert len(pieces) - len(set(pieces)) < len(pieces) / 50
    assert len({piece[:16] for piece in sealed}) == 200


def test_a_sender_that_counted_to_the_end_takes_another_name() -> None:
    """The counter keeps to its bytes."""
    names = iter([b"abcd", b"efgh"])
    sender = Sender(lambda count: next(names))
    sender._counter = (1 << 28) - 1
    assert sender.next() == (b"abcd", (1 << 28) - 1)
    assert sender.next() == (b"efgh", 0)


@given(st.lists(st.integers(0, 300), max_size=100))
def test_each_datagram_is_taken_once(counters: list[int]) -> None:
    """In any order, with any repetition; one that comes very late is not taken at all."""
    window, taken = ReplayWindow(), list[int]()
    for counter in counters:
        if window.is_new(b"abcd", counter):
            taken.append(counter)
        else:
            assert counter in taken or counter <= max(taken) - WINDOW
    assert len(taken) == len(set(taken))


def test_what_never_happened_may_come_again() -> None:
    """A datagram whose batch failed is taken when it comes again."""
    window = ReplayWindow()
    assert window.is_new(b"abcd", 1) and window.is_new(b"abcd", 2) and not window.is_new(b"abcd", 1)
    window.forget(b"abcd", 1)
    window.forget(b"none", 1)
    assert window.is_new(b"abcd", 1)


def test_senders_are_bounded() -> None:
    """Of many senders the latest are remembered."""
    window = ReplayWindow()
    for number in range(2 * MAX_SENDERS):
        window.is_new(number.to_bytes(4, "big"), 0)
    assert len(window._windows) == MAX_SENDERS


def test_a_replica_takes_no_part() -> None:
    """Without the group's secret there is no key: one of an empty secret would be known to all."""
    with pytest.raises(LocalProtocolError):
        GroupcastKey(GROUP.reduced())
