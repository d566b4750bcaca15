"""Measure berty-libp2p beside Go and beside the private session, in one run; prints a table, and JSON with --json FILE.

    python tests/bench/bench_libp2p.py            # some minutes; needs the Go program of the plugin's interop tests
    python tests/bench/bench_libp2p.py --quick    # smaller numbers

Our node runs in this process with the whole path: libp2p, verification, decryption and the durable store. The Go
program is a libp2p node alone: it knows no Wesh, stores in memory, and is reached over pipes, which every figure that
has an end in Go pays for. No test depends on these numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
from berty_libp2p.exchange import Exchange
from berty_libp2p.log_frames import LogFrames
from berty_libp2p.peers import PeerId

from berty_core.codec.cid import Cid
from berty_core.config import NodeConfig
from berty_core.contracts.session import Log, LogId
from berty_core.crypto.keys import PrivateKey
from berty_core.plugins import load_plugins
from berty_core.protocol.group import LogKind
from berty_core.protocol.payloads import UserMessage
from berty_core.runtime.node import Node, create_home, open_replica
from berty_core.runtime.replica.effects import MessageArrived
from berty_core.runtime.replica.group_replica import GroupReplica
from berty_core.runtime.replica.replica import Replica
from berty_core.runtime.sessions.profile_host import NodePort

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "plugins" / "berty-libp2p" / "tests" / "interop")]

# isort: off
import bench_messages  # noqa: E402  it lies beside this file
from build import target  # noqa: E402
from go_peer import GoPeer, go_peer  # noqa: E402
# isort: on

TEXT = "x" * 256
CONFIG = NodeConfig(keyring=False, acknowledge="never")
PLUGINS = load_plugins(disabled=["mdns", "libp2p"])
DAG_CBOR = 0x71
IN_FLIGHT = 64  # blocks that a Go node is told to get at a time


class Table:
    """Rows of the report; each may be compared with one that came before."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, what: str, value: float, unit: str, beside: float | None = None, note: str = "") -> float:
        """Print a row, with its ratio to another one; the value."""
        ratio = value / beside if beside else None
        self.rows.append({"what": what, "value": value, "unit": unit, "ratio": ratio, "note": note})
        shown = f"{ratio:6.2f}x" if ratio is not None else " " * 7
        print(f"{what:66} {value:10.2f} {unit:5} {shown}  {note}", flush=True)
        return value


@attrs.frozen
class Author:
    """Somebody who wrote to the group and whose entries a Go node carries: a home of its own, on no network."""

    replica: Replica
    group: GroupReplica
    frames: LogFrames
    log: Log

    def write(self, count: int) -> list[tuple[Cid, bytes]]:
        """Some messages with their blocks."""
        stored = self.group.logs[LogKind.MESSAGES]
        with self.replica.batch(durable=False):
            cids = [self.group.send(UserMessage(TEXT)) for _ in range(count)]
        return [(cid, stored.read(cid).block) for cid in cids]

    def frame(self, *blocks: bytes) -> str:
        """A heads message, in hex."""
        return self.frames.write(self.log, blocks, time.time()).hex()


@attrs.frozen
class Ours:
    """Our node with its exchange."""

    node: Node
    exchange: Exchange
    address: str
    group: GroupReplica
    log: Log


@asynccontextmanager
async def exchange_of(node: Node) -> AsyncIterator[Exchange]:
    exchange = Exchange(PrivateKey(os.urandom(32)), NodePort(node, "libp2p"), time.monotonic)
    async with anyio.create_task_group() as tasks:
        await tasks.start(exchange.run)
        yield exchange
        tasks.cancel_scope.cancel()


