"""A libp2p node over anyio: links in, peers out. It identifies, answers pings, gossips, and swaps blocks.

One `PeerLink` serves one link; gossip and blocks belong to the peer and move to another of its links when one ends
(libp2p notes, trap 12).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import attrs
from anyio.abc import TaskGroup, TaskStatus

from berty_core.codec.cid import Cid
from berty_core.contracts.transport import Link
from berty_core.crypto.keys import PrivateKey, Secret, encode_public
from berty_core.errors import LinkLost, LocalProtocolError, RemoteProtocolError, TransportError

from . import bitswap, gossip, identify
from .bitswap import Bitswap
from .config import QUIC_IS_MISSING, QUIC_IS_OFF, has_quic
from .connection import Connection
from .gossip import Gossip
from .identify import Description, encode_description
from .link import PING, PeerLink, Stream
from .multiaddr import Multiaddr
from .peers import PeerId
from .pump import Pump, StreamPump
from .tcp import dial_tcp, listen_tcp

if TYPE_CHECKING:
    from .quic import QuicParty

MAX_LINKS: Final = 256
MAX_LINKS_OF_PEER: Final = 4
AGENT: Final = "berty-python"
_OWN: Final = (identify.PROTOCOL, identify.PUSH, PING, gossip.PROTOCOL, bitswap.PROTOCOL)

StreamServer = Callable[[PeerId, Stream], Awaitable[None]]


class Blocks(Protocol):
    """Where the blocks are that this node serves."""

    async def read(self, cids: Iterable[Cid]) -> Mapping[Cid, bytes]:
        """Those of the blocks that are here and may be given to anyone who names them."""


class Listener(Protocol):
    """Who is told what happens. Nothing here may block."""

    def peer_changed(self, peer: PeerId) -> None:
        """A peer came, told about itself, or left (`Host.peers`)."""

    def gossip(self, event: gossip.Event) -> None:
        """A message came, or a peer joined or left a topic."""

    def block(self, event: bitswap.Event) -> None:
        """A block that was asked for is here, or nobody has it."""


@attrs.define(eq=False)
class Peer:
    """A peer that is connected: its links, oldest first, and what it said of itself."""

    links: list[PeerLink]
    description: Description = attrs.field(factory=Description)
    gossip_link: PeerLink | None = None
    block_link: PeerLink | None = None
    gossip_streams: int = 0  # that it has opened


class Host:
    """One libp2p node. `run` it, then `dial` and `listen`, or `connect` and `accept` links.

    `first_sequence` is the time of day in Unix nanoseconds, for the gossip and for certificates. `streams` serves
    further protocols, a task for each stream. A `reserved` node names topics to those only that have named them first.
    QUIC is spoken where `quic` is true, which it is by itself where the extra is installed.
    """

    def __init__(
        self,
        key: PrivateKey,
        entropy: Callable[[int], bytes],
        clock: Callable[[], float],
        first_sequence: int,
        listener: Listener,
        blocks: Blocks,
        streams: Mapping[str, StreamServer] | None = None,
        *,
        reserved: bool = False,
    ) -> None:
        self.key = key
        self.peer_id = PeerId.of(key.public)
        self.entropy = entropy
        self.clock = clock
        self.peers: dict[PeerId, Peer] = {}
        self.addresses: tuple[Multiaddr, ...] = ()
        self.quic = has_quic()
        self.held = 0  # bytes of unfinished messages on streams that are served
        self.router = Gossip(key, entropy, first_sequence, clock(), reserved=reserved)
        self.exchange = Bitswap()
        self._ahead = first_sequence / 1e9 - clock()  # of `clock`, the time of day
        self._party: QuicParty | None = None
        self._listener = listener
        self._blocks = blocks
        self._streams = dict(streams or {})
        self._links: set[PeerLink] = set()
        self._tasks: TaskGroup | None = None
        self._due_changed = anyio.Event()

    # -- life ----------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._keep_time)
            task_status.started()
            await anyio.sleep_forever()

    async def listen(self, host: str = "0.0.0.0", port: int = 0) -> Multiaddr:  # noqa: S104  a node is there to be met
        """Accept TCP connections, also while this runs; the address that is listened on."""
        bound = await self._running().start(listen_tcp, host, port, self.accept)
        return self._listens(Multiaddr.tcp(*bound))

    async def listen_quic(self, host: str = "0.0.0.0", port: int = 0) -> Multiaddr:  # noqa: S104  as above
        """Accept QUIC connections, also while this runs; the address. OSError, TransportError without the extra."""
        party = self._quic_party()
        from .udp import QuicListener  # noqa: PLC0415  slow, and not there without the extra

        listener = QuicListener(party, self.clock, self._unix_time, self._accept, lambda: len(self._links) < MAX_LINKS)
        return self._listens(Multiaddr.quic(*await self._running().start(listener.run, host, port)))

    def _listens(self, address: Multiaddr) -> Multiaddr:
        self.addresses = (*self.addresses, address)
        self.push_description()
        return address.with_peer(self.peer_id)

    def can_dial(self, address: Multiaddr) -> bool:
        """Whether an address is of a kind that is dialled here."""
        try:
            return self.quic or address.target.transport != "quic-v1"
        except RemoteProtocolError:
            return False

    async def dial(self, address: Multiaddr) -> PeerId:
        """Connect to a peer by TCP or QUIC; who is there. A BertyError in words for a person."""
        target = address.target
        if target.transport == "tcp":
            return await self.connect(await dial_tcp(target.host, target.port), address.peer)
        party = self._quic_party()
        from .udp import dial_quic  # noqa: PLC0415  slow, and not there without the extra

        now = self._unix_time()
        return await self._connect(await dial_quic(party, target.host, target.port, self.clock, now, address.peer))

    def _unix_time(self) -> float:
        return self._ahead + self.clock()

    def _quic_party(self) -> QuicParty:
        """What speaks QUIC under our peer id, with a certificate that is made anew for each host."""
        if not self.quic:
            raise TransportError(QUIC_IS_OFF if has_quic() else QUIC_IS_MISSING)
        if self._party is None:
            self._party = _load_quic()(self.key, self.entropy, self.speaks)
        return self._party

    async def connect(self, link: Link, expected: PeerId | None = None) -> PeerId:
        """Speak libp2p on a link that we opened; returns once the peer has proved who it is."""
        return await self._connect(self._over(link, expected))

    def accept(self, link: Link) -> None:
        """Speak libp2p on a link that the other side opened."""
        self._accept(self._over(link, None))

    def _over(self, link: Link, expected: PeerId | None) -> StreamPump:
        secrets = (Secret(self.entropy(32)), Secret(self.entropy(32)))
        connection = Connection(link.initiator, self.key, self.speaks, *secrets, self.clock(), expected=expected)
        return StreamPump(link, connection, self.clock)

    async def _connect(self, pump: Pump) -> PeerId:
        if len(self._links) >= MAX_LINKS:
            await pump.aclose()
            raise LocalProtocolError(f"there are {MAX_LINKS} connections, and no more can be")
        link = self._start(pump)
        return await link.connected()

    def _accept(self, pump: Pump) -> None:
        if self._tasks is None or len(self._links) >= MAX_LINKS:
            if self._tasks is not None:
                self._tasks.start_soon(pump.aclose)
            return
        self._start(pump)

    def _start(self, pump: Pump) -> PeerLink:
        link = PeerLink(self, pump)
        self._links.add(link)
        self._running().start_soon(self._serve, link)
        return link

    async def _serve(self, link: PeerLink) -> None:
        try:
            await link.run()
        finally:
            self._links.discard(link)

    # -- what the application asks for ---------------------------------------------------------

    def subscribe(self, topic: str) -> None:
        """Follow a topic."""
        self._tell_gossip(self.router.subscribe(topic, self.clock()))
        self.flush()

    def unsubscribe(self, topic: str) -> None:
        """Follow a topic no longer."""
        self.router.unsubscribe(topic, self.clock())
        self.flush()

    def publish(self, topic: str, data: bytes) -> int:
        """Send a message to the peers of a topic; how many there are."""
        count = self.router.publish(topic, data, self.clock())
        self.flush()
        return count

    def fetch(self, cids: Iterable[Cid], peers: Iterable[PeerId] = ()) -> None:
        """Want blocks, of these peers first; the listener is told of each."""
        self.exchange.fetch(cids, peers, self.clock())
        self.flush()
        self._due_changed.set()

    def cancel(self, cids: Iterable[Cid]) -> None:
        """Want blocks no longer."""
        self.exchange.cancel(cids, self.clock())
        self.flush()

    def added(self, cid: Cid, block: bytes) -> None:
        """A block is here that was not before: who waits for it gets it."""
        self.exchange.added(cid, block)
        self.flush()

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        """Open a stream to a connected peer; LinkLost if there is no link."""
        found = self.peers.get(peer)
        if found is None:
            raise LinkLost(f"{peer} is not connected")
        return found.links[-1].open_stream(protocol)

    async def ping(self, peer: PeerId) -> float:
        """The round trip to a peer in seconds; LinkLost, RemoteProtocolError."""
        stream = await self.open_stream(peer, PING)
        try:
            data, began = self.entropy(32), self.clock()
            stream.send(data)
            if await stream.receive_exactly(32) != data:
                raise RemoteProtocolError("a ping came back changed")
            return self.clock() - began
        finally:
            stream.reset()

    def close_peer(self, peer: PeerId) -> None:
        """End every link with a peer."""
        for link in list(self.peers[peer].links) if peer in self.peers else []:
            link.close("this node closed it")

    def push_description(self) -> None:
        """Tell connected peers what we are now."""
        for peer in self.peers.values():
            if identify.PUSH in peer.description.protocols:
                link = peer.links[-1]
                with suppress(LinkLost):
                    stream = link.open_stream(identify.PUSH)
                    stream.send(self.describe(link))
                    stream.finish()

    # -- what links need -----------------------------------------------------------------------

    def speaks(self, protocol: str) -> bool:
        """Whether streams of peers may speak this."""
        return protocol in _OWN or protocol in self._streams

    def server(self, protocol: str) -> StreamServer | None:
        """Who serves streams of an application's protocol."""
        return self._streams.get(protocol)

    def describe(self, link: PeerLink) -> bytes:
        """What we say of ourselves on a link."""
        protocols = frozenset([*_OWN, *self._streams])
        addresses = tuple(filter(None, (_as_seen(address, link.local) for address in self.addresses)))
        return encode_description(
            Description(addresses, protocols, AGENT, link.observed), encode_public(self.key.public)
        )

    def link_opened(self, link: PeerLink) -> None:
        """A link's peer has proved who it is; RemoteProtocolError where it has too many links."""
        name, link.opened_at = link.peer, self.clock()
        peer = self.peers.get(name)
        if peer is None:
            self.peers[name] = peer = Peer([link])
        elif len(peer.links) >= MAX_LINKS_OF_PEER:
            raise RemoteProtocolError(f"{name} has {MAX_LINKS_OF_PEER} links already")
        else:
            for other in peer.links:  # a peer that was started anew has not said goodbye on its old links
                other.doubt()
            peer.links.append(link)
        self._listener.peer_changed(name)

    def described(self, link: PeerLink, description: Description) -> None:
        """A peer said what it is: what both speak begins."""
        peer = self.peers.get(link.peer)
        if peer is None or link not in peer.links:
            return
        peer.description = description
        for protocol in description.protocols:
            self.begin(link, protocol)
        self._listener.peer_changed(link.peer)
        self.flush()

    def begin(self, link: PeerLink, protocol: str) -> None:
        """A peer speaks a protocol: it says so, or opened a stream for it before that."""
        peer = self.peers.get(link.peer)
        if peer is None:
            return
        if protocol == gossip.PROTOCOL and peer.gossip_link is None:
            peer.gossip_link = link
            self.router.add_peer(link.peer)
            self._due_changed.set()
        elif protocol == bitswap.PROTOCOL and peer.block_link is None:
            peer.block_link = link
            self.exchange.add_peer(link.peer)

    def gossip_opened(self, link: PeerLink) -> None:
        """A peer opened a stream for gossip. Go does so anew once it has forgotten what we follow."""
        self.begin(link, gossip.PROTOCOL)
        peer = self.peers.get(link.peer)
        if peer is not None:
            peer.gossip_streams += 1
            if peer.gossip_streams > 1:
                self.router.repeat(link.peer)

    def link_closed(self, link: PeerLink) -> None:
        """A link ended: gossip and blocks move to another one, or the peer is gone."""
        peer = self.peers.get(link.peer)
        if peer is None or link not in peer.links:
            return
        peer.links.remove(link)
        if not peer.links:
            del self.peers[link.peer]
            self._tell_gossip(self.router.remove_peer(link.peer))
            self.exchange.remove_peer(link.peer, self.clock())
        else:
            self._move(peer, link)
        self._listener.peer_changed(link.peer)
        self.flush()

    def _move(self, peer: Peer, link: PeerLink) -> None:
        if peer.gossip_link is link:
            peer.gossip_link = peer.links[-1]
            self.router.repeat(link.peer)
        if peer.block_link is link:
            peer.block_link = peer.links[-1]
            self.exchange.repeat(link.peer, self.clock())

    def stream_lost(self, link: PeerLink, protocol: str, *, again: bool) -> None:
        """The peer reset our stream for gossip or blocks, or does not speak them after all (not `again`)."""
        peer = self.peers.get(link.peer)
        if peer is None:
            return
        if protocol == gossip.PROTOCOL and peer.gossip_link is link:
            if again:
                self.router.repeat(link.peer)
            else:
                peer.gossip_link = None
                self._tell_gossip(self.router.remove_peer(link.peer))
        if protocol == bitswap.PROTOCOL and peer.block_link is link:
            if again:
                self.exchange.repeat(link.peer, self.clock())
            else:
                peer.block_link = None
                self.exchange.remove_peer(link.peer, self.clock())

    def gossip_came(self, link: PeerLink, frame: bytes) -> None:
        """An RPC of gossipsub."""
        self._tell_gossip(self.router.receive(link.peer, frame, self.clock()))

    def blocks_came(self, link: PeerLink, frame: bytes) -> None:
        """A message of bitswap."""
        self._tell_blocks(self.exchange.receive(link.peer, frame, self.clock()))

    def flush(self) -> None:
        """Send what the router and the exchange have to say, and look up what peers ask for."""
        for name, frame in self.router.take(self._gossip_ready):
            link = self.peers[name].gossip_link
            if link is not None:
                link.send_on(gossip.PROTOCOL, frame)
        for name, cids in self.exchange.lookups(self._blocks_ready):
            self._running().start_soon(self._look_up, name, cids)
        for name, frame in self.exchange.take(self._blocks_ready):
            link = self.peers[name].block_link
            if link is not None:
                link.send_on(bitswap.PROTOCOL, frame)

    def _gossip_ready(self, name: PeerId) -> bool:
        peer = self.peers.get(name)
        return peer is not None and peer.gossip_link is not None and peer.gossip_link.has_room(gossip.PROTOCOL)

    def _blocks_ready(self, name: PeerId) -> bool:
        peer = self.peers.get(name)
        return peer is not None and peer.block_link is not None and peer.block_link.has_room(bitswap.PROTOCOL)

    async def _look_up(self, name: PeerId, cids: tuple[bytes, ...]) -> None:
        known = {cid for cid in cids if len(cid) == Cid.LENGTH}
        found = await self._blocks.read([Cid(cid) for cid in known]) if known else {}
        for cid in cids:
            self.exchange.answer(name, cid, found.get(Cid(cid)) if cid in known else None)
        self.flush()

    def _tell_gossip(self, events: Iterable[gossip.Event]) -> None:
        for event in events:
            self._listener.gossip(event)

    def _tell_blocks(self, events: Iterable[bitswap.Event]) -> None:
        for event in events:
            self._listener.block(event)

    async def _keep_time(self) -> None:
        while True:
            self._due_changed = anyio.Event()
            due = min(
                (time for time in (self.router.timeout(), self.exchange.timeout()) if time is not None), default=None
            )
            with anyio.move_on_after(None if due is None else max(0.0, due - self.clock())):
                await self._due_changed.wait()
            self.router.wake(self.clock())
            self._tell_blocks(self.exchange.wake(self.clock()))
            self.flush()

    def _running(self) -> TaskGroup:
        if self._tasks is None:
            raise LocalProtocolError("the host is not running")
        return self._tasks


def _load_quic() -> type[QuicParty]:
    """Load aioquic, and see that it is one that we know."""
    try:
        from .quic import QuicParty  # noqa: PLC0415  slow, and not there without the extra
        from .quic_engine import missing_names  # noqa: PLC0415
    except ImportError as error:
        raise TransportError(f"{QUIC_IS_MISSING} ({error})") from error
    if missing := missing_names():
        raise TransportError(f"this version of aioquic cannot be used, it has no {', '.join(missing)}")
    return QuicParty


def _as_seen(address: Multiaddr, local: Multiaddr | None) -> Multiaddr | None:
    """An address that is listened on, as a peer may dial it: "any interface" is the one that its link came by."""
    (kind, host), *rest = address.parts
    if host not in ("0.0.0.0", "::"):  # noqa: S104  nobody is bound here
        return address
    if local is None or local.parts[0][0] != kind:
        return None
    return Multiaddr((local.parts[0], *rest))
