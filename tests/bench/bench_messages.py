"""Measure the main paths as ratios to the libsodium floor of the same run; prints a table, and JSON with --json FILE.

    python tests/bench/bench_messages.py                 # a few minutes
    python tests/bench/bench_messages.py --quick         # under a minute, smaller numbers
    python tests/bench/bench_messages.py --million       # with the log of a million entries

Devices are processes of their own, over loopback TCP. No test depends on these numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
from nacl import bindings

from berty_core.codec.cid import Cid
from berty_core.config import NodeConfig
from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.crypto.vault import Vault
from berty_core.plugins import load_plugins
from berty_core.protocol.entry import LogIdentity, check_entry, decode_entry, sign_entry
from berty_core.protocol.envelope import open_headers, open_message, seal_message
from berty_core.protocol.group import BERTY, LogKind, new_group
from berty_core.protocol.log import Position
from berty_core.protocol.payloads import UserMessage, encode_payload
from berty_core.protocol.ratchet import Chain, take_key
from berty_core.runtime.node import Node, create_home, open_replica
from berty_core.runtime.replica.effects import DeliveryChanged, MessageArrived
from berty_core.runtime.replica.records import ENTRY, HEAD, Records
from berty_core.runtime.replica.stored_log import StoredLog
from berty_core.runtime.replica.verification import verify_blocks

TEXT = "x" * 256
CONFIG = NodeConfig(keyring=False, disabled=("libp2p", "udp", "unix"), plugins={"mdns": {"loopback": True}})
PLUGINS = load_plugins(CONFIG.disabled)


class Table:
    """Rows of the report."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, what: str, value: float, unit: str, ratio: float | None = None, note: str = "") -> None:
        self.rows.append({"what": what, "value": value, "unit": unit, "ratio_to_floor": ratio, "note": note})
        shown = f"{ratio:8.2f}x floor" if ratio is not None else " " * 14
        print(f"{what:58} {value:12.2f} {unit:7} {shown}  {note}", flush=True)


def each(function: Callable[[], object], seconds: float = 0.6) -> float:
    """Microseconds a call: the median of seven runs."""
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds / 7:
        function()
        count += 1
    runs = []
    for _ in range(7):
        started = time.perf_counter()
        for _ in range(count):
            function()
        runs.append((time.perf_counter() - started) / count * 1e6)
    return statistics.median(runs)


def measure_floor(table: Table) -> tuple[float, float]:
    """Two signatures and two boxes, made and checked, with nothing of ours around them."""
    public, secret = bindings.crypto_sign_seed_keypair(os.urandom(32))
    message, key, nonce = os.urandom(400), os.urandom(32), os.urandom(24)
    signed, box = bindings.crypto_sign(message, secret), bindings.crypto_secretbox_easy(message, nonce, key)

    def seal() -> None:
        bindings.crypto_sign(message, secret)
        bindings.crypto_sign(message, secret)
        bindings.crypto_secretbox_easy(message, nonce, key)
        bindings.crypto_secretbox_easy(message, nonce, key)

    def unseal() -> None:
        bindings.crypto_sign_open(signed, public)
        bindings.crypto_sign_open(signed, public)
        bindings.crypto_secretbox_open_easy(box, nonce, key)
        bindings.crypto_secretbox_open_easy(box, nonce, key)

    seal_us, open_us = each(seal), each(unseal)
    table.add("floor: seal (2 signatures, 2 boxes)", seal_us, "us", 1.0)
    table.add("floor: open (2 verifications, 2 boxes)", open_us, "us", 1.0)
    return seal_us, open_us


def measure_pure(table: Table, seal_floor: float, open_floor: float) -> None:
    """Sealing and opening one message, from text to block and back, without a store."""
    group, _ = new_group(os.urandom)
    identity, device = LogIdentity.of(group.signing_key), PrivateKey(os.urandom(32))
    address = group.address(BERTY, LogKind.MESSAGES).text
    state = {"chain": Chain(Secret(os.urandom(32)), 0), "parents": ()}
    refs = tuple(Cid.of(bytes([number])) for number in range(6))

    def seal() -> bytes:
        text = encode_payload(UserMessage(TEXT), 1)
        key, chain = take_key(state["chain"], group.id, state["chain"].counter + 1)
        value = seal_message(group.secret, key, chain.counter, device, text, os.urandom(24))
        entry, block = sign_entry(identity, address, value, state["parents"], refs, chain.counter)
        state["chain"], state["parents"] = chain, (entry.cid,)
        return block

    table.add("seal a message of 256 bytes", value := each(seal), "us", value / seal_floor)
    start = state["chain"]
    block = seal()

    def unseal() -> None:
        entry = decode_entry(block)
        check_entry(entry, address, group.signing_public)
        message = open_headers(group.secret, entry.value)
        key, _ = take_key(start, group.id, message.counter)
        open_message(message, key)

    table.add("open and verify it", value := each(unseal), "us", value / open_floor, "aim: 1/0.5 = 2.00x")
    table.add("block of such a message", len(block), "bytes")


