"""The configuration table `[plugins.libp2p]`. Invariant: a value of this class is one that the profile can act on."""

from __future__ import annotations

import importlib.util
import ipaddress
from typing import Any

import attrs

MAX_PEERS = 64
MAX_HOURS = 24 * 3650
QUIC_IS_MISSING = "QUIC needs pip install 'berty-libp2p[quic]'"
QUIC_IS_OFF = "QUIC is off: set quic = true in [plugins.libp2p]"


def has_quic() -> bool:
    """Tell whether the extra is installed, without loading it."""
    return importlib.util.find_spec("aioquic") is not None


def _host(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    try:
        if value:
            ipaddress.ip_address(value)
    except ValueError as error:
        raise ValueError(f"{attribute.name}: an IP address of this machine is needed, not {value!r}") from error


def _number(most: int) -> Any:
    def check(_: object, attribute: attrs.Attribute[int], value: int) -> None:
        if not 0 <= value <= most:
            raise ValueError(f"{attribute.name}: a number from 0 to {most} is needed, not {value!r}")

    return check


def _peers(_: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    if len(value) > MAX_PEERS or not all(address.startswith("/") for address in value):
        raise ValueError(f"{attribute.name}: at most {MAX_PEERS} addresses like /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…")


@attrs.frozen(kw_only=True)
class Libp2pConfig:
    """Where the profile listens, whom it dials, and what it shows; ValueError for what cannot work."""

    host: str = attrs.field(
        default="", validator=_host, metadata={"doc": "the address of this machine to listen on; empty: all"}
    )
    port: int = attrs.field(
        default=0, validator=_number(0xFFFF), metadata={"doc": "TCP port; 0: a fresh one each time"}
    )
    quic: bool = attrs.field(default=True, metadata={"doc": "speak QUIC too, where the extra `quic` is installed"})
    peers: tuple[str, ...] = attrs.field(
        default=(), validator=_peers, metadata={"doc": "addresses that are dialled as long as the node runs"}
    )
    discoverable: bool = attrs.field(default=True, metadata={"doc": "show this node on the local network as apps do"})
    contacts_only: bool = attrs.field(default=False, metadata={"doc": "name a topic only to who names it first"})
    rotate_hours: int = attrs.field(
        default=24, validator=_number(MAX_HOURS), metadata={"doc": "hours until the peer id is replaced; 0: never"}
    )
