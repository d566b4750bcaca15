"""From what the network says to endpoints. Invariant: a stranger's words are bounded, judged, and never fail anything.

`Finder.run` is one of several workers; `heard` only notes what to look at.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable
from ipaddress import ip_address, ip_interface

import anyio

from berty_core.errors import RemoteProtocolError

from .directory import Directory, Entry
from .seam import LocalAddress, Resolved, Responder, Timing
from .txt import decode_txt

INSTANCE = re.compile(r"[a-z0-9-]{1,63}")
MAX_TARGETS = 16


class Finder:
    """Keep the directory in step with one responder at a time. `newcomer` is called for each endpoint that is new."""

    def __init__(
        self, directory: Directory, timing: Timing, logger: logging.Logger, newcomer: Callable[[], None]
    ) -> None:
        self.own: Container[str] = ()
        self._directory = directory
        self._timing = timing
        self._logger = logger
        self._newcomer = newcomer
        self._responder: Responder | None = None
        self._addresses: tuple[LocalAddress, ...] = ()
        self._queued: dict[str, None] = {}
        self._resolving: Counter[str] = Counter()
        self._gone: set[str] = set()
        self._work = anyio.Event()

    def use(self, responder: Responder | None, addresses: tuple[LocalAddress, ...]) -> None:
        """Ask this responder from now on, as somebody who has these addresses."""
        self._responder = responder
        self._addresses = addresses

    def heard(self, name: str, there: bool) -> None:
        """Note that an instance is there (or changed), or said goodbye; never blocks."""
        instance = name.lower()
        if instance in self.own:
            return
        if INSTANCE.fullmatch(instance) is None:
            self._logger.debug("ignoring an announcement whose name is none of ours")
        elif there:
            self._enqueue(instance)
        else:
            self._queued.pop(instance, None)
            if instance in self._resolving:
                self._gone.add(instance)
            self._directory.drop(instance)

    def review(self, now: float) -> None:
        """Look again at the endpoints whose time has run out."""
        for instance in self._directory.due(now):
            if instance not in self._resolving:
                self._enqueue(instance)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            while not self._queued:
                if self._work.is_set():
                    self._work = anyio.Event()
                await self._work.wait()
            instance = next(iter(self._queued))
            del self._queued[instance]
            await self._resolve(instance)

    def _enqueue(self, instance: str) -> None:
        if len(self._queued) < self._directory.limit:
            self._queued[instance] = None
            self._work.set()

    async def _resolve(self, instance: str) -> None:
        """Learn where an instance is and what it shows, unless it says goodbye meanwhile."""
        self._resolving[instance] += 1
        responder = self._responder
        try:
            resolved = None if responder is None else await responder.resolve(instance)
            if instance not in self._gone and responder is self._responder:
                self._learn(instance, resolved)
        finally:
            self._resolving[instance] -= 1
            if not self._resolving[instance]:
                del self._resolving[instance]
                self._gone.discard(instance)

    def _learn(self, instance: str, resolved: Resolved | None) -> None:
        if resolved is None:
            self._directory.drop(instance)
            return
        try:
            entry = self._judge(resolved)
        except RemoteProtocolError as error:
            self._logger.debug("ignoring the announcement %s: %s", instance, error)
            self._directory.drop(instance)
            return
        is_new = instance not in self._directory
        if not self._directory.put(instance, entry):
            self._logger.debug("ignoring the announcement %s: too many endpoints are known", instance)
        elif is_new:
            self._newcomer()

    def _judge(self, resolved: Resolved) -> Entry:
        """Turn a stranger's claim into an entry; RemoteProtocolError if nothing in it can be used."""
        beacon = decode_txt(resolved.text)
        if not 0 < resolved.port <= 0xFFFF:
            raise RemoteProtocolError(f"port {resolved.port} cannot be dialled")
        near = [ip for ip in dict.fromkeys(resolved.addresses) if is_near(ip, self._addresses)][:MAX_TARGETS]
        if not near:
            raise RemoteProtocolError("none of its addresses is on a network of ours")
        ttl = min(max(resolved.ttl, self._timing.believe_least), self._timing.believe_most)
        return Entry(beacon, tuple((ip, resolved.port) for ip in near), anyio.current_time() + ttl)


def is_near(text: str, addresses: Iterable[LocalAddress]) -> bool:
    """Tell whether an address is on a network of ours, so that no announcement makes us dial across the world."""
    plain, _, scope = text.partition("%")
    try:
        ip = ip_address(plain)
    except ValueError:
        return False
    if ip.is_multicast or ip.is_unspecified:
        return False
    for own in addresses:
        own_plain, _, own_scope = own.ip.partition("%")
        network = ip_interface(f"{own_plain}/{own.prefix}").network
        if ip.version == network.version and ip in network and scope == own_scope:
            return True
    return False
