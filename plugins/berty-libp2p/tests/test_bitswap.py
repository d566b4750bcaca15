"""Blocks: asked of several peers, served to them, and no more kept than a limit for each."""

from __future__ import annotations

import hashlib

import pytest
from berty_libp2p.bitswap import (
    DONT_HAVE,
    HAVE,
    IN_FLIGHT,
    LOOKUPS,
    MAX_BLOCK,
    MAX_FETCHES,
    MAX_MESSAGE,
    MAX_WANTED,
    PATIENCE,
    SMALL,
    WANT_BLOCK,
    WANT_HAVE,
    Bitswap,
    BlockFetched,
    BlockMissing,
)
from berty_libp2p.pb import libp2p_pb2 as pb
from berty_libp2p.peers import PeerId
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.cid import RAW, Cid
from berty_core.codec.frames import FrameReader
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import LocalProtocolError, RemoteProtocolError

ONE, TWO, THREE = (PeerId.of(PrivateKey(bytes([number]) * 32).public) for number in (1, 2, 3))


def cid_of(block: bytes) -> Cid:
    return Cid(RAW + hashlib.sha256(block).digest())


def engine(*peers: PeerId) -> Bitswap:
    made = Bitswap()
    for peer in peers:
        made.add_peer(peer)
    return made


def messages(made: Bitswap) -> dict[PeerId, list[pb.Bitswap]]:
    """What is to be sent now."""
    found: dict[PeerId, list[pb.Bitswap]] = {}
    for name, frame in made.take():
        found.setdefault(name, []).extend(pb.Bitswap.FromString(data) for data in FrameReader(4 << 20).feed(frame))
    return found


def wants(made: Bitswap) -> dict[PeerId, tuple[list[bytes], list[bytes]]]:
    """What each peer is asked for, and what no longer."""
    return {
        name: (
            [entry.cid for message in said for entry in message.wantlist.entries if not entry.cancel],
            [entry.cid for message in said for entry in message.wantlist.entries if entry.cancel],
        )
        for name, said in messages(made).items()
    }


def blocks_message(*blocks: bytes) -> bytes:
    return pb.Bitswap(payload=[{"prefix": RAW, "data": block} for block in blocks]).SerializeToString()


def no(*cids: Cid) -> bytes:
    return pb.Bitswap(presences=[{"cid": cid, "type": DONT_HAVE} for cid in cids]).SerializeToString()


def asking(
    *cids: bytes, kind: int = WANT_BLOCK, say_no: bool = True, full: bool = False, cancel: bool = False
) -> bytes:
    entries = [{"cid": cid, "want_type": kind, "send_dont_have": say_no, "cancel": cancel} for cid in cids]
    return pb.Bitswap(wantlist=pb.Bitswap.Wantlist(entries=entries, full=full)).SerializeToString()


BLOCK, OTHER = b"block", b"other"
CID, OTHER_CID = cid_of(BLOCK), cid_of(OTHER)


def test_a_block_is_asked_of_the_named_peer_and_checked() -> None:
    """The want names block, priority and that a no is welcome; the block comes as an event, once."""
    made = engine(ONE, TWO)
    made.fetch([CID], [TWO], 0.0)
    entry = messages(made)[TWO][0].wantlist.entries[0]
    assert (entry.cid, entry.want_type, entry.send_dont_have) == (CID, WANT_BLOCK, True)
    assert made.receive(TWO, blocks_message(b"not asked for"), 0.0) == []
    assert made.receive(TWO, blocks_message(BLOCK), 0.0) == [BlockFetched(CID, BLOCK)]
    assert made.receive(TWO, blocks_message(BLOCK), 0.0) == []
    assert made.fetching == 0
    assert made.timeout() is None


def test_a_no_or_silence_or_an_end_goes_to_the_next_peer() -> None:
    """Each is asked in turn; when nobody is left, the block is missing. Who was silent is told that it may forget."""
    made = engine(ONE, TWO, THREE)
    made.fetch([CID], [ONE, TWO], 0.0)
    assert wants(made) == {ONE: ([CID], [])}
    assert made.receive(ONE, no(CID), 1.0) == []
    assert wants(made) == {TWO: ([CID], [])}
    assert made.timeout() == 1.0 + PATIENCE
    assert made.wake(PATIENCE) == []
    assert made.wake(1.0 + PATIENCE) == []
    assert wants(made) == {TWO: ([], [CID]), THREE: ([CID], [])}
    made.remove_peer(THREE, 7.0)
    assert made.timeout() == 0.0
    assert made.wake(7.0) == [BlockMissing(CID)]
    assert made.fetching == 0


def test_with_nobody_there_a_block_is_missing_at_once() -> None:
    """The event comes with the next call of the clock."""
    made = engine()
    made.fetch([CID], [ONE], 0.0)
    assert made.wake(0.0) == [BlockMissing(CID)]