@contextmanager
def homes() -> Iterator[tuple[Path, Path]]:
    """Ann's home, who is measured, and Bob's, who writes: both know each other's keys in one group."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        paths = Path(directory) / "Ann", Path(directory) / "Bob"
        for path in paths:
            create_home(path, path.name, config=CONFIG, plugins=PLUGINS)
        opened = [open_replica(path, CONFIG, PLUGINS, None) for path in paths]
        with opened[0] as ann, opened[1] as bob:
            with ann.replica.batch():
                group = ann.replica.create_group("bench")
            with bob.replica.batch():
                joined = bob.replica.join_group(group.group)
            for _ in range(2):
                bench_messages.copy(joined, group, ann.replica)
                bench_messages.copy(group, joined, bob.replica)
        yield paths


@contextmanager
def author(path: Path) -> Iterator[Author]:
    with open_replica(path, CONFIG, PLUGINS, None) as opened:
        group = next(one for one in opened.replica.groups.values() if one.group.kind == 3)
        frames, log = LogFrames(PeerId.of(PrivateKey(os.urandom(32)).public), 86400, os.urandom), log_of(group)
        frames.follow([log], time.time())
        yield Author(opened.replica, group, frames, log)


def log_of(group: GroupReplica) -> Log:
    kind = LogKind.MESSAGES
    address = group.logs[kind].address
    return Log(LogId(group.group.id, kind), address, group.group.link_key, group.group.signing_public, group.device_id)


@asynccontextmanager
async def ours_at(path: Path) -> AsyncIterator[Ours]:
    async with Node.open(path, network=False, config=CONFIG, plugins=PLUGINS) as node, exchange_of(node) as exchange:
        group = next(one for one in node.replica.groups.values() if one.group.kind == 3)
        yield Ours(node, exchange, str(await exchange.node.listen("127.0.0.1")), group, log_of(group))


async def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.001)


async def each(rounds: int, once: Callable[[int], Awaitable[float]]) -> list[float]:
    """Milliseconds of each round, sorted."""
    return sorted([await once(number) * 1000 for number in range(rounds)])


def middle(times: list[float]) -> float:
    return statistics.median(times)


def high(times: list[float]) -> float:
    return times[min(len(times) - 1, int(len(times) * 0.99))]


# -- connecting ----------------------------------------------------------------------------------


async def measure_connect(table: Table, program: Path, path: Path, rounds: int) -> None:
    """From the dial until the peer has proved who it is, on loopback."""
    async with go_peer(program) as one, go_peer(program) as two, ours_at(path) as ann:
        node = ann.exchange.node

        async def go_to_go(_: int) -> float:
            return await dial(one, two.address, two.peer_id)

        async def go_to_us(_: int) -> float:
            return await dial(one, ann.address, str(node.peer_id))

        async def we_to_go(_: int) -> float:
            began = time.perf_counter()
            peer = await node.dial(node.addresses[0].parse(one.address))
            spent = time.perf_counter() - began
            node.close_peer(peer)
            await until(lambda: not node.peers)
            return spent

        base = table.add("connect, Go to Go, p50", middle(await each(rounds, go_to_go)), "ms")
        table.add("connect, Go dials us, p50", middle(await each(rounds, go_to_us)), "ms", base)
        await until(lambda: not node.peers)
        table.add("connect, we dial Go, p50", middle(await each(rounds, we_to_go)), "ms", base)


async def dial(go: GoPeer, address: str, peer: str) -> float:
    began = time.perf_counter()
    await go.call("connect", addr=address)
    spent = time.perf_counter() - began
    await go.call("disconnect", peer=peer)
    return spent


async def measure_keys(table: Table, rounds: int) -> None:
    """From the dial of two nodes of ours, in one process, until each has the other's chain key of a new group."""
    times = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
            times.append(await keys_once(Path(directory)))
    table.add("connect to keys both ways, two nodes of ours in one process, p50", middle(sorted(times)), "ms")


