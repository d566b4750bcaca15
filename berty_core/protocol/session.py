"""A session of the private profile: an authenticated, encrypted conversation of many streams over one stream link.

Pre-shared key, Noise XXpsk0, yamux, and framed streams that say what they are (docs/reference/session.md).
Invariant: who lacks the key of a point that is shown right now gets no byte back.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable

import attrs

from ..codec.frames import FrameReader, encode_frame
from ..codec.pb import session_pb2 as pb
from ..codec.protobuf import parse
from ..crypto.kdf import hkdf_sha256
from ..crypto.keys import Secret
from ..errors import LocalProtocolError, RemoteProtocolError
from .noise import NoiseHandshake, NoiseMessages, NoiseTransport, encode_message
from .yamux import (
    DataReceived,
    GoAwayReceived,
    StreamFinished,
    StreamOpened,
    StreamReset,
    Yamux,
    YamuxLimits,
)

MAGIC = 0xBE  # the first byte of a link: multistream-select begins with 0x13, garbage rarely with this
TAG_LENGTH = 8
PROLOGUE = b"berty private session 1"
VERSION = 1
HANDSHAKE_TIMEOUT = 10.0
HANDSHAKE_BITS = 8 * 5000  # a handshake, each part of which is sent several times
PING_BITS = 8 * 110  # a ping and its answer, with all that is around them on a datagram link
MAX_HANDSHAKE_MESSAGE = 1024
MAX_HEADER = 256
CAPABILITIES = ("entries",)
MAX_STREAMS = 1024  # of each side; there is one for each group that both have
_LIMITS = YamuxLimits(incoming=MAX_STREAMS, outgoing=MAX_STREAMS, backlog=MAX_STREAMS)  # headers are read at once


class SessionState(enum.Enum):
    """How far a session has come."""

    WAITING_FOR_TAG = "waiting for the dialler's first bytes"
    HANDSHAKE = "in the handshake"
    OPEN = "open"
    CLOSED = "closed"


TRANSITIONS: dict[SessionState, tuple[SessionState, ...]] = {
    SessionState.WAITING_FOR_TAG: (SessionState.HANDSHAKE, SessionState.CLOSED),
    SessionState.HANDSHAKE: (SessionState.OPEN, SessionState.CLOSED),
    SessionState.OPEN: (SessionState.CLOSED,),
    SessionState.CLOSED: (),
}


@attrs.frozen
class Opened:
    """The handshake is done; `peer` is the node key that the peer uses in this period, and names nobody."""

    peer: bytes
    handshake_hash: bytes = attrs.field(repr=False)
    capabilities: tuple[str, ...]
    profile: str
    beacon_nonce: bytes


@attrs.frozen
class StreamStarted:
    """The peer opened a stream of this type."""

    stream: int
    type: str
    tag: bytes


@attrs.frozen
class StreamData:
    """Bytes of a stream; say `consumed` once they are used."""

    stream: int
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class StreamEnded:
    """The peer sends nothing more on a stream (`reset`: and takes nothing either)."""

    stream: int
    reset: bool


SessionEvent = Opened | StreamStarted | StreamData | StreamEnded


class ReplayGuard:
    """Remembers the first messages of a period: a recorded one, sent again, is answered by silence."""

    def __init__(self, limit: int = 8192) -> None:
        self._limit = limit
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def is_new(self, ephemeral: bytes) -> bool:
        """Note the 32 bytes that open a handshake; False if they came before."""
        if ephemeral in self._seen:
            return False
        self._seen[ephemeral] = None
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return True


@attrs.frozen
class NodeIdentity:
    """What a node is in one period: its Noise key, and what it says of itself once that is encrypted."""

    key: Secret = attrs.field(repr=False)
    public: bytes
    beacon_nonce: bytes = b""
    profile: str = "berty"
    capabilities: tuple[str, ...] = CAPABILITIES


@attrs.frozen
class Pace:
    """What a slow link needs: `extra` seconds for each answer, and rare signs of life (seconds between two)."""

    extra: float = 0.0
    keepalive: float = 30.0

    @classmethod
    def of_link(cls, bitrate: float, latency: float, wait: float = 0.0) -> Pace:
        """Time for five kilobytes and ten ways; signs of life take one hundredth of the link at the most.

        `wait`: seconds that either end may have to wait for airtime; signs of life are not worth more of it.
        """
        keepalive = max(cls().keepalive, 100 * PING_BITS / bitrate, wait)
        return cls(HANDSHAKE_BITS / bitrate + 10 * latency + wait, keepalive)


@attrs.define
class _Stream:
    """One stream of ours or theirs: its header, and what yamux does not take yet."""

    header: FrameReader | None
    unsent: bytearray = attrs.field(factory=bytearray)
    finishing: bool = False


class Session:
    """One end of a session. Feed `receive`, send what `take` gives after each call, call `wake` at `timeout()`."""

    def __init__(
        self,
        *,
        initiator: bool,
        identity: NodeIdentity,
        ephemeral: Secret,
        now: float,
        secret_for_tag: Callable[[bytes], Secret | None] | None = None,
        guard: ReplayGuard | None = None,
    ) -> None:
        self.initiator = initiator
        self.profile = identity.profile
        self.state = SessionState.WAITING_FOR_TAG
        self._identity = identity
        self._ephemeral = ephemeral
        self._secret_for_tag = secret_for_tag
        self.tag = b""
        """The tag of the advert under which the two ends met; public."""
        self._guard = guard
        self._deadline: float | None = now + HANDSHAKE_TIMEOUT
        self._messages = NoiseMessages(MAX_HANDSHAKE_MESSAGE)
        self._early = bytearray()
        self._out = bytearray()
        self._noise: NoiseHandshake | None = None
        self._channel: NoiseTransport | None = None
        self._yamux: Yamux | None = None
        self._streams: dict[int, _Stream] = {}
        self._spoken = False
        self.said = 0  # bytes that were ever given to streams
        self._pace = Pace()

    def suit(self, pace: Pace) -> None:
        """Be as patient as the link is slow; before the handshake."""
        self._pace = pace
        if self._deadline is not None:
            self._deadline += pace.extra

    @classmethod
    def dial(cls, identity: NodeIdentity, tag: bytes, secret: Secret, ephemeral: Secret, now: float) -> Session:
        """Begin a session with whoever shows `tag`; `secret` is the key of the point it stands for."""
        session = cls(initiator=True, identity=identity, ephemeral=ephemeral, now=now)
        session._begin(tag, secret)
        session._out += bytes([MAGIC]) + tag
        session._write()
        return session

    @classmethod
    def accept(
        cls,
        identity: NodeIdentity,
        secret_for_tag: Callable[[bytes], Secret | None],
        guard: ReplayGuard,
        ephemeral: Secret,
        now: float,
    ) -> Session:
        """Wait for a dialler who names one of the tags that are shown right now."""
        return cls(
            initiator=False,
            identity=identity,
            ephemeral=ephemeral,
            now=now,
            secret_for_tag=secret_for_tag,
            guard=guard,
        )

    # -- streams -------------------------------------------------------------------------------

    def open_stream(self, kind: str, tag: bytes = b"") -> int:
        """Open a stream of a type; what is sent next follows its header."""
        number = self._open_yamux().open()
        self._streams[number] = _Stream(None)
        header = pb.StreamHeader(type=kind, tag=tag).SerializeToString()
        self.send(number, encode_frame(header, MAX_HEADER))
        return number

    def send(self, stream: int, data: bytes) -> None:
        """Send bytes on a stream; what its window does not take waits here (see `backlog`)."""
        found = self._streams.get(stream)
        if found is None or found.finishing:
            return
        self.said += len(data)
        if found.unsent:
            found.unsent += data
            return
        taken = self._open_yamux().send(stream, data)
        if taken < len(data):
            found.unsent += data[taken:]

    def backlog(self, stream: int) -> int:
        """Bytes of a stream that wait for the peer's window."""
        found = self._streams.get(stream)
        return 0 if found is None else len(found.unsent) + self._open_yamux().unsent(stream)

    def consumed(self, stream: int, count: int) -> None:
        """Give window back for bytes that were used."""
        self._open_yamux().consumed(stream, count)

    def finish(self, stream: int) -> None:
        """Send nothing more on a stream, behind what is queued."""
        found = self._streams.get(stream)
        if found is None:
            return
        found.finishing = True
        if not found.unsent:
            self._open_yamux().finish(stream)

    def reset(self, stream: int) -> None:
        """End a stream at once, both ways."""
        self._streams.pop(stream, None)
        self._open_yamux().reset(stream)

    # -- bytes ---------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[SessionEvent]:
        """Take in bytes of the link; RemoteProtocolError means: close the link (in the handshake, in silence)."""
        try:
            return self._receive(data, now)
        except RemoteProtocolError:
            if self.state is not SessionState.OPEN:
                self._out.clear()
            self._move(SessionState.CLOSED)
            raise

    def _receive(self, data: bytes, now: float) -> list[SessionEvent]:
        if self.state is SessionState.OPEN:
            return self._receive_open(data, now)
        if self.state is SessionState.CLOSED:
            return []
        if self.state is SessionState.WAITING_FOR_TAG:
            self._early += data
            if len(self._early) < 1 + TAG_LENGTH:
                if self._early[:1] not in (b"", bytes([MAGIC])):
                    raise RemoteProtocolError("not a private session")
                return []
            self._meet(bytes(self._early[: 1 + TAG_LENGTH]))
            data = bytes(self._early[1 + TAG_LENGTH :])
        self._messages.feed(data)
        return self._shake_hands(now)

    def _meet(self, opening: bytes) -> None:
        if opening[0] != MAGIC:
            raise RemoteProtocolError("not a private session")
        tag = opening[1:]
        secret = self._secret_for_tag(tag) if self._secret_for_tag else None
        # a tag that is not shown fails where a wrong key does, so that nobody can try which tags were shown before
        self._begin(tag, secret or hkdf_sha256(self._ephemeral, b"nothing is shown under this tag"))

    def _begin(self, tag: bytes, secret: Secret) -> None:
        self.tag = tag
        self._noise = NoiseHandshake(
            self.initiator, self._identity.key, self._ephemeral, prologue=PROLOGUE + tag, psk=bytes(secret)
        )
        self._move(SessionState.HANDSHAKE)

    def _shake_hands(self, now: float) -> list[SessionEvent]:
        noise = self._noise
        if noise is None:
            raise LocalProtocolError("no handshake is under way")
        greeting: bytes | None = None
        while not noise.finished and (message := self._messages.next()) is not None:
            if noise.our_turn:
                raise RemoteProtocolError("the peer spoke out of turn")
            payload = noise.read_message(message)
            if not self.initiator and self._guard and not noise.finished and not self._guard.is_new(message[:32]):
                raise RemoteProtocolError("a handshake that was recorded and sent again")
            self._guard = None
            if self.initiator or noise.finished:
                greeting = payload
            if noise.our_turn:
                self._write()
        if not noise.finished:
            return []
        if greeting is None:
            raise RemoteProtocolError("a handshake without a greeting")
        return self._open(noise, greeting, now)

    def _write(self) -> None:
        noise = self._noise
        if noise is None:
            raise LocalProtocolError("no handshake is under way")
        # message 1 travels under the pre-shared key alone, without the peer's fresh key: it says nothing
        payload = self._greeting() if self._spoken or not self.initiator else b""
        self._spoken = True
        self._out += encode_message(noise.write_message(payload))

    def _greeting(self) -> bytes:
        return pb.Greeting(
            version_min=VERSION,
            version_max=VERSION,
            capabilities=self._identity.capabilities,
            profile=self._identity.profile,
            beacon_nonce=self._identity.beacon_nonce,
        ).SerializeToString()

    def _open(self, noise: NoiseHandshake, data: bytes, now: float) -> list[SessionEvent]:
        greeting = parse(pb.Greeting, data, MAX_HANDSHAKE_MESSAGE)
        if not greeting.version_min <= VERSION <= greeting.version_max:
            raise RemoteProtocolError(
                f"the peer speaks session versions {greeting.version_min} to {greeting.version_max}, "
                f"this is version {VERSION}: one of the two must be updated"
            )
        if noise.remote_static == self._identity.public:
            raise RemoteProtocolError("this is our own advert, shown to us by somebody else")
        peer, handshake_hash = noise.remote_static, noise.handshake_hash
        sending, receiving = noise.split()
        self._channel = NoiseTransport(sending, receiving, self._messages.rest())
        limits = attrs.evolve(
            _LIMITS, keepalive=self._pace.keepalive, ping_timeout=_LIMITS.ping_timeout + self._pace.extra
        )
        self._yamux = Yamux(self.initiator, now, limits)
        self._move(SessionState.OPEN)
        opened = Opened(
            peer, handshake_hash, tuple(greeting.capabilities[:32]), greeting.profile[:32], greeting.beacon_nonce[:8]
        )
        return [opened, *self._receive_open(b"", now)]

    def _receive_open(self, data: bytes, now: float) -> list[SessionEvent]:
        if self._channel is None:
            raise LocalProtocolError("the session is not open")
        plaintext = self._channel.receive(data)
        events: list[SessionEvent] = []
        for event in self._open_yamux().receive(plaintext, now):
            self._take_event(event, events)
        return events

    def _take_event(self, event: object, events: list[SessionEvent]) -> None:
        match event:
            case StreamOpened(stream_id):
                self._streams[stream_id] = _Stream(FrameReader(MAX_HEADER))
            case DataReceived(stream_id, data):
                self._take_data(stream_id, data, events)
            case StreamFinished(stream_id):
                events.append(StreamEnded(stream_id, reset=False))
            case StreamReset(stream_id):
                self._streams.pop(stream_id, None)
                events.append(StreamEnded(stream_id, reset=True))
            case GoAwayReceived():
                pass  # the link's end follows

    def _take_data(self, stream_id: int, data: bytes, events: list[SessionEvent]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.header is None:
            events.append(StreamData(stream_id, data))
            return
        started = self._read_header(stream_id, stream, data)
        if started is None:
            return
        header, rest = started
        events.append(StreamStarted(stream_id, header.type, header.tag))
        if rest:
            events.append(StreamData(stream_id, rest))

    def _read_header(self, stream_id: int, stream: _Stream, data: bytes) -> tuple[pb.StreamHeader, bytes] | None:
        """The header of a stream and what came behind it; a stream with a bad one is reset, and nothing else."""
        reader = stream.header
        if reader is None:
            raise LocalProtocolError("the header was read already")
        try:
            frame, used = reader.feed_one(data)
            self._open_yamux().consumed(stream_id, used)
            if frame is None:
                return None
            stream.header = None
            return parse(pb.StreamHeader, frame, MAX_HEADER), data[used:]
        except RemoteProtocolError:
            self.reset(stream_id)
            return None

    def take(self) -> bytes:
        """The bytes to send now."""
        if self._yamux is not None and self._channel is not None:
            self._push_unsent()
            self._out += self._channel.send(self._yamux.take())
        out = bytes(self._out)
        self._out.clear()
        return out

    def _push_unsent(self) -> None:
        yamux = self._open_yamux()
        for number, stream in list(self._streams.items()):
            if stream.unsent:
                taken = yamux.send(number, bytes(stream.unsent))
                del stream.unsent[:taken]
            if stream.finishing and not stream.unsent:
                yamux.finish(number)
                if number not in yamux.streams:
                    del self._streams[number]

    def timeout(self) -> float | None:
        """When `wake` wants to be called."""
        if self._yamux is None or self.state is SessionState.CLOSED:
            return self._deadline
        return self._yamux.timeout()

    def wake(self, now: float) -> None:
        """Keep the session alive; RemoteProtocolError if the peer is silent for too long."""
        if self._deadline is not None and now >= self._deadline:
            self._out.clear()
            self._move(SessionState.CLOSED)
            raise RemoteProtocolError(f"no session within {HANDSHAKE_TIMEOUT + self._pace.extra:.0f} s")
        if self._yamux is None or self.state is SessionState.CLOSED:
            return
        try:
            self._yamux.wake(now)
        except RemoteProtocolError:
            self._move(SessionState.CLOSED)
            raise

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        if self.state is SessionState.OPEN:
            self._open_yamux().ping()

    def close(self) -> None:
        """End the session from our side; `take` gives the last bytes."""
        if self._yamux is not None and self.state is SessionState.OPEN:
            self._yamux.go_away()
        self._move(SessionState.CLOSED)

    def _open_yamux(self) -> Yamux:
        if self._yamux is None:
            raise LocalProtocolError("the session is not open")
        return self._yamux

    def _move(self, state: SessionState) -> None:
        if state is self.state:
            return
        if state not in TRANSITIONS[self.state]:
            raise LocalProtocolError(f"a session that is {self.state.value} cannot become {state.value}")
        self.state = state
        if state is not SessionState.HANDSHAKE:
            self._deadline = None
