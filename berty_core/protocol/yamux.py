"""Yamux: many streams over one ordered channel, each with its own window (hashicorp yamux, as go-libp2p speaks it).

Invariant: a frame is judged by its header, before a byte of its payload is kept; received bytes are handed on at once,
so what is held for the peer is twelve bytes and a bounded record for each open stream.
"""

from __future__ import annotations

from typing import Final

from ..errors import LocalProtocolError, RemoteProtocolError
from .yamux_stream import (
    ACK,
    ALL_FLAGS,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_LENGTH,
    INITIAL_WINDOW,
    MAX_FRAME,
    MAX_UINT32,
    NORMAL,
    PING,
    PROTOCOL_ERROR,
    RST,
    SYN,
    VERSION,
    WINDOW_UPDATE,
    DataReceived,
    GoAwayReceived,
    PongReceived,
    Step,
    Stream,
    StreamFinished,
    StreamOpened,
    StreamReset,
    WindowOpened,
    YamuxEvent,
    YamuxLimits,
)

__all__ = [
    "INITIAL_WINDOW",
    "DataReceived",
    "GoAwayReceived",
    "PongReceived",
    "StreamFinished",
    "StreamOpened",
    "StreamReset",
    "WindowOpened",
    "Yamux",
    "YamuxEvent",
    "YamuxLimits",
]

MAX_PONGS: Final = 32  # a peer that pings faster than we send gets no more answers than this at once
MAX_SKIPPED: Final = 1024
DEFAULT_LIMITS: Final = YamuxLimits()

_pack = HEADER.pack
_unpack = HEADER.unpack_from


