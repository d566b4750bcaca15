"""QUIC v1 as libp2p speaks it, without I/O, on aioquic's core: the only module that imports aioquic.

Invariant: a connection is open once the peer's certificate has proved who is there, and then a peer can make us hold no
more than the windows allow. `PRIVATE` lists what is used of aioquic beyond its public interface.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but not marked as such
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import QuicConnection as Aioquic
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler
from aioquic.tls import AlertDescription
from cryptography.hazmat.primitives.serialization import Encoding

from berty_core.crypto.keys import PrivateKey
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.yamux import DataReceived, StreamFinished, StreamOpened, StreamReset

from .certificates import Credentials, make_credentials, peer_of
from .connection import HANDSHAKE_TIMEOUT
from .peers import PeerId
from .streams import Connected, Event, Muxer, MuxerEvent, Streams, StreamUnread

if TYPE_CHECKING:
    from aioquic.quic.packet_builder import QuicPacketBuilder
    from aioquic.quic.recovery import QuicPacketSpace
    from aioquic.quic.stream import QuicStream

ALPN: Final = "libp2p"
MAX_STREAMS: Final = 256  # open at a time, of each side
STREAM_WINDOW: Final = 256 * 1024  # bytes of a stream that may be on the way, or wait to be used
CONNECTION_WINDOW: Final = 8 * 1024 * 1024  # and of all streams of a connection
IDLE_TIMEOUT: Final = 30.0
KEEPALIVE: Final = 15.0  # seconds of silence after which we ping
PATIENCE: Final = 5.0  # seconds for an answer to a ping where there are signs that the peer is gone
RETRY_FROM: Final = 16  # handshakes under way from which on a stranger must show that its address is its own
MAX_HANDSHAKES: Final = 64
ID_LENGTH: Final = 8
_TLS_ALERTS: Final = range(0x100, 0x200)
_LONGEST_REASON: Final = 200

PRIVATE: Final = (
    "QuicConnection._initialize",
    "QuicConnection._is_client",
    "QuicConnection._close_event",
    "QuicConnection._streams",
    "QuicConnection._local_max_data.used",
    "QuicConnection._local_max_data.value",
    "QuicConnection._local_max_streams_bidi.value",
    "QuicConnection._local_max_streams_bidi.sent",
    "QuicConnection._local_max_streams_uni.value",
    "QuicConnection._local_max_streams_uni.sent",
    "QuicConnection._remote_max_streams_bidi",
    "QuicConnection._write_stream_limits",
    "QuicConnection._write_connection_limits",
    "QuicConnection.tls._request_client_certificate",
    "QuicConnection.tls._peer_certificate",
    "QuicConnection.tls._peer_certificate_chain",
    "QuicStream.max_stream_data_local",
    "QuicStream.receiver.highest_offset",
    "QuicStream.sender._buffer_start",
    "QuicStream.sender._buffer_stop",
)

Address = Any  # as the socket gives it
Datagrams = list[tuple[bytes, Address]]

# What it says comes as events and errors; without this its warnings, with words of strangers, go to standard error.
logging.getLogger("quic").addHandler(logging.NullHandler())


def missing_names() -> list[str]:
    """The names of `PRIVATE` that this aioquic does not have."""
    connection = Aioquic(configuration=QuicConfiguration(is_client=True, alpn_protocols=[ALPN]))
    connection.connect(("", 0), now=0.0)
    connection.send_stream_data(0, b"")
    roots: dict[str, object] = {"QuicConnection": connection, "QuicStream": connection._streams.get(0)}
    return [path for path in PRIVATE if not _is_there(roots, path)]


def _is_there(roots: dict[str, object], path: str) -> bool:
    root, *names = path.split(".")
    found: object = roots[root]
    for name in names:
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True


class _Engine(Aioquic):
    """aioquic's connection with what it has no public interface for: certificates of clients, and windows.

    aioquic widens a window as soon as bytes have arrived; here it widens when they are used (`used`).
    """

    def __init__(self, configuration: QuicConfiguration, original_id: bytes | None, retry_id: bytes | None) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_id,
            retry_source_connection_id=retry_id,
        )
        for limit, value in ((self._local_max_streams_bidi, MAX_STREAMS), (self._local_max_streams_uni, 0)):
            limit.value = limit.sent = value
        self.used: dict[int, int | None] = {}  # by stream; None: whatever comes is dropped

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = not self._is_client

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        used, receiver = self.used.get(stream.stream_id or 0), stream.receiver
        if used is not None and used + STREAM_WINDOW - stream.max_stream_data_local >= STREAM_WINDOW // 2:
            stream.max_stream_data_local = used + STREAM_WINDOW
        highest, receiver.highest_offset = receiver.highest_offset, 0  # from which aioquic takes that it is to widen
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = highest

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        limit = self._local_max_data
        if limit.value - limit.used <= CONNECTION_WINDOW // 2:
            limit.value = max(limit.value, limit.used - self._unused() + CONNECTION_WINDOW)
        received, limit.used = limit.used, 0
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = received

    def _unused(self) -> int:
        """Bytes of all streams that came, or were left out on the way, and were not used yet."""
        total = 0
        for number, stream in self._streams.items():
            used = self.used.get(number, 0)
            total += stream.receiver.highest_offset - used if used is not None else 0
        return total

    def forget_finished(self) -> None:
        """Keep no account of streams that are over."""
        if len(self.used) > 2 * len(self._streams) + 16:
            self.used = {number: used for number, used in self.used.items() if number in self._streams}

    @property
    def certificates(self) -> list[bytes]:
        """What the peer has shown, in DER."""
        first = self.tls._peer_certificate
        shown = [] if first is None else [first, *self.tls._peer_certificate_chain]
        return [certificate.public_bytes(Encoding.DER) for certificate in shown]

    @property
    def ended(self) -> quic_events.ConnectionTerminated | None:
        """Why the connection ends, as soon as that is known."""
        return self._close_event

    def own_streams(self) -> int:
        """How many streams of ours are not over."""
        return sum((number & 1 == 0) == self._is_client for number in self._streams)

    def may_open(self, number: int) -> bool:
        """Whether the peer takes this stream; aioquic would let it wait, but a reset that waits breaks the rules."""
        return number // 4 < self._remote_max_streams_bidi

    def unacknowledged(self, number: int) -> int:
        """Bytes of a stream that wait, or were not acknowledged yet."""
        stream = self._streams.get(number)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start


class _Muxer:
    """QUIC's streams as a multiplexer."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine

    def open(self) -> int:
        """Open a stream; LocalProtocolError if there can be no more."""
        if self._engine.ended is not None:
            raise LocalProtocolError("the connection is closed")
        number = self._engine.get_next_available_stream_id()
        if self._engine.own_streams() >= MAX_STREAMS or not self._engine.may_open(number):
            raise LocalProtocolError(f"{self._engine.own_streams()} streams are open, and no more can be")
        self._engine.send_stream_data(number, b"")
        self._engine.used[number] = 0
        return number

    def send(self, stream_id: int, data: bytes) -> int:
        """Queue bytes, all of them; nothing on a stream that is gone."""
        try:
            self._engine.send_stream_data(stream_id, data)
        except (ValueError, RuntimeError):  # over, or the peer takes no more
            pass
        return len(data)

    def unsent(self, stream_id: int) -> int:
        """How many bytes wait for the peer."""
        return self._engine.unacknowledged(stream_id)

    def finish(self, stream_id: int) -> None:
        """Send nothing more."""
        try:
            self._engine.send_stream_data(stream_id, b"", end_stream=True)
        except (ValueError, RuntimeError):
            pass

    def reset(self, stream_id: int) -> None:
        """End a stream both ways."""
        self._engine.used[stream_id] = None
        for act in (self._engine.reset_stream, self._engine.stop_stream):
            try:
                act(stream_id, QuicErrorCode.NO_ERROR)
            except ValueError:
                pass

    def consumed(self, stream_id: int, count: int) -> None:
        """Give window back."""
        used = self._engine.used.get(stream_id)
        if used is not None:
            self._engine.used[stream_id] = used + count


