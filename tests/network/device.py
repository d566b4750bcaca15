"""One device in a process of its own: opened with `Node.open`, asked by lines of JSON on standard input.

    python device.py '{"home": "DIR", "name": "Ann", "transports": {"mdns": {"loopback": true}}}'

Each request `{"id": 1, "do": "...", "with": {...}}` is answered by one line with the same id, in any order; lines
without an id tell what happens. SIGTERM and the end of standard input close the node in good order.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
from berty_mdns.link import TcpLink
from cable import CablePlugin

from berty_core.codec.cid import Cid
from berty_core.config import NodeConfig
from berty_core.errors import BertyError, RemoteProtocolError
from berty_core.plugins import load_plugins
from berty_core.protocol.envelope import open_headers
from berty_core.protocol.group import LogKind
from berty_core.runtime.node import Node, create_home
from berty_core.runtime.replica.archive import export_archive, read_archive
from berty_core.runtime.replica.group_replica import GroupReplica
from berty_core.runtime.status import status

Json = dict[str, Any]


def say(**fields: Any) -> None:
    """Write one line whole, also if the process is killed right after."""
    os.write(1, json.dumps(fields, default=str).encode() + b"\n")


@attrs.frozen(kw_only=True)
class Options:
    """How a device is started; `clock` is by how many seconds its clock is wrong."""

    home: str
    name: str | None = None
    network: bool = True
    transports: Json = attrs.field(factory=dict)
    disabled: tuple[str, ...] = ("libp2p", "udp")
    clock: float = 0.0
    archive: str = ""
    cable: tuple[str, ...] = ()  # the addresses of a second wire: here, and at its other end
    record: str = ""  # a file that gets what this device sends on the next link that it dials


class Device:
    """What the device can be asked: each public method is a request."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pouring = anyio.CancelScope()
        self._poured = anyio.Event()

    async def read(self, name: str, arguments: list[Any]) -> Any:
        """Call an action that changes nothing."""
        return await self._node.store.read(getattr(self._node.actions, name), *arguments)

    async def write(self, name: str, arguments: list[Any]) -> Any:
        """Call an action within a batch."""
        return await self._node.store.write(getattr(self._node.actions, name), *arguments)

    async def burst(self, to: str, prefix: str, count: int) -> list[str]:
        """Send many texts at once; their ids."""
        found: list[str] = []

        async def one(number: int) -> None:
            found.append(str(await self._node.send(to, f"{prefix}{number}")))

        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(one, number)
        return found

    async def pour(self, to: str, prefix: str) -> int:
        """Send texts one after the other until `hush`; each is told once it is durable. The number of them."""
        number = 0
        self._poured = anyio.Event()
        with anyio.CancelScope() as self._pouring:
            while True:
                cid = await self._node.send(to, f"{prefix}{number}")
                say(sent=str(cid), text=f"{prefix}{number}")
                number += 1
                await anyio.sleep(0.004)
        self._poured.set()
        return number

    async def hush(self) -> None:
        """End `pour`."""
        self._pouring.cancel()
        await self._poured.wait()

    async def digest(self, to: str) -> Json:
        """Both logs of a group (the account's own, with an empty name) and its registers, in short."""
        return await self._node.store.read(self._digest, to)

    def _digest(self, to: str) -> Json:
        group = self._node.actions.find_group(to) if to else self._node.replica.account
        registers = group.registers._values.items()
        values = sorted((kind, [bytes(key) for key in keys], *map(bytes, found)) for (kind, keys), found in registers)
        shown: Json = {"registers": hashlib.sha256(repr(values).encode()).hexdigest()[:16], "of": len(values)}
        for kind, log in group.logs.items():
            shown[kind.name.lower()] = [len(log), log.index.summary().fingerprint.hex()]
        return shown

    async def counters(self) -> list[tuple[str, str, int]]:
        """(group, device, counter) of every message in every log."""
        return await self._node.store.read(self._counters)

    def _counters(self) -> list[tuple[str, str, int]]:
        return [header for group in self._node.replica.groups.values() for header in _headers(group)]

    async def arrivals(self) -> list[str]:
        """The ids of all messages in order of arrival."""
        found: list[str] = []
        after = 0
        while page := await self._node.store.read(self._node.replica.arrivals.after, after, 1000):
            found += [str(arrival.cid) for arrival in page]
            after = page[-1].number
        return found

    async def states(self, to: str, ids: list[str]) -> list[tuple[str, int, int]]:
        """State, number of holders and of acknowledging devices, for each own message."""
        return await self._node.store.read(self._states, to, ids)

    def _states(self, to: str, ids: list[str]) -> list[tuple[str, int, int]]:
        found = [self._node.actions.find_group(to).deliveries.get(Cid.parse(cid)) for cid in ids]
        return [(delivery.state, len(delivery.held), len(delivery.acknowledged)) for delivery in found]

    async def status(self) -> Json:
        """What `berty status` shows."""
        return await status(self._node)

    async def sessions(self) -> int:
        """How many sessions have met a group."""
        return sum(bool(session.groups) for session in self._node.sessions)

    async def links(self) -> int:
        """How many links there are, whatever came of them."""
        return len(self._node.sessions)

    async def export(self, path: str) -> int:
        """Write the account's archive."""
        with open(path, "wb") as file:  # noqa: PTH123, ASYNC230
            return await self._node.store.read(export_archive, self._node.replica, file)

    async def shown(self) -> Json:
        """The port and the tags under which this device can be found right now: all of it is public."""
        connectivity = self._node.connectivity
        assert connectivity is not None
        transport: Any = connectivity.transports[0].transport
        tags = [tag.hex() for shown in connectivity.adverts.shown for tag in shown.beacon.tags]
        return {"port": transport._presence.announcement.port, "tags": tags}

    async def fill(self, path: str) -> None:
        """Leave no room on the disk."""
        try:
            with open(path, "wb", buffering=0) as ballast:  # noqa: PTH123, ASYNC230
                while ballast.write(bytes(4096)):
                    pass
        except OSError:
            return

    async def remove(self, path: str) -> None:
        """Make room again."""
        os.unlink(path)  # noqa: PTH108