def test_a_block_may_come_from_another_peer_than_the_asked_one() -> None:
    """It counts, and the asked peer is told to forget it."""
    made = engine(ONE, TWO)
    made.fetch([CID], [ONE], 0.0)
    messages(made)
    assert made.receive(TWO, blocks_message(BLOCK), 0.0) == [BlockFetched(CID, BLOCK)]
    assert wants(made) == {ONE: ([], [CID])}


def test_many_blocks_are_spread_and_flow() -> None:
    """A peer is asked for so many at a time, the next peer for more, and each block makes room for another."""
    blocks = [b"%d" % number for number in range(3 * IN_FLIGHT)]
    cids = [cid_of(block) for block in blocks]
    made = engine(ONE, TWO)
    made.fetch(cids, [ONE, TWO], 0.0)
    made.fetch(cids, [ONE, TWO], 0.0)
    asked = wants(made)
    assert [asked[name][0] for name in (ONE, TWO)] == [cids[:IN_FLIGHT], cids[IN_FLIGHT : 2 * IN_FLIGHT]]
    assert len(made.receive(ONE, blocks_message(*blocks[:10]), 0.0)) == 10
    assert wants(made) == {ONE: (cids[2 * IN_FLIGHT : 2 * IN_FLIGHT + 10], [])}
    made.cancel(cids[:20], 0.0)
    assert made.fetching == len(cids) - 20
    assert wants(made)[ONE][1] == cids[10:20]


def test_fetches_are_bounded() -> None:
    """More than 65,536 at a time are our own fault."""
    made = engine(ONE)
    made.fetch([Cid(RAW + number.to_bytes(32, "big")) for number in range(MAX_FETCHES)], [ONE], 0.0)
    with pytest.raises(LocalProtocolError):
        made.fetch([CID], [ONE], 0.0)


def lookups(made: Bitswap) -> dict[PeerId, tuple[bytes, ...]]:
    return dict(made.lookups())


def test_blocks_are_served_on_our_own_stream() -> None:
    """What is here is sent, what is not is denied where a no is welcome, and kept in mind until it comes (trap 1)."""
    made = engine(ONE)
    made.receive(ONE, asking(CID, OTHER_CID) + asking(cid_of(b"third"), say_no=False), 0.0)
    assert lookups(made) == {ONE: (CID, OTHER_CID, cid_of(b"third"))}
    assert lookups(made) == {}
    made.answer(ONE, CID, BLOCK)
    made.answer(ONE, OTHER_CID, None)
    made.answer(ONE, cid_of(b"third"), None)
    made.answer(ONE, CID, BLOCK)
    said = messages(made)[ONE][0]
    assert [(part.prefix, part.data) for part in said.payload] == [(RAW, BLOCK)]
    assert [(entry.cid, entry.type) for entry in said.presences] == [(OTHER_CID, DONT_HAVE)]
    made.added(OTHER_CID, OTHER)
    made.added(CID, BLOCK)
    assert [[part.data for part in said.payload] for said in messages(made)[ONE]] == [[OTHER]]


def test_a_small_block_is_sent_where_its_presence_was_asked_for() -> None:
    """Up to 4 KiB the block itself answers (trap 7); above that a yes, and the block when it is asked for."""
    large = bytes(SMALL + 1)
    made = engine(ONE)
    made.receive(ONE, asking(CID, cid_of(large), kind=WANT_HAVE), 0.0)
    made.lookups()
    made.answer(ONE, CID, BLOCK)
    made.answer(ONE, cid_of(large), large)
    said = messages(made)[ONE][0]
    assert [part.data for part in said.payload] == [BLOCK]
    assert [(entry.cid, entry.type) for entry in said.presences] == [(cid_of(large), HAVE)]
    made.receive(ONE, asking(cid_of(large)), 0.0)
    made.lookups()
    made.answer(ONE, cid_of(large), large)
    assert [part.data for part in messages(made)[ONE][0].payload] == [large]


def test_a_cancelled_want_is_not_answered() -> None:
    """Neither when it waits to be looked up, nor when it is being looked up, nor when the block comes later."""
    made = engine(ONE)
    made.receive(ONE, asking(CID, OTHER_CID), 0.0)
    made.receive(ONE, asking(CID, cancel=True), 0.0)
    assert lookups(made) == {ONE: (OTHER_CID,)}
    made.receive(ONE, asking(full=True), 0.0)
    made.answer(ONE, OTHER_CID, OTHER)
    made.added(CID, BLOCK)
    assert messages(made) == {}


