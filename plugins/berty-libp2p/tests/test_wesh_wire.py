"""Frames, local records and gaps: against recordings of weshnet, and what strangers can send."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

import pytest
from berty_libp2p import gap as gaps
from berty_libp2p.gap import Gap, Pair
from berty_libp2p.local_records import LIFETIME, MAX_MESSAGE, decode_records, encode_records
from berty_libp2p.log_frames import DAY, LogFrames, portions
from berty_libp2p.pb import libp2p_pb2 as pb
from berty_libp2p.peers import PeerId
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.codec.frames import FrameReader
from berty_core.contracts.session import Log, LogId
from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import RemoteProtocolError
from berty_core.ids import DeviceId, GroupId
from berty_core.protocol.entry import Entry, LogIdentity, check_entry, decode_entry, sign_entry
from berty_core.protocol.group import WESH, Group, GroupKind, LogKind
from berty_core.protocol.heads import Heads, raw_rotation, seal_heads

from .conftest import OWN

PEER = PeerId.of(PrivateKey(bytes(32)).public)
DEVICE = DeviceId(PrivateKey(b"d" * 32).public)


@pytest.fixture(scope="module", params=["wesh-dial", "wesh-listen"])
def wesh(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A recorded conversation with weshnet."""
    found: dict[str, Any] = json.loads(gzip.decompress((OWN / f"{request.param}.json.gz").read_bytes()))
    return found


def frames(recording: dict[str, Any], protocol: str) -> list[bytes]:
    return [
        frame
        for connection in recording["connections"]
        for stream in connection["streams"]
        if stream["protocol"] == protocol
        for direction in ("in", "out")
        for frame in FrameReader(4 << 20).feed(bytes.fromhex(stream[direction]))
    ]


def logs_of(group: Group) -> list[Log]:
    return [
        Log(LogId(group.id, kind), group.address(WESH, kind).text, group.link_key, group.signing_public, DEVICE)
        for kind in LogKind
    ]


def recorded_group(recording: dict[str, Any]) -> Group:
    fields = recording["wesh"]["invitation"]["invitation"]["fields"]
    return Group(
        GroupId(bytes.fromhex(fields["public_key"])), Secret(bytes.fromhex(fields["secret"])), GroupKind.MULTI_MEMBER
    )


def test_recorded_frames_are_read(wesh: dict[str, Any]) -> None:
    """Direct frames and gossip of weshnet open with the group's key, and bring entries that its group signed."""
    group = recorded_group(wesh)
    reader = LogFrames(PEER, WESH.rotation, bytes)
    assert reader.follow(logs_of(group), 0.0) == ({log.address for log in logs_of(group)}, set())
    direct = [reader.read(frame, 0.0) for frame in frames(wesh, "/go-orbit-db/direct-channel/1.2.0")]
    gossip = [
        reader.read(message.data, 0.0)
        for frame in frames(wesh, "/meshsub/1.1.0")
        for message in pb.Rpc.FromString(frame).publish
    ]
    found = [frame for frame in direct + gossip if frame is not None]
    assert len(found) >= 4
    assert {frame.log.id.kind for frame in found} == set(LogKind)
    brought = [(frame.log, decode_entry(block)) for frame in found for block in frame.blocks]
    assert brought
    for log, entry in brought:
        check_entry(entry, log.address, group.signing_public)


def test_what_we_write_is_read_back_in_any_period() -> None:
    """Static, yesterday's, today's and tomorrow's rotations are understood; older ones and other logs' keys are not."""
    group = Group(GroupId(PrivateKey(b"g" * 32).public), Secret(b"s" * 32), GroupKind.MULTI_MEMBER)
    log = logs_of(group)[1]
    block = sign_entry(LogIdentity.of(group.signing_key), log.address, b"value", (), (), 1)[1]
    now = 1_700_000_000.0
    writer, reader = LogFrames(PEER, DAY, bytes), LogFrames(PEER, DAY, bytes)
    reader.follow(logs_of(group), now)
    today = writer.write(log, [block], now)
    frame = reader.read(today, now)
    assert frame is not None
    assert (frame.log, frame.blocks) == (log, (block,))
    assert reader.read(today, now + 3 * DAY) is not None
    assert reader.read(today, now + 5 * DAY) is None
    assert reader.read(today, now - DAY) is not None
    static = raw_rotation(log.address, log.link_key, 0)
    echoed = reader.read(writer.write(log, [], now, static), now)
    assert echoed is not None
    assert (echoed.rotation, echoed.blocks) == (static, ())
    assert reader.follow([], now) == (set(), {one.address for one in logs_of(group)})
    assert reader.read(today, now) is None


def test_frames_that_lie() -> None:
    """A frame under one log's rotation that names the other, or whose entry does not hash to its name, is refused."""
    group = Group(GroupId(PrivateKey(b"g" * 32).public), Secret(b"s" * 32), GroupKind.MULTI_MEMBER)
    metadata, messages = logs_of(group)
    reader = LogFrames(PEER, DAY, bytes)
    reader.follow([metadata, messages], 0.0)
    rotation = raw_rotation(metadata.address, metadata.link_key, 0)
    lie = seal_heads(Heads(messages.address, ()), metadata.link_key, rotation, bytes(24))
    with pytest.raises(RemoteProtocolError, match="names another"):
        reader.read(lie, 0.0)
    stranger = seal_heads(Heads(metadata.address, ()), bytes(32), rotation, bytes(24))
    assert reader.read(stranger, 0.0) is None
    with pytest.raises(RemoteProtocolError):
        reader.read(b"\x12\x01x", 0.0)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    """A stranger's bytes are nothing of ours, or RemoteProtocolError."""
    try:
        assert LogFrames(PEER, DAY, bytes).read(data, 0.0) is None
    except RemoteProtocolError:
        return


