"""The checks of `berty doctor` on the local network: interfaces that can be used, and multicast on each of them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from berty_core.contracts.checks import CheckHost, Finding, Level

from .config import MdnsConfig, allowed
from .driver import ZeroconfDriver
from .seam import LocalAddress

GROUP = "224.0.0.251"  # RFC 6762, section 3
GROUP_6 = "ff02::fb"


def network(host: CheckHost) -> Sequence[Finding]:
    """Look whether the settings and this machine let others be met on the local network."""
    settings = host.settings(MdnsConfig)
    assert isinstance(settings, MdnsConfig)  # noqa: S101  the core gives what it is asked for
    return look(settings, ZeroconfDriver().addresses())


def look(settings: MdnsConfig, addresses: Sequence[LocalAddress]) -> list[Finding]:
    """What the settings make of the addresses that this machine has."""
    usable = [address for address in addresses if allowed(settings, address)]
    found = [_absent(entry, addresses) for entry in settings.interfaces if not _is_there(entry, addresses)]
    if not usable:
        why = "the local network is not met; a network interface has to be up"
        return [*found, _finding(Level.PROBLEM, "no network interface can be used", why, "ip -brief address")]
    deaf = [(address, reason) for address in usable if (reason := _multicast(address))]
    found += [_deaf(address, reason) for address, reason in deaf]
    if settings.loopback:
        why = "`loopback` is set: devices elsewhere are not met"
        what = "only devices on this machine are met"
        return [*found, _finding(Level.WARNING, what, why, "berty config unset plugins.mdns.loopback")]
    names = sorted({address.interface for address in usable} - {address.interface for address, _ in deaf})
    return found or [_finding(Level.OK, f"multicast can be used on {', '.join(names)}")]


def _finding(level: Level, what: str, why: str = "", command: str = "") -> Finding:
    return Finding(level=level, what=what, why=why, command=command)


def _is_there(entry: str, addresses: Sequence[LocalAddress]) -> bool:
    return any(MdnsConfig(interfaces=(entry,)).names(address.interface, address.ip) for address in addresses)


def _absent(entry: str, addresses: Sequence[LocalAddress]) -> Finding:
    there = ", ".join(sorted({address.interface for address in addresses})) or "none"
    what = f"the interface {entry} of `interfaces` is not there or not up; up are: {there}"
    return _finding(Level.PROBLEM, what, "nobody is met over it", "berty config edit")


def _deaf(address: LocalAddress, reason: str) -> Finding:
    what = f"multicast cannot be used on {address.interface} ({address.ip}): {reason}"
    return _finding(Level.PROBLEM, what, "devices find each other by it", f"ip link show {address.interface}")


def _multicast(address: LocalAddress) -> str:
    """Why the group of multicast DNS cannot be joined over this address, or nothing."""
    is_v6 = ":" in address.ip
    try:
        with socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            if is_v6:
                membership = socket.inet_pton(socket.AF_INET6, GROUP_6) + struct.pack("@I", address.index)
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            else:
                membership = socket.inet_aton(GROUP) + socket.inet_aton(address.ip)
                probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except OSError as error:
        return error.strerror or str(error)
    return ""
