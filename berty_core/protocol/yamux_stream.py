"""What yamux says on the wire, what it tells us, and the record of one stream with its two windows.

The states are data: a step that `TRANSITIONS` does not name is not allowed in that state.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import Final

import attrs

HEADER: Final = struct.Struct(">BBHII")  # version, type, flags, stream, length
HEADER_LENGTH: Final = 12
VERSION: Final = 0
DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
ALL_FLAGS: Final = SYN | ACK | FIN | RST
MAX_UINT32: Final = (1 << 32) - 1
INITIAL_WINDOW: Final = 256 * 1024
MAX_FRAME: Final = 65519 - HEADER_LENGTH  # a full frame fills one Noise message

NORMAL, PROTOCOL_ERROR, INTERNAL_ERROR = range(3)  # codes of go-away


@attrs.frozen
class YamuxLimits:
    """How much one session may hold. Bytes, streams and seconds; `keepalive` None sends no pings by itself."""

    window: int = INITIAL_WINDOW  # what each side may send on a new stream; both ends must agree on it
    max_window: int = 1024 * 1024  # a stream's window grows up to this while the peer keeps filling it
    growth: int = 4 * 1024 * 1024  # all streams' growth above `window` together
    unsent: int = 256 * 1024  # our own bytes of one stream that wait for its window, and that wait for `take`
    incoming: int = 256  # streams opened by the peer
    outgoing: int = 256  # streams opened by us
    backlog: int = 64  # streams of the peer that nobody here has accepted yet
    control: int = 4096  # answers to the peer (resets, pongs) that wait for `take`
    keepalive: float | None = 30.0
    ping_timeout: float = 20.0
    acknowledge_delay: float = 0.2  # an acceptance waits this long for an answer to ride on


@attrs.frozen
class StreamOpened:
    """The peer opened a stream; it counts as backlog until accepted."""

    stream_id: int


@attrs.frozen
class DataReceived:
    """Bytes of a stream, in order. Give the window back with `consumed` once they are used."""

    stream_id: int
    data: bytes


@attrs.frozen
class StreamFinished:
    """The peer sends nothing more on this stream; we still may."""

    stream_id: int


@attrs.frozen
class StreamReset:
    """The stream is gone in both directions; what was unsent is dropped."""

    stream_id: int


@attrs.frozen
class WindowOpened:
    """A stream that had refused bytes takes `room` bytes again."""

    stream_id: int
    room: int


@attrs.frozen
class PongReceived:
    """The peer answered our ping after `rtt` seconds."""

    rtt: float


@attrs.frozen
class GoAwayReceived:
    """The peer takes no new streams: code 0 normal, 1 protocol error, 2 internal error. Open ones go on."""

    code: int


YamuxEvent = StreamOpened | DataReceived | StreamFinished | StreamReset | WindowOpened | PongReceived | GoAwayReceived


class State(enum.Enum):
    """Who may still send on a stream."""

    OPEN = "open"
    LOCAL_FINISHED = "local finished"
    REMOTE_FINISHED = "remote finished"
    CLOSED = "closed"


class Step(enum.Enum):
    """What happens to a stream."""

    SEND = "send"
    RECEIVE = "receive"
    FINISH = "finish"
    REMOTE_FINISH = "remote finish"
    RESET = "reset"


TRANSITIONS: Final[Mapping[State, Mapping[Step, State]]] = {
    State.OPEN: {
        Step.SEND: State.OPEN,
        Step.RECEIVE: State.OPEN,
        Step.FINISH: State.LOCAL_FINISHED,
        Step.REMOTE_FINISH: State.REMOTE_FINISHED,
        Step.RESET: State.CLOSED,
    },
    State.LOCAL_FINISHED: {
        Step.RECEIVE: State.LOCAL_FINISHED,
        Step.REMOTE_FINISH: State.CLOSED,
        Step.RESET: State.CLOSED,
    },
    State.REMOTE_FINISHED: {
        Step.SEND: State.REMOTE_FINISHED,
        Step.FINISH: State.CLOSED,
        Step.RESET: State.CLOSED,
    },
    State.CLOSED: {},
}


class Stream:
    """One stream: its state, its windows, and our bytes that wait for room."""

    __slots__ = (
        "accepted",
        "epoch",
        "finishing",
        "first_flag",
        "framed",
        "incoming",
        "number",
        "owed",
        "queue",
        "receive_window",
        "receives",
        "send_window",
        "sends",
        "state",
        "unconsumed",
        "updated",
        "window",
    )

    def __init__(self, number: int, incoming: bool, window: int, now: float) -> None:
        self.number = number
        self.incoming = incoming
        self.accepted = not incoming
        self.first_flag = ACK if incoming else SYN  # rides on our first frame, whatever that is
        self.state = State.OPEN
        self.sends = self.receives = True
        self.finishing = False
        self.send_window = self.receive_window = window
        self.window = window  # what the peer's window is brought back to
        self.unconsumed = 0  # delivered to the application, still using the window
        self.owed = 0  # consumed, not yet given back
        self.updated = now
        self.queue = bytearray()  # ours, for lack of window
        self.framed = 0  # bytes framed since the take that `epoch` counts
        self.epoch = 0

    def move(self, step: Step) -> bool:
        """Take a step if the state allows it, and tell whether it did."""
        state = TRANSITIONS[self.state].get(step)
        if state is None:
            return False
        self.state = state
        self.sends = Step.SEND in TRANSITIONS[state]
        self.receives = Step.RECEIVE in TRANSITIONS[state]
        return True

    def allowance(self, epoch: int, limit: int) -> int:
        """How many bytes may be framed now: the window, but no more than `limit` between two takes."""
        framed = self.framed if self.epoch == epoch else 0
        return max(0, min(self.send_window, limit - framed))

    def count(self, size: int, epoch: int) -> None:
        """Account for `size` bytes put into a frame."""
        self.framed = self.framed + size if self.epoch == epoch else size
        self.epoch = epoch
        self.send_window -= size

    def pull(self, size: int) -> bytes:
        """Take the first `size` bytes out of the queue."""
        part = bytes(memoryview(self.queue)[:size])
        del self.queue[:size]
        return part
