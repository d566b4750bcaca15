"""The configuration table `[plugins.mdns]`. Invariant: a value of this class is one that the transport can act on."""

from __future__ import annotations

import ipaddress
from typing import Literal

import attrs

from .seam import LocalAddress

IpChoice = Literal["4", "6", "both"]
MAX_INTERFACE_NAME = 255


def _interfaces(instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    """Refuse what can be neither the name of an interface nor an address."""
    if not isinstance(value, tuple):
        raise ValueError(f'interfaces: a list of names or addresses is needed, like ["eth0"], not {value!r}')
    for entry in value:
        if not isinstance(entry, str) or not 0 < len(entry) <= MAX_INTERFACE_NAME or not entry.isprintable():
            raise ValueError(f"interfaces: {entry!r} is neither the name of an interface nor an address")
        if "/" in entry:
            raise ValueError(f"interfaces: {entry!r} has a prefix length; write the address of this device alone")


def _ip(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    """Refuse anything but the three choices."""
    if value not in ("4", "6", "both"):
        raise ValueError(f'ip: "4", "6" or "both" is needed, not {value!r}')


def _port(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    """Refuse what is no TCP port."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0xFFFF:
        raise ValueError(f"port: a number from 0 (a fresh one each time) to 65535 is needed, not {value!r}")


def _loopback(instance: MdnsConfig, attribute: attrs.Attribute[bool], value: bool) -> None:
    """Refuse combinations that could find nobody."""
    if not isinstance(value, bool):
        raise ValueError(f"loopback: true or false is needed, not {value!r}")
    if value and instance.interfaces:
        raise ValueError("loopback: it excludes `interfaces`; remove one of the two")
    if value and instance.ip == "6":
        raise ValueError('loopback: it works on IPv4 only, since ::1 carries no multicast; set ip to "4" or "both"')


@attrs.frozen(kw_only=True)
class MdnsConfig:
    """Where the transport shows itself and listens; ValueError for what cannot work."""

    interfaces: tuple[str, ...] = attrs.field(
        default=(), validator=_interfaces, metadata={"doc": "names or addresses to use; none: all that are up"}
    )
    ip: IpChoice = attrs.field(default="both", validator=_ip, metadata={"doc": "versions of IP to use"})
    port: int = attrs.field(default=0, validator=_port, metadata={"doc": "TCP port; 0: a fresh one with each advert"})
    loopback: bool = attrs.field(
        default=False, validator=_loopback, metadata={"doc": "the loopback interface and nothing else"}
    )

    def names(self, interface: str, ip: str) -> bool:
        """Tell whether `interfaces` lists this interface or this address."""
        return any(entry == interface or _same_address(entry, ip) for entry in self.interfaces)


def allowed(config: MdnsConfig, address: LocalAddress) -> bool:
    """Whether the settings let this address be used."""
    version = str(ipaddress.ip_address(address.ip).version)
    if config.loopback:
        return address.loopback and version == "4"
    if config.ip not in ("both", version):
        return False
    if config.interfaces:
        return config.names(address.interface, address.ip)
    return not (address.loopback or address.point_to_point)


def _same_address(entry: str, ip: str) -> bool:
    """Compare addresses, not their spellings; a scope counts only when written."""
    try:
        wanted = ipaddress.ip_address(entry)
    except ValueError:
        return False
    return wanted == ipaddress.ip_address(ip if "%" in entry else ip.partition("%")[0])