def test_wants_of_a_peer_are_bounded() -> None:
    """So many are kept, the rest are denied; so many are looked up at a time; who does not read is given up."""
    made = engine(ONE)
    cids = [Cid(RAW + number.to_bytes(32, "big")) for number in range(3 * MAX_WANTED)]
    made.receive(ONE, asking(*cids), 0.0)
    assert len(lookups(made)[ONE]) == LOOKUPS
    assert len(made._peers[ONE].wanted) == MAX_WANTED
    assert sum(len(said.presences) for said in messages(made)[ONE]) == 2 * MAX_WANTED
    with pytest.raises(RemoteProtocolError, match="faster than it reads"):
        for _ in range(150):
            made.receive(ONE, asking(*cids[MAX_WANTED:]), 0.0)
    assert sum(len(frame) for _, frame in made.take()) <= 3 * MAX_MESSAGE + 128
    with pytest.raises(RemoteProtocolError, match="identifier of 129"):
        made.receive(ONE, asking(bytes(129), cancel=False), 0.0)


def test_blocks_for_a_slow_peer_wait_in_the_store() -> None:
    """Nothing is looked up for a peer that does not read, and blocks that come meanwhile are looked up later."""
    made = engine(ONE)
    blocks = [bytes([number]) * (MAX_MESSAGE // 2) for number in range(6)]
    made.receive(ONE, asking(*map(cid_of, blocks)), 0.0)
    assert made.lookups(lambda _: False) == []
    made.lookups()
    for block in blocks[:3]:
        made.answer(ONE, cid_of(block), block)
    for block in blocks[3:]:
        made.answer(ONE, cid_of(block), None)
    made.added(cid_of(blocks[3]), blocks[3])
    assert made.take(lambda _: False) == []
    assert lookups(made) == {}
    got = [part.data for said in messages(made)[ONE] for part in said.payload]
    assert got == blocks[:2]
    assert lookups(made) == {ONE: (cid_of(blocks[2]), cid_of(blocks[3]))}


def test_what_must_not_be_given_is_denied() -> None:
    """A block that no message holds, or an identifier of another kind."""
    made = engine(ONE)
    large = bytes(MAX_BLOCK + 1)
    made.receive(ONE, asking(cid_of(large), b"Qm"), 0.0)
    made.lookups()
    made.answer(ONE, cid_of(large), large)
    made.answer(ONE, b"Qm", b"")
    assert [entry.type for entry in messages(made)[ONE][0].presences] == [DONT_HAVE, DONT_HAVE]
    made.fetch([cid_of(large)], [ONE], 0.0)
    assert made.receive(ONE, blocks_message(large), 0.0) == []


def test_the_largest_block_goes_alone() -> None:
    """Behind small ones that wait already it begins a message of its own, and both are within the limit."""
    made = engine(ONE)
    small, large = b"small", bytes(MAX_BLOCK)
    made.receive(ONE, asking(cid_of(small), cid_of(large)), 0.0)
    made.lookups()
    for block in (small, large):
        made.answer(ONE, cid_of(block), block)
    frames = [frame for _, frame in made.take()]
    assert len(frames) == 2
    assert all(len(frame) <= MAX_MESSAGE + 4 for frame in frames)
    made.fetch([cid_of(large)], [ONE], 0.0)
    assert [type(event) for event in made.receive(ONE, blocks_message(large), 0.0)] == [BlockFetched]


def test_a_stream_that_was_opened_anew() -> None:
    """What was asked of the peer is asked again, as its whole wantlist."""
    made = engine(ONE)
    made.fetch([CID, OTHER_CID], [ONE], 0.0)
    messages(made)
    made.repeat(ONE, 3.0)
    said = messages(made)[ONE][0].wantlist
    assert said.full
    assert [entry.cid for entry in said.entries] == [CID, OTHER_CID]
    assert made.timeout() == 3.0 + PATIENCE


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([
    asking(CID), asking(CID, cancel=True), asking(full=True), blocks_message(BLOCK), no(CID), blocks_message(b""),
    b"\x08\x01", b"\x0a\x02\x08\x01", b"\x1a\x02\x08\x01", b"\x22\x02\x08\x01", b"\x12\x01x",
]), max_size=12))  # fmt: skip
def test_any_message_gives_events_or_a_remote_error(frames: list[bytes]) -> None:
    """Whatever a peer says (wrong wire types among it, trap 9), the engine gives events or RemoteProtocolError."""
    made = engine(ONE, TWO)
    made.fetch([CID], [ONE], 0.0)
    for now, frame in enumerate(frames):
        try:
            events = made.receive(ONE, frame, float(now))
        except RemoteProtocolError:
            continue
        assert all(cid_of(event.block) == event.cid for event in events if isinstance(event, BlockFetched))
        for name, cids in made.lookups():
            for cid in cids:
                made.answer(name, cid, BLOCK if cid == CID else None)
        made.wake(float(now))
        messages(made)
