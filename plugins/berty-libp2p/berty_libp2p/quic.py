"""QUIC v1 as libp2p speaks it, without I/O: connections, and the socket where they begin.

Invariant: a connection is open once the peer's certificate has proved who is there; what strangers can leave
unfinished is bounded in number and in time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from berty_core.crypto.keys import PrivateKey
from berty_core.errors import RemoteProtocolError

from .certificates import make_credentials, peer_of
from .connection import HANDSHAKE_TIMEOUT
from .peers import PeerId
from .quic_engine import (
    Address,
    Answered,
    Datagrams,
    Door,
    Engine,
    EngineEvent,
    HandshakeDone,
    asks,
    begins,
    dial,
    read_header,
)
from .streams import Connected, Event, Streams

KEEPALIVE: Final = 15.0  # seconds of silence after which we ping
PATIENCE: Final = 5.0  # seconds for an answer to a ping where there are signs that the peer is gone
RETRY_FROM: Final = 16  # handshakes under way from which on a stranger must show that its address is its own
MAX_HANDSHAKES: Final = 64


class QuicConnection(Streams):
    """One end of a QUIC connection. Feed `receive`, send what `take` gives after it, call `wake` at `timeout()`.

    `unix_time` is the time of day, for the peer's certificate; `expected` is who must be there. After a
    RemoteProtocolError, send what `take` still gives and forget the connection. aioquic makes its own entropy.
    """

    def __init__(
        self,
        engine: Engine,
        identity: PrivateKey,
        speaks: Callable[[str], bool],
        now: float,
        unix_time: float,
        *,
        initiator: bool,
        expected: PeerId | None = None,
    ) -> None:
        super().__init__(initiator, speaks, now)
        self._engine = engine
        self._identity = identity
        self._unix_time = unix_time
        self._expected = expected
        self._deadline: float | None = now + HANDSHAKE_TIMEOUT
        self._ping_at = now + KEEPALIVE
        self._doubted: float | None = None  # until when an answer is waited for

    @property
    def is_open(self) -> bool:
        """Whether streams may be opened."""
        return self._muxer is not None and not self._engine.ended

    @property
    def address(self) -> Address | None:
        """Where the peer is; a phone may move."""
        return self._engine.get_peer_address()

    def receive(self, data: bytes, address: Address, now: float) -> list[Event]:
        """Take in a datagram; RemoteProtocolError in words once the connection is over."""
        self._now = now
        self._ping_at = now + KEEPALIVE
        self._engine.feed(data, address, now)
        return self._happened([])

    def take(self, now: float) -> Datagrams:
        """The datagrams to send now."""
        if self._muxer is not None:
            self._push_unsent()
        return self._engine.datagrams(now)

    def timeout(self) -> float | None:
        """When to call `wake`, in the time of `now`; to be asked after `take`."""
        times = [self._deadline, self._negotiation_deadline(), self._engine.get_timer()]
        if self.is_open:
            times += [self._ping_at, self._doubted]
        if self._engine.ended:
            times.append(self._now)
        return min((time for time in times if time is not None), default=None)

    def wake(self, now: float) -> list[Event]:
        """Do what is due; RemoteProtocolError if the peer took too long for the handshake, or is silent."""
        self._now = now
        self._check_patience(now)
        events: list[Event] = []
        if self.is_open:
            self._end_negotiations(events)
            self._keep_alive(now)
        self._engine.fire(now)
        return self._happened(events)

    def _check_patience(self, now: float) -> None:
        reason = ""
        if self._deadline is not None and now >= self._deadline:
            reason = f"after {HANDSHAKE_TIMEOUT:g} s the connection was still in the QUIC handshake"
        elif self._doubted is not None and now >= self._doubted:
            reason = "the peer is gone: it does not answer"
        if reason:
            self.close()
            raise RemoteProtocolError(reason)

    def _keep_alive(self, now: float) -> None:
        if now >= self._ping_at:
            self._ping_at = now + KEEPALIVE
            self._engine.send_ping(0)

    def doubt(self, now: float) -> None:
        """Find out soon whether the peer is still there."""
        if self.is_open and self._doubted is None:
            self._doubted = now + PATIENCE
            self._engine.send_ping(1)

    def close(self) -> None:
        """End the connection; `take` gives the goodbye."""
        self._engine.close()

    def ids(self) -> tuple[list[bytes], list[bytes]]:
        """By which ids the peer may name this connection since the last call, and by which no longer."""
        engine = self._engine
        changed = engine.issued, engine.retired
        engine.issued, engine.retired = [], []
        return changed

    # -- what the engine says ------------------------------------------------------------------

    def _happened(self, events: list[Event]) -> list[Event]:
        for event in self._engine.events():
            self._take_engine(event, events)
        if self._engine.ended and not events:  # what came before the end is told first
            raise RemoteProtocolError(self._engine.ended)
        return events

    def _take_engine(self, event: EngineEvent, events: list[Event]) -> None:
        if isinstance(event, HandshakeDone):
            self._prove(events)
        elif isinstance(event, Answered):
            self._doubted = None
        elif self._muxer is not None:
            self._take_event(event, events)

    def _prove(self, events: list[Event]) -> None:
        try:
            peer = self._shown()
        except RemoteProtocolError:
            self._engine.refuse()
            raise
        self.peer = peer
        self._deadline = None
        self._muxer = self._engine
        events.append(Connected(peer))

    def _shown(self) -> PeerId:
        """Whose certificate the peer has shown; RemoteProtocolError if it may not be here."""
        shown = self._engine.certificates
        if len(shown) != 1:
            raise RemoteProtocolError(f"the peer shows {len(shown)} certificates; libp2p asks for one")
        peer = peer_of(shown[0], self._unix_time)
        if peer.public == self._identity.public:
            raise RemoteProtocolError("this is ourselves")
        if self._expected is not None and peer != self._expected:
            raise RemoteProtocolError(f"{peer} answers where {self._expected} was expected")
        return peer


class QuicParty:
    """One peer id as it speaks QUIC, with a certificate of its own: it dials, and with a `QuicServer` it is dialled."""

    def __init__(self, identity: PrivateKey, entropy: Callable[[int], bytes], speaks: Callable[[str], bool]) -> None:
        self.identity = identity
        self.speaks = speaks
        self.credentials = make_credentials(identity, entropy)

    def dial(self, address: Address, expected: PeerId | None, now: float, unix_time: float) -> QuicConnection:
        """Begin a connection to an address; `take` has its first datagram."""
        engine = dial(self.credentials, address, now)
        return QuicConnection(engine, self.identity, self.speaks, now, unix_time, initiator=True, expected=expected)


class QuicServer:
    """Tells whose a datagram is that comes to one socket, and begins connections.

    While many handshakes are under way, a stranger first has to send back a token from its address (RFC 9000, 8.1.2).
    Before its address is known to be its own, a stranger gets at most three times the bytes that it has sent.
    """

    def __init__(self, party: QuicParty) -> None:
        self._party = party
        self._door = Door(party.credentials)
        self._by_id: dict[bytes, QuicConnection] = {}
        self._ids: dict[QuicConnection, set[bytes]] = {}
        self._answers: Datagrams = []

    def receive(
        self, data: bytes, address: Address, now: float, unix_time: float, *, room: bool = True
    ) -> QuicConnection | None:
        """The connection that is to `receive` this datagram; None where it is for nobody (`take` may have an answer).

        Without `room` no connection begins.
        """
        header = read_header(data)
        if header is None:
            return None
        known = self._by_id.get(header.destination_cid)
        if known is not None or not asks(header, len(data)):
            return known
        versions = self._door.version_answer(header)
        if versions is not None:
            self._answers.append((versions, address))
            return None
        waiting = sum(connection.peer is None for connection in self._ids)
        if not begins(header) or not room or waiting >= MAX_HANDSHAKES:
            return None
        original = self._door.original(header, address, now)
        if original is None and waiting >= RETRY_FROM:
            self._answers.append((self._door.retry_answer(header, address, now), address))
            return None
        return self._begin(self._door.begin(header, original), header.destination_cid, now, unix_time)

    def _begin(self, engine: Engine, first_id: bytes, now: float, unix_time: float) -> QuicConnection:
        party = self._party
        connection = QuicConnection(engine, party.identity, party.speaks, now, unix_time, initiator=False)
        self._ids[connection] = {first_id, engine.host_cid}
        self._by_id.update(dict.fromkeys(self._ids[connection], connection))
        return connection

    def take(self) -> Datagrams:
        """Answers to strangers, to be sent now."""
        answers, self._answers = self._answers, []
        return answers

    def update(self, connection: QuicConnection) -> None:
        """See by which ids a connection is named now: after it has received or sent."""
        issued, retired = connection.ids()
        ids = self._ids.get(connection)
        if ids is None:
            return
        ids.update(issued)
        self._by_id.update(dict.fromkeys(issued, connection))
        for number in retired:
            ids.discard(number)
            self._by_id.pop(number, None)

    def forget(self, connection: QuicConnection) -> None:
        """A connection is over."""
        for number in self._ids.pop(connection, ()):
            self._by_id.pop(number, None)
