"""The gossip router: who is told what, and what a hostile peer cannot make it do."""

from __future__ import annotations

import pytest
from berty_libp2p import gossip_messages as wire
from berty_libp2p.gossip import (
    BACKOFF,
    HIGH,
    LOW,
    MAX_FORGED,
    MAX_IDS,
    MAX_QUEUE,
    MAX_TOPICS,
    UNSUBSCRIBE_BACKOFF,
    Event,
    Gossip,
    Joined,
    Left,
    Received,
)
from berty_libp2p.gossip_cache import MAX_BYTES, MAX_RESENT, MAX_SEEN, SEEN_FOR, WINDOWS, MessageCache, SeenMessages
from berty_libp2p.pb import libp2p_pb2 as pb
from berty_libp2p.peers import PeerId
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.frames import FrameReader
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import LocalProtocolError, RemoteProtocolError

OWN = PrivateKey(bytes(32))
KEYS = [PrivateKey(bytes([number]) * 32) for number in range(1, 30)]
PEERS = [PeerId.of(key.public) for key in KEYS]
ONE, TWO, THREE = PEERS[:3]


def router(*topics: str) -> Gossip:
    made = Gossip(OWN, bytes, 1000, 0.0)
    for topic in topics:
        made.subscribe(topic, 0.0)
    return made


def rpcs(made: Gossip) -> dict[PeerId, pb.Rpc]:
    """What is to be sent now, frames of one peer together."""
    found: dict[PeerId, pb.Rpc] = {}
    for name, frame in made.take():
        for data in FrameReader(1 << 20).feed(frame):
            found.setdefault(name, pb.Rpc()).MergeFromString(data)
    return found


def join(made: Gossip, *peers: PeerId, topic: str = "t", now: float = 0.0) -> list[Event]:
    events: list[Event] = []
    for peer in peers:
        made.add_peer(peer)
        events += made.receive(peer, wire.subscription(topic, True), now)
    return events


def message(number: int = 0, topic: str = "t", data: bytes = b"x", key: PrivateKey = KEYS[0]) -> wire.GossipMessage:
    return wire.sign_message(key, topic, data, number)


def test_a_peer_is_grafted_the_moment_its_subscription_is_seen() -> None:
    """It is told what we follow, grafted at once, and what is published next goes to it (trap 5)."""
    made = router("t")
    assert join(made, ONE) == [Joined("t", ONE)]
    said = rpcs(made)[ONE]
    assert [(entry.subscribe, entry.topic) for entry in said.subscriptions] == [(True, b"t")]
    assert [entry.topic for entry in said.control.graft] == [b"t"]
    assert made.mesh("t") == {ONE}
    assert made.publish("t", b"data", 0.0) == 1
    assert [entry.data for entry in rpcs(made)[ONE].publish] == [b"data"]


def test_subscribing_later_tells_who_is_there() -> None:
    """Peers that follow a topic already are told of, grafted, and told that we follow it."""
    made = router()
    assert join(made, ONE) == []
    assert made.subscribe("t", 0.0) == [Joined("t", ONE)]
    assert made.subscribe("t", 0.0) == []
    assert [entry.topic for entry in rpcs(made)[ONE].control.graft] == [b"t"]


def test_our_own_messages_go_to_everyone_of_the_topic() -> None:
    """Also to peers outside the mesh, each once, with rising numbers and our signature."""
    made = router("t")
    join(made, *PEERS[: HIGH + 5])
    assert len(made.mesh("t")) == HIGH
    rpcs(made)
    assert made.publish("t", b"one", 0.0) == HIGH + 5
    made.publish("t", b"two", 0.0)
    for said in rpcs(made).values():
        checked = [wire.check_message(entry) for entry in said.publish]
        assert [entry.data for entry in checked] == [b"one", b"two"]
        assert {entry.author for entry in checked} == {PeerId.of(OWN.public)}
        assert [entry.seqno for entry in said.publish] == [(1000).to_bytes(8, "big"), (1001).to_bytes(8, "big")]
    assert made.publish("nobody", b"x", 0.0) == 0


