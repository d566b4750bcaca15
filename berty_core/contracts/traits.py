"""What a medium is like: plain facts that the core decides by, so that no code asks for a transport's name."""

from __future__ import annotations

import enum
from typing import Any, Literal

import attrs


class Energy(enum.IntEnum):
    """What using the medium costs a battery."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


def _no_stream_has_an_mtu(traits: Traits, _: object, mtu: int) -> None:
    if traits.stream != (mtu == 0):
        raise ValueError("mtu: a stream has none (0), a datagram medium states at least 20 bytes")
    if not traits.stream and mtu < MIN_MTU:
        raise ValueError(f"mtu: at least {MIN_MTU} bytes are needed, not {mtu}")


MIN_MTU = 20  # what a fragment of ours needs to carry anything


@attrs.frozen(kw_only=True)
class Traits:
    """What a transport, or one link or bus of it, promises.

    `mtu` is the largest datagram in bytes (0: a stream). `reliable`: what `send` took arrives, or the link is lost;
    `ordered`: in that order. A stream is both. `bitrate` (bit/s) and `latency` (s) are typical figures, right within
    a factor of three. `half_duplex`: who sends does not hear. `metered`: sending costs money. `infrastructure`: it
    needs something between the two devices (an access point, a daemon). `budgeted`: law or fairness limit the airtime,
    and the transport has a `budget`.

    Which calls a transport serves: `dials` and `listens` (links in and out), `autoconnects` (links come up by
    themselves, at both ends through `accept`), `discovers` (it tells who is there; otherwise they are heard on the
    bus), `broadcast` (it has a `bus`), `topics` (its bus tells topics apart), `beacon_bytes` (the most that `advertise`
    can show; 0: it shows nothing, and where there is a bus the core shows itself on that). A call that is not declared
    is never made.

    `max_links`: as many links at once, in and out together. `dial_timeout` (s): `dial` ends within it.
    `lost_after` (s): an endpoint that fell silent is reported lost within it. `backends`: the event loops of anyio
    that it runs on.
    """

    stream: bool
    mtu: int = attrs.field(default=0, validator=_no_stream_has_an_mtu)
    reliable: bool = True
    ordered: bool = True
    half_duplex: bool = False
    broadcast: bool = False
    topics: bool = False
    bitrate: int = attrs.field(default=1_000_000, validator=attrs.validators.gt(0))
    latency: float = attrs.field(default=0.05, validator=attrs.validators.ge(0))
    energy: Energy = Energy.LOW
    metered: bool = False
    infrastructure: bool = False
    budgeted: bool = False
    dials: bool = True
    listens: bool = True
    autoconnects: bool = False
    discovers: bool = True
    max_links: int | None = None
    beacon_bytes: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    dial_timeout: float = 10.0
    lost_after: float = 120.0
    backends: frozenset[str] = frozenset({"asyncio"})

    @classmethod
    def of_bus(cls, mtu: int, **others: Any) -> Traits:
        """What a medium promises that is a bus and nothing else, may lose and reorder, and runs on any event loop."""
        alone = {"broadcast": True, "discovers": False, "dials": False, "listens": False}
        loose = {"reliable": False, "ordered": False, "backends": frozenset({"asyncio", "trio"})}
        return cls(stream=False, mtu=mtu, **{**alone, **loose, **others})


Tri = Literal["yes", "no", "unknown"]


@attrs.frozen(kw_only=True)
class Network:
    """What the device knows of its surroundings; what nobody can tell is "unknown".

    `online`: some interface beside loopback has an address. `interfaces`: their names. `battery`: 0 to 1, None where
    there is none. `foreground`: a person looks at the application.
    """

    online: Tri = "unknown"
    interfaces: frozenset[str] = frozenset()
    kind: Literal["wifi", "ethernet", "cellular", "none", "unknown"] = "unknown"
    metered: Tri = "unknown"
    bluetooth: Tri = "unknown"
    charging: Tri = "unknown"
    battery: float | None = None
    foreground: bool = True
