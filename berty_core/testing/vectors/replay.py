"""What a node could read in the end, by our own chains: its shared chains, then its messages until nothing opens."""

from __future__ import annotations

import attrs

from ...codec.cid import Cid
from ...crypto.keys import Secret
from ...errors import RemoteProtocolError
from ...ids import DeviceId, GroupId
from ...protocol.envelope import SealedMessage, open_message
from ...protocol.ratchet import Chain, Readability, advance, open_shared_chain, readability, take_key
from .known import Known, View


@attrs.frozen
class ChainAtEnd:
    """A chain in the form in which Go keeps it: derived to the end of the window, with the counters of kept keys."""

    key: Secret
    counter: int
    kept: tuple[int, ...]


def shared_chain(known: Known, view: View, group: bytes, device: bytes) -> Chain | None:
    """The chain that a device shared with the member of `view`, or the node's own; None if nobody told."""
    if device == view.device:
        return known.chains.get((group, device))
    member = known.private.get(view.member)
    payload = known.shared.get((group, device, view.member))
    if member is None or payload is None:
        return None
    return open_shared_chain(payload, GroupId(group), member, DeviceId(device))


def open_all(
    chain: Chain, group: bytes, messages: list[tuple[Cid, SealedMessage]]
) -> tuple[Chain, dict[Cid, tuple[int, bytes]]]:
    """Open messages of one device, each as soon as the window allows; the chain, and text with counter by CID."""
    opened: dict[Cid, tuple[int, bytes]] = {}
    waiting = sorted(messages, key=lambda item: item[1].counter)
    progress = True
    while progress:
        progress, later = False, []
        for cid, message in waiting:
            if readability(chain, message.counter) is not Readability.READABLE:
                later.append((cid, message))
                continue
            key, after = take_key(chain, GroupId(group), message.counter)
            try:
                opened[cid] = message.counter, open_message(message, key)
            except RemoteProtocolError:
                continue
            chain, progress = after, True
        waiting = later
    return chain, opened


def chain_at_end(known: Known, view: View, group: bytes, device: bytes) -> ChainAtEnd | None:
    """Go's chain state of a device once the node has read all it can."""
    start = shared_chain(known, view, group, device)
    if start is None or group not in known.messages:
        return None
    messages = [item for item in known.messages[group] if item[1].device == device]
    chain, _ = open_all(start, group, messages)
    if device == view.device:
        kept = (chain.counter + 1,) if messages else ()
        return ChainAtEnd(chain.key, chain.counter, kept)
    end = advance(chain, GroupId(group), chain.reach)
    return ChainAtEnd(end.key, end.counter, (*chain.gaps, *range(chain.counter + 1, chain.reach + 1)))
