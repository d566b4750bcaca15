"""One transport or session profile of a node, with what it said of itself last and what it may use."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import anyio
import attrs

from ...contracts.bus import Budget
from ...contracts.session import SessionProfile, SessionSpec
from ...contracts.traits import Traits
from ...contracts.transport import Beacon, LinkTransport, State, Transport, TransportSpec
from ...protocol.ranking import Medium, Policy
from .airtime_queue import AirtimeQueue
from .usage import Usage

MAX_REASONS, MAX_REASON = 8, 300
MAX_FAULTS = 20  # faults of a driver within `FAULT_TIME` seconds for which it is started again
FAULT_TIME = 60.0
_SAID_BY_CORE = (State.PAUSED, State.DISABLED)


class DriverFault(Exception):
    """A driver did what its contract forbids, so that it has to be started again; the text says what."""


def medium_of(traits: Traits) -> Medium:
    """What matters of traits when transports are ranked."""
    return Medium(
        bitrate=traits.bitrate,
        latency=traits.latency,
        energy=int(traits.energy),
        metered=traits.metered,
        infrastructure=traits.infrastructure,
        budgeted=traits.budgeted,
    )


@attrs.define(eq=False)
class RunningTransport:
    """One transport; another one is made for each start."""

    spec: TransportSpec
    make: Callable[[], Transport]
    policy: Policy
    usage: Usage
    tell_fault: Callable[[str, str], None]  # the transport's name, and what its driver did
    monotonic: Callable[[], float]
    transport: LinkTransport | None = None
    state: State = State.STARTING
    reasons: tuple[str, ...] = ()
    started: bool = False
    shown: Beacon | None = None
    failures: int = 0
    retry_at: float | None = None  # by the monotonic clock
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    pending: int = 0  # links that others opened and on which there is no session yet
    airtime: AirtimeQueue | None = None  # of this start
    paces_links: bool = False  # whether links take their turns in it
    broken: str = ""  # what the driver did so often that it is started again
    _budget: GuardedBudget | None = None
    _faults: deque[float] = attrs.field(factory=lambda: deque(maxlen=MAX_FAULTS))

    @property
    def name(self) -> str:
        """The plugin's name of it."""
        return self.spec.name

    @property
    def stopped(self) -> str:
        """Why it cannot be used now, in words; empty while it can."""
        if self.state is State.ACTIVE and self.started:
            return ""
        return f"it is {self.state.value}" + (f" ({'; '.join(self.reasons)})" if self.reasons else "")

    def said(self, state: object, reasons: object) -> bool:
        """Keep what the driver says of itself; False if it makes no sense."""
        if not isinstance(state, State) or state in _SAID_BY_CORE:
            self.fault(f"it said {str(state)[:60]!r} of itself, which is no state that a transport may be in")
            return False
        if isinstance(reasons, str | bytes) or not isinstance(reasons, list | tuple):
            self.fault(f"it gave its reasons as {type(reasons).__name__}, not as a list of texts")
            reasons = ()
        self.state = state
        self.reasons = tuple(str(reason)[:MAX_REASON] for reason in reasons[:MAX_REASONS])
        return True

    # -- what links tell -----------------------------------------------------------------------

    def fault(self, words: str) -> None:
        """The driver broke its contract: it is named, and started again if that goes on."""
        now = self.monotonic()
        self._faults.append(now)
        self.tell_fault(self.name, words)
        if len(self._faults) == MAX_FAULTS and now - self._faults[0] < FAULT_TIME and not self.broken:
            self._faults.clear()
            self.broke(f"{MAX_FAULTS} faults within a minute, the last one: {words}")

    def broke(self, words: str) -> None:
        """The driver cannot be used any more: it is stopped and started again."""
        self.broken = self.broken or words
        self.scope.cancel()

    def passed(self, sent: int, received: int) -> None:
        """Bytes went over one of its links, or its bus."""
        airtime = self._airtime(sent) if sent else 0.0
        self.usage.add(sent=sent, received=received, messages=1 if sent else 0, airtime=airtime)

    def may_pass(self) -> str:
        """Why nothing may be sent, in words; empty: it may."""
        spent = self.usage.spent()
        return f"the quota of {self.name} is used up ({', '.join(spent)})" if spent else ""

    def free_at(self) -> float:
        """When its quotas have something left again (Unix seconds)."""
        return self.usage.free_at()

    def is_limited(self) -> bool:
        """Whether a person set quotas."""
        return self.usage.is_limited

    def budget(self) -> Budget | None:
        """What law or fairness leave to it, if they limit it."""
        if not self.spec.traits.budgeted or self.transport is None:
            return None
        if self._budget is None or self._budget.transport is not self.transport or not self._budget.is_there:
            self._budget = GuardedBudget(self.transport, self)
        return self._budget

    @property
    def waits(self) -> tuple[str, ...]:
        """What it waits for although it is active, in words."""
        words = self.airtime.words() if self.airtime is not None and self.started else ""
        return (words,) if words else ()

    def _airtime(self, size: int) -> float:
        budget = self.budget()
        return 8 * size / self.spec.traits.bitrate if budget is None else budget.airtime(size)


class GuardedBudget:
    """A driver's budget: what it raises is its fault, and named; what it says is a number that makes sense."""

    def __init__(self, transport: object, running: RunningTransport) -> None:
        self.transport = transport
        self._running = running
        self._budget: object = None
        make = getattr(transport, "budget", None)
        try:
            self._budget = make() if callable(make) else None
        except Exception as error:  # a driver may raise anything; it is named
            running.fault(f"budget() raised {type(error).__name__}: {error}")
        self.limit = self._number("limit", lambda budget: budget.limit, 0.0, math.inf)
        self.window = self._number("window", lambda budget: budget.window, 0.0, math.inf)

    @property
    def is_there(self) -> bool:
        """Whether the driver gave it."""
        return self._budget is not None

    def _number(self, what: str, ask: Callable[[Any], Any], default: float, most: float) -> float:
        if self._budget is None:
            return default
        try:
            value = float(ask(self._budget))
        except Exception as error:  # the same
            self._running.fault(f"budget().{what} raised {type(error).__name__}: {error}")
            return default
        return value if 0 <= value <= most else default  # anything else is a lie

    def airtime(self, size: int) -> float:
        """Seconds that a datagram takes."""
        usual = 8 * size / self._running.spec.traits.bitrate
        return self._number("airtime()", lambda budget: budget.airtime(size), usual, 3600.0)

    def left(self, now: float) -> float:
        """What is left of the limit."""
        return self._number("left()", lambda budget: budget.left(now), self.limit, math.inf)

    def allowed_at(self, size: int, now: float) -> float:
        """When a datagram may go; now, where the driver does not know: it may refuse it still."""
        return max(now, self._number("allowed_at()", lambda budget: budget.allowed_at(size, now), now, math.inf))


@attrs.define(eq=False)
class RunningProfile:
    """One session profile with what it said of itself last."""

    spec: SessionSpec
    profile: SessionProfile
    state: State = State.STARTING
    reasons: tuple[str, ...] = ()
    started: bool = False
    failures: int = 0
    retry_at: float | None = None

    @property
    def name(self) -> str:
        """The plugin's name of it."""
        return self.spec.name

    def said(self, state: State, reasons: tuple[str, ...]) -> None:
        """Keep what the profile says of itself."""
        self.state, self.reasons = state, reasons