def test_portions() -> None:
    """Blocks keep their order, runs stay below the size, and one large block goes alone."""
    blocks = [bytes(size) for size in (10, 20, 30, 100, 1, 1)]
    assert list(portions(blocks, 60)) == [blocks[:3], [blocks[3]], blocks[4:]]
    assert [len(run) for run in portions([b""] * 1100, 60)] == [500, 500, 100]
    assert list(portions([], 60)) == []


def test_recorded_local_records(wesh: dict[str, Any]) -> None:
    """Topics of groups and of contact requests, as weshnet and the recording's own side wrote them."""
    found = frames(wesh, "wesh/p2p/localrecord")
    topics = [topic for frame in found for topic in decode_records(frame, 0.0)]
    group = recorded_group(wesh)
    assert {"floodsub:" + log.address for log in logs_of(group)} <= set(topics)
    single = [frame for frame in found if len(pb.LocalRecords.FromString(frame).records) == 1]
    assert single
    for frame in single:
        record = pb.LocalRecords.FromString(frame).records[0]
        assert FrameReader(MAX_MESSAGE).feed(encode_records([record.topic], record.expires - LIFETIME)) == [frame]
        assert decode_records(frame, record.expires) == ()


def test_local_records_stay_small() -> None:
    """What does not fit 2048 bytes is left out, since the peer would refuse all of it."""
    frame = FrameReader(MAX_MESSAGE).feed(encode_records([f"{number:0100}" for number in range(50)], 0.0))[0]
    assert 10 < len(decode_records(frame, 1.0)) < 50
    with pytest.raises(RemoteProtocolError):
        decode_records(bytes(MAX_MESSAGE + 1), 0.0)


@given(st.binary(max_size=100))
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    """Topics or RemoteProtocolError."""
    try:
        assert all(isinstance(topic, str) for topic in decode_records(data, 0.0))
    except RemoteProtocolError:
        return


def chain(count: int) -> list[Pair]:
    """Entries that each name the one before, and now and then a merge of two lines."""
    key = PrivateKey(b"k" * 32)
    chosen = random.Random(1)
    made: list[tuple[Entry, bytes]] = []
    for number in range(count):
        parents = tuple(dict.fromkeys(chosen.choice(made[-4:])[0].cid for _ in range(2))) if made else ()
        refs = (made[number // 2][0].cid,) if number > 8 else ()
        made.append(sign_entry(LogIdentity.of(key), "log", b"%d" % number, parents, refs, number + 1))
    return made


def test_a_gap_is_followed_back_and_handed_on_parents_first() -> None:
    """From the head alone every ancestor is asked for once, also by shortcuts, and comes out behind its parents."""
    made = chain(60)
    by_cid = {entry.cid: (entry, block) for entry, block in made}
    gap = Gap()
    links = gap.add([made[-1]])
    asked = 0
    while links:
        asked += len(links)
        gap.fetching.update(links)
        assert not gap.ready
        new = gap.add([by_cid[cid] for cid in links])
        assert not set(new) & set(by_cid[cid][0].cid for cid in links)
        links = new
    assert gap.ready
    assert len(gap) == asked + 1
    taken = gap.take()
    seen: set[Cid] = set()
    for entry, _ in taken:
        assert set(entry.next) <= seen
        seen.add(entry.cid)
    assert len(taken) == asked + 1
    assert not gap.ready
    assert gap.take() == []


@pytest.mark.parametrize("limit", [3, 7, 40, 100])
def test_a_gap_that_is_larger_than_what_may_be_kept(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """It is handed on in stretches from below, parents first; nothing is missing, and no more is ever kept."""
    monkeypatch.setattr(gaps, "MAX_ENTRIES", limit)
    made = chain(90)
    by_cid = {entry.cid: (entry, block) for entry, block in made}
    gap, stored = Gap(), set[Cid]()
    links, fetched = gap.add([made[-1]]), 0
    while True:
        while links or gap.fetching:
            gap.fetching.update(cid for cid in links if cid not in stored)
            batch = sorted(gap.fetching)[:2]
            fetched += len(batch)
            links = gap.add([by_cid[cid] for cid in batch])
            if gap.full:
                assert len(gap) <= limit + 2
                links, _ = gap.sink()
        for entry, _ in gap.take():
            assert set(entry.next) <= stored
            stored.add(entry.cid)
        begun = gap.rise()
        if not begun:
            break
        links = [cid for cid in begun if cid not in stored]
    assert stored == ancestors(by_cid, made[-1][0].cid)
    assert fetched <= (len(stored) if limit == 100 else len(stored) ** 2)


def ancestors(by_cid: dict[Cid, Pair], head: Cid) -> set[Cid]:
    """An entry, and all that it leads to."""
    found, walk = {head}, [head]
    while walk:
        entry = by_cid[walk.pop()][0]
        walk += [cid for cid in (*entry.next, *entry.refs) if cid not in found]
        found.update(walk)
    return found


def test_a_gap_that_nobody_can_close() -> None:
    """What is given up no longer stands in the way; what is fetched is known not to be asked for again."""
    made = chain(3)
    gap = Gap()
    links = gap.add([made[-1]])
    gap.fetching.update(links)
    assert all(cid in gap for cid in links)
    for cid in links:
        gap.give_up(cid)
    assert gap.ready
    assert gap.take() == [made[-1]]
