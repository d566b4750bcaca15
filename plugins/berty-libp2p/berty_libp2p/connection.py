"""One libp2p connection over one stream link: security, muxer, and streams that say what they speak.

Invariant: no byte of a stream is handed on before its protocol is agreed, and everything that a peer can leave
unfinished (the handshake, a negotiation, a stream) is bounded in number and in time.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import attrs

from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.noise import NoiseTransport
from berty_core.protocol.yamux import (
    DataReceived,
    GoAwayReceived,
    StreamFinished,
    StreamOpened,
    StreamReset,
    Yamux,
    YamuxEvent,
    YamuxLimits,
)

from .multistream import Offer, Proposal
from .peers import PeerId
from .upgrade import PROTOCOL as NOISE
from .upgrade import YAMUX, NoiseUpgrade, Upgraded

HANDSHAKE_TIMEOUT: Final = 10.0
NEGOTIATION_TIMEOUT: Final = 10.0
MAX_NEGOTIATIONS: Final = 64  # streams of the peer whose protocol is not agreed yet


class State(enum.Enum):
    """How far a connection has come."""

    SECURITY = "agreeing on Noise"
    NOISE = "in the Noise handshake"
    MUXER = "agreeing on yamux"
    OPEN = "open"
    CLOSED = "closed"


TRANSITIONS: Final[Mapping[State, tuple[State, ...]]] = {
    State.SECURITY: (State.NOISE, State.CLOSED),
    State.NOISE: (State.MUXER, State.OPEN, State.CLOSED),
    State.MUXER: (State.OPEN, State.CLOSED),
    State.OPEN: (State.CLOSED,),
    State.CLOSED: (),
}


@attrs.frozen
class Connected:
    """The peer has proved who it is, and streams may be opened."""

    peer: PeerId


@attrs.frozen
class StreamAccepted:
    """The peer opened a stream and both speak this protocol on it."""

    stream: int
    protocol: str


@attrs.frozen
class StreamAgreed:
    """The peer speaks the protocol of a stream that we opened."""

    stream: int
    protocol: str


@attrs.frozen
class StreamData:
    """Bytes of a stream; say `consumed` once they are used."""

    stream: int
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class StreamEnded:
    """The peer sends nothing more on a stream; `reset`: and takes nothing either. `reason` where it was refused."""

    stream: int
    reset: bool
    reason: str = ""


Event = Connected | StreamAccepted | StreamAgreed | StreamData | StreamEnded


@attrs.define
class _Stream:
    """One stream: what it agrees on, and what yamux does not take yet."""

    negotiation: Proposal | Offer | None
    deadline: float
    ours: bool
    unsent: bytearray = attrs.field(factory=bytearray)
    finishing: bool = False
    finished_by_peer: bool = False


class Connection:
    """One end of a connection. Feed `receive`, send what `take` gives after each call, call `wake` at `timeout()`.

    `speaks` tells which protocols are accepted on streams of the peer. `static` and `ephemeral` are 32 fresh random
    bytes each. After a RemoteProtocolError, send what `take` still gives and close the link.
    """

    def __init__(
        self,
        initiator: bool,
        identity: PrivateKey,
        speaks: Callable[[str], bool],
        static: Secret,
        ephemeral: Secret,
        now: float,
        *,
        expected: PeerId | None = None,
        early_muxer: bool = True,
        limits: YamuxLimits | None = None,
    ) -> None:
        self.initiator = initiator
        self.state = State.SECURITY
        self.peer: PeerId | None = None
        self._speaks = speaks
        self._limits = limits or YamuxLimits()
        self._deadline: float | None = now + HANDSHAKE_TIMEOUT
        self._now = now
        self._make_upgrade = partial(
            NoiseUpgrade, initiator, identity, static, ephemeral, expected=expected, early_muxer=early_muxer
        )
        self._select: Proposal | Offer | None = self._negotiate(NOISE)
        self._upgrade: NoiseUpgrade | None = None
        self._channel: NoiseTransport | None = None
        self._yamux: Yamux | None = None
        self._streams: dict[int, _Stream] = {}
        self._negotiating: dict[int, None] = {}  # in the order of their deadlines
        self._waiting: dict[int, None] = {}  # streams with bytes that yamux did not take
        self._out = bytearray()

    # -- streams -------------------------------------------------------------------------------

    def open_stream(self, protocol: str) -> int:
        """Open a stream and propose its protocol; what is sent next follows at once.

        LocalProtocolError if the connection takes no more streams.
        """
        number = self._open_yamux().open()
        proposal = Proposal(protocol)
        self._streams[number] = _Stream(proposal, self._now + NEGOTIATION_TIMEOUT, ours=True)
        self._negotiating[number] = None
        self.send(number, proposal.take())
        return number

    def send(self, stream: int, data: bytes) -> None:
        """Send bytes; what cannot go yet waits here (`backlog`). Quietly nothing on a stream that is gone."""
        found = self._streams.get(stream)
        if found is None or found.finishing:
            return
        taken = 0 if found.unsent else self._open_yamux().send(stream, data)
        if taken < len(data):
            found.unsent += data[taken:]
            self._waiting[stream] = None

    def backlog(self, stream: int) -> int:
        """Bytes of a stream that wait for the peer."""
        found = self._streams.get(stream)
        return 0 if found is None else len(found.unsent) + self._open_yamux().unsent(stream)

    def consumed(self, stream: int, count: int) -> None:
        """Give window back for bytes that were used."""
        self._open_yamux().consumed(stream, count)

    def finish(self, stream: int) -> None:
        """Send nothing more on a stream, behind what is queued."""
        found = self._streams.get(stream)
        if found is None or found.finishing:
            return
        found.finishing = True
        if not found.unsent:
            self._finish(stream, found)

    def _finish(self, number: int, stream: _Stream) -> None:
        self._open_yamux().finish(number)
        if stream.finished_by_peer:
            self._forget(number)

    def reset(self, stream: int) -> None:
        """End a stream at once, both ways; quietly nothing if it is gone."""
        if self._forget(stream):
            self._open_yamux().reset(stream)

    def _forget(self, number: int) -> bool:
        self._negotiating.pop(number, None)
        self._waiting.pop(number, None)
        return self._streams.pop(number, None) is not None

    @property
    def streams(self) -> int:
        """How many streams are open, those that are not agreed yet among them."""
        return len(self._streams)

    # -- bytes ---------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take in bytes of the link; RemoteProtocolError means that it is to be closed."""
        self._now = now
        events: list[Event] = []
        try:
            self._receive(data, events)
        except RemoteProtocolError:
            self._move(State.CLOSED)
            raise
        return events

    def take(self) -> bytes:
        """The bytes to send now."""
        if self._select is not None:
            self._out_plain(self._select.take())
        if self._upgrade is not None:
            self._out += self._upgrade.take()
        if self._yamux is not None and self._channel is not None:
            self._push_unsent()
            self._out += self._channel.send(self._yamux.take())
        out = bytes(self._out)
        self._out.clear()
        return out

    def timeout(self) -> float | None:
        """When to call `wake`, in the time of `now`."""
        times = [self._deadline]
        times += [self._streams[number].deadline for number in list(self._negotiating)[:1]]
        if self._yamux is not None and self.state is State.OPEN:
            times.append(self._yamux.timeout())
        return min((time for time in times if time is not None), default=None)

    def wake(self, now: float) -> list[Event]:
        """Do what is due; RemoteProtocolError if the peer took too long for the handshake or is silent."""
        self._now = now
        events: list[Event] = []
        if self._deadline is not None and now >= self._deadline:
            reason = f"after {HANDSHAKE_TIMEOUT:g} s the connection was still {self.state.value}"
            self._move(State.CLOSED)
            raise RemoteProtocolError(reason)
        if self._yamux is None or self.state is not State.OPEN:
            return events
        for number in list(self._negotiating):
            if self._streams[number].deadline > now:
                break
            self._refuse(number, "the peer left the stream's protocol open", events)
        for event in self._yamux.wake(now):
            self._take_event(event, events)
        return events

    # -- upgrading -----------------------------------------------------------------------------

    def _negotiate(self, protocol: str) -> Proposal | Offer:
        return Proposal(protocol) if self.initiator else Offer(lambda proposed: proposed == protocol)

    def _receive(self, data: bytes, events: list[Event]) -> None:
        if self.state is State.SECURITY:
            data = self._agree(self._require_select(), data)
            if self._require_select().agreed is None:
                return
            self._select = None
            self._upgrade = self._make_upgrade()
            self._move(State.NOISE)
        if self.state is State.NOISE:
            self._shake_hands(data, events)
        elif self.state is State.MUXER:
            self._choose_muxer(self._require_channel().receive(data), events)
        elif self.state is State.OPEN:
            self._receive_open(self._require_channel().receive(data), events)

    def _agree(self, select: Proposal | Offer, data: bytes) -> bytes:
        """Go on agreeing; what came behind the agreement comes back."""
        select.receive(data)
        self._out_plain(select.take())
        return select.rest() if select.agreed is not None else b""

    def _out_plain(self, data: bytes) -> None:
        """Bytes of a negotiation: bare before Noise, inside it afterwards."""
        self._out += self._channel.send(data) if self._channel is not None else data

    def _shake_hands(self, data: bytes, events: list[Event]) -> None:
        upgrade = self._upgrade
        if upgrade is None:
            raise LocalProtocolError("no handshake is under way")
        upgraded = upgrade.receive(data)
        self._out += upgrade.take()
        if upgraded is not None:
            self._upgrade = None
            self._secured(upgraded, events)

    def _secured(self, upgraded: Upgraded, events: list[Event]) -> None:
        self.peer, self._channel = upgraded.peer, upgraded.channel
        early = upgraded.channel.receive(b"")
        if upgraded.early_muxer:
            self._open(events)
            self._receive_open(early, events)
            return
        self._move(State.MUXER)
        self._select = self._negotiate(YAMUX)
        self._out_plain(self._select.take())
        self._choose_muxer(early, events)

    def _choose_muxer(self, plaintext: bytes, events: list[Event]) -> None:
        rest = self._agree(self._require_select(), plaintext)
        if self._require_select().agreed is not None:
            self._select = None
            self._open(events)
            self._receive_open(rest, events)

    def _open(self, events: list[Event]) -> None:
        if self.peer is None:
            raise LocalProtocolError("nobody has proved to be there")
        self._yamux = Yamux(self.initiator, self._now, self._limits)
        self._deadline = None
        self._move(State.OPEN)
        events.append(Connected(self.peer))

    # -- streams of yamux ----------------------------------------------------------------------

    def _receive_open(self, plaintext: bytes, events: list[Event]) -> None:
        for event in self._open_yamux().receive(plaintext, self._now):
            self._take_event(event, events)

    def _take_event(self, event: YamuxEvent, events: list[Event]) -> None:
        match event:
            case StreamOpened(number):
                self._opened(number)
            case DataReceived(number, data):
                self._data(number, data, events)
            case StreamFinished(number):
                self._finished(number, events)
            case StreamReset(number):
                if self._forget(number):
                    events.append(StreamEnded(number, reset=True))
            case GoAwayReceived():
                pass  # the link's end follows

    def _opened(self, number: int) -> None:
        waiting = sum(not self._streams[other].ours for other in self._negotiating)
        self._streams[number] = _Stream(Offer(self._speaks), self._now + NEGOTIATION_TIMEOUT, ours=False)
        self._negotiating[number] = None
        if waiting >= MAX_NEGOTIATIONS:
            self.reset(number)

    def _data(self, number: int, data: bytes, events: list[Event]) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        if stream.negotiation is not None:
            rest = self._agree_stream(number, stream, stream.negotiation, data, events)
            self._open_yamux().consumed(number, len(data) - len(rest))
            if rest:
                events.append(StreamData(number, rest))
            return
        events.append(StreamData(number, data))

    def _agree_stream(
        self, number: int, stream: _Stream, negotiation: Proposal | Offer, data: bytes, events: list[Event]
    ) -> bytes:
        """Go on agreeing on a stream; one that goes wrong is reset, and nothing else."""
        try:
            negotiation.receive(data)
        except RemoteProtocolError as error:
            self._refuse(number, str(error), events)
            return b""
        self.send(number, negotiation.take())
        if negotiation.agreed is None:
            return b""
        stream.negotiation = None
        self._negotiating.pop(number, None)
        agreed = negotiation.agreed
        events.append(StreamAgreed(number, agreed) if stream.ours else StreamAccepted(number, agreed))
        return negotiation.rest()

    def _finished(self, number: int, events: list[Event]) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        if stream.negotiation is not None:
            self._refuse(number, "the peer ended the stream before its protocol was agreed", events)
            return
        stream.finished_by_peer = True
        if stream.finishing and not stream.unsent:
            self._forget(number)
        events.append(StreamEnded(number, reset=False))

    def _refuse(self, number: int, reason: str, events: list[Event]) -> None:
        ours = self._streams[number].ours
        self.reset(number)
        if ours:
            events.append(StreamEnded(number, reset=True, reason=reason))

    def _push_unsent(self) -> None:
        for number in list(self._waiting):
            stream = self._streams[number]
            taken = self._open_yamux().send(number, bytes(stream.unsent))
            del stream.unsent[:taken]
            if stream.unsent:
                continue
            del self._waiting[number]
            if stream.finishing:
                self._finish(number, stream)

    # -- what must be there --------------------------------------------------------------------

    def _open_yamux(self) -> Yamux:
        if self._yamux is None:
            raise LocalProtocolError("the connection is not open")
        return self._yamux

    def _require_channel(self) -> NoiseTransport:
        if self._channel is None:
            raise LocalProtocolError("the connection is not encrypted yet")
        return self._channel

    def _require_select(self) -> Proposal | Offer:
        if self._select is None:
            raise LocalProtocolError("nothing is being agreed on")
        return self._select

    def _move(self, state: State) -> None:
        if state is not self.state and state in TRANSITIONS[self.state]:
            self.state = state
