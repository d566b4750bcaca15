"""Print what a short text costs on a datagram link until it is held: python -m tests.bench.bytes_on_links.

Two nodes with one group and an open, quiet session; then one text of 20 bytes. Bytes are those of the datagrams.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import attrs
import keyring.core

from berty_core.contracts.transport import Traits
from berty_core.protocol.arq.wire import Acknowledgement, Data, decode
from berty_core.protocol.payloads import UserMessage
from berty_core.testing.memory_datagrams import TRAITS, Flight, MemoryDatagrams
from tests.runtime.keyrings import NoKeyring
from tests.runtime.nodes import becomes, do, group_of, nodes_on, one_session_each

QUIET = 4.0  # seconds without a datagram
TEXT = "twenty bytes of text"
LINKS = {
    "233 bytes, lossy": attrs.evolve(TRAITS, mtu=233),
    "233 bytes, reliable and ordered": attrs.evolve(TRAITS, mtu=233, reliable=True, ordered=True),
    "233 bytes, lossy, half duplex, 1200 bit/s": attrs.evolve(
        TRAITS, mtu=233, bitrate=1200, latency=0.1, half_duplex=True
    ),
    "20 bytes, lossy": attrs.evolve(TRAITS, mtu=20),
    "1472 bytes, lossy": attrs.evolve(TRAITS, mtu=1472),
}


@contextmanager
def recorded() -> Iterator[dict[Flight, list[bytes]]]:
    """Keep what is sent, by direction."""
    original, sent = Flight._launch, {}

    def launch(self: Flight, data: bytes) -> None:
        sent.setdefault(self, []).append(data)
        original(self, data)

    Flight._launch = launch  # type: ignore[method-assign]
    try:
        yield sent
    finally:
        Flight._launch = original  # type: ignore[method-assign]


async def quiet(sent: dict[Flight, list[bytes]]) -> None:
    """Wait until nothing is said any more."""
    count = -1
    while count != (count := sum(map(len, sent.values()))):
        await anyio.sleep(QUIET)


async def measure(traits: Traits, acknowledge: str) -> str:
    """One exchange."""
    network = MemoryDatagrams(traits=traits)
    with recorded() as sent, tempfile.TemporaryDirectory() as directory:
        async with nodes_on(network, Path(directory), "alice", "bob", acknowledge=acknowledge) as (alice, bob):
            await group_of(alice, bob)
            await one_session_each(alice, bob)
            await quiet(sent)
            opening = [[len(one) for one in datagrams] for datagrams in sent.values()]
            sent.clear()
            cid = await do(alice, alice.actions.send, "group", UserMessage(TEXT))
            await becomes(alice, "group", cid, "held" if acknowledge == "never" else "acknowledged")
            await quiet(sent)
            (session,) = alice.sessions
            link = next(link for link in network.live)
            there = link.outgoing if session.session.initiator else link.incoming
            ways = [sent.get(there, []), next((some for way, some in sent.items() if way is not there), [])]
    words = [f"{len(way)} datagrams, {sum(map(len, way))} bytes {_sizes(way)}" for way in ways]
    start = sum(sum(way) for way in opening), sum(map(len, opening))
    return f"there {words[0]}; back {words[1]}; all before: {start[1]} datagrams, {start[0]} bytes"


def _sizes(way: list[bytes]) -> str:
    marks = {Data: "", Acknowledgement: "a"}
    return "(" + " ".join(f"{len(one)}{marks.get(type(decode(one)), '')}" for one in way[:12]) + ")"


async def main() -> None:
    """All links."""
    for acknowledge in ("never", "small"):
        for name, traits in LINKS.items():
            print(f"{name}, acknowledge = {acknowledge}: {await measure(traits, acknowledge)}")


if __name__ == "__main__":
    keyring.core._keyring_backend = NoKeyring()  # type: ignore[attr-defined]
    anyio.run(main)
