"""Multiaddrs of the kinds that Berty nodes write: addresses, ports, QUIC and peer ids, as text and as bytes.

Own, since the one kept library brings eleven distributions, an asynchronous framework among them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final

import attrs

from berty_core.codec.varint import decode_varint, encode_varint
from berty_core.errors import LocalProtocolError, RemoteProtocolError

from .peers import PeerId

MAX_LENGTH: Final = 1024
MAX_PARTS: Final = 16


@attrs.frozen
class _Protocol:
    """One protocol of the multicodec table: its code, and how its value is written (size -1: with a length)."""

    name: str
    code: int
    size: int
    to_bytes: Callable[[str], bytes]
    to_text: Callable[[bytes], str]


def _ip(text: str, version: int) -> bytes:
    address = ipaddress.ip_address(text)
    if address.version != version:
        raise ValueError(f"{text} is not of version {version}")
    return address.packed


def _port(text: str) -> bytes:
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise ValueError(f"{text} is no port")
    return int(text).to_bytes(2, "big")


def _name(text: str) -> bytes:
    if not text or "/" in text or not text.isprintable():
        raise ValueError("an empty or malformed name")
    return text.encode()


def _name_text(data: bytes) -> str:
    text = data.decode()
    _name(text)
    return text


_PROTOCOLS: Final = (
    _Protocol("ip4", 4, 4, lambda text: _ip(text, 4), lambda data: str(ipaddress.IPv4Address(data))),
    _Protocol("tcp", 6, 2, _port, lambda data: str(int.from_bytes(data, "big"))),
    _Protocol("ip6", 41, 16, lambda text: _ip(text, 6), lambda data: str(ipaddress.IPv6Address(data))),
    _Protocol("ip6zone", 42, -1, _name, _name_text),
    _Protocol("dns", 53, -1, _name, _name_text),
    _Protocol("dns4", 54, -1, _name, _name_text),
    _Protocol("dns6", 55, -1, _name, _name_text),
    _Protocol("dnsaddr", 56, -1, _name, _name_text),
    _Protocol("udp", 273, 2, _port, lambda data: str(int.from_bytes(data, "big"))),
    _Protocol("p2p-circuit", 290, 0, lambda text: b"", lambda data: ""),
    _Protocol("p2p", 421, -1, PeerId.parse, lambda data: str(PeerId(data))),
    _Protocol("quic", 460, 0, lambda text: b"", lambda data: ""),
    _Protocol("quic-v1", 461, 0, lambda text: b"", lambda data: ""),
)
_BY_NAME: Final = {protocol.name: protocol for protocol in _PROTOCOLS} | {"ipfs": _PROTOCOLS[10]}
_BY_CODE: Final = {protocol.code: protocol for protocol in _PROTOCOLS}


@attrs.frozen
class Target:
    """Where an address leads: by "tcp" or "quic-v1", to an IP address or a name, and a port."""

    transport: str
    host: str
    port: int


_NAMES: Final = ("ip4", "ip6", "dns", "dns4", "dns6")
_TRANSPORTS: Final = {("tcp",): "tcp", ("udp", "quic-v1"): "quic-v1"}


@attrs.frozen
class Multiaddr:
    """A path of protocols with their values, such as (("ip4", "192.0.2.1"), ("tcp", "4001"))."""

    parts: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Multiaddr:
        """Read text (`/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…`); RemoteProtocolError that names what is not known."""
        if len(text) > MAX_LENGTH or not text.startswith("/"):
            raise RemoteProtocolError("a multiaddr begins with / and has at most 1024 characters")
        words = iter(text.strip("/").split("/"))
        parts: list[tuple[str, str]] = []
        for name in words:
            protocol = _BY_NAME.get(name)
            if protocol is None:
                raise RemoteProtocolError(f"a multiaddr with {name[:32]!r}, which is not spoken here")
            value = next(words, "") if protocol.size else ""
            parts.append((protocol.name, _checked(protocol, value)))
        return cls(_bounded(parts))

    @classmethod
    def decode(cls, data: bytes) -> Multiaddr:
        """Read the binary form; RemoteProtocolError for protocols that are not known here."""
        if len(data) > MAX_LENGTH:
            raise RemoteProtocolError(f"a multiaddr of {len(data)} bytes")
        parts: list[tuple[str, str]] = []
        offset = 0
        while offset < len(data):
            code, offset = _varint(data, offset)
            protocol = _BY_CODE.get(code)
            if protocol is None:
                raise RemoteProtocolError(f"a multiaddr with protocol {code}, which is not spoken here")
            size, offset = (protocol.size, offset) if protocol.size >= 0 else _varint(data, offset)
            value = data[offset : offset + size]
            if len(value) != size:
                raise RemoteProtocolError("a multiaddr that ends early")
            offset += size
            parts.append((protocol.name, _text(protocol, value)))
        return cls(_bounded(parts))

    @classmethod
    def tcp(cls, host: str, port: int) -> Multiaddr:
        """The address of a TCP socket; `host` is an IP address, a zone of IPv6 is left out."""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError as error:
            raise LocalProtocolError(f"{host!r} is no IP address") from error
        return cls(((f"ip{address.version}", str(address)), ("tcp", str(port))))

    @classmethod
    def quic(cls, host: str, port: int) -> Multiaddr:
        """The address of a UDP socket on which QUIC v1 is spoken; `host` as for `tcp`."""
        return cls((*cls.tcp(host, port).parts[:1], ("udp", str(port)), ("quic-v1", "")))

    def encode(self) -> bytes:
        """The binary form."""
        out = b""
        for name, value in self.parts:
            protocol = _BY_NAME[name]
            data = protocol.to_bytes(value)
            out += encode_varint(protocol.code) + (encode_varint(len(data)) if protocol.size < 0 else b"") + data
        return out

    def with_peer(self, peer: PeerId) -> Multiaddr:
        """The same address with the id of who is there."""
        return Multiaddr((*self.parts, ("p2p", str(peer))))

    @property
    def peer(self) -> PeerId | None:
        """Who is meant to be there, if it says so."""
        name, value = self.parts[-1] if self.parts else ("", "")
        return PeerId.parse(value) if name == "p2p" else None

    @property
    def target(self) -> Target:
        """What is to be dialled; RemoteProtocolError in words for an address that TCP and QUIC cannot reach."""
        parts = self.parts[:-1] if self.peer else self.parts
        zone = ""
        if len(parts) > 1 and parts[0][0] == "ip6zone" and parts[1][0] == "ip6":
            zone, parts = f"%{parts[0][1]}", parts[1:]
        transport = _TRANSPORTS.get(tuple(name for name, _ in parts[1:]))
        if transport is None or parts[0][0] not in _NAMES:
            raise RemoteProtocolError(f"{self} cannot be dialled: only TCP and QUIC v1 addresses can")
        return Target(transport, parts[0][1] + zone, int(parts[1][1]))

    @property
    def tcp_target(self) -> tuple[str, int]:
        """Host and port of a TCP address; RemoteProtocolError for others."""
        target = self.target
        if target.transport != "tcp":
            raise RemoteProtocolError(f"{self} cannot be dialled by TCP")
        return target.host, target.port

    def __str__(self) -> str:
        return "".join(f"/{name}/{value}" if value else f"/{name}" for name, value in self.parts)


def _bounded(parts: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    if not 0 < len(parts) <= MAX_PARTS:
        raise RemoteProtocolError(f"a multiaddr of {len(parts)} parts")
    return tuple(parts)


def _checked(protocol: _Protocol, value: str) -> str:
    """The canonical text of a value."""
    try:
        return protocol.to_text(protocol.to_bytes(value))
    except (ValueError, OverflowError) as error:
        raise RemoteProtocolError(f"a multiaddr whose {protocol.name} cannot be {value[:64]!r}") from error


def _text(protocol: _Protocol, value: bytes) -> str:
    try:
        return protocol.to_text(value)
    except ValueError as error:
        raise RemoteProtocolError(f"a multiaddr with a malformed {protocol.name}") from error


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    found = decode_varint(data, offset)
    if found is None:
        raise RemoteProtocolError("a multiaddr that ends early")
    return found
