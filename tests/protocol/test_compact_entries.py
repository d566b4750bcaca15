"""Entries in the form that members send: what is restored is what was meant, whatever the entry and the bytes."""

from __future__ import annotations

import zlib

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.errors import RemoteProtocolError
from berty_core.protocol.compact_entries import MAX_WHOLE, SIGNED, WHOLE, Unready, short_id
from berty_core.protocol.entry import decode_entry, encode_entry
from berty_core.protocol.group import LogKind

from .logs_in_memory import BOB, MemoryLog, event, message


@pytest.fixture
def log() -> MemoryLog:
    """A log of a few messages, with two heads."""
    log = MemoryLog()
    for number in range(70):
        log.append(message(b"text", number))
    heads = list(log.heads)
    log.append(message(b"one side"), parents=heads)
    log.append(message(b"other side", device=BOB), parents=heads)
    return log


def block_of(log: MemoryLog, cid: Cid) -> bytes:
    """A block that must be there."""
    block = log.block(cid)
    assert block is not None
    return block


def test_every_entry_is_restored(log: MemoryLog) -> None:
    """In both forms, by somebody who has the same log."""
    log.append(message(b"merge"))
    compactor = log.compactor()
    for cid in log.cids():
        block = block_of(log, cid)
        for alone in (False, True):
            assert compactor.expand(short_id(cid), compactor.shrink(block, alone=alone)) == block


def test_a_text_shrinks_to_a_tenth(log: MemoryLog) -> None:
    """A text of 20 bytes with one parent fits a datagram of 233 bytes with its seal."""
    log.append(message(b"merge"))
    block = block_of(log, log.append(message(b"exactly twenty bytes", 80)))
    assert len(block) > 1100
    assert len(log.compactor().shrink(block)) == 141


def test_events_are_restored() -> None:
    """An event goes without its box, which the receiver seals again."""
    log = MemoryLog(LogKind.METADATA)
    first = log.append(event())
    second = log.append(event(b"second"))
    compactor = log.compactor()
    for cid in (first, second):
        data = compactor.shrink(block_of(log, cid))
        assert compactor.expand(short_id(cid), data) == block_of(log, cid)
        assert b"event" in data or b"second" in data


@pytest.mark.parametrize(
    "value", [b"", b"no envelope", message(b"text") + b"\x80\x01\x00", event()[:-1]], ids=["", "text", "more", "less"]
)
def test_what_is_not_as_ours_is_restored_too(value: bytes) -> None:
    """An envelope that was not made here, or is none, comes through as it is."""
    log = MemoryLog()
    cid = log.append(value)
    compactor = log.compactor()
    assert compactor.expand(short_id(cid), compactor.shrink(block_of(log, cid))) == block_of(log, cid)


def test_other_clocks_and_signatures_are_kept(log: MemoryLog) -> None:
    """A clock that lies and a signature that this key would not make are sent along."""
    cid = log.append(message(b"from the future"), time=1 << 40)
    compactor = log.compactor()
    assert compactor.expand(short_id(cid), compactor.shrink(block_of(log, cid))) == block_of(log, cid)
    block = encode_entry(attrs.evolve(decode_entry(block_of(log, cid)), sig=b"x" * 64))
    data = compactor.shrink(block)
    assert data[0] & SIGNED and compactor.expand(Cid.of(block).digest[:6], data) == block


def test_an_entry_of_another_group_goes_whole(log: MemoryLog) -> None:
    """What nothing here restores is sent as it is."""
    entry = decode_entry(block_of(log, next(iter(log.heads))))
    block = encode_entry(attrs.evolve(entry, log_id="another"))
    data = log.compactor().shrink(block)
    assert data[0] == WHOLE and log.compactor().expand(Cid.of(block).digest[:6], data) == block


def test_missing_parents_are_named(log: MemoryLog) -> None:
    """Who lacks the parents is told which, and the other form needs none of them."""
    merge = log.append(message(b"merge"))
    entry = decode_entry(block_of(log, merge))
    empty = MemoryLog().compactor()
    with pytest.raises(Unready) as caught:
        empty.expand(short_id(merge), log.compactor().shrink(block_of(log, merge)))
    assert caught.value.missing == tuple(short_id(cid) for cid in entry.next)
    alone = log.compactor().shrink(block_of(log, merge), alone=True)
    assert empty.expand(short_id(merge), alone) == block_of(log, merge)


def test_an_unknown_device_is_waited_for(log: MemoryLog) -> None:
    """Who does not know the author's device yet cannot make the entry, unless it stands alone."""
    cid = next(iter(log.cids()))
    stranger = log.compactor(devices=[])
    with pytest.raises(Unready) as caught:
        stranger.expand(short_id(cid), log.compactor().shrink(block_of(log, cid)))
    assert caught.value.missing == ()
    assert stranger.expand(short_id(cid), log.compactor().shrink(block_of(log, cid), alone=True))


def test_another_name_is_refused(log: MemoryLog) -> None:
    """An entry that is not the one it is called is not taken."""
    cid = next(iter(log.cids()))
    with pytest.raises(RemoteProtocolError):
        log.compactor().expand(bytes(6), log.compactor().shrink(block_of(log, cid)))


def test_a_name_of_two_entries_names_none(log: MemoryLog) -> None:
    """Where two entries share the beginning of their digests, what builds on one of them goes in the long form."""
    cid = log.append(message(b"merge"))
    (parent, *_) = decode_entry(block_of(log, cid)).next
    log.names[parent.digest[:6]] = [parent, parent]
    data = log.compactor().shrink(block_of(log, cid))
    assert parent.digest in data
    assert log.compactor().expand(short_id(cid), data) == block_of(log, cid)


def test_a_bomb_is_not_inflated(log: MemoryLog) -> None:
    """What inflates beyond the limit is refused."""
    bomb = bytes((WHOLE,)) + zlib.compress(bytes(MAX_WHOLE + 1))
    with pytest.raises(RemoteProtocolError, match="does not end"):
        log.compactor().expand(bytes(6), bomb)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.binary(min_size=6, max_size=6))
def test_any_bytes(data: bytes, name: bytes) -> None:
    """Any bytes give a block, or one of the two errors."""
    log = MemoryLog()
    log.append(message(b"text"))
    try:
        block = log.compactor().expand(name, data)
    except (RemoteProtocolError, Unready):
        return
    assert Cid.of(block).digest.startswith(name)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 140), st.integers(0, 255))
def test_a_changed_byte_is_seen(place: int, value: int) -> None:
    """A short form with one other byte is refused, or says that something is missing."""
    log = MemoryLog()
    log.append(message(b"text"))
    cid = log.append(message(b"second", 2))
    data = bytearray(log.compactor().shrink(block_of(log, cid)))
    place %= len(data)
    changed = bytes(data[:place]) + bytes((value,)) + bytes(data[place + 1 :])
    if changed != data:
        try:
            assert log.compactor().expand(short_id(cid), changed) == block_of(log, cid)  # a bit that says nothing
        except (RemoteProtocolError, Unready):
            pass
