"""Peers that are in groups of ours and yet never reach us: silent on the wire, so it is told in words.

Two things have to be alike for two nodes to meet in a group: the kind of stores, which names the logs, and the periods
that name the heads (Wesh protocol, sections 2.7 and 6.2).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from berty_core.contracts.session import Log
from berty_core.protocol.group import PROFILES, LogKind

from .gossip import Gossip
from .log_frames import LogFrames
from .peers import PeerId

MAX_TRIED: Final = 8  # frames of one peer that are tried with keys of logs that they do not name
MAX_LOGS: Final = 16  # of which keys are tried
_TYPES: Final = {profile.store_type(kind): profile.name for profile in PROFILES.values() for kind in LogKind}


class Misfits:
    """What keeps connected peers from taking part in what we share with them."""

    def __init__(self, frames: LogFrames, router: Gossip) -> None:
        self._frames = frames
        self._router = router
        self._tried: dict[PeerId, int] = {}
        self._out_of_time: set[PeerId] = set()

    def unread(self, peer: PeerId, data: bytes) -> None:
        """A peer sent a frame that is for no log of ours in any period that we know."""
        tried = self._tried.get(peer, 0)
        shared = [log for topic in self._router.followed_by(peer) if (log := self._frames.by_address.get(topic))]
        if not shared or tried >= MAX_TRIED:
            return
        self._tried[peer] = tried + 1
        if self._frames.out_of_time(data, shared[:MAX_LOGS]) is not None:
            self._out_of_time.add(peer)

    def read(self, peer: PeerId) -> None:
        """A peer sent a frame that we understand."""
        self._out_of_time.discard(peer)
        self._tried.pop(peer, None)

    def gone(self, peer: PeerId) -> None:
        """A peer left."""
        self.read(peer)

    def words(self, peers: Collection[PeerId]) -> Iterator[str]:
        """Each misfit in words for a person."""
        for peer in peers:
            if (others := self._other_profile(peer)) is not None:
                yield (
                    f"{peer} keeps the logs of our groups as the profile {others[0]!r} does, "
                    f"this node as {others[1]!r}: they share none; `profile` in [node] of both has to be the same"
                )
            if peer in self._out_of_time:
                yield (
                    f"{peer} names its heads by periods that are not ours: one of the two clocks is days wrong, "
                    f"or it rotates otherwise; what it sends is not read"
                )

    def _other_profile(self, peer: PeerId) -> tuple[str, str] | None:
        """Its profile and ours, if it follows the log of a group of ours under another kind of store."""
        ours = {group: profile for log in self._frames.by_address.values() for group, profile in [_named(log)]}
        for topic in self._router.followed_by(peer):
            group, profile = _parts(topic)
            if profile and ours.get(group, profile) != profile:
                return profile, ours[group]
        return None


def _named(log: Log) -> tuple[str, str]:
    return _parts(log.address)


def _parts(topic: str) -> tuple[str, str]:
    """The group that the address of a log names, and the profile; empty texts for other topics."""
    name = topic.rpartition("/")[2]
    group, _, kind = name.partition("_")
    return (group, _TYPES[kind]) if kind in _TYPES else ("", "")
