"""Interfaces and addresses on Linux, as the kernel tells them by rtnetlink (RFC 3549), and kind and battery from sysfs.

Invariant: what the kernel sends is read with bounds; what cannot be read is "unknown".
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import anyio
import attrs
from anyio.abc import TaskStatus

from ...contracts.traits import Network, Tri

NEW_LINK, GET_LINK, NEW_ADDRESS, GET_ADDRESS, DONE, ERROR = 16, 18, 20, 22, 3, 2
REQUEST_DUMP = 0x0301
GROUPS = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
LOOPBACK, RUNNING, LOWER_UP = 0x8, 0x40, 0x10000
IFNAME = 3
HEADER = struct.Struct("=IHHII")
LINK = struct.Struct("=BxHiII")
ADDRESS = struct.Struct("=BBBBI")
ATTRIBUTE = struct.Struct("=HH")
SETTLE = 0.1  # seconds in which several changes are one
POWER_POLL = 60.0
MAX_MESSAGE = 1 << 20
Kind = Literal["wifi", "ethernet", "cellular", "none", "unknown"]


@attrs.frozen
class Interface:
    """A network interface."""

    index: int
    name: str
    is_up: bool
    is_loopback: bool


class NetlinkWatcher:
    """Tells of interfaces that come, go, and change their addresses, as they do; and of the battery once a minute."""

    name = "linux"

    def __init__(self, sysfs: Path = Path("/sys/class")) -> None:
        self._sysfs = sysfs

    async def watch(
        self, tell: Callable[[Network], None], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Tell what is there, and each change."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE) as events:
            events.bind((0, GROUPS))
            tell(self.look())
            task_status.started()
            while True:
                with anyio.move_on_after(POWER_POLL):
                    await anyio.wait_readable(events)
                    await anyio.sleep(SETTLE)
                _drain(events)
                tell(self.look())

    def look(self) -> Network:
        """What there is now."""
        interfaces, addressed = dump(GET_LINK), set(addressed_interfaces(dump(GET_ADDRESS)))
        usable = [
            one
            for one in (interface_in(kind, body) for kind, body in interfaces)
            if one is not None and one.is_up and not one.is_loopback and one.index in addressed
        ]
        names = frozenset(one.name for one in usable)
        charging, battery = self.power()
        return Network(
            online="yes" if usable else "no",
            interfaces=names,
            kind=self.kind(sorted(names)),
            charging=charging,
            battery=battery,
        )

    def kind(self, names: list[str]) -> Kind:
        """What the device is connected by: the best of its interfaces."""
        kinds = {self._kind_of(name) for name in names}
        order: tuple[Kind, ...] = ("ethernet", "wifi", "cellular", "unknown")
        return next((kind for kind in order if kind in kinds), "none")

    def _kind_of(self, name: str) -> Kind:
        place = self._sysfs / "net" / name
        if (place / "wireless").exists() or (place / "phy80211").exists():
            return "wifi"
        kind = next((line[8:] for line in _text(place / "uevent").splitlines() if line.startswith("DEVTYPE=")), "")
        if kind in ("wwan", "wlan"):
            return "cellular" if kind == "wwan" else "wifi"
        return "ethernet" if _text(place / "type").strip() == "1" else "unknown"

    def power(self) -> tuple[Tri, float | None]:
        """Whether the device is charging, and the charge of its battery (0 to 1)."""
        for supply in sorted((self._sysfs / "power_supply").glob("*")):
            if _text(supply / "type").strip() != "Battery" or _text(supply / "scope").strip() == "Device":
                continue  # a mouse has a battery too
            level = _text(supply / "capacity").strip()
            if level.isdecimal():
                is_draining = _text(supply / "status").strip() == "Discharging"
                return ("no" if is_draining else "yes"), min(int(level), 100) / 100
        return "unknown", None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:4096]
    except OSError:
        return ""


def _drain(events: socket.socket) -> None:
    """Forget what was told: the state is looked at anew, also where the kernel lost some of it."""
    while True:
        try:
            events.recv(MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:  # messages were lost
            continue


def dump(what: int) -> list[tuple[int, bytes]]:
    """Ask the kernel for all links or addresses: (kind, body) of each."""
    found: list[tuple[int, bytes]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(2)
        asking.bind((0, 0))
        asking.send(HEADER.pack(HEADER.size + 1, what, REQUEST_DUMP, 1, 0) + b"\0")
        while True:
            for kind, body in messages(asking.recv(MAX_MESSAGE)):
                if kind in (DONE, ERROR):
                    return found
                found.append((kind, body))


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages in what the kernel sent: (kind, body) of each."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, at)
        if length < HEADER.size or at + length > len(data):
            return
        yield kind, data[at + HEADER.size : at + length]
        at += (length + 3) & ~3


def interface_in(kind: int, body: bytes) -> Interface | None:
    """The interface that a message describes."""
    if kind != NEW_LINK or len(body) < LINK.size:
        return None
    _, _, index, flags, _ = LINK.unpack_from(body)
    name = next((value.rstrip(b"\0").decode(errors="replace") for key, value in attributes(body) if key == IFNAME), "")
    is_up = bool(flags & RUNNING and flags & LOWER_UP)
    return Interface(index, name, is_up, bool(flags & LOOPBACK)) if name else None


def attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes behind the fixed part of a link's message."""
    at = LINK.size
    while at + ATTRIBUTE.size <= len(body):
        length, key = ATTRIBUTE.unpack_from(body, at)
        if length < ATTRIBUTE.size or at + length > len(body):
            return
        yield key, body[at + ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def addressed_interfaces(found: list[tuple[int, bytes]]) -> Iterator[int]:
    """The indices of interfaces that have an address."""
    for kind, body in found:
        if kind == NEW_ADDRESS and len(body) >= ADDRESS.size:
            yield ADDRESS.unpack_from(body)[4]
