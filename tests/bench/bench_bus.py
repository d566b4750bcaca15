"""Print the bytes that a text costs on a bus: `python tests/bench/bench_bus.py`. Nothing here is timed.

A text of 20 bytes to one and to nine other members of a group who know each other, over datagrams of 233 bytes, once as
it is put on the air and once until all hold it; and the forms of an entry, from its block to what is sent of it.
"""

from __future__ import annotations

import sys
import zlib

from berty_core.ids import GroupId
from berty_core.protocol.compact_entries import EntryCompactor
from berty_core.protocol.group import LogKind
from berty_core.testing.air import Air
from berty_core.testing.simulator import Device, World

TEXT = "exactly twenty bytes"
MTU = 233
QUIET = 3600.0  # units


def members(count: int, acknowledge: str) -> tuple[Air, list[Device], GroupId]:
    """A group whose members know each other, have talked, and have been silent for a while."""
    world = World(1, acknowledge=acknowledge)
    devices = [world.device(f"member {number}") for number in range(count)]
    group = world.make_group(*devices)
    world.heal()
    for device in devices:
        device.do(device.group(group).become_live)
    air = Air(world, mtu=MTU)
    air.join(*devices)
    for number in range(12):
        devices[number % count].send(group, "before")
        air.until(lambda: air.agree(group, devices))
    until = world.now + QUIET
    air.until(lambda: world.now > until)
    return air, devices, group


def cost(count: int, acknowledge: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Datagrams and bytes of a text, and of all that is said until the other members are known to hold it."""
    air, devices, group = members(1 + count, acknowledge)
    air.speak()
    air.spoken.clear()
    cid = devices[0].send(group, TEXT)
    assert cid is not None
    replica = devices[0].group(group)
    air.speak()
    alone = len(air.spoken), sum(map(len, air.spoken))
    air.until(lambda: len(replica.deliveries.get(cid).held) == count)
    return alone, (len(air.spoken), sum(map(len, air.spoken)))


def forms() -> list[tuple[str, int]]:
    """How long an entry is in its forms."""
    _, devices, group = members(2, "never")
    replica = devices[0].group(group)
    devices[0].send(group, TEXT)
    log = replica.logs[LogKind.MESSAGES]
    block = log.block(next(log.cids(reverse=True)))
    assert block is not None
    compactor = EntryCompactor(replica.group, log.address, log, replica.devices)
    return [
        ("the block", len(block)),
        ("the block, deflated", len(zlib.compress(block, 9))),
        ("in a form that stands alone", len(compactor.shrink(block, alone=True))),
        ("in the short form", len(compactor.shrink(block))),
    ]


def table() -> list[str]:
    """The lines that are printed."""
    lines = [f"A text of {len(TEXT)} bytes as an entry takes", ""]
    lines += [f"{words:<32} {size:>6} bytes" for words, size in forms()]
    lines += ["", f"On a bus of {MTU} bytes it takes", "", f"{'':<44} datagrams  bytes"]
    for count, acknowledge in ((1, "never"), (1, "small"), (9, "never")):
        alone, held = cost(count, acknowledge)
        to = "to one member" if count == 1 else f"to {count} members"
        how = "held" if acknowledge == "never" else "acknowledged"
        if acknowledge == "never":
            lines.append(f"{to + ', without confirmation':<44} {alone[0]:>9} {alone[1]:>6}")
        lines.append(f"{to + f', until {how} by all':<44} {held[0]:>9} {held[1]:>6}")
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