def test_messages_are_passed_on_once() -> None:
    """To the mesh, but not to who sent it or wrote it; the second copy is nothing, and neither is our own."""
    made = router("t")
    join(made, ONE, TWO, THREE)
    rpcs(made)
    one = message()
    assert made.receive(TWO, one.part, 0.0) == [Received(one, TWO)]
    assert {name: len(said.publish) for name, said in rpcs(made).items()} == {THREE: 1}
    assert made.receive(THREE, one.part, 0.0) == []
    own = wire.sign_message(OWN, "t", b"mine", 5)
    assert made.receive(THREE, own.part, 0.0) == []
    assert made.receive(THREE, message(1, topic="other").part, 0.0) == []
    assert rpcs(made) == {}


def forged() -> dict[str, pb.PubsubMessage]:
    good = pb.Rpc.FromString(message().part).publish[0]
    made = {}
    for name in ("author", "data", "seqno", "topic", "signature", "key"):
        changed = made[name] = pb.PubsubMessage()
        changed.CopyFrom(good)
        setattr(changed, name, {"topic": b"u", "author": TWO, "key": b"k", "seqno": b"1234567"}.get(name, b"changed"))
    made["unsigned"] = pb.PubsubMessage()
    made["unsigned"].CopyFrom(good)
    made["unsigned"].ClearField("signature")
    return made


@pytest.mark.parametrize("name", sorted(forged()))
def test_forged_messages_are_dropped_and_end_the_connection_in_the_end(name: str) -> None:
    """Strict signing: nothing unsigned or changed is delivered or passed on; a peer that goes on is given up."""
    made = router("t", "u")
    join(made, ONE, TWO)
    rpcs(made)
    rpc = pb.Rpc(publish=[forged()[name]]).SerializeToString()
    for _ in range(MAX_FORGED):
        assert made.receive(ONE, rpc, 0.0) == []
    assert rpcs(made) == {}
    with pytest.raises(RemoteProtocolError, match="goes on"):
        made.receive(ONE, rpc, 0.0)
    assert made.receive(TWO, message().part, 0.0), "a forged copy does not keep the real one out"


def test_grafts_and_prunes() -> None:
    """A graft is taken up to a limit and not during a backoff; a prune is heeded for as long as it says."""
    made = router("t")
    join(made, *PEERS[:HIGH])
    made.add_peer(PEERS[HIGH])
    made.receive(PEERS[HIGH], wire.subscription("t", True) + wire.graft("t"), 0.0)
    said = rpcs(made)[PEERS[HIGH]]
    assert [(entry.topic, entry.backoff) for entry in said.control.prune] == [(b"t", BACKOFF)]
    assert len(made.mesh("t")) == HIGH
    made.receive(ONE, wire.prune("t", 30), 0.0)
    assert ONE not in made.mesh("t")
    made.receive(ONE, wire.graft("t"), 1.0)
    assert [entry.topic for entry in rpcs(made)[ONE].control.prune] == [b"t"]
    made.receive(ONE, wire.graft("unknown"), 1.0)
    assert ONE not in rpcs(made)
    made.wake(100.0)
    made.receive(ONE, wire.graft("t"), 100.0)
    assert ONE in made.mesh("t")
    made.receive(ONE, wire.prune("t", 1 << 63), 100.0)
    made.wake(100.0 + 3601)
    made.receive(ONE, wire.graft("t"), 3701.0)
    assert ONE in made.mesh("t")


def test_leaving_a_topic() -> None:
    """Everyone is told, the mesh is pruned with a short backoff, and its messages are nothing from then on."""
    made = router("t")
    join(made, ONE)
    made.add_peer(TWO)
    rpcs(made)
    made.unsubscribe("t", 0.0)
    made.unsubscribe("t", 0.0)
    said = rpcs(made)
    assert [entry.backoff for entry in said[ONE].control.prune] == [UNSUBSCRIBE_BACKOFF]
    assert [(entry.subscribe, entry.topic) for entry in said[TWO].subscriptions] == [(False, b"t")]
    assert made.receive(ONE, message().part, 0.0) == []
    made.subscribe("t", 1.0)
    assert ONE not in made.mesh("t")
    made.wake(1.0 + UNSUBSCRIBE_BACKOFF)
    assert ONE in made.mesh("t")


