"""The hooks of berty-udp. Invariant: importing this module opens nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.transport import Probe, Traits, Transport, TransportSpec
from berty_core.errors import LocalProtocolError

from .config import UdpConfig
from .seam import NAME, traits


class UdpSpec:
    """How the UDP transport is found, judged and made."""

    name: str = NAME
    api: tuple[int, int] = (1, 0)
    traits: Traits = traits(UdpConfig())
    config: type = UdpConfig
    platforms: frozenset[str] = frozenset()
    tested_on: tuple[str, ...] = ("emulated: Linux, several devices on loopback",)

    def probe(self, config: object) -> Probe:
        """Tell whether the library is there; whether the network is, `state` tells while running."""
        _checked(config)
        if importlib.util.find_spec("ifaddr") is None:
            return Probe(False, "the Python package ifaddr is not installed", "pip install ifaddr")
        return Probe(True)

    def create(self, config: object) -> Transport:
        """Make a transport that is not running yet."""
        from .driver import SystemDriver  # noqa: PLC0415 - ifaddr may be absent
        from .transport import UdpTransport  # noqa: PLC0415 - as above

        return UdpTransport(_checked(config), SystemDriver())


def _checked(config: object) -> UdpConfig:
    if not isinstance(config, UdpConfig):
        raise LocalProtocolError(f"the udp transport is configured by UdpConfig, not {type(config).__name__}")
    return config


@hookimpl
def berty_transports() -> Sequence[TransportSpec]:
    """Give the UDP transport."""
    return (UdpSpec(),)
