"""aioquic's core as the engine of one QUIC connection, and of a socket's answers: the only module that imports aioquic.

Invariant: what a peer may send beyond what was used here is bounded by the windows, and no error of aioquic's own
leaves this module but as RemoteProtocolError. `PRIVATE` lists what is used of aioquic beyond its public interface.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
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

from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.yamux import DataReceived, StreamFinished, StreamOpened, StreamReset

from .certificates import Credentials
from .streams import MuxerEvent, StreamUnread

if TYPE_CHECKING:
    from aioquic.quic.packet_builder import QuicPacketBuilder
    from aioquic.quic.recovery import QuicPacketSpace
    from aioquic.quic.stream import QuicStream

ALPN: Final = "libp2p"
MAX_STREAMS: Final = 256  # open at a time, of each side
STREAM_WINDOW: Final = 256 * 1024  # bytes of a stream that may be on the way, or wait to be used
CONNECTION_WINDOW: Final = 8 * 1024 * 1024  # and of all streams of a connection
IDLE_TIMEOUT: Final = 30.0
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


@attrs.frozen
class HandshakeDone:
    """Keys are agreed on, both say "libp2p", and the peer holds the key of the certificate that it shows, if any."""


@attrs.frozen
class Answered:
    """The peer has acknowledged a ping."""


EngineEvent = MuxerEvent | HandshakeDone | Answered


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


class Engine(Aioquic):
    """aioquic's connection with what it has no public interface for: certificates of clients, windows; a `Muxer` too.

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
        self.issued: list[bytes] = []  # ids by which the peer may name this connection, to be taken out
        self.retired: list[bytes] = []
        self._came: list[quic_events.QuicEvent] = []

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

    @property
    def certificates(self) -> list[bytes]:
        """What the peer has shown, in DER."""
        first = self.tls._peer_certificate
        shown = [] if first is None else [first, *self.tls._peer_certificate_chain]
        return [certificate.public_bytes(Encoding.DER) for certificate in shown]

    # -- datagrams and time --------------------------------------------------------------------

    def feed(self, data: bytes, address: Address, now: float) -> None:
        """Take in a datagram; RemoteProtocolError where aioquic comes to grief on it."""
        with self._guarded():
            self.receive_datagram(data, address, now)

    def fire(self, now: float) -> None:
        """Do what is due; RemoteProtocolError as above."""
        timer = self.get_timer()
        if timer is not None and now >= timer:
            with self._guarded():
                self.handle_timer(now)

    def datagrams(self, now: float) -> Datagrams:
        """What is to be sent now; nothing, and the end, where aioquic comes to grief."""
        if len(self.used) > 2 * len(self._streams) + 16:  # no account is kept of streams that are over
            self.used = {number: used for number, used in self.used.items() if number in self._streams}
        datagrams: Datagrams = []
        with suppress(RemoteProtocolError), self._guarded():
            datagrams = self.datagrams_to_send(now)
        self._collect()
        return datagrams

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a peer's bytes may end its connection, and nothing else, whatever fails on them
            self.close(QuicErrorCode.INTERNAL_ERROR, QuicFrameType.PADDING)
            raise RemoteProtocolError(f"a QUIC datagram that cannot be read ({type(error).__name__})") from error

    def refuse(self) -> None:
        """End the connection because of the certificate that was shown."""
        self.close(QuicErrorCode.CRYPTO_ERROR + AlertDescription.bad_certificate, QuicFrameType.CRYPTO)

    @property
    def ended(self) -> str:
        """Why the connection ends, in words, as soon as that is known."""
        return "" if self._close_event is None else _words(self._close_event)

    # -- events --------------------------------------------------------------------------------

    def events(self) -> Iterator[EngineEvent]:
        """What has happened since the last call."""
        self._collect()
        came, self._came = self._came, []
        for event in came:
            yield from self._translated(event)

    def _collect(self) -> None:
        """Ids are noted at once, also those that come up while sending: the next datagram may have them."""
        while (event := self.next_event()) is not None:
            match event:
                case quic_events.ConnectionIdIssued():
                    self.issued.append(event.connection_id)
                case quic_events.ConnectionIdRetired():
                    self.retired.append(event.connection_id)
                case _:
                    self._came.append(event)

    def _translated(self, event: quic_events.QuicEvent) -> Iterator[EngineEvent]:
        match event:
            case quic_events.HandshakeCompleted():
                yield HandshakeDone()
            case quic_events.PingAcknowledged():
                yield Answered()
            case quic_events.StreamDataReceived(data=data, stream_id=number):
                yield from self._opened(number)
                if data:
                    yield DataReceived(number, data)
                if event.end_stream:
                    yield StreamFinished(number)
            case quic_events.StreamReset(stream_id=number):
                yield from self._opened(number)
                self.reset(number)
                yield StreamReset(number)
            case quic_events.StopSendingReceived(stream_id=number):
                yield StreamUnread(number)

    def _opened(self, number: int) -> Iterator[StreamOpened]:
        """The first that is heard of a stream of the peer opens it."""
        if number not in self.used:
            self.used[number] = 0
            yield StreamOpened(number)

    # -- the multiplexer -----------------------------------------------------------------------

    def open(self) -> int:
        """Open a stream; LocalProtocolError if there can be no more.

        aioquic would let a stream wait that the peer does not take yet, but a reset of one that waits breaks the rules.
        """
        if self._close_event is not None:
            raise LocalProtocolError("the connection is closed")
        number = self.get_next_available_stream_id()
        ours = sum((other & 1 == 0) == self._is_client for other in self._streams)
        if ours >= MAX_STREAMS or number // 4 >= self._remote_max_streams_bidi:
            raise LocalProtocolError(f"{ours} streams are open, and no more can be")
        self.send_stream_data(number, b"")
        self.used[number] = 0
        return number

    def send(self, stream_id: int, data: bytes) -> int:
        """Queue bytes, all of them; nothing on a stream that is over, or that the peer reads no more."""
        with suppress(ValueError, RuntimeError):
            self.send_stream_data(stream_id, data)
        return len(data)

    def unsent(self, stream_id: int) -> int:
        """How many bytes wait, or were not acknowledged yet."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def finish(self, stream_id: int) -> None:
        """Send nothing more."""
        with suppress(ValueError, RuntimeError):
            self.send_stream_data(stream_id, b"", end_stream=True)

    def reset(self, stream_id: int) -> None:
        """End a stream both ways."""
        self.used[stream_id] = None
        for act in (self.reset_stream, self.stop_stream):
            with suppress(ValueError):
                act(stream_id, QuicErrorCode.NO_ERROR)

    def consumed(self, stream_id: int, count: int) -> None:
        """Give window back."""
        used = self.used.get(stream_id)
        if used is not None:
            self.used[stream_id] = used + count


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


def dial(credentials: Credentials, address: Address, now: float) -> Engine:
    """The engine of a connection that begins here."""
    engine = Engine(_configuration(credentials, is_client=True), None, None)
    engine.connect(address, now)
    return engine


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


class Door:
    """What the engine of a connection is made from at a socket where they begin, and what else is answered there."""

    def __init__(self, credentials: Credentials) -> None:
        self._configuration = _configuration(credentials, is_client=False)
        self._retry = QuicRetryTokenHandler()

    def begin(self, header: QuicHeader, original: bytes | None) -> Engine:
        """The engine of a connection that begins with this header; `original`: the id of what came before a retry."""
        retried = None if original is None else header.destination_cid
        return Engine(self._configuration, original or header.destination_cid, retried)

    def version_answer(self, header: QuicHeader) -> bytes | None:
        """Which versions are spoken here, for one that is not."""
        versions = self._configuration.supported_versions
        if header.version in versions:
            return None
        return encode_quic_version_negotiation(header.destination_cid, header.source_cid, versions)

    def retry_answer(self, header: QuicHeader, address: Address, now: float) -> bytes:
        """A token that is to come back, from this address (RFC 9000, 8.1.2)."""
        number = os.urandom(ID_LENGTH)
        token = self._retry.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=number,
            now=now,
        )
        return encode_quic_retry(
            version=QuicProtocolVersion.VERSION_1,
            source_cid=number,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )

    def original(self, header: QuicHeader, address: Address, now: float) -> bytes | None:
        """The id to which the first datagram went of one that was asked again, and came from the same address."""
        try:
            return self._retry.validate_token(
                address=address, destination_cid=header.destination_cid, token=header.token, now=now
            )
        except ValueError:  # no token, or somebody else's, which counts as none (RFC 9000, 8.1.3)
            return None


def read_header(data: bytes) -> QuicHeader | None:
    """The first header of a datagram, None where there is none."""
    try:
        return pull_quic_header(Buffer(data=data), host_cid_length=ID_LENGTH)
    except Exception:  # a stranger's bytes, as above
        return None


def asks(header: QuicHeader, size: int) -> bool:
    """Whether a datagram of this size may be answered at all (RFC 9000, 6.1 and 14.1)."""
    answer = header.packet_type is QuicPacketType.VERSION_NEGOTIATION
    return header.version is not None and not answer and size >= SMALLEST_MAX_DATAGRAM_SIZE


def begins(header: QuicHeader) -> bool:
    """Whether a connection may begin with it."""
    return header.packet_type is QuicPacketType.INITIAL