def test_peers_that_leave() -> None:
    """By unsubscribing or going: told once, and out of the mesh."""
    made = router("t")
    join(made, ONE, TWO)
    assert made.receive(ONE, wire.subscription("t", False), 0.0) == [Left("t", ONE)]
    assert made.receive(ONE, wire.subscription("t", False), 0.0) == []
    assert made.remove_peer(TWO) == [Left("t", TWO)]
    assert made.remove_peer(TWO) == []
    assert made.mesh("t") == frozenset()
    assert made.receive(TWO, message().part, 0.0) == []
    assert made.timeout() is not None
    made.remove_peer(ONE)
    assert made.timeout() is None


def test_a_heartbeat_mends_the_mesh() -> None:
    """A thin mesh is filled from the topic's peers; nothing happens between beats."""
    made = router("t")
    join(made, *PEERS[:20])
    for name in list(made.mesh("t")):
        made.receive(name, wire.prune("t", 5), 0.0)
    made.wake(0.5)
    assert len(made.mesh("t")) == 0
    made.wake(1.0)
    assert LOW <= len(made.mesh("t")) <= HIGH


def test_missed_messages_are_told_of_and_sent_when_asked_for() -> None:
    """At a heartbeat peers outside the mesh hear the ids; who asks gets a message, three times and no more."""
    made = router("t")
    join(made, *PEERS[: HIGH + 3])
    outside = set(PEERS[: HIGH + 3]) - made.mesh("t")
    rpcs(made)
    one = message(key=KEYS[25])
    made.receive(next(iter(made.mesh("t"))), one.part, 0.0)
    assert not outside & rpcs(made).keys()
    made.wake(1.0)
    said = rpcs(made)
    asker = next(iter(outside))
    assert said[asker].control.ihave[0].message_ids == [one.id]
    got = []
    for _ in range(MAX_RESENT + 2):
        made.receive(asker, wire.want([one.id, b"unknown"]), 1.0)
        got.append(len(rpcs(made).get(asker, pb.Rpc()).publish))
    assert got == [1] * MAX_RESENT + [0, 0]
    for beat in range(WINDOWS):
        made.wake(2.0 + beat)
    rpcs(made)
    other = next(iter(outside - {asker}))
    made.receive(other, wire.want([one.id]), 8.0)
    assert other not in rpcs(made)


def test_what_others_have_is_asked_for_once() -> None:
    """Ids that are new are wanted from one peer in a heartbeat; seen ones and those of other topics are not."""
    made = router("t")
    join(made, ONE, TWO)
    seen, new = message(), message(1)
    made.receive(ONE, seen.part, 0.0)
    rpcs(made)
    made.receive(ONE, wire.have("t", [seen.id, new.id]) + wire.have("other", [b"id"]), 0.0)
    made.receive(TWO, wire.have("t", [new.id]), 0.0)
    said = rpcs(made)
    assert [list(entry.message_ids) for entry in said[ONE].control.iwant] == [[new.id]]
    assert TWO not in said
    made.wake(1.0)
    rpcs(made)
    made.receive(TWO, wire.have("t", [new.id]), 1.0)
    assert [list(entry.message_ids) for entry in rpcs(made)[TWO].control.iwant] == [[new.id]]