@contextmanager
def home(name: str = "Ann") -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        path = Path(directory) / "home"
        create_home(path, name, config=CONFIG, plugins=PLUGINS)
        yield path


def measure_append(table: Table, seal_floor: float, count: int) -> None:
    """Own messages through the node: one by one, and as many at once as the program likes."""

    async def run(path: Path) -> None:
        async with Node.open(path, network=False, config=CONFIG, plugins=PLUGINS) as node:
            await node.store.write(node.actions.group_new, "bench")
            started = time.perf_counter()
            for _ in range(count // 10):
                await node.send("bench", TEXT)
            alone = (time.perf_counter() - started) / (count // 10) * 1e6
            table.add("durable append, one by one", 1e6 / alone, "1/s", alone / seal_floor)
            started = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(node.send, "bench", TEXT)
            burst = (time.perf_counter() - started) / count * 1e6
            table.add("durable append, in bursts", 1e6 / burst, "1/s", burst / seal_floor, "aim: 6000/s")

    with home() as path:
        anyio.run(run, path)


def measure_receive(table: Table, open_floor: float, count: int) -> None:
    """Storing received entries on one thread: verify, open, index, commit."""
    with home("Ann") as first, home("Bob") as second:
        with open_replica(first, CONFIG, PLUGINS, None) as ann, open_replica(second, CONFIG, PLUGINS, None) as bob:
            with ann.replica.batch():
                sender = ann.replica.create_group("bench")
            with bob.replica.batch():
                receiver = bob.replica.join_group(sender.group)
            copy(receiver, sender, ann.replica)
            for _ in range(count // 256):
                with ann.replica.batch():
                    for _ in range(256):
                        sender.send(UserMessage(TEXT))
            started = time.perf_counter()
            copy(sender, receiver, bob.replica)
            spent = (time.perf_counter() - started) / (count // 256 * 256) * 1e6
            table.add("verify, open and store received entries, one thread", 1e6 / spent, "1/s", spent / open_floor)


def copy(source: Any, target: Any, replica: Any) -> None:
    for kind in LogKind:
        log = source.logs[kind]
        missing = [cid for cid in log.cids() if cid not in target.logs[kind]]
        for start in range(0, len(missing), 256):
            blocks = [log.read(cid).block for cid in missing[start : start + 256]]
            verified = verify_blocks(blocks, log.address, target.group.signing_public)
            with replica.batch():
                target.receive(kind, verified.entries)


def spawn(role: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--role", role, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def expect(process: subprocess.Popen[str], word: str) -> str:
    if process.stdout is None:
        raise RuntimeError("no output")
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise RuntimeError(f"the device ended before it said {word!r}")


def measure_network(table: Table, count: int, rounds: int) -> None:
    """Two processes: history to a fresh peer, live round trips, and what travels."""
    with home("Ann") as first, home("Bob") as second:
        with open_replica(first, CONFIG, PLUGINS, None) as ann, open_replica(second, CONFIG, PLUGINS, None) as bob:
            with ann.replica.batch():
                sender = ann.replica.create_group("bench")
            with bob.replica.batch():
                receiver = bob.replica.join_group(sender.group)
            copy(receiver, sender, ann.replica)
            copy(sender, receiver, bob.replica)
            for _ in range(count // 250):
                with ann.replica.batch():
                    for _ in range(250):
                        sender.send(UserMessage(TEXT))
        server, client = spawn("serve", first), spawn("fetch", second, count)
        try:
            seconds = float(expect(client, "fetched"))
            table.add(f"sync of {count} messages to a fresh peer", count / seconds, "1/s", None, "aim: 4000/s")
            client.wait(30)
            server.terminate()
            server.wait(30)
            server, client = spawn("serve", second), spawn("live", first, rounds)
            result = json.loads(expect(client, "live"))
            for what, aim in (("held", "aim: p50 0.8 ms and one fsync per side"), ("acknowledged", "")):
                times = sorted(result[what])
                table.add(f"live round trip to {what}, p50", times[len(times) // 2], "ms", None, aim)
                table.add(f"live round trip to {what}, p99", times[int(len(times) * 0.99)], "ms")
            client.wait(30)
            server.terminate()
            server.wait(30)
            server, client = spawn("serve-quietly", second), spawn("bytes", first, rounds)
            result = json.loads(expect(client, "bytes"))
            table.add("bytes on the wire per message of 256 bytes until held", result["bytes"], "bytes")
            client.wait(30)
        finally:
            for process in (server, client):
                process.terminate()
                process.wait(30)
        measure_start(table, first, second)


def measure_start(table: Table, first: Path, second: Path) -> None:
    """From the start of two processes until the second prints the first's text."""
    times = []
    for number in range(3):
        started = time.perf_counter()
        waiter, sender = spawn("first-text", second, f"start {number}"), spawn("send-one", first, f"start {number}")
        expect(waiter, "text")
        times.append(time.perf_counter() - started)
        for process in (waiter, sender):
            process.terminate()
            process.wait(30)
    table.add("start of two processes to the first text", statistics.median(times), "s", None, "aim: 0.6 s")


def measure_fsync(table: Table) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        file = os.open(Path(directory) / "file", os.O_WRONLY | os.O_CREAT)

        def write() -> None:
            os.write(file, b"x" * 4096)
            os.fsync(file)

        table.add("one fsync of this disk", each(write) / 1000, "ms")
        os.close(file)


def measure_large(table: Table, count: int) -> None:
    """Opening a home with a large group, in a process of its own; memory is the whole process's peak."""
    with home("Ann") as path:
        with open_replica(path, CONFIG, PLUGINS, None) as ann:
            with ann.replica.batch():
                sender = ann.replica.create_group("bench")
            for _ in range(count // 1000):
                with ann.replica.batch():
                    for _ in range(1000):
                        sender.send(UserMessage(TEXT))
        small = json.loads(subprocess.check_output([sys.executable, __file__, "--role", "nothing"], text=True))
        found = json.loads(subprocess.check_output([sys.executable, __file__, "--role", "open", str(path)], text=True))
        table.add(f"opening a home with a group of {count}", found["open"] * 1000, "ms")
        table.add(f"the last 10 of {count}, after opening", found["last"] * 1000, "ms", None, "aim: 15 ms")
        table.add(
            f"memory with {count} (imports alone: {small['memory']:.0f} MB)", found["memory"], "MB", None, "aim: 150"
        )


def measure_million(table: Table, count: int = 1_000_000) -> None:
    """A log of a million at the level of the store: the index over synthetic positions, beside a log of ten."""
    from berty_sqlite.store import open_store

    results = {}
    for size in (10, count):
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
            store = open_store(Path(directory))
            records = Records(store, Vault(bytes(32), os.urandom))
            address = "/orbitdb/" + str(Cid.of(b"bench")) + "/bench"
            log = StoredLog(records, address)
            for start in range(0, size, 5000):
                with records.write(durable=False):
                    cids = [Cid.of(str(number).encode()) for number in range(start, min(size, start + 5000))]
                    positions = [Position.of(start + place + 1, cid) for place, cid in enumerate(cids)]
                    for position in positions:
                        records.put(ENTRY + log.key + position.digest, position.time.to_bytes(4, "big") + b"block")
                    log.index.insert(positions)
            with records.write(durable=True):
                records.put(HEAD + log.key + positions[-1].digest, positions[-1].time.to_bytes(4, "big"))
            store.close()
            before, started = memory(), time.perf_counter()
            store = open_store(Path(directory))
            log = StoredLog(Records(store, Vault(bytes(32), os.urandom)), address)
            last = [log.read(cid) for cid, _ in zip(log.cids(reverse=True), range(10), strict=False)]
            results[size] = ((time.perf_counter() - started) * 1000, memory() - before, len(last))
            store.close()
    table.add("opening a log of 10 and reading its last 10", results[10][0], "ms")
    table.add(
        f"opening a log of {count} and reading its last 10", results[count][0], "ms", None, "aim: within 20 ms of ten"
    )
    table.add("memory that takes more than a log of ten", results[count][1] - results[10][1], "MB", None, "aim: 10 MB")


def memory() -> float:
    """The peak of this process in MB. On Linux `ru_maxrss` begins at what the parent had when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# -- roles of the processes ---------------------------------------------------------------------


async def serve(path: Path, config: NodeConfig = CONFIG) -> None:
    async with Node.open(path, config=config, plugins=PLUGINS):
        await anyio.sleep_forever()


async def fetch(path: Path, count: int) -> None:
    async with Node.open(path, config=CONFIG, plugins=PLUGINS) as node:
        started = None
        with node.listen() as events:
            arrived = 0
            async for effect in events:
                if isinstance(effect, MessageArrived):
                    started = started or time.perf_counter()
                    arrived += 1
                    if node.replica.arrivals.last >= count:
                        break
        print("fetched", time.perf_counter() - (started or 0.0), flush=True)


async def live(path: Path, rounds: int) -> None:
    result: dict[str, Any] = {"held": [], "acknowledged": []}
    async with Node.open(path, config=CONFIG, plugins=PLUGINS) as node:
        while not any(session.groups for session in node.sessions):
            await anyio.sleep(0.05)
        await anyio.sleep(1.5)
        group = group_of(node)
        with node.listen() as events:
            for number in range(rounds):
                started = time.perf_counter()
                cid = await node.send("bench", TEXT)
                held = False
                async for effect in events:
                    if not isinstance(effect, DeliveryChanged) or effect.cid != cid:
                        continue
                    delivery = await node.store.read(group.deliveries.get, cid)
                    if delivery.held and not held:
                        held = True
                        result["held"].append((time.perf_counter() - started) * 1000)
                    if delivery.acknowledged:
                        result["acknowledged"].append((time.perf_counter() - started) * 1000)
                        break
                await anyio.sleep(0.002 * (number % 3))
    print("live", json.dumps(result), flush=True)


async def count_bytes(path: Path, rounds: int) -> None:
    """What both directions of the session carry for a message until its confirmation, keep-alive and all."""
    async with Node.open(path, config=CONFIG, plugins=PLUGINS) as node:
        while not any(session.groups for session in node.sessions):
            await anyio.sleep(0.05)
        await anyio.sleep(1.5)
        session = next(session for session in node.sessions if session.groups)
        with node.listen() as events:
            before = session.bytes_sent + session.bytes_received
            for _ in range(rounds):
                cid = await node.send("bench", TEXT)
                async for effect in events:
                    if isinstance(effect, DeliveryChanged) and effect.cid == cid:
                        delivery = await node.store.read(group_of(node).deliveries.get, cid)
                        if delivery.held:
                            break
            total = session.bytes_sent + session.bytes_received - before
    print("bytes", json.dumps({"bytes": total / rounds}), flush=True)


def group_of(node: Node) -> Any:
    return next(group for group in node.replica.groups.values() if group.group.kind == 3)


async def first_text(path: Path, text: str) -> None:
    async with Node.open(path, config=CONFIG, plugins=PLUGINS) as node:
        async for message in node.messages("bench"):
            if message.text == text:
                print("text", message.text, flush=True)
                await anyio.sleep(0.2)
                return


async def send_one(path: Path, text: str) -> None:
    async with Node.open(path, config=CONFIG, plugins=PLUGINS) as node:
        await node.send("bench", text)
        await anyio.sleep(30)


def open_large(path: Path) -> None:
    started = time.perf_counter()
    with open_replica(path, CONFIG, PLUGINS, None) as opened:
        group = next(group for group in opened.replica.groups.values() if group.group.kind == 3)
        ready = time.perf_counter()
        log = group.logs[LogKind.MESSAGES]
        last = [group.message(cid) for cid, _ in zip(log.cids(reverse=True), range(10), strict=False)]
        done = time.perf_counter()
    print(json.dumps({"open": ready - started, "last": done - ready, "memory": memory(), "read": len(last)}))


def play(role: str, arguments: list[str]) -> None:
    path = Path(arguments[0]) if arguments else Path()
    match role:
        case "serve":
            anyio.run(serve, path)
        case "serve-quietly":
            anyio.run(serve, path, attrs.evolve(CONFIG, acknowledge="never"))
        case "bytes":
            anyio.run(count_bytes, path, int(arguments[1]))
        case "fetch":
            anyio.run(fetch, path, int(arguments[1]))
        case "live":
            anyio.run(live, path, int(arguments[1]))
        case "first-text":
            anyio.run(first_text, path, arguments[1])
        case "send-one":
            anyio.run(send_one, path, arguments[1])
        case "open":
            open_large(path)
        case "nothing":
            print(json.dumps({"memory": memory()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        play(options.role, options.arguments)
        return
    table = Table()
    seal_floor, open_floor = measure_floor(table)
    measure_fsync(table)
    measure_pure(table, seal_floor, open_floor)
    measure_append(table, seal_floor, 1000 if options.quick else 5000)
    measure_receive(table, open_floor, 1024 if options.quick else 5120)
    measure_network(table, 2000 if options.quick else 10000, 100 if options.quick else 400)
    measure_large(table, 5000 if options.quick else 100_000)
    if options.million:
        measure_million(table)
    if options.json:
        options.json.write_text(json.dumps(table.rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
