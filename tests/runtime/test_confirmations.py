"""What is confirmed as held is in the log, and nothing that merely waits in memory."""

from __future__ import annotations

from berty_core.codec.cid import Cid
from berty_core.codec.pb import session_pb2 as pb
from berty_core.protocol.group import LogKind
from berty_core.runtime.sessions.sync_hub import SyncPartner, SyncPeer
from berty_core.testing.simulator import Device

from .people import between, two


def give(device: Device, peer: SyncPeer, block: bytes) -> set[bytes]:
    """Let a peer send one message; the digests that are confirmed for it."""
    frame = pb.SyncFrame(log=LogKind.MESSAGES, entries=pb.Entries(blocks=[block])).SerializeToString()
    with device.batch():
        device.hub.receive(peer, frame, None, device.world.now)
    held = b"".join(pb.SyncFrame.FromString(answer).held.digests for answer in peer.sync.take())
    return {held[start : start + 32] for start in range(0, len(held), 32)}


def test_what_waits_for_its_parent_is_not_confirmed() -> None:
    """A message whose parent is missing is confirmed once the parent has come, together with it, and not before."""
    _, ann, bob = two()
    group = between(bob, ann)
    sent = [bob.send(group.group.id, text) for text in ("first", "second")]
    first, second = [cid for cid in sent if isinstance(cid, Cid)]
    blocks = {cid: group.logs[LogKind.MESSAGES].read(cid).block for cid in (first, second)}
    partner = SyncPartner(group.device_id, "memory", lambda *_: None, lambda _: None, bytes(32))
    peer = ann.hub.attach(group.group.id, partner, False, ann.world.now)
    assert give(ann, peer, blocks[second]) == set()
    assert second not in between(ann, bob).logs[LogKind.MESSAGES]
    assert give(ann, peer, blocks[first]) == {first.digest, second.digest}
    assert ann.texts(group.group.id) == ["first", "second"]
