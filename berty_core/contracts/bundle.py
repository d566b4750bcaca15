"""What carriers of bundles are given: the size of a chunk, and what became of chunks that were taken in."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from ..ids import GroupId

CHUNK_BYTES = 16 * 1024  # of every chunk (docs/reference/bundle.md)


class ChunkState(enum.Enum):
    """What became of a chunk."""

    NEW = "new"  # something in it was not here before
    KNOWN = "known"  # all of it was here, or it is padding
    WAITING = "waiting"  # it waits for entries that are not here: offer it again once others came
    FOREIGN = "foreign"  # it is for no group of ours, or its beginning is damaged
    UNREADABLE = "unreadable"  # it is for a group of ours, and damaged or against the rules


@attrs.frozen
class BundleReport:
    """What came of some chunks, in their order. `entries` are new, `refused` break the rules; by group what is new."""

    chunks: tuple[ChunkState, ...]
    entries: int = 0
    known: int = 0
    refused: int = 0
    groups: Mapping[GroupId, int] = attrs.field(factory=dict)

    def count(self, state: ChunkState) -> int:
        """How many chunks are in a state."""
        return sum(one is state for one in self.chunks)