class Yamux:
    """One multiplexed session; the initiator's streams have odd numbers.

    Feed what the channel delivers to `receive`, send what `take` gives after every call, and call `wake` when
    `timeout()` is due. After a RemoteProtocolError, send what `take` still gives and close the link.
    """

    def __init__(self, initiator: bool, now: float, limits: YamuxLimits = DEFAULT_LIMITS) -> None:
        self.initiator = initiator
        self.limits = limits
        self.rtt: float | None = None
        self._now = self._heard = now
        self._streams: dict[int, Stream] = {}
        self._next = 1 if initiator else 2
        self._highest = 0 if initiator else -1  # of the peer's numbers; they rise in steps of two
        self._skipped: dict[int, None] = {}
        self._incoming = self._outgoing = self._backlog = 0
        self._out: list[bytes] = []
        self._epoch = 1
        self._control = self._pongs = 0
        self._blocked: dict[int, None] = {}  # streams that have refused bytes
        self._held: dict[int, None] = {}  # streams that have window, but framed enough until the next take
        self._unanswered: dict[int, float] = {}
        self._roomy: dict[int, None] = {}  # streams that `take` made room on, to be told
        self._partial = b""
        self._payload: Stream | None = None
        self._left = 0
        self._finishes = False
        self._discardable = 0
        self._grown = 0
        self._ping: tuple[int, float] | None = None
        self._ping_number = 0
        self._leaving = self._left_by_peer = self._failed = False

    # What the application asks for.

    def open(self) -> int:
        """Open a stream and return its number; the peer learns of it with our first frame on it.

        LocalProtocolError if the session takes no more streams.
        """
        if self._left_by_peer or self._leaving:
            raise LocalProtocolError("the session takes no new streams: one side has said go away")
        if self._outgoing >= self.limits.outgoing:
            raise LocalProtocolError(f"{self._outgoing} streams are open, the limit is {self.limits.outgoing}")
        if self._next > MAX_UINT32:
            raise LocalProtocolError("all stream numbers of this session are used; open a new session")
        number = self._next
        self._next += 2
        self._outgoing += 1
        self._streams[number] = Stream(number, False, self.limits.window, self._now)
        return number

    def accept(self, stream_id: int) -> None:
        """Take a stream out of the backlog; `send`, `finish` and `consumed` do the same.

        The peer is told by our first frame, or by one of its own after `acknowledge_delay`.
        """
        stream = self._find(stream_id)
        if stream is not None and not stream.accepted:
            self._accept(stream)

    def send(self, stream_id: int, data: bytes) -> int:
        """Send or queue `data` and return how many of its bytes were taken; `WindowOpened` follows a short count.

        Nothing is taken on a stream that was reset or is closed: the peer may end it at any time, so that is no
        error. LocalProtocolError after our own `finish`, and for a stream that never was.
        """
        stream = self._find(stream_id)
        if stream is None:
            return 0
        if stream.finishing or not stream.sends:
            raise LocalProtocolError(f"stream {stream_id}: nothing can be sent after finish")
        if not stream.accepted:
            self._accept(stream)
        size = len(data)
        if size <= MAX_FRAME and not stream.queue and size <= stream.allowance(self._epoch, self.limits.unsent):
            if size:
                self._frame(DATA, stream, size)
                self._out.append(bytes(data))
                stream.count(size, self._epoch)
            return size
        return self._send_slowly(stream, data)

    def sendable(self, stream_id: int) -> int:
        """How many bytes `send` would take now; 0 for a stream that is gone or finished."""
        stream = self._find(stream_id)
        if stream is None or stream.finishing or not stream.sends:
            return 0
        return self._room(stream)

    def unsent(self, stream_id: int) -> int:
        """How many accepted bytes wait for the peer's window."""
        stream = self._find(stream_id)
        return 0 if stream is None else len(stream.queue)

    def finish(self, stream_id: int) -> None:
        """End our side of a stream, behind what is queued; quietly nothing if that is done or the stream is gone."""
        stream = self._find(stream_id)
        if stream is None or stream.finishing:
            return
        if not stream.accepted:
            self._accept(stream)
        stream.finishing = True
        self._blocked.pop(stream_id, None)
        self._flush(stream)

    def reset(self, stream_id: int) -> None:
        """End a stream in both directions at once and drop what is queued; quietly nothing if it is gone."""
        stream = self._find(stream_id)
        if stream is None:
            return
        if stream.first_flag != SYN:  # the peer has never heard of it otherwise
            stream.first_flag = 0
            self._frame(WINDOW_UPDATE, stream, 0, RST)
        self._remove(stream)

    def consumed(self, stream_id: int, count: int) -> None:
        """Give the window of `count` delivered bytes back to the peer; it is told at half a window.

        Quietly nothing for a stream that is gone. LocalProtocolError for more than was delivered.
        """
        stream = self._find(stream_id)
        if stream is None:
            return
        if not 0 <= count <= stream.unconsumed:
            raise LocalProtocolError(f"stream {stream_id}: {stream.unconsumed} bytes are unconsumed, not {count}")
        if not stream.accepted:
            self._accept(stream)
        stream.unconsumed -= count
        stream.owed += count
        if stream.receives and stream.owed and stream.owed * 2 >= stream.window:
            self._give_window(stream)

    def ping(self) -> None:
        """Measure the round trip: `PongReceived` follows; nothing if a ping is under way."""
        if self._ping is None:
            self._ping = (self._ping_number, self._now)
            self._out.append(_pack(VERSION, PING, SYN, 0, self._ping_number))
            self._ping_number = (self._ping_number + 1) & MAX_UINT32

    def go_away(self, code: int = NORMAL) -> None:
        """Tell the peer that new streams will be refused; open ones go on."""
        if not self._leaving:
            self._leaving = True
            self._out.append(_pack(VERSION, GO_AWAY, 0, 0, code))

    @property
    def streams(self) -> tuple[int, ...]:
        """The numbers of the streams that are not closed."""
        return tuple(self._streams)

    # The wire and the clock.

    def take(self) -> bytes:
        """Return the bytes to send now; b"" when there are none."""
        self._epoch += 1
        for number in list(self._held):
            self._flush(self._streams[number])
        out = b"".join(self._out)
        self._out.clear()
        self._epoch += 1
        self._control = self._pongs = 0
        for number in list(self._blocked):
            if self._room(self._streams[number]):
                del self._blocked[number]
                self._roomy[number] = None
        return out

    def timeout(self) -> float | None:
        """When to call `wake`, in the time of `now`; it may be past, and None is never."""
        if self._roomy:
            return self._now
        deadlines = [] if self.limits.keepalive is None else [self._keepalive_due(self.limits.keepalive)]
        deadlines += list(self._unanswered.values())[:1]
        return min(deadlines, default=None)

    def wake(self, now: float) -> list[YamuxEvent]:
        """Do what is due: keep-alive, late acknowledgements, events that `take` caused.

        RemoteProtocolError if the peer has left a keep-alive ping unanswered.
        """
        self._now = now
        self._acknowledge(now)
        keepalive = self.limits.keepalive
        if keepalive is not None and now >= self._keepalive_due(keepalive):
            if self._ping is not None:
                self._failed = True
                raise RemoteProtocolError(
                    f"the peer was silent for {now - self._heard:.0f} s and left a ping unanswered"
                )
            self.ping()
        return self._deferred()

    def receive(self, data: bytes, now: float) -> list[YamuxEvent]:
        """Read what came and return what it means; RemoteProtocolError if it means nothing."""
        if self._failed:
            raise LocalProtocolError("the session failed; close the link")
        self._now = self._heard = now
        events = self._deferred()
        try:
            self._receive(self._partial + data if self._partial else data, events)
        except RemoteProtocolError:
            self._failed = True
            self.go_away(PROTOCOL_ERROR)
            raise
        return events

    def _deferred(self) -> list[YamuxEvent]:
        roomy, self._roomy = self._roomy, {}
        streams = [self._streams[number] for number in roomy if number in self._streams]
        return [WindowOpened(stream.number, room) for stream in streams if (room := self.sendable(stream.number))]

    def _receive(self, data: bytes, events: list[YamuxEvent]) -> None:
        position = self._read_payload(data, 0, events) if self._left else 0
        end = len(data)
        streams = self._streams
        while end - position >= HEADER_LENGTH:
            version, kind, flags, number, length = _unpack(data, position)
            position += HEADER_LENGTH
            if version != VERSION or kind > GO_AWAY or flags & ~ALL_FLAGS:
                raise RemoteProtocolError(f"yamux frame of version {version}, type {kind}, flags {flags}")
            stream = streams.get(number)
            if stream is not None and kind == DATA and not flags and stream.receives and position + length <= end:
                self._claim(stream, length)  # the common case: a whole frame of a known stream
                if length:
                    events.append(DataReceived(number, data[position : position + length]))
                position += length
            elif kind == PING:
                self._receive_ping(number, flags, length, events)
            elif kind == GO_AWAY:
                self._receive_go_away(number, length, events)
            else:
                self._receive_frame(kind, flags, number, length, events)
                if self._left:
                    position = self._read_payload(data, position, events)
        self._partial = data[position:]

    def _receive_frame(self, kind: int, flags: int, number: int, length: int, events: list[YamuxEvent]) -> None:
        stream = self._streams.get(number)
        if flags & SYN:
            if stream is not None:
                raise RemoteProtocolError(f"stream {number} was opened twice")
            stream = self._receive_open(number, events)
        elif stream is None and not self._was_opened(number):
            raise RemoteProtocolError(f"a frame for stream {number}, which was never opened")
        if stream is not None and flags & RST:
            self._remove(stream)
            events.append(StreamReset(number))
            stream = None
        if kind == DATA:
            self._begin_payload(stream, length, bool(flags & FIN), events)
            return
        if stream is not None:
            self._open_window(stream, length, events)
            if flags & FIN:
                self._receive_finish(stream, events)

    def _receive_open(self, number: int, events: list[YamuxEvent]) -> Stream | None:
        self._claim_number(number)
        if self._leaving or self._incoming >= self.limits.incoming or self._backlog >= self.limits.backlog:
            self._answer(_pack(VERSION, WINDOW_UPDATE, RST, number, 0))
            self._discardable += self.limits.window
            return None
        stream = self._streams[number] = Stream(number, True, self.limits.window, self._now)
        self._incoming += 1
        self._backlog += 1
        events.append(StreamOpened(number))
        return stream

    def _claim_number(self, number: int) -> None:
        """Refuse a number that is not the peer's to use, or was used; two openings may overtake each other in Go."""
        if number == 0 or number % 2 == self._next % 2:
            raise RemoteProtocolError(f"the peer may not open stream {number}: it has our kind of number")
        if number > self._highest:
            for skipped in range(max(self._highest + 2, number - 2 * MAX_SKIPPED), number, 2):
                self._skipped[skipped] = None
            while len(self._skipped) > MAX_SKIPPED:
                del self._skipped[next(iter(self._skipped))]
            self._highest = number
        elif number in self._skipped:
            del self._skipped[number]
        else:
            raise RemoteProtocolError(f"the peer opened stream {number} a second time")

    def _was_opened(self, number: int) -> bool:
        if number == 0:
            return False
        return number < self._next if number % 2 == self._next % 2 else number <= self._highest

    def _begin_payload(self, stream: Stream | None, length: int, finishes: bool, events: list[YamuxEvent]) -> None:
        if stream is not None and not stream.receives:
            if length == 0:
                return
            self.reset(stream.number)  # bytes behind its own end: the peer lost count on this stream only
            events.append(StreamReset(stream.number))
            stream = None
        if stream is None:
            if length > self._discardable:
                raise RemoteProtocolError(f"{length} bytes for a closed stream, above what it was ever allowed")
            self._discardable -= length
        else:
            self._claim(stream, length)
        self._payload, self._left, self._finishes = stream, length, finishes
        if not length:
            self._end_payload(events)

    def _claim(self, stream: Stream, length: int) -> None:
        if length > stream.receive_window:
            raise RemoteProtocolError(
                f"stream {stream.number}: a frame of {length} bytes, the window has {stream.receive_window}"
            )
        stream.receive_window -= length
        stream.unconsumed += length

    def _read_payload(self, data: bytes, position: int, events: list[YamuxEvent]) -> int:
        piece = data[position : position + self._left]
        stream = self._payload
        if stream is not None and piece:
            if self._streams.get(stream.number) is stream:
                events.append(DataReceived(stream.number, piece))
            else:
                self._payload = None  # we reset it in the middle of a frame
        self._left -= len(piece)
        if not self._left:
            self._end_payload(events)
        return position + len(piece)

    def _end_payload(self, events: list[YamuxEvent]) -> None:
        stream, self._payload = self._payload, None
        if stream is not None and self._finishes and stream.receives:
            self._receive_finish(stream, events)

    def _receive_finish(self, stream: Stream, events: list[YamuxEvent]) -> None:
        if stream.move(Step.REMOTE_FINISH):
            events.append(StreamFinished(stream.number))
            self._settle(stream)

    def _open_window(self, stream: Stream, length: int, events: list[YamuxEvent]) -> None:
        if not length:
            return
        stream.send_window += length
        if stream.send_window > MAX_UINT32:
            raise RemoteProtocolError(f"stream {stream.number}: the peer opened its window above 2^32-1 bytes")
        self._flush(stream)
        if stream.number in self._blocked and (room := self._room(stream)):
            del self._blocked[stream.number]
            events.append(WindowOpened(stream.number, room))

    def _receive_ping(self, number: int, flags: int, value: int, events: list[YamuxEvent]) -> None:
        if number:
            raise RemoteProtocolError(f"a ping on stream {number}")
        if flags & SYN:
            if self._pongs < MAX_PONGS:
                self._pongs += 1
                self._answer(_pack(VERSION, PING, ACK, 0, value))
        elif self._ping is not None and self._ping[0] == value:
            self.rtt = max(0.0, self._now - self._ping[1])
            self._ping = None
            events.append(PongReceived(self.rtt))

    def _receive_go_away(self, number: int, code: int, events: list[YamuxEvent]) -> None:
        if number:
            raise RemoteProtocolError(f"a go-away on stream {number}")
        self._left_by_peer = True
        events.append(GoAwayReceived(code))

    # What goes out.

    def _answer(self, frame: bytes) -> None:
        self._control += 1
        if self._control > self.limits.control:
            raise RemoteProtocolError("the peer makes us answer faster than it reads")
        self._out.append(frame)

    def _frame(self, kind: int, stream: Stream, length: int, flags: int = 0) -> None:
        if stream.first_flag:
            flags |= stream.first_flag
            stream.first_flag = 0
            self._unanswered.pop(stream.number, None)
        self._out.append(_pack(VERSION, kind, flags, stream.number, length))

    def _send_slowly(self, stream: Stream, data: bytes) -> int:
        taken = min(len(data), self._room(stream))
        if taken < len(data):
            self._blocked[stream.number] = None
        stream.queue += data[:taken]
        self._flush(stream)
        return taken

    def _room(self, stream: Stream) -> int:
        limit = self.limits.unsent
        free = 0 if stream.queue else stream.allowance(self._epoch, limit)
        return free + limit - len(stream.queue)

    def _flush(self, stream: Stream) -> None:
        """Frame as much of the queue as the window and the peer's pace allow, and our end behind it."""
        self._held.pop(stream.number, None)
        while size := min(len(stream.queue), stream.allowance(self._epoch, self.limits.unsent), MAX_FRAME):
            self._frame(DATA, stream, size)
            self._out.append(stream.pull(size))
            stream.count(size, self._epoch)
        if stream.queue and stream.send_window:
            self._held[stream.number] = None
        if stream.finishing and not stream.queue and stream.move(Step.FINISH):
            self._frame(WINDOW_UPDATE, stream, 0, FIN)
            self._settle(stream)

    def _accept(self, stream: Stream) -> None:
        stream.accepted = True
        self._backlog -= 1
        if stream.first_flag:
            self._unanswered[stream.number] = self._now + self.limits.acknowledge_delay

    def _acknowledge(self, now: float) -> None:
        for number, due in list(self._unanswered.items()):
            if due > now:
                return
            self._frame(WINDOW_UPDATE, self._streams[number], 0)

    def _give_window(self, stream: Stream) -> None:
        growth = self._growth(stream)
        stream.window += growth
        self._grown += growth
        stream.receive_window += stream.owed + growth
        self._frame(WINDOW_UPDATE, stream, stream.owed + growth)
        stream.owed = 0
        stream.updated = self._now

    def _growth(self, stream: Stream) -> int:
        """Double the window while the peer fills it within four round trips, as go-yamux does."""
        room = min(stream.window, self.limits.max_window - stream.window, self.limits.growth - self._grown)
        if room <= 0:
            return 0
        if self.rtt is None:
            self.ping()
            return 0
        return room if self._now - stream.updated < 4 * self.rtt else 0

    def _keepalive_due(self, keepalive: float) -> float:
        if self._ping is None:
            return self._heard + keepalive
        return max(self._heard, self._ping[1]) + self.limits.ping_timeout

    # Streams.

    def _find(self, stream_id: int) -> Stream | None:
        stream = self._streams.get(stream_id)
        if stream is None and not self._was_opened(stream_id):
            raise LocalProtocolError(f"there never was a stream {stream_id}")
        return stream

    def _settle(self, stream: Stream) -> None:
        if not stream.sends and not stream.receives:
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        stream.move(Step.RESET)
        del self._streams[stream.number]
        self._blocked.pop(stream.number, None)
        self._held.pop(stream.number, None)
        self._unanswered.pop(stream.number, None)
        self._discardable += stream.receive_window
        self._grown -= stream.window - self.limits.window
        if stream.incoming:
            self._incoming -= 1
            self._backlog -= not stream.accepted
        else:
            self._outgoing -= 1

    def __repr__(self) -> str:
        return f"Yamux(initiator={self.initiator}, streams={len(self._streams)})"
