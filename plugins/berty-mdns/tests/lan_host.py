"""One host of the namespace test: reads commands as lines of JSON, writes what happens as lines of JSON."""

from __future__ import annotations

import json
import sys
import time

import anyio
import anyio.to_thread
from berty_mdns.config import MdnsConfig
from berty_mdns.driver import ZeroconfDriver
from berty_mdns.testing import RecordingHost
from berty_mdns.transport import MdnsTransport

from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, Link
from berty_core.errors import EndOfStream, LinkLost


def say(kind: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"kind": kind, "at": time.monotonic(), **fields}) + "\n")
    sys.stdout.flush()


class Host(RecordingHost):
    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        super().__init__()
        self.tasks = tasks

    def accept(self, link: Link) -> None:
        self.tasks.start_soon(echo, link)

    def state(self, state, reasons=()) -> None:
        say("state", state=state.value, reasons=list(reasons))


async def echo(link: Link) -> None:
    try:
        while True:
            await link.send(await link.receive())
    except (EndOfStream, LinkLost):
        await link.aclose()


async def watch(transport: MdnsTransport) -> None:
    async with transport.discover() as events:
        async for event in events:
            if isinstance(event, EndpointFound):
                say("found", address=event.endpoint.address, nonce=event.beacon.nonce.hex())
            else:
                say("lost", address=event.endpoint.address)


async def dial(transport: MdnsTransport, address: str, size: int) -> None:
    targets = transport._directory.targets(address)
    try:
        link = await transport.dial(Endpoint("mdns", address))
        payload = bytes(range(256)) * (size // 256)
        answer = bytearray()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.send, payload)
            while len(answer) < len(payload):
                answer += await link.receive()
        await link.aclose()
        say("dialled", exact=bytes(answer) == payload, targets=targets)
    except* LinkLost as error:
        say("failed", reason=repr(error.exceptions), targets=targets)


async def main() -> None:
    async with anyio.create_task_group() as tasks:
        transport = MdnsTransport(MdnsConfig(), ZeroconfDriver())
        host = Host(tasks)
        tasks.start_soon(watch, transport)

        async def run(*, task_status) -> None:
            await transport.run(host, task_status=task_status)

        say("up")
        while True:
            line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            command, *arguments = json.loads(line)
            if command == "start":
                await tasks.start(run)
                say("started")
            elif command == "advertise":
                await transport.advertise(Beacon(bytes.fromhex(arguments[0]), (bytes(8),)))
                say("advertised")
            elif command == "dial":
                tasks.start_soon(dial, transport, *arguments)
            else:
                tasks.cancel_scope.cancel()
                return


anyio.run(main)
