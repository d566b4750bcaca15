"""The hooks of berty-mdns. Invariant: importing this module needs neither zeroconf nor a network."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from berty_core.contracts.checks import Check, CheckHost, Finding
from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.transport import Probe, Traits, Transport, TransportSpec
from berty_core.errors import LocalProtocolError

from .config import MdnsConfig
from .seam import NAME, TRAITS

API = (1, 0)


class MdnsSpec:
    """How the LAN transport is found, judged and made."""

    name: str = NAME
    api: tuple[int, int] = (1, 0)
    traits: Traits = TRAITS
    config: type = MdnsConfig
    platforms: frozenset[str] = frozenset()
    tested_on: tuple[str, ...] = (
        "emulated: Linux, several processes on loopback",
        "emulated: Linux, three network namespaces on one bridge, IPv4 and IPv6 link-local",
    )

    def probe(self, config: object) -> Probe:
        """Tell whether the libraries are there; whether the network is, `state` tells while running."""
        _checked(config)
        for library in ("zeroconf", "ifaddr"):
            if importlib.util.find_spec(library) is None:
                return Probe(False, f"the Python package {library} is not installed", f"pip install {library}")
        return Probe(True)

    def create(self, config: object) -> Transport:
        """Make a transport that is not running yet."""
        from .driver import ZeroconfDriver  # noqa: PLC0415 - zeroconf may be absent, and is slow to import
        from .transport import MdnsTransport  # noqa: PLC0415 - as above

        return MdnsTransport(_checked(config), ZeroconfDriver())


def _checked(config: object) -> MdnsConfig:
    if not isinstance(config, MdnsConfig):
        raise LocalProtocolError(f"the mdns transport is configured by MdnsConfig, not {type(config).__name__}")
    return config


@hookimpl
def berty_transports() -> Sequence[TransportSpec]:
    """Give the LAN transport."""
    return (MdnsSpec(),)


@hookimpl
def berty_checks() -> Sequence[Check]:
    """Give the check of the network."""
    return (Check("network", _network),)


def _network(host: CheckHost) -> Sequence[Finding]:
    if not MdnsSpec().probe(host.settings(MdnsConfig)).available:
        return ()  # what is missing is said of the plugin as a whole
    from .checks import network  # noqa: PLC0415 - zeroconf may be absent, and is slow to import

    return network(host)
