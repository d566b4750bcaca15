"""How Berty apps announce themselves on a local network: TXT data of `_p2p._udp`, one string for each address.

Invariant: whatever the network says, `decode_text` gives a few addresses on this network that can be dialled, each
with a peer id, or RemoteProtocolError.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from berty_core.errors import RemoteProtocolError

from .multiaddr import Multiaddr

SERVICE: Final = "_p2p._udp"
PORT: Final = 4001  # in the SRV record, where nobody looks for it
MAX_STRING: Final = 255
MAX_ADDRESSES: Final = 8
MAX_TEXT: Final = 8192
_KEY: Final = b"dnsaddr="


def encode_text(addresses: Iterable[Multiaddr]) -> bytes:
    """Raw TXT data that names these addresses (with peer ids); one that does not fit a string is left out."""
    strings = (_KEY + str(address).encode() for address in addresses)
    return b"".join(bytes([len(string)]) + string for string in strings if len(string) <= MAX_STRING) or b"\0"


def decode_text(text: bytes, *, loopback: bool = False) -> tuple[Multiaddr, ...]:
    """The addresses in raw TXT data that can be dialled here; `loopback` takes those of this machine, and no others."""
    if len(text) > MAX_TEXT:
        raise RemoteProtocolError(f"TXT data of {len(text)} bytes")
    found: dict[Multiaddr, None] = {}
    for string in _strings(text):
        address = _address(string)
        if address is not None and _is_here(address, loopback):
            found[address] = None
    return tuple(found)[:MAX_ADDRESSES]


def _strings(text: bytes) -> Iterator[bytes]:
    offset = 0
    while offset < len(text):
        end = offset + 1 + text[offset]
        if end > len(text):
            raise RemoteProtocolError("TXT data that ends early")
        yield text[offset + 1 : end]
        offset = end


def _address(string: bytes) -> Multiaddr | None:
    """The address in a string, where it is of a kind that is known here."""
    if not string.startswith(_KEY):
        return None
    try:
        return Multiaddr.parse(string[len(_KEY) :].decode())
    except (RemoteProtocolError, UnicodeDecodeError):
        return None


def _is_here(address: Multiaddr, loopback: bool) -> bool:
    """Whether an address is of this network: a stranger is not to make us dial anywhere else."""
    try:
        target = address.target
        ip = ipaddress.ip_address(target.host)
    except (RemoteProtocolError, ValueError):
        return False
    if address.peer is None or not target.port or ip.is_multicast or ip.is_unspecified:
        return False
    if ip.is_loopback or loopback:
        return ip.is_loopback and loopback
    return ip.is_private and not (ip.version == 6 and ip.is_link_local)  # which would need the name of an interface
