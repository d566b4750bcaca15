"""What an account tells strangers about itself: `ShareableContact` (Wesh protocol, section 5.1)."""

from __future__ import annotations

import attrs

from ..codec.pb import wesh_pb2 as pb
from ..codec.protobuf import parse
from ..crypto.keys import x25519_public
from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import AccountId

MAX_FRAME = 2048  # of a contact request (section 5.4), and so of what it carries
SEED_LENGTH = 32


@attrs.frozen
class ShareableContact:
    """What an account tells about itself: its id, its rendezvous seed (32 bytes, or none) and free metadata."""

    account: AccountId
    rendezvous_seed: bytes = attrs.field(default=b"", repr=False)
    metadata: bytes = b""


def encode_contact(contact: ShareableContact) -> bytes:
    """Write a `ShareableContact`; LocalProtocolError for what the peer would refuse (section 14.3)."""
    if len(contact.rendezvous_seed) not in (0, SEED_LENGTH):
        raise LocalProtocolError(f"a rendezvous seed has 32 bytes, not {len(contact.rendezvous_seed)}")
    data = pb.ShareableContact(
        pk=bytes(contact.account), public_rendezvous_seed=contact.rendezvous_seed, metadata=contact.metadata
    ).SerializeToString()
    if len(data) > MAX_FRAME:
        raise LocalProtocolError(
            f"a contact request of {len(data)} bytes, at most {MAX_FRAME} are accepted: choose a shorter name"
        )
    return data


def decode_contact(data: bytes) -> ShareableContact:
    """Read a `ShareableContact` (section 5.1); RemoteProtocolError if key or seed are malformed."""
    message = parse(pb.ShareableContact, data, MAX_FRAME)
    if len(message.public_rendezvous_seed) not in (0, SEED_LENGTH):
        raise RemoteProtocolError(f"a rendezvous seed of {len(message.public_rendezvous_seed)} bytes")
    account = AccountId(message.pk)
    x25519_public(account)  # refuses what is no point of the curve
    return ShareableContact(account, message.public_rendezvous_seed, message.metadata)
