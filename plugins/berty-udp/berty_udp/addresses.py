"""Addresses as text, and which of them may be dialled. Invariant: nothing here resolves a name."""

from __future__ import annotations

import ipaddress

from berty_core.contracts.transport import Endpoint
from berty_core.errors import LinkLost

from .seam import NAME, Address


def endpoint(address: Address) -> Endpoint:
    """The endpoint of an address: `192.0.2.1:4000` or `[fe80::1%2]:4000`."""
    host, port = address
    return Endpoint(NAME, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def dialable(target: Endpoint, own: frozenset[Address]) -> Address:
    """The address of an endpoint; LinkLost where it is none, is nobody's alone, or is our own."""
    host, separator, port = target.address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        parsed = ipaddress.ip_address(host)
        address = host, int(port)
    except ValueError as error:
        raise LinkLost(f"{target.address!r} is no address and port") from error
    if target.transport != NAME or not separator or not 0 < address[1] <= 0xFFFF:
        raise LinkLost(f"{target.address!r} is no endpoint of {NAME}")
    if parsed.is_multicast or parsed.is_unspecified or host == "255.255.255.255":
        raise LinkLost(f"{target.address!r} is not one device")
    if address in own:
        raise LinkLost(f"{target.address!r} is this device")
    return address