def test_floods_are_bounded() -> None:
    """Ids, topics, grafts and bytes of one peer each have a limit in a heartbeat or at all."""
    made = router("t")
    join(made, ONE)
    rpcs(made)
    for batch in range(4):
        made.receive(ONE, wire.have("t", [b"%d-%d" % (batch, number) for number in range(2000)]), 0.0)
    assert sum(len(entry.message_ids) for entry in rpcs(made)[ONE].control.iwant) == MAX_IDS
    topics = pb.Rpc(subscriptions=[{"subscribe": True, "topic": b"%d" % number} for number in range(2 * MAX_TOPICS)])
    made.receive(ONE, topics.SerializeToString(), 0.0)
    assert len(made._peers[ONE].topics) == MAX_TOPICS
    made.receive(TWO, wire.subscription("x" * 1025, True), 0.0)
    made.receive(TWO, b"\x0a\x05\x08\x01\x12\x01\xff", 0.0)  # a topic that is not text
    made.receive(ONE, wire.prune("t", 60), 0.0)
    made.receive(ONE, wire.graft("t") * 10_000, 0.0)
    assert len(rpcs(made)[ONE].control.prune) <= MAX_IDS
    with pytest.raises(RemoteProtocolError, match="limit"):
        made.receive(ONE, bytes((1 << 20) + 1), 0.0)


def test_a_slow_peer_loses_messages_and_costs_bounded_memory() -> None:
    """While a peer takes nothing its queue stops growing, the loss is counted, and it goes on once it reads again."""
    made = router("t")
    join(made, ONE)
    rpcs(made)
    for _ in range(20):
        made.publish("t", bytes(500_000), 0.0)
    assert made.take(lambda _: False) == []
    assert made.dropped > 0
    waiting = made._peers[ONE].size
    assert MAX_QUEUE <= waiting <= MAX_QUEUE + 600_000
    frames = made.take()
    assert all(len(frame) <= (1 << 20) + 3 for _, frame in frames)
    assert sum(len(frame) for _, frame in frames) >= waiting
    made.publish("t", b"again", 0.0)
    assert [entry.data for entry in rpcs(made)[ONE].publish] == [b"again"]
    with pytest.raises(LocalProtocolError, match="too many"):
        made.publish("t", bytes(1 << 20), 0.0)


def test_a_stream_that_was_opened_anew() -> None:
    """A peer that may have forgotten us is told again what we follow and where it is in the mesh."""
    made = router("t")
    join(made, ONE)
    rpcs(made)
    made.repeat(ONE)
    said = rpcs(made)[ONE]
    assert [entry.topic for entry in said.subscriptions] == [entry.topic for entry in said.control.graft] == [b"t"]
    made.repeat(TWO)
    assert rpcs(made) == {}


def test_what_was_seen_is_forgotten_in_time_and_number() -> None:
    """Two minutes, or 65,536 ids."""
    seen = SeenMessages()
    seen.add(b"old", 0.0)
    seen.add(b"new", 100.0)
    seen.expire(SEEN_FOR + 1)
    assert b"old" not in seen and b"new" in seen
    for number in range(MAX_SEEN):
        seen.add(number.to_bytes(4, "big"), 200.0)
    assert b"new" not in seen


def test_the_cache_is_bounded() -> None:
    """Messages beyond 8 MiB are not kept; room comes back with the heartbeats."""
    cache = MessageCache()
    messages = [message(number, data=bytes(1_000_000)) for number in range(10)]
    for one in messages:
        cache.add(one)
    kept = [one for one in messages if cache.resend(one.id, ONE)]
    assert len(kept) == MAX_BYTES // 1_000_000
    for _ in range(WINDOWS):
        cache.shift()
    assert not [one for one in messages if cache.resend(one.id, TWO)]
    cache.add(messages[-1])
    assert cache.recent("t") == [messages[-1].id]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([
    wire.graft("t"), wire.prune("t", 1), wire.subscription("t", True), wire.subscription("t", False),
    wire.have("t", [b"id"]), wire.want([b"id"]), message().part, message().part[:-3], b"\x1a\x02\x0a\x00",
    b"\x08\x01\x10\x01\x18\x01", b"\x12\x02\x08\x01",
]), max_size=12))  # fmt: skip
def test_any_rpc_gives_events_or_a_remote_error(frames: list[bytes]) -> None:
    """Whatever a peer says, wrong wire types among it (trap 9): events or RemoteProtocolError."""
    made = router("t")
    made.add_peer(ONE)
    for now, frame in enumerate(frames):
        try:
            made.receive(ONE, frame, float(now))
        except RemoteProtocolError:
            continue
        made.wake(float(now))
        rpcs(made)
