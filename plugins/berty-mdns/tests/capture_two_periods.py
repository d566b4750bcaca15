"""Announce two beacons one after the other on loopback and print, as JSON, what a listener captured of each."""

from __future__ import annotations

import json
import os
import socket
import sys

import anyio
from berty_mdns.config import MdnsConfig
from berty_mdns.driver import ZeroconfDriver
from berty_mdns.testing import RecordingHost
from berty_mdns.transport import MdnsTransport

from berty_core.contracts.transport import Beacon

GROUP = "224.0.0.251"


def open_capture() -> socket.socket:
    capture = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    capture.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    capture.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    capture.bind((GROUP, 5353))
    membership = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
    capture.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    capture.setblocking(False)
    return capture


def drain(capture: socket.socket) -> list[str]:
    packets = []
    while True:
        try:
            packets.append(capture.recv(9000).hex())
        except BlockingIOError:
            return packets


async def main() -> None:
    periods = []
    transport = MdnsTransport(MdnsConfig(loopback=True), ZeroconfDriver())

    async def start(one: MdnsTransport, tasks: anyio.abc.TaskGroup) -> None:
        async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await one.run(RecordingHost(), task_status=task_status)

        await tasks.start(run)

    with open_capture() as capture:
        async with anyio.create_task_group() as tasks:
            await start(transport, tasks)
            for _ in range(2):
                beacon = Beacon(os.urandom(8), tuple(os.urandom(8) for _ in range(40)))
                await transport.advertise(beacon)
                asker = MdnsTransport(MdnsConfig(loopback=True), ZeroconfDriver())
                async with anyio.create_task_group() as asking:
                    await anyio.sleep(0.2)
                    await start(asker, asking)  # its question brings a response besides the announcements
                    await anyio.sleep(1.0)
                    asking.cancel_scope.cancel()
                await transport.advertise(None)
                await anyio.sleep(0.4)
                periods.append({"nonce": beacon.nonce.hex(), "packets": drain(capture)})
            tasks.cancel_scope.cancel()
    json.dump(periods, sys.stdout)


anyio.run(main)