async def keys_once(directory: Path) -> float:
    for name in ("Ann", "Bob"):
        create_home(directory / name, name, config=CONFIG, plugins=PLUGINS)
    async with (
        Node.open(directory / "Ann", network=False, config=CONFIG, plugins=PLUGINS) as ann,
        Node.open(directory / "Bob", network=False, config=CONFIG, plugins=PLUGINS) as bob,
        exchange_of(ann) as one,
        exchange_of(bob) as two,
    ):
        await ann.store.write(ann.actions.group_new, "bench")
        link = (await ann.store.write(ann.actions.group_invite, "bench"))["link"]
        await bob.store.write(bob.actions.group_join, link)
        groups = [await node.store.read(node.actions.find_group, "bench") for node in (ann, bob)]
        address = await one.node.listen("127.0.0.1")
        began = time.perf_counter()
        await two.node.dial(address)
        mine, theirs = groups
        await until(lambda: mine.chains.get(theirs.device_id) and theirs.chains.get(mine.device_id))
        return (time.perf_counter() - began) * 1000


# -- one message at a time -----------------------------------------------------------------------


async def measure_latency(table: Table, program: Path, paths: tuple[Path, Path], rounds: int) -> None:
    """A text of 256 bytes by gossip. Ours counts from `send` on, and until it is readable and on the disk."""
    async with go_peer(program) as one, go_peer(program) as two, ours_at(paths[0]) as ann:
        with author(paths[1]) as bob:
            topic, node = bob.log.address, ann.exchange.node
            for go in (one, two):
                await go.call("subscribe", topic=topic)
            await one.call("connect", addr=two.address)
            await two.event("topic_join", topic=topic)
            written = [bob.frame(block) for _, block in bob.write(3 * rounds)]
            await anyio.sleep(2)  # the mesh between the two Go nodes stands after a heartbeat

            async def go_to_go(number: int) -> float:
                began = time.perf_counter()
                await one.call("publish", topic=topic, data=written[number])
                await two.event("message", topic=topic)
                return time.perf_counter() - began

            times = await each(rounds, go_to_go)
            base = table.add("gossip, Go to Go, p50", middle(times), "ms")
            worst = table.add("gossip, Go to Go, p99", high(times), "ms")
            await one.call("disconnect", peer=two.peer_id)
            await one.call("connect", addr=ann.address)
            await until(lambda: node.router.followers(topic) and one.peer_id in map(str, node.router.mesh(topic)))
            await anyio.sleep(2)
            one.events.clear()

            async def go_to_us(number: int) -> float:
                with ann.node.listen() as effects:
                    began = time.perf_counter()
                    await one.call("publish", topic=topic, data=written[rounds + number])
                    async for effect in effects:
                        if isinstance(effect, MessageArrived):
                            break
                return time.perf_counter() - began

            # What the author wrote before is not here, and Go has no blocks of it: it is handed over.
            await hand_over(ann, [block for _, block in blocks_of(bob)][:rounds])
            times = await each(rounds, go_to_us)
            table.add("gossip, Go to us, readable and stored, p50", middle(times), "ms", base, "aim: 1.3x")
            table.add("gossip, Go to us, readable and stored, p99", high(times), "ms", worst)
            one.events.clear()

            async def we_to_go(_: int) -> float:
                began = time.perf_counter()
                await ann.node.send(ann.group.group.id, TEXT)
                await one.event("message", topic=topic)
                return time.perf_counter() - began

            times = await each(rounds, we_to_go)
            table.add("gossip, our durable `send` to Go, p50", middle(times), "ms", base, "aim: 1.3x")
            table.add("gossip, our durable `send` to Go, p99", high(times), "ms", worst)

            async def bare_to_go(_: int) -> float:
                began = time.perf_counter()
                node.publish(topic, bytes.fromhex(written[0]))
                await one.event("message", topic=topic)
                return time.perf_counter() - began

            one.events.clear()
            times = await each(rounds, bare_to_go)
            table.add("gossip, the same bytes of ours to Go, libp2p alone, p50", middle(times), "ms", base)


def blocks_of(bob: Author) -> list[tuple[Cid, bytes]]:
    log = bob.group.logs[LogKind.MESSAGES]
    return [(cid, log.read(cid).block) for cid in log.cids()]


