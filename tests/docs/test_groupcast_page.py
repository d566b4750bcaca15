"""The page on groupcast: kinds, bits, limits and costs are what the code has."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from berty_core.protocol import bus_beacons, compact_entries
from berty_core.protocol.groupcast import answers as groupcast_answers
from berty_core.protocol.groupcast import confirmations as groupcast_confirmations
from berty_core.protocol.groupcast import frames as groupcast_frames
from berty_core.protocol.groupcast import machine as groupcast
from berty_core.protocol.groupcast import needs as groupcast_needs
from berty_core.protocol.groupcast import parts as groupcast_parts
from berty_core.protocol.groupcast import seal as groupcast_seal
from berty_core.runtime.bus import groups as bus_groups
from berty_core.runtime.bus import hub as bus_hub
from berty_core.runtime.bus import links as bus_links
from berty_core.runtime.bus import on_bus

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "groupcast.md").read_text()
BENCH = runpy.run_path(str(ROOT / "tests" / "bench" / "bench_bus.py"))


def test_kinds_and_bits() -> None:
    """The tables name each kind of frame and each bit of a form with its number."""
    kinds = re.findall(r"^\| (\d) \| (\w+) \|", PAGE, re.MULTILINE)
    assert kinds == [(str(int(kind)), kind.name.lower()) for kind in groupcast_frames.FrameKind]
    table = PAGE.split("| bit | if it is 1 |")[1].split("\n\n")[0]
    bits = [int(bit) for bit in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
    names = ("MESSAGE", "EVENT", "SHORT_PARENTS", "OWN_REFERENCES", "OWN_TIME", "SIGNED", "SHORT_DEVICE", "WHOLE")
    assert bits == [getattr(compact_entries, name) for name in names]


def test_limits() -> None:
    """Each number in the text is the constant that it stands for."""
    words = {
        f"datagrams of at least {groupcast_seal.OVERHEAD + bus_hub.MIN_ROOM} bytes",
        f"remembers {groupcast_seal.MAX_SENDERS} senders, and of each which of its newest {groupcast_seal.WINDOW}",
        f"at most {groupcast_frames.MAX_HEADS}.",
        f"{groupcast_frames.HELD_LENGTH} bytes of the digest of each message",
        f"more than {groupcast_frames.MAX_PARTS} pieces",
        f"at most {compact_entries.MAX_WHOLE >> 10} KiB |",
        f"at least {bus_groups.SHORTEST_UNIT * 1000:.0f} ms",
        f"intervals from {groupcast.SHORTEST:.0f} to {groupcast.LONGEST:.0f} units",
        f"0 to {groupcast_needs.MOMENT:.0f} units after something was found missing",
        f"again after {groupcast_needs.PATIENCE:.0f} units, doubling, {groupcast_needs.MAX_TRIES} times",
        f"0 to {groupcast_answers.FIRST:.0f} units after the question, then one datagram in {groupcast_answers.PACE}",
        f"An entry is not said again within {groupcast_answers.FRESH:.0f} units",
        f"oldest first, {groupcast.BATCH} entries at most",
        f"1, 2, 4 … {1 << groupcast.MAX_OLDER - 1} back",
        f"doubling, {groupcast_confirmations.MAX_TRIES} times; again when a new sender",
        f"one frame in {groupcast_confirmations.ANSWER:.0f} units",
        f"{groupcast_parts.MAX_PARTIAL} entries in pieces and {groupcast_parts.MAX_BYTES >> 10} KiB",
        f"{groupcast.MAX_WAITING} entries that wait for parents and {groupcast.MAX_WAITING_BYTES >> 10} KiB",
        f"{groupcast_needs.MAX_LACKING} missing names in each log, {groupcast_needs.MAX_WANTED} wanted entries",
        f"{groupcast_answers.MAX_ANSWERS} answers, {groupcast_confirmations.MAX_WAITING} messages to confirm",
        f"tags (8 each, up to {bus_beacons.MAX_TAGS})",
        f"after {bus_links.LIFE:.0f} units (at least {bus_links.SHORTEST_LIFE:.0f} s)",
        f"at most {bus_links.MAX_LINKS} such links",
        f"(at least {on_bus.SHORTEST_SHOW:.0f} s) to {on_bus.LONGEST_SHOW / 60:.0f} minutes",
        f"not heard for {on_bus.LOST_AFTER / 60:.0f} minutes",
        f"up to {(233 - groupcast_seal.OVERHEAD - 69) // groupcast_frames.HELD_LENGTH} messages",
    }
    assert {text for text in words if text not in PAGE} == set()


def test_costs() -> None:
    """The published bytes are those of the bench, which is run again as far as it is quick."""
    whole, deflated, alone_form, short = (size for _, size in BENCH["forms"]())
    assert [f"| {size} |" in PAGE for size in (whole, alone_form, short)] == [True] * 3
    published = re.search(r"\| the block, deflated \| (\d+) \|", PAGE)
    assert published is not None
    assert abs(int(published[1]) - deflated) < 30  # it depends on the keys by a few bytes
    alone, held = BENCH["cost"](1, "never")
    assert f"| to one member, without confirmation | {alone[0]} | {alone[1]} |" in PAGE
    assert f"| to one member, until it is held | {held[0]} | {held[1]} |" in PAGE
