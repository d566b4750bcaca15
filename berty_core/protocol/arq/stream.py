"""A reliable ordered stream of bytes over a link that may lose, repeat, reorder and delay datagrams.

A machine without I/O: feed `receive`, send what `take` gives, call `wake` at `timeout()`
(docs/reference/datagram-links.md). Invariant: the bytes read are a prefix of the bytes sent, whatever arrives; who
does not know the random name of this end changes nothing.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable

from ...errors import LocalProtocolError, RemoteProtocolError
from .receiving import Receiving
from .sending import Sending
from .tuning import Tuning
from .wire import (
    DATA_HEADER,
    ID_LENGTH,
    MIN_MTU,
    VERSION,
    Abort,
    Accept,
    Acknowledgement,
    Data,
    Message,
    Open,
    Piece,
    decode,
    encode,
)

MAX_CANDIDATES = 4  # who asked to open the stream and did not prove yet that it hears us
PERSISTENCE = 5.0  # seconds between two questions whether a closed window opened, at the most
SUSPICION = 5.0  # seconds between two questions that somebody else's Open causes


class Phase(enum.Enum):
    """How far a stream has come."""

    LISTENING = "waiting for the other end to open the stream"
    OPENING = "waiting for an answer"
    OPEN = "open"
    LOST = "lost"


TRANSITIONS: dict[Phase, tuple[Phase, ...]] = {
    Phase.LISTENING: (Phase.OPEN, Phase.LOST),
    Phase.OPENING: (Phase.OPEN, Phase.LOST),
    Phase.OPEN: (Phase.LOST,),
    Phase.LOST: (),
}


class ReliableStream:
    """One end of a stream. The initiator opens it; bytes may be pushed before that is done."""

    def __init__(self, *, initiator: bool, tuning: Tuning, entropy: Callable[[int], bytes], now: float) -> None:
        if tuning.mtu < MIN_MTU:
            raise LocalProtocolError(f"a datagram of {tuning.mtu} bytes is too small, {MIN_MTU} are needed")
        self.phase = Phase.OPENING if initiator else Phase.LISTENING
        self.reason = ""
        """Why the stream was lost."""
        self.sending = Sending(tuning)
        self._receiving = Receiving(tuning)
        self._tuning = tuning
        self._entropy = entropy
        self._name = entropy(ID_LENGTH)
        self._peer = b""
        self._size = tuning.mtu  # of datagrams that we may send
        self._candidates: OrderedDict[bytes, tuple[bytes, Open]] = OrderedDict()  # by their name: ours for them
        self._answers: list[bytes] = []
        self._ask_at: float | None = now if initiator else None
        self._asked: list[float] = []  # when the question that is not answered yet was sent
        self._persistence = 0.0
        self._is_suspicious = False
        self._suspected_at = now - SUSPICION
        self._quiet_since: float | None = now if initiator else None  # since when an answer is awaited

    # -- bytes of the stream -------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Bytes that `push` takes now."""
        return 0 if self.phase is Phase.LOST else self.sending.room

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be sent or acknowledged."""
        return self.sending.is_idle

    @property
    def is_readable(self) -> bool:
        """Whether `read` has bytes."""
        return self._receiving.is_readable

    @property
    def is_full(self) -> bool:
        """Whether nothing should be received before something is read: never, the window sees to that."""
        return False

    @property
    def has_ended(self) -> bool:
        """Whether the other end closed in good order, and all its bytes came."""
        return self._receiving.has_ended

    @property
    def is_lost(self) -> bool:
        """Whether it is over, for `reason`."""
        return self.phase is Phase.LOST

    @property
    def is_done(self) -> bool:
        """Whether the other end has all our bytes and knows that they end."""
        return self.sending.is_done

    def push(self, data: bytes, now: float) -> int:
        """Queue bytes for the other end; how many were taken."""
        return self.sending.push(data, now) if self.phase is not Phase.LOST else 0

    def read(self, now: float) -> bytes:
        """All bytes that came in order; b"" if there are none."""
        return self._receiving.read(now) if self._receiving.is_readable else b""

    def finish(self) -> None:
        """Close in good order, behind what is queued."""
        self.sending.finish()

    def abort(self) -> None:
        """Give up at once; `take` has a last datagram that tells the other end."""
        if self.phase is Phase.OPEN:
            self._answers = [encode(Abort(self._peer, self._name))]
        self._lose("the stream was given up here")

    # -- datagrams in --------------------------------------------------------------------------

    def receive(self, datagram: bytes, now: float) -> None:
        """Take in one datagram. What does not belong here is ignored.

        RemoteProtocolError while the stream is not open yet, if the other end speaks another version, or takes this
        link for one that loses nothing.
        """
        if self.phase is Phase.LOST or len(datagram) > self._tuning.mtu:
            return
        message = decode(datagram)
        if message is not None:
            self._receive(message, now)

    def _receive(self, message: Message, now: float) -> None:
        match message:
            case Open():
                self._receive_open(message, now)
            case Accept():
                self._receive_accept(message, now)
            case Data(receiver) | Acknowledgement(receiver):
                self._confirm(receiver)
                if self.phase is Phase.OPEN and receiver == self._name:
                    self._receive_numbered(message, now)
            case Abort(receiver, sender):
                if self.phase is Phase.OPEN and (receiver, sender) == (self._name, self._peer):
                    self._lose("the other end gave up")
            case Piece():
                if self.phase is not Phase.OPEN:
                    raise RemoteProtocolError("the other end takes this link for one that never loses a datagram")

    def _receive_open(self, message: Open, now: float) -> None:
        if self.phase is Phase.LISTENING:
            self._answer_open(message)
        elif self.phase is Phase.OPEN and message.sender != self._peer and now >= self._suspected_at + SUSPICION:
            self._is_suspicious = True
            self._suspected_at = now  # the other end may have begun again: it will not answer to its old name
            self._ask_at = now
            self._quiet_since = self._quiet_since if self._quiet_since is not None else now

    def _answer_open(self, message: Open) -> None:
        if message.version != VERSION:
            raise RemoteProtocolError(
                f"the other end speaks version {message.version} of datagram links, this is {VERSION}"
            )
        known = self._candidates.get(message.sender)
        name = known[0] if known else self._entropy(ID_LENGTH)
        self._candidates[message.sender] = (name, message)
        if len(self._candidates) > MAX_CANDIDATES:
            self._candidates.popitem(last=False)
        answer = Accept(message.sender, name, self._tuning.mtu, self._tuning.receive_window)
        self._answers = [*self._answers[1 - MAX_CANDIDATES :], encode(answer)]

    def _receive_accept(self, message: Accept, now: float) -> None:
        if message.receiver != self._name:
            return
        if self.phase is Phase.OPENING:
            self._answered(now)
            self._open(message.sender, message.mtu, message.window)
            self._ask_at = now + self._tuning.linger  # the first datagram under the new name proves that we hear
        elif self.phase is Phase.OPEN and message.sender == self._peer:
            self._ask_at = now

    def _confirm(self, receiver: bytes) -> None:
        """Whoever uses the name that we gave it hears us: the stream is open, with that one."""
        if self.phase is not Phase.LISTENING:
            return
        for name, message in self._candidates.values():
            if name == receiver:
                self._name = name
                self._open(message.sender, message.mtu, message.window)
                break

    def _open(self, peer: bytes, mtu: int, window: int) -> None:
        self._move(Phase.OPEN)
        self._peer, self._size = peer, min(mtu, self._tuning.mtu)
        self._candidates.clear()
        self._answers.clear()
        self.sending.allow(window)

    def _receive_numbered(self, message: Data | Acknowledgement, now: float) -> None:
        if message.ack is not None and not self.sending.acknowledge(message.ack, now):
            return  # it speaks of what was never sent
        self._answered(now)
        self._await_answer(now)
        if isinstance(message, Data):
            self._receiving.take_in(message.number, message.payload, message.end, message.ask, now)
        elif message.ask:
            self._receiving.answer(now)

    def _answered(self, now: float) -> None:
        if len(self._asked) == 1:
            self.sending.round_trip.sample(now - self._asked[0])
        if self._asked:
            self.sending.round_trip.settle()
        self._asked.clear()
        self._quiet_since = self._ask_at = None
        self._is_suspicious = False

    # -- datagrams out -------------------------------------------------------------------------

    def take(self, now: float) -> bytes | None:
        """The next datagram to send now; None: there is none for the time being."""
        if self._answers:
            return self._answers.pop(0)
        if self.phase is Phase.OPENING:
            return self._ask(encode(Open(self._name, self._tuning.mtu, self._tuning.receive_window)), now)
        if self.phase is not Phase.OPEN:
            return None
        datagram = self._take_data(now) or self._take_ack(now)
        self._await_answer(now)
        return datagram

    def _take_data(self, now: float) -> bytes | None:
        full = self._size - DATA_HEADER
        due = self._receiving.ack_is_due_at
        ack = self._receiving.ack(self._map_room()) if due is not None else None
        piece = self.sending.take(now, full, full - (ack.length if ack else 0))
        if piece is None:
            return None
        if ack is not None and ack.length + len(piece.payload) > full:
            ack = None  # a repeated piece is as long as it was
        if ack is not None:
            self._receiving.acknowledged(ack)
        self._ask_at = None
        asks = self._tuning.takes_turns and not self.sending.has_more_now
        return encode(Data(self._peer, piece.number & 0xFFFF, piece.payload, piece.end, ack, asks))

    def _map_room(self) -> int:
        """Bytes for a map beside data: a quarter of a datagram."""
        return self._size // 4

    def _take_ack(self, now: float) -> bytes | None:
        due = self._receiving.ack_is_due_at
        asks = self._ask_at is not None and now >= self._ask_at
        if not asks and (due is None or now < due):
            return None
        ack = self._receiving.ack(self._size - DATA_HEADER - 1)
        self._receiving.acknowledged(ack)
        datagram = encode(Acknowledgement(self._peer, ack, asks))
        return self._ask(datagram, now) if asks else datagram

    def _ask(self, datagram: bytes, now: float) -> bytes | None:
        """Send what must be answered, again and again, ever more slowly."""
        if self._ask_at is None or now < self._ask_at:
            return None
        if self._asked:
            self.sending.round_trip.back_off()
        self._asked = [*self._asked[-1:], now]
        self._ask_at = now + self.sending.round_trip.timeout
        self._quiet_since = now if self._quiet_since is None else self._quiet_since
        return datagram

    def _await_answer(self, now: float) -> None:
        """An answer is awaited while something is under way, or while the window is closed."""
        if self.sending.is_waiting and self._quiet_since is None:
            self._quiet_since = now
        if not self.sending.is_blocked:
            self._persistence = 0.0
        elif self._ask_at is None:
            self._persistence = min(max(2 * self._persistence, self.sending.round_trip.timeout), PERSISTENCE)
            self._ask_at = now + self._persistence

    # -- the clock -----------------------------------------------------------------------------

    def timeout(self) -> float | None:
        """When to call `wake` and `take` again; it may be past. None: never, as it stands."""
        if self.phase is Phase.LOST:
            return None
        times = [self._ask_at]
        if self.phase is Phase.OPEN:
            times += [self.sending.timeout(self._size - DATA_HEADER), self._receiving.ack_is_due_at]
        if self._quiet_since is not None:
            times.append(self._quiet_since + self._patience)
        return min((time for time in times if time is not None), default=None)

    def wake(self, now: float) -> None:
        """Do what time demands; the stream is lost when the other end was silent for too long."""
        if self.phase is Phase.LOST:
            return
        if self._quiet_since is not None and now >= self._quiet_since + self._patience:
            self._lose(f"the other end did not answer for {now - self._quiet_since:.0f} s")
        elif self.phase is Phase.OPEN:
            self.sending.wake(now)

    @property
    def _patience(self) -> float:
        """Seconds of silence that are borne: fewer when somebody else seems to be there."""
        give_up = self.sending.round_trip.give_up
        return give_up / 5 if self._is_suspicious else give_up

    def _lose(self, reason: str) -> None:
        if self.phase is not Phase.LOST:
            self.reason = reason
            self._move(Phase.LOST)

    def _move(self, phase: Phase) -> None:
        if phase not in TRANSITIONS[self.phase]:
            raise LocalProtocolError(f"a stream that is {self.phase.value} cannot become {phase.value}")
        self.phase = phase
