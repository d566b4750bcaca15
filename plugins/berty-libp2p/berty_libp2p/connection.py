"""One libp2p connection over one stream link: Noise, yamux, and the streams on it.

Invariant: no stream is opened before the peer has proved who it is, and a handshake that is left unfinished ends.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.noise import NoiseTransport
from berty_core.protocol.yamux import Yamux, YamuxLimits

from .multistream import Offer, Proposal
from .peers import PeerId
from .streams import (
    MAX_NEGOTIATIONS,
    NEGOTIATION_TIMEOUT,
    Connected,
    Event,
    StreamAccepted,
    StreamAgreed,
    StreamData,
    StreamEnded,
    Streams,
)
from .upgrade import PROTOCOL as NOISE
from .upgrade import YAMUX, NoiseUpgrade, Upgraded

__all__ = [
    "HANDSHAKE_TIMEOUT",
    "MAX_NEGOTIATIONS",
    "NEGOTIATION_TIMEOUT",
    "Connected",
    "Connection",
    "Event",
    "State",
    "StreamAccepted",
    "StreamAgreed",
    "StreamData",
    "StreamEnded",
]

HANDSHAKE_TIMEOUT: Final = 10.0


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


class Connection(Streams):
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
        super().__init__(initiator, speaks, now)
        self.state = State.SECURITY
        self._limits = limits or YamuxLimits()
        self._deadline: float | None = now + HANDSHAKE_TIMEOUT
        self._make_upgrade = partial(
            NoiseUpgrade, initiator, identity, static, ephemeral, expected=expected, early_muxer=early_muxer
        )
        self._select: Proposal | Offer | None = self._negotiate(NOISE)
        self._upgrade: NoiseUpgrade | None = None
        self._channel: NoiseTransport | None = None
        self._yamux: Yamux | None = None
        self._out = bytearray()

    @property
    def is_open(self) -> bool:
        """Whether streams may be opened."""
        return self.state is State.OPEN

    def doubt(self, now: float) -> None:
        """Find out soon whether the peer is still there."""
        if self._yamux is not None and self.is_open:
            self._yamux.ping()

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
        times = [self._deadline, self._negotiation_deadline()]
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
        self._end_negotiations(events)
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
        self._muxer = self._yamux = Yamux(self.initiator, self._now, self._limits)
        self._deadline = None
        self._move(State.OPEN)
        events.append(Connected(self.peer))

    def _receive_open(self, plaintext: bytes, events: list[Event]) -> None:
        for event in self._open_yamux().receive(plaintext, self._now):
            self._take_event(event, events)

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