def _headers(group: GroupReplica) -> list[tuple[str, str, int]]:
    log, found = group.logs[LogKind.MESSAGES], []
    for cid in log.cids():
        message = open_headers(group.group.secret, log.read(cid).entry.value)
        found.append((str(group.group.id), str(message.device), message.counter))
    return found


async def answer(device: Device, request: Json) -> None:
    """Do what one line asks for."""
    try:
        result = await getattr(device, request["do"])(**request["with"])
    except (BertyError, RemoteProtocolError) as error:
        say(id=request["id"], error=[type(error).__name__, str(error)])
    else:
        say(id=request["id"], result=result)


async def listen(device: Device, scope: anyio.CancelScope) -> None:
    """Take requests until there are no more."""
    async with anyio.create_task_group() as tasks:
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            tasks.start_soon(answer, device, json.loads(line))
    scope.cancel()


async def end_on_signal(scope: anyio.CancelScope) -> None:
    """Close in good order when asked to."""
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


def record_next_dial(path: str) -> None:
    """Keep what is sent on links that this device dials: an eavesdropper on the wire would see the same bytes."""
    send = TcpLink.send

    async def keep(link: TcpLink, data: bytes) -> None:
        if link.initiator:
            with open(f"{path}-{id(link)}", "ab") as file:  # noqa: PTH123, ASYNC230
                file.write(data)
        await send(link, data)

    TcpLink.send = keep  # type: ignore[method-assign]


async def run(options: Options) -> None:
    config = NodeConfig(keyring=False, plugins=options.transports, disabled=options.disabled)
    home = Path(options.home)
    if options.archive:
        create_home(home, "", config=config, use_keyring=False, archive=read_archive(Path(options.archive)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end_on_signal, tasks.cancel_scope)
        plugins = load_plugins(options.disabled)
        if options.cable:
            plugins.hooks.register(CablePlugin(*options.cable), "cable")
        async with Node.open(home, name=options.name, network=options.network, config=config, plugins=plugins) as node:
            say(up=True, pid=os.getpid(), notices=node.notices)
            async with anyio.create_task_group() as inner:
                await listen(Device(node), inner.cancel_scope)
        tasks.cancel_scope.cancel()


def main() -> None:
    options = Options(**json.loads(sys.argv[1]))
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(relativeCreated)6d %(name)s %(levelname)s %(message)s"
    )
    if options.clock:
        true = time.time
        time.time = lambda: true() + options.clock
    if options.record:
        record_next_dial(options.record)
    try:
        anyio.run(run, options)
    except* BertyError as errors:
        say(failed=[type(errors.exceptions[0]).__name__, str(errors.exceptions[0])])
        sys.exit(1)
    say(ended=True)
    os._exit(0)  # a thread still waits for standard input


if __name__ == "__main__":
    main()
