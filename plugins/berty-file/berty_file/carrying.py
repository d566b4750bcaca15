"""Between a node and files: what is written, what is taken in, and in which order it is offered again.

Invariant: an export is confirmed only once every file of it is whole and synchronised.
"""

from __future__ import annotations

import base64
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from berty_core.contracts.bundle import CHUNK_BYTES, ChunkState
from berty_core.contracts.command import Reached

from .reading import BundleFiles

AT_ONCE = 64  # chunks in one request: 1 MiB
Json = dict[str, Any]
Progress = Callable[[int, int], None]


class Sink(Protocol):
    """Where chunks go."""

    def write(self, chunk: bytes) -> object:
        """Add one."""


class Wish(NamedTuple):
    """What is to be written."""

    groups: tuple[str, ...] = ()
    reader: str = ""
    whole: bool = False
    since_last: bool = False
    quota: int = 0


class Written(NamedTuple):
    """What an export wrote; `number` names it to `confirm`."""

    number: int
    groups: Sequence[Json]
    entries: int
    left_out: int
    chunks: int


def export(node: Reached, wish: Wish, sink: Sink, progress: Progress) -> Written:
    """Give every chunk to a sink."""
    begun = node.call("bundle_export", **{**wish._asdict(), "groups": list(wish.groups)})
    total = sum(group["entries"] for group in begun["groups"])
    while (answer := node.call("bundle_chunks", export=begun["export"]))["data"]:
        data = base64.b64decode(answer["data"])
        for start in range(0, len(data), CHUNK_BYTES):
            sink.write(data[start : start + CHUNK_BYTES])
        progress(answer["entries"], total)
    return Written(begun["export"], begun["groups"], answer["entries"], answer["left_out"], answer["chunks"])


def confirm(node: Reached, written: Written) -> None:
    """What was written is safe where it is."""
    node.call("bundle_confirm", export=written.number)


class Taken:
    """What came of an import so far."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.groups: Counter[tuple[str, str]] = Counter()
        self.entries = self.known = self.refused = 0

    def add(self, answer: Json, *, again: bool) -> None:
        """Count an answer of the node; of chunks that are offered again only what is new counts."""
        self.entries += answer["entries"]
        self.known += 0 if again else answer["known"]
        self.refused += 0 if again else answer["refused"]
        self.groups.update({(group["id"], group["name"]): group["entries"] for group in answer["groups"]})


def take(node: Reached, files: BundleFiles, progress: Progress) -> Taken:
    """Offer every chunk, and again those that waited, or were of groups that were joined by this, while it helps."""
    taken = Taken()
    pending: Iterator[int] = files.places()
    total, again = files.chunks, False
    while True:
        before, groups = taken.entries, len(_groups(node))
        waiting, foreign = _offer(node, files, pending, taken, total, progress, again=again)
        places = waiting + foreign if len(_groups(node)) > groups else waiting
        if not places or taken.entries == before:
            taken.states[ChunkState.WAITING.value] += len(waiting)
            taken.states[ChunkState.FOREIGN.value] += len(foreign)
            return taken
        if places is waiting:
            taken.states[ChunkState.FOREIGN.value] += len(foreign)
        pending, total, again = iter(places), len(places), True


def _groups(node: Reached) -> list[Json]:
    found: list[Json] = node.call("group_list")
    return found


def _offer(
    node: Reached,
    files: BundleFiles,
    places: Iterator[int],
    taken: Taken,
    total: int,
    progress: Progress,
    *,
    again: bool,
) -> tuple[array[int], array[int]]:
    """One pass; the places of chunks that wait, and of those for somebody else."""
    waiting, foreign, done = array("Q"), array("Q"), 0
    while batch := array("Q", islice(places, AT_ONCE)):
        read, data = files.read(batch)
        answer = node.call("bundle_import", data=base64.b64encode(data).decode())
        taken.add(answer, again=again)
        for place, state in zip(read, answer["chunks"], strict=True):
            if state == ChunkState.WAITING.value:
                waiting.append(place)
            elif state == ChunkState.FOREIGN.value:
                foreign.append(place)
            else:
                taken.states[state] += 1
        done += len(batch)
        progress(done, total)
    return waiting, foreign
