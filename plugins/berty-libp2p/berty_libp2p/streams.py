"""Streams of one connection that say what they speak, over a multiplexer: yamux, or QUIC's own streams.

Invariant: no byte of a stream is handed on before its protocol is agreed, and what a peer can leave unfinished (a
negotiation, a stream) is bounded in number and in time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import attrs

from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.yamux import DataReceived, StreamFinished, StreamOpened, StreamReset, YamuxEvent

from .multistream import Offer, Proposal
from .peers import PeerId

NEGOTIATION_TIMEOUT: Final = 10.0
MAX_NEGOTIATIONS: Final = 64  # streams of the peer whose protocol is not agreed yet


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
class StreamUnread:
    """The peer takes nothing more on a stream, but may send on; of yamux's streams it cannot say so."""

    stream: int


@attrs.frozen
class StreamEnded:
    """The peer sends nothing more on a stream; `reset`: and takes nothing either. `reason` where it was refused."""

    stream: int
    reset: bool
    reason: str = ""


Event = Connected | StreamAccepted | StreamAgreed | StreamData | StreamUnread | StreamEnded
MuxerEvent = YamuxEvent | StreamUnread


class Muxer(Protocol):
    """What carries the streams. Nothing but `open` fails on a stream that the peer has ended."""

    def open(self) -> int:
        """Open a stream; LocalProtocolError if there can be no more."""

    def send(self, stream_id: int, data: bytes) -> int:
        """Send or queue bytes; how many were taken."""

    def unsent(self, stream_id: int) -> int:
        """How many bytes were taken and wait."""

    def finish(self, stream_id: int) -> None:
        """Send nothing more."""

    def reset(self, stream_id: int) -> None:
        """End a stream both ways."""

    def consumed(self, stream_id: int, count: int) -> None:
        """Give window back."""


@attrs.define
class _Stream:
    """One stream: what it agrees on, and what the muxer does not take yet."""

    negotiation: Proposal | Offer | None
    deadline: float
    ours: bool
    unsent: bytearray = attrs.field(factory=bytearray)
    finishing: bool = False
    finished_by_peer: bool = False


class Streams:
    """One end of a connection as those see it who use its streams; a subclass brings bytes in and out.

    `speaks` tells which protocols are accepted on streams of the peer. `peer` is who is there, None until that is
    proved.
    """

    def __init__(self, initiator: bool, speaks: Callable[[str], bool], now: float) -> None:
        self.initiator = initiator
        self.peer: PeerId | None = None
        self._speaks = speaks
        self._now = now
        self._muxer: Muxer | None = None
        self._streams: dict[int, _Stream] = {}
        self._negotiating: dict[int, None] = {}  # in the order of their deadlines
        self._waiting: dict[int, None] = {}  # streams with bytes that the muxer did not take

    # -- what the application asks for ---------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether streams may be opened."""
        return self._muxer is not None

    def doubt(self, now: float) -> None:
        """Find out soon whether the peer is still there: there are signs that it may not be."""

    def open_stream(self, protocol: str) -> int:
        """Open a stream and propose its protocol; what is sent next follows at once.

        LocalProtocolError if the connection takes no more streams.
        """
        number = self._open_muxer().open()
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
        taken = 0 if found.unsent else self._open_muxer().send(stream, data)
        if taken < len(data):
            found.unsent += data[taken:]
            self._waiting[stream] = None

    def backlog(self, stream: int) -> int:
        """Bytes of a stream that wait for the peer."""
        found = self._streams.get(stream)
        return 0 if found is None else len(found.unsent) + self._open_muxer().unsent(stream)

    def consumed(self, stream: int, count: int) -> None:
        """Give window back for bytes that were used."""
        self._open_muxer().consumed(stream, count)

    def finish(self, stream: int) -> None:
        """Send nothing more on a stream, behind what is queued."""
        found = self._streams.get(stream)
        if found is None or found.finishing:
            return
        found.finishing = True
        if not found.unsent:
            self._finish(stream, found)

    def _finish(self, number: int, stream: _Stream) -> None:
        self._open_muxer().finish(number)
        if stream.finished_by_peer:
            self._forget(number)

    def is_ending(self, stream: int) -> bool:
        """Whether we have finished a stream that is not over: something waits, or the peer has not ended its side."""
        found = self._streams.get(stream)
        return found is not None and found.finishing

    def reset(self, stream: int) -> None:
        """End a stream at once, both ways, with what waits; quietly nothing if it is gone."""
        if self._forget(stream):
            self._open_muxer().reset(stream)

    def _forget(self, number: int) -> bool:
        self._negotiating.pop(number, None)
        self._waiting.pop(number, None)
        return self._streams.pop(number, None) is not None

    @property
    def streams(self) -> int:
        """How many streams are open, those that are not agreed yet among them."""
        return len(self._streams)

    # -- what the muxer says -------------------------------------------------------------------

    def _negotiation_deadline(self) -> float | None:
        """When the oldest negotiation is over."""
        return next((self._streams[number].deadline for number in self._negotiating), None)

    def _end_negotiations(self, events: list[Event]) -> None:
        """Refuse the streams whose time is over."""
        for number in list(self._negotiating):
            if self._streams[number].deadline > self._now:
                break
            self._refuse(number, "the peer left the stream's protocol open", events)

    def _take_event(self, event: MuxerEvent, events: list[Event]) -> None:
        match event:
            case StreamOpened(number):
                self._opened(number)
            case DataReceived(number, data):
                self._data(number, data, events)
            case StreamFinished(number):
                self._finished(number, events)
            case StreamUnread(number):
                if number in self._streams:
                    events.append(event)
            case StreamReset(number):
                if self._forget(number):
                    events.append(StreamEnded(number, reset=True))

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
            self._open_muxer().consumed(number, len(data) - len(rest))
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
            taken = self._open_muxer().send(number, bytes(stream.unsent))
            del stream.unsent[:taken]
            if stream.unsent:
                continue
            del self._waiting[number]
            if stream.finishing:
                self._finish(number, stream)

    def _open_muxer(self) -> Muxer:
        if self._muxer is None:
            raise LocalProtocolError("the connection is not open")
        return self._muxer