class QuicConnection(Streams):
    """One end of a QUIC connection. Feed `receive`, send what `take` gives after it, call `wake` at `timeout()`.

    `unix_time` is the time of day, for the peer's certificate; `expected` is who must be there. After a
    RemoteProtocolError, send what `take` still gives and forget the connection. aioquic makes its own entropy.
    """

    def __init__(
        self,
        engine: _Engine,
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
        self.issued: list[bytes] = []  # connection ids by which the peer may name this connection, to be taken out
        self.retired: list[bytes] = []
        self._later: deque[quic_events.QuicEvent] = deque()  # events that came up while sending

    @property
    def is_open(self) -> bool:
        """Whether streams may be opened."""
        return self._muxer is not None and self._engine.ended is None

    @property
    def address(self) -> Address | None:
        """Where the peer is; a phone may move."""
        return self._engine.get_peer_address()

    def receive(self, data: bytes, address: Address, now: float) -> list[Event]:
        """Take in a datagram; RemoteProtocolError in words once the connection is over."""
        self._ping_at = now + KEEPALIVE
        return self._act(partial(self._engine.receive_datagram, data, address, now), now)

    def take(self, now: float) -> Datagrams:
        """The datagrams to send now."""
        if self._muxer is not None:
            self._push_unsent()
        self._engine.forget_finished()
        try:
            datagrams = self._engine.datagrams_to_send(now)
        except Exception:  # as below
            self._engine.close(QuicErrorCode.INTERNAL_ERROR, QuicFrameType.PADDING)
            return []
        while (event := self._engine.next_event()) is not None:
            if not self._take_id(event):
                self._later.append(event)
        return datagrams

    def timeout(self) -> float | None:
        """When to call `wake`, in the time of `now`; to be asked after `take`."""
        times = [self._deadline, self._negotiation_deadline(), self._engine.get_timer()]
        if self.is_open:
            times += [self._ping_at, self._doubted]
        if self._engine.ended is not None:
            times.append(self._now)
        return min((time for time in times if time is not None), default=None)

    def wake(self, now: float) -> list[Event]:
        """Do what is due; RemoteProtocolError if the peer took too long for the handshake, or is silent."""
        self._now = now
        if self._deadline is not None and now >= self._deadline:
            self.close()
            raise RemoteProtocolError(f"after {HANDSHAKE_TIMEOUT:g} s the connection was still in the QUIC handshake")
        if self._doubted is not None and now >= self._doubted:
            self.close()
            raise RemoteProtocolError("the peer is gone: it does not answer")
        events: list[Event] = []
        if self.is_open:
            self._end_negotiations(events)
            self._keep_alive(now)
        timer = self._engine.get_timer()
        due = timer is not None and now >= timer
        return events + self._act(partial(self._engine.handle_timer, now) if due else lambda: None, now)

    def doubt(self, now: float) -> None:
        """Find out soon whether the peer is still there."""
        if self.is_open and self._doubted is None:
            self._doubted = now + PATIENCE
            self._engine.send_ping(1)

    def close(self) -> None:
        """End the connection; `take` gives the goodbye."""
        self._engine.close()

    def _keep_alive(self, now: float) -> None:
        if now >= self._ping_at:
            self._ping_at = now + KEEPALIVE
            self._engine.send_ping(0)

    # -- what aioquic says ---------------------------------------------------------------------

    def _act(self, act: Callable[[], None], now: float) -> list[Event]:
        self._now = now
        try:
            act()
        except Exception as error:  # a peer's bytes may end this connection, and nothing else, whatever fails on them
            self._engine.close(QuicErrorCode.INTERNAL_ERROR, QuicFrameType.PADDING)
            raise RemoteProtocolError(f"a QUIC datagram that cannot be read ({type(error).__name__})") from error
        events: list[Event] = []
        try:
            while self._later:
                self._take_quic(self._later.popleft(), events)
            while (event := self._engine.next_event()) is not None:
                if not self._take_id(event):
                    self._take_quic(event, events)
        except RemoteProtocolError:
            self._engine.close(QuicErrorCode.CRYPTO_ERROR + AlertDescription.bad_certificate, QuicFrameType.CRYPTO)
            raise
        ended = self._engine.ended
        if ended is not None and not events:  # what came before the end is told first
            raise RemoteProtocolError(_words(ended))
        return events

    def _take_id(self, event: quic_events.QuicEvent) -> bool:
        """Note by which ids the peer may name this connection; whether the event was about that."""
        match event:
            case quic_events.ConnectionIdIssued():
                self.issued.append(event.connection_id)
            case quic_events.ConnectionIdRetired():
                self.retired.append(event.connection_id)
            case _:
                return False
        return True

    def _take_quic(self, event: quic_events.QuicEvent, events: list[Event]) -> None:
        match event:
            case quic_events.HandshakeCompleted():
                self._prove(events)  # aioquic has seen that both say "libp2p"
            case quic_events.PingAcknowledged():
                self._doubted = None
            case _ if self._muxer is not None:
                self._take_stream(event, self._muxer, events)

    def _take_stream(self, event: quic_events.QuicEvent, muxer: Muxer, events: list[Event]) -> None:
        match event:
            case quic_events.StreamDataReceived():
                self._stream(event.stream_id, events)
                self._tell(DataReceived(event.stream_id, event.data), events)
                if event.end_stream:
                    self._tell(StreamFinished(event.stream_id), events)
            case quic_events.StreamReset():
                self._stream(event.stream_id, events)
                muxer.reset(event.stream_id)
                self._tell(StreamReset(event.stream_id), events)
            case quic_events.StopSendingReceived():
                self._stream(event.stream_id, events)
                self._tell(StreamUnread(event.stream_id), events)

    def _stream(self, number: int, events: list[Event]) -> None:
        """The first that is heard of a stream of the peer opens it."""
        if number not in self._engine.used:
            self._engine.used[number] = 0
            self._tell(StreamOpened(number), events)

    def _tell(self, event: MuxerEvent, events: list[Event]) -> None:
        dropped = isinstance(event, DataReceived) and (not event.data or event.stream_id not in self._streams)
        if not dropped:
            self._take_event(event, events)

    def _prove(self, events: list[Event]) -> None:
        shown = self._engine.certificates
        if len(shown) != 1:
            raise RemoteProtocolError(f"the peer shows {len(shown)} certificates; libp2p asks for one")
        peer = peer_of(shown[0], self._unix_time)
        if peer.public == self._identity.public:
            raise RemoteProtocolError("this is ourselves")
        if self._expected is not None and peer != self._expected:
            raise RemoteProtocolError(f"{peer} answers where {self._expected} was expected")
        self.peer = peer
        self._deadline = None
        self._muxer = _Muxer(self._engine)
        events.append(Connected(peer))


def _words(ended: quic_events.ConnectionTerminated) -> str:
    """Why a connection ended."""
    if ended.reason_phrase == "Idle timeout" and ended.error_code == QuicErrorCode.INTERNAL_ERROR:
        return f"nothing was heard from the peer for {IDLE_TIMEOUT:g} s"
    reason = f" ({ended.reason_phrase[:_LONGEST_REASON]!r})" if ended.reason_phrase else ""
    if ended.error_code == QuicErrorCode.CRYPTO_ERROR + AlertDescription.no_application_protocol:
        return "the peer does not speak libp2p over QUIC"
    if ended.error_code in _TLS_ALERTS:
        return f"the TLS handshake failed: {_alert(ended.error_code - _TLS_ALERTS.start)}{reason}"
    if ended.error_code in (QuicErrorCode.NO_ERROR, QuicErrorCode.APPLICATION_ERROR):
        return f"the peer closed the QUIC connection{reason}"
    return f"the QUIC connection ended with error {ended.error_code:#x}{reason}"


def _alert(number: int) -> str:
    try:
        return AlertDescription(number).name.replace("_", " ")
    except ValueError:
        return f"alert {number}"


def _configuration(credentials: Credentials, *, is_client: bool) -> QuicConfiguration:
    return QuicConfiguration(
        alpn_protocols=[ALPN],
        certificate=credentials.certificate,
        connection_id_length=ID_LENGTH,
        idle_timeout=IDLE_TIMEOUT,
        is_client=is_client,
        max_data=CONNECTION_WINDOW,
        max_stream_data=STREAM_WINDOW,
        private_key=credentials.key,
        supported_versions=[QuicProtocolVersion.VERSION_1],
        verify_mode=ssl.CERT_NONE,  # by whom it is signed says nothing: `peer_of` looks at what it proves
    )


class QuicParty:
    """One peer id as it speaks QUIC, with a certificate of its own: it dials, and with a `QuicServer` it is dialled."""

    def __init__(self, identity: PrivateKey, entropy: Callable[[int], bytes], speaks: Callable[[str], bool]) -> None:
        self.identity = identity
        self.speaks = speaks
        self.credentials = make_credentials(identity, entropy)

    def dial(self, address: Address, expected: PeerId | None, now: float, unix_time: float) -> QuicConnection:
        """Begin a connection to an address; `take` has its first datagram."""
        engine = _Engine(_configuration(self.credentials, is_client=True), None, None)
        engine.connect(address, now)
        return QuicConnection(engine, self.identity, self.speaks, now, unix_time, initiator=True, expected=expected)


class QuicServer:
    """Tells whose a datagram is that comes to one socket, and begins connections.

    While many handshakes are under way, a stranger first has to send back a token from its address (RFC 9000, 8.1.2).
    Before its address is known to be its own, a stranger gets at most three times the bytes that it has sent.
    """

    def __init__(self, party: QuicParty) -> None:
        self._party = party
        self._configuration = _configuration(party.credentials, is_client=False)
        self._by_id: dict[bytes, QuicConnection] = {}
        self._ids: dict[QuicConnection, set[bytes]] = {}
        self._retry = QuicRetryTokenHandler()
        self._answers: Datagrams = []

    def receive(
        self, data: bytes, address: Address, now: float, unix_time: float, *, room: bool = True
    ) -> QuicConnection | None:
        """The connection that is to `receive` this datagram; None where it is for nobody (`take` may have an answer).

        Without `room` no connection begins.
        """
        try:
            return self._route(data, address, now, unix_time, room)
        except Exception:  # a stranger's bytes: aioquic's errors for them have no common class
            return None

    def _route(self, data: bytes, address: Address, now: float, unix_time: float, room: bool) -> QuicConnection | None:
        header = pull_quic_header(Buffer(data=data), host_cid_length=ID_LENGTH)
        known = self._by_id.get(header.destination_cid)
        if known is not None:
            return known
        if header.version is None or header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
            return None
        if len(data) < SMALLEST_MAX_DATAGRAM_SIZE:
            return None  # nothing smaller begins a connection (RFC 9000, 14.1), or is answered (6.1)
        if header.version not in self._configuration.supported_versions:
            versions = self._configuration.supported_versions
            self._answers.append(
                (encode_quic_version_negotiation(header.destination_cid, header.source_cid, versions), address)
            )
            return None
        if header.packet_type is not QuicPacketType.INITIAL or not room:
            return None
        return self._begin(header, address, now, unix_time)

    def _begin(self, header: QuicHeader, address: Address, now: float, unix_time: float) -> QuicConnection | None:
        waiting = sum(connection.peer is None for connection in self._ids)
        if waiting >= MAX_HANDSHAKES:
            return None
        original = self._proved(header, address, now)
        if original is None and waiting >= RETRY_FROM:
            self._ask_again(header, address, now)
            return None
        retried = None if original is None else header.destination_cid
        engine = _Engine(self._configuration, original or header.destination_cid, retried)
        party = self._party
        connection = QuicConnection(engine, party.identity, party.speaks, now, unix_time, initiator=False)
        self._ids[connection] = {header.destination_cid, engine.host_cid}
        self._by_id.update(dict.fromkeys(self._ids[connection], connection))
        return connection

    def _proved(self, header: QuicHeader, address: Address, now: float) -> bytes | None:
        """The id to which the first datagram went of one that was asked again, and came from the same address."""
        try:
            return self._retry.validate_token(
                address=address, destination_cid=header.destination_cid, token=header.token, now=now
            )
        except ValueError:  # no token, or somebody else's, which counts as none (RFC 9000, 8.1.3)
            return None

    def _ask_again(self, header: QuicHeader, address: Address, now: float) -> None:
        number = os.urandom(ID_LENGTH)
        token = self._retry.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=number,
            now=now,
        )
        answer = encode_quic_retry(
            version=QuicProtocolVersion.VERSION_1,
            source_cid=number,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
        self._answers.append((answer, address))

    def take(self) -> Datagrams:
        """Answers to strangers, to be sent now."""
        answers, self._answers = self._answers, []
        return answers

    def update(self, connection: QuicConnection) -> None:
        """A connection has received: by which ids it is named now."""
        ids = self._ids.get(connection)
        if ids is None:
            return
        for number in connection.issued:
            ids.add(number)
            self._by_id[number] = connection
        for number in connection.retired:
            ids.discard(number)
            self._by_id.pop(number, None)
        connection.issued.clear()
        connection.retired.clear()

    def forget(self, connection: QuicConnection) -> None:
        """A connection is over."""
        for number in self._ids.pop(connection, ()):
            self._by_id.pop(number, None)
