"""The configuration table `[plugins.udp]`. Invariant: a value of this class is one that the transport can act on."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import attrs

from berty_core.contracts.transport import MIN_MTU

MAX_MTU = 65_507  # what IPv4 leaves for a UDP datagram (RFC 768)
MAX_HOPS = 32


def _group(version: int) -> Callable[[object, attrs.Attribute[str], str], None]:
    def check(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
        """Refuse what is no multicast address of this family."""
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            address = None
        if address is None or address.version != version or not address.is_multicast:
            raise ValueError(f"{attribute.name}: a multicast address of IPv{version} is needed, not {value!r}")

    return check


def _between(least: int, most: int) -> Callable[[object, attrs.Attribute[int], int], None]:
    def check(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
        """Refuse what lies outside."""
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{attribute.name}: a number from {least} to {most} is needed, not {value!r}")

    return check


def _both(instance: UdpConfig, attribute: attrs.Attribute[bool], value: bool) -> None:
    """Refuse to use no family at all."""
    if not instance.ipv4 and not value:
        raise ValueError("ipv6: one of ipv4 and ipv6 has to be true")


def _loopback(instance: UdpConfig, attribute: attrs.Attribute[bool], value: bool) -> None:
    """Refuse combinations that could find nobody."""
    if value and instance.interfaces:
        raise ValueError("loopback: it excludes `interfaces`; remove one of the two")
    if value and not instance.ipv4:
        raise ValueError("loopback: it works on IPv4 only, since ::1 carries no multicast; set ipv4 to true")


@attrs.frozen(kw_only=True)
class UdpConfig:
    """Where the transport talks and listens; ValueError for what cannot work.

    Devices that are to meet need the same groups, port and mtu.
    """

    interfaces: tuple[str, ...] = attrs.field(
        default=(), metadata={"doc": "names or addresses to use; none: all that are up"}
    )
    ipv4: bool = attrs.field(default=True, metadata={"doc": "use IPv4"})
    ipv6: bool = attrs.field(default=True, validator=_both, metadata={"doc": "use IPv6, with link-local addresses"})
    group4: str = attrs.field(default="239.255.66.84", validator=_group(4), metadata={"doc": "multicast group of IPv4"})
    group6: str = attrs.field(default="ff02::4254", validator=_group(6), metadata={"doc": "multicast group of IPv6"})
    port: int = attrs.field(default=26484, validator=_between(1, 0xFFFF), metadata={"doc": "UDP port of the groups"})
    mtu: int = attrs.field(
        default=1200, validator=_between(MIN_MTU, MAX_MTU), metadata={"doc": "bytes of the largest datagram"}
    )
    hops: int = attrs.field(
        default=1, validator=_between(1, MAX_HOPS), metadata={"doc": "routers that a datagram may pass"}
    )
    loopback: bool = attrs.field(
        default=False, validator=_loopback, metadata={"doc": "the loopback interface and nothing else"}
    )