async def hand_over(ann: Ours, blocks: list[bytes]) -> None:
    port = NodePort(ann.node, "bench")
    verified = await port.verify(ann.log.id, blocks)
    await port.store(ann.log.id, verified.entries, verified.refused)


# -- what was missed -----------------------------------------------------------------------------


async def measure_missed(
    table: Table, program: Path, paths: tuple[Path, Path], count: int, private: float, floor: float
) -> None:
    """So many messages of 256 bytes that a Go node has: fetched by us, and by another Go node from it and from us."""
    with author(paths[1]) as bob:
        written = bob.write(count)
        async with go_peer(program) as one, ours_at(paths[0]) as ann:
            for _, block in blocks_of(bob):
                await one.call("put", data=block.hex(), codec=DAG_CBOR)
            await one.call("subscribe", topic=bob.log.address)
            await one.call("connect", addr=ann.address)
            await one.event("topic_join", topic=bob.log.address, peer=str(ann.exchange.node.peer_id))
            began, used = time.perf_counter(), time.process_time()
            await one.call("publish", topic=bob.log.address, data=bob.frame(written[-1][1]))
            stored = ann.group.logs[LogKind.MESSAGES]
            await until(lambda: written[-1][0] in stored.heads)
            spent, used = time.perf_counter() - began, time.process_time() - used
            table.add(
                f"{count} missed, Go to us: received, verified, decrypted, stored",
                spent,
                "s",
                None,
                "aim: 3 s for 10000",
            )
            table.add("  messages a second, beside the private session", count / spent, "1/s", private or None)
            table.add("  CPU of ours per message", used / count * 1e6, "us", floor, "beside the floor to open")
            table.add("  peak memory of our process so far", bench_messages.memory(), "MB")
            await serve_missed(table, program, one, ann, [cid for cid, _ in written])


async def serve_missed(table: Table, program: Path, one: GoPeer, ann: Ours, cids: list[Cid]) -> None:
    results = []
    for source, peer in ((one.address, "Go"), (ann.address, "us")):
        async with go_peer(program) as two:
            await two.call("connect", addr=source)
            began, used = time.perf_counter(), time.process_time()
            async with anyio.create_task_group() as tasks:
                limiter = anyio.CapacityLimiter(IN_FLIGHT)
                for cid in cids:
                    tasks.start_soon(get, two, cid, limiter)
            results.append(len(cids) / (time.perf_counter() - began))
            base = results[0] if peer == "us" else None
            table.add(
                f"{len(cids)} missed, Go fetches blocks from {peer}", results[-1], "1/s", base, f"{IN_FLIGHT} at a time"
            )
            if peer == "us":
                table.add(
                    "  CPU of ours per block, the driver's pipe with it",
                    (time.process_time() - used) / len(cids) * 1e6,
                    "us",
                )


async def get(go: GoPeer, cid: Cid, limiter: anyio.CapacityLimiter) -> None:
    async with limiter:
        await go.call("get", cid=str(cid), seconds=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    program = target("peer")
    if not program.is_file():
        sys.exit("the Go program is not built: python plugins/berty-libp2p/tests/interop/build.py peer")
    table, rounds = Table(), 50 if chosen.quick else 300
    _, floor = bench_messages.measure_floor(bench_messages.Table())
    bench_messages.measure_fsync(table)  # a durable `send` and what is stored each wait for one
    with homes() as paths:
        anyio.run(measure_connect, table, program, paths[0], 10 if chosen.quick else 40)
    anyio.run(measure_keys, table, 3 if chosen.quick else 9)
    with homes() as paths:
        anyio.run(measure_latency, table, program, paths, rounds)
    for count in (1000,) if chosen.quick else (1000, 10000):
        beside = bench_messages.Table()
        bench_messages.measure_network(beside, count, 20 if chosen.quick else 100)
        private = beside.rows[0]["value"]
        with homes() as paths:
            anyio.run(measure_missed, table, program, paths, count, private, floor)
    if chosen.json:
        chosen.json.write_text(json.dumps(table.rows, indent=1))


if __name__ == "__main__":
    main()
