"""Gossipsub 1.1: messages of a topic reach everyone who follows it, over a mesh of few links.

Differs from Go where that loses messages: a peer is grafted the moment its subscription is seen, and our own messages
go to every peer of the topic (libp2p notes, trap 5). Peer exchange and scores are not read.
Invariant: each peer can make us keep a bounded number of topics, ids and bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from berty_core.codec.frames import encode_frame
from berty_core.codec.protobuf import parse
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import RemoteProtocolError

from . import gossip_messages as wire
from .gossip_cache import MessageCache, SeenMessages
from .gossip_messages import MAX_RPC, GossipMessage
from .pb import libp2p_pb2 as pb
from .peers import PeerId

PROTOCOL: Final = "/meshsub/1.1.0"
HEARTBEAT: Final = 1.0
DEGREE, LOW, HIGH = 6, 5, 12
BACKOFF, UNSUBSCRIBE_BACKOFF, MAX_BACKOFF = 60, 10, 3600
MAX_TOPICS: Final = 4096  # of one peer
MAX_IDS: Final = 5000  # that one peer may tell of, or ask for, in a heartbeat
MAX_QUEUE: Final = 4 * 1024 * 1024  # bytes that wait for one peer
MAX_FORGED: Final = 16  # messages that do not hold, of one peer


@attrs.frozen
class Received:
    """A message of a topic that we follow; `sender` is who passed it on."""

    message: GossipMessage
    sender: PeerId


@attrs.frozen
class Joined:
    """A peer follows a topic that we follow."""

    topic: str
    peer: PeerId


@attrs.frozen
class Left:
    """A peer no longer follows a topic that we follow."""

    topic: str
    peer: PeerId


Event = Received | Joined | Left


@attrs.define(eq=False)
class _Peer:
    """What one peer follows, what waits to be sent to it, and what it may still ask in this heartbeat."""

    topics: set[str] = attrs.field(factory=set)
    parts: list[bytes] = attrs.field(factory=list)
    size: int = 0
    ids: int = MAX_IDS
    asked: int = MAX_IDS
    forged: int = 0


class Gossip:
    """The router. `first_sequence` must be above every number used under this key before: Unix nanoseconds will do.

    A `reserved` one names a topic to those peers only that have named it first.
    """

    def __init__(
        self,
        key: PrivateKey,
        entropy: Callable[[int], bytes],
        first_sequence: int,
        now: float,
        *,
        reserved: bool = False,
    ) -> None:
        self.peer_id = PeerId.of(key.public)
        self.dropped = 0  # messages that a peer was too slow to take
        self._key = key
        self._reserved = reserved
        self._sequence = first_sequence
        self._random = random.Random(entropy(16))  # noqa: S311  spreads links, keeps no secret
        self._peers: dict[PeerId, _Peer] = {}
        self._mesh: dict[str, set[PeerId]] = {}  # of the topics that we follow
        self._backoff: dict[tuple[PeerId, str], float] = {}
        self._seen = SeenMessages()
        self._cache = MessageCache()
        self._asked: set[bytes] = set()  # in this heartbeat
        self._next_heartbeat = now + HEARTBEAT

    # -- what the application asks for ---------------------------------------------------------

    @property
    def topics(self) -> frozenset[str]:
        """What we follow."""
        return frozenset(self._mesh)

    def followers(self, topic: str) -> list[PeerId]:
        """The peers that follow a topic."""
        return [name for name, peer in self._peers.items() if topic in peer.topics]

    def followed_by(self, name: PeerId) -> frozenset[str]:
        """The topics that a peer follows, ours or not."""
        return frozenset(self._peers[name].topics) if name in self._peers else frozenset()

    def mesh(self, topic: str) -> frozenset[PeerId]:
        """The peers that get and send every message of a topic."""
        return frozenset(self._mesh.get(topic, ()))

    def subscribe(self, topic: str, now: float) -> list[Event]:
        """Follow a topic; the peers that follow it already are told as `Joined`."""
        if topic in self._mesh:
            return []
        self._mesh[topic] = set()
        for peer in self._peers.values():
            self._show(peer, topic, True)
        followers = self.followers(topic)
        for name in followers:
            self._graft(name, topic, now)
        return [Joined(topic, name) for name in followers]

    def unsubscribe(self, topic: str, now: float) -> None:
        """Follow a topic no longer."""
        mesh = self._mesh.pop(topic, None)
        if mesh is None:
            return
        for peer in self._peers.values():
            self._show(peer, topic, False)
        for name in mesh:
            self._queue(self._peers[name], wire.prune(topic, UNSUBSCRIBE_BACKOFF))
            self._backoff[name, topic] = now + UNSUBSCRIBE_BACKOFF

    def publish(self, topic: str, data: bytes, now: float) -> int:
        """Send a message to every peer of its topic; how many there are. LocalProtocolError above about 1 MiB."""
        message = wire.sign_message(self._key, topic, data, self._sequence)
        self._sequence += 1
        self._seen.add(message.id, now)
        self._cache.add(message)
        followers = self.followers(topic)
        self._spread(message, followers)
        return len(followers)

    # -- peers ---------------------------------------------------------------------------------

    def add_peer(self, name: PeerId) -> None:
        """A peer that speaks gossipsub is there: tell it what we follow."""
        if name in self._peers:
            return
        peer = self._peers[name] = _Peer()
        for topic in self._mesh:
            self._show(peer, topic, True)

    def repeat(self, name: PeerId) -> None:
        """A stream with a peer was opened anew: what it was told before may be lost, so it is told again."""
        peer = self._peers.get(name)
        if peer is None or peer.size > MAX_QUEUE:
            return
        for topic, mesh in self._mesh.items():
            self._show(peer, topic, True)
            if name in mesh:
                self._queue(peer, wire.graft(topic))

    def remove_peer(self, name: PeerId) -> list[Event]:
        """A peer is gone."""
        peer = self._peers.pop(name, None)
        if peer is None:
            return []
        for mesh in self._mesh.values():
            mesh.discard(name)
        self._backoff = {key: until for key, until in self._backoff.items() if key[0] != name}
        return [Left(topic, name) for topic in peer.topics if topic in self._mesh]

    # -- the wire and the clock ----------------------------------------------------------------

    def receive(self, name: PeerId, frame: bytes, now: float) -> list[Event]:
        """Take one RPC of a peer; RemoteProtocolError means: close the connection."""
        rpc = parse(pb.Rpc, frame, MAX_RPC)
        peer = self._peers.get(name)
        if peer is None:
            return []
        events = self._follow(name, peer, rpc.subscriptions, now)
        for message in rpc.publish:
            self._take_message(name, peer, message, events, now)
        for wanted in rpc.control.iwant:
            self._resend(name, peer, wanted.message_ids)
        for told in rpc.control.ihave:
            self._ask(peer, told)
        for entry in rpc.control.graft:
            self._grafted(name, peer, entry.topic, now)
        for pruned in rpc.control.prune:
            self._pruned(name, pruned, now)
        return events

    def take(self, ready: Callable[[PeerId], bool] = lambda _: True) -> list[tuple[PeerId, bytes]]:
        """Frames to send now, to the peers that take more (`ready`)."""
        out: list[tuple[PeerId, bytes]] = []
        for name, peer in self._peers.items():
            if peer.parts and ready(name):
                parts, peer.parts, peer.size = peer.parts, [], 0
                out += [(name, encode_frame(rpc, MAX_RPC)) for rpc in _pack(parts)]
        return out

    def timeout(self) -> float | None:
        """When `wake` wants to be called."""
        return self._next_heartbeat if self._peers else None

    def wake(self, now: float) -> None:
        """Beat, if it is time: mend the meshes, tell of recent messages, forget what is old."""
        if now < self._next_heartbeat:
            return
        self._next_heartbeat = now + HEARTBEAT
        self._asked.clear()
        for peer in self._peers.values():
            peer.ids = peer.asked = MAX_IDS
        self._backoff = {key: until for key, until in self._backoff.items() if until > now}
        for topic in self._mesh:
            self._mend(topic, now)
            self._tell(topic)
        self._cache.shift()
        self._seen.expire(now)

    # -- subscriptions -------------------------------------------------------------------------

    def _follow(self, name: PeerId, peer: _Peer, entries: Iterable[pb.Rpc.Subscription], now: float) -> list[Event]:
        events: list[Event] = []
        for entry in entries:
            try:
                topic = wire.topic_text(entry.topic)
            except RemoteProtocolError:
                continue  # a topic of somebody else's making
            if entry.subscribe and topic not in peer.topics and len(peer.topics) < MAX_TOPICS:
                peer.topics.add(topic)
                if topic in self._mesh:
                    if self._reserved:
                        self._show(peer, topic, True)
                    self._graft(name, topic, now)
                    events.append(Joined(topic, name))
            elif not entry.subscribe and topic in peer.topics:
                peer.topics.discard(topic)
                if topic in self._mesh:
                    self._mesh[topic].discard(name)
                    events.append(Left(topic, name))
        return events

    # -- messages ------------------------------------------------------------------------------

    def _take_message(
        self, name: PeerId, peer: _Peer, message: pb.PubsubMessage, events: list[Event], now: float
    ) -> None:
        if message.author == self.peer_id or wire.message_id(message) in self._seen:
            return
        try:
            if wire.topic_text(message.topic) not in self._mesh:
                return
            checked = wire.check_message(message)
        except RemoteProtocolError as error:
            peer.forged += 1
            if peer.forged > MAX_FORGED:
                raise RemoteProtocolError(f"a peer that goes on passing bad messages: {error}") from error
            return
        self._seen.add(checked.id, now)
        self._cache.add(checked)
        self._spread(checked, self._mesh[checked.topic] - {name, checked.author})
        events.append(Received(checked, name))

    def _spread(self, message: GossipMessage, to: Iterable[PeerId]) -> None:
        for name in to:
            peer = self._peers[name]
            if peer.size > MAX_QUEUE:
                self.dropped += 1
            else:
                self._queue(peer, message.part)

    def _resend(self, name: PeerId, peer: _Peer, ids: Iterable[bytes]) -> None:
        for wanted in ids:
            peer.asked -= 1
            if peer.asked < 0:
                return
            message = self._cache.resend(wanted, name)
            if message is not None:
                self._spread(message, (name,))

    def _ask(self, peer: _Peer, told: pb.Control.IHave) -> None:
        if told.topic.decode(errors="replace") not in self._mesh:
            return
        wanted: list[bytes] = []
        for name in told.message_ids:
            peer.ids -= 1
            if peer.ids < 0:
                break
            if name not in self._seen and name not in self._asked:
                self._asked.add(name)
                wanted.append(name)
        if wanted:
            self._queue(peer, wire.want(wanted))

    # -- the mesh ------------------------------------------------------------------------------

    def _waits(self, name: PeerId, topic: str, now: float) -> bool:
        """Whether a peer is not to be asked for a topic yet."""
        return self._backoff.get((name, topic), 0) > now

    def _graft(self, name: PeerId, topic: str, now: float) -> None:
        mesh = self._mesh[topic]
        if name in mesh or len(mesh) >= HIGH or self._waits(name, topic, now):
            return
        mesh.add(name)
        self._queue(self._peers[name], wire.graft(topic))

    def _grafted(self, name: PeerId, peer: _Peer, topic_bytes: bytes, now: float) -> None:
        topic = topic_bytes.decode(errors="replace")
        mesh = self._mesh.get(topic)
        if mesh is None or name in mesh:
            return  # nothing is said of a topic that we do not follow: it could be a stranger's question
        peer.asked -= 1
        if peer.asked < 0:
            return
        if topic not in peer.topics or len(mesh) >= HIGH or self._waits(name, topic, now):
            self._queue(peer, wire.prune(topic, BACKOFF))
            self._backoff[name, topic] = now + BACKOFF
        else:
            mesh.add(name)

    def _pruned(self, name: PeerId, entry: pb.Control.Prune, now: float) -> None:
        topic = entry.topic.decode(errors="replace")
        mesh = self._mesh.get(topic)
        if mesh is None:
            return
        mesh.discard(name)
        backoff = min(entry.backoff, MAX_BACKOFF) if entry.HasField("backoff") else BACKOFF
        self._backoff[name, topic] = now + backoff

    def _mend(self, topic: str, now: float) -> None:
        mesh = self._mesh[topic]
        if len(mesh) < LOW:
            spare = [name for name in self.followers(topic) if name not in mesh and not self._waits(name, topic, now)]
            for name in self._random.sample(spare, len(spare))[: DEGREE - len(mesh)]:
                self._graft(name, topic, now)
        if len(mesh) > HIGH:
            for name in self._random.sample(sorted(mesh), len(mesh) - DEGREE):
                mesh.discard(name)
                self._queue(self._peers[name], wire.prune(topic, BACKOFF))
                self._backoff[name, topic] = now + BACKOFF

    def _tell(self, topic: str) -> None:
        """Tell some who are not in the mesh which messages are here."""
        ids = self._cache.recent(topic)[:MAX_IDS]
        if not ids:
            return
        others = [name for name in self.followers(topic) if name not in self._mesh[topic]]
        for name in self._random.sample(others, min(DEGREE, len(others))):
            self._queue(self._peers[name], wire.have(topic, ids))

    def _show(self, peer: _Peer, topic: str, follow: bool) -> None:
        """Tell a peer that we follow a topic, or no longer, if it may know."""
        if not self._reserved or topic in peer.topics:
            self._queue(peer, wire.subscription(topic, follow))

    def _queue(self, peer: _Peer, part: bytes) -> None:
        peer.parts.append(part)
        peer.size += len(part)


def _pack(parts: list[bytes]) -> list[bytes]:
    """Join pieces to as few RPCs as their limit allows."""
    packed: list[bytes] = []
    begin, size = 0, 0
    for position, part in enumerate(parts):
        if size and size + len(part) > MAX_RPC:
            packed.append(b"".join(parts[begin:position]))
            begin, size = position, 0
        size += len(part)
    packed.append(b"".join(parts[begin:]))
    return packed
