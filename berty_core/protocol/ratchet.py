"""Per-device sender chains and their window (Wesh protocol, sections 3.2, 3.4 and 3.5).

Invariant: exactly `WINDOW` counters that were never opened are readable at any time, as in Go; the keys of the ones
below the highest opened counter are kept, those above are derived when they are needed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from ..codec.dagcbor import decode_dagcbor, encode_dagcbor
from ..codec.pb import wesh_pb2 as pb
from ..codec.protobuf import parse
from ..crypto.boxes import open_box, seal_box
from ..crypto.kdf import hkdf_sha256
from ..crypto.keys import PrivateKey, Secret, x25519_private, x25519_public
from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import DeviceId, GroupId, MemberId

WINDOW = 100
MAX_COUNTER = (1 << 63) - 1


@attrs.frozen
class Chain:
    """A sender chain: the key after `counter`, and the message keys of earlier counters that never arrived."""

    key: Secret
    counter: int
    skipped: Mapping[int, Secret] = attrs.field(factory=dict, repr=lambda value: str(sorted(value)))

    @property
    def reach(self) -> int:
        """The highest counter that can be opened now."""
        return self.counter + WINDOW - len(self.skipped)

    @property
    def gaps(self) -> tuple[int, ...]:
        """Counters below the highest opened one that never arrived."""
        return tuple(sorted(self.skipped))


class Readability(enum.Enum):
    """What a counter is to a chain."""

    READABLE = "readable"
    BEYOND = "beyond the window"
    CONSUMED = "opened before, or older than what was shared with us"


def readability(chain: Chain, counter: int) -> Readability:
    """Tell whether a message with this counter can be opened."""
    if counter in chain.skipped or chain.counter < counter <= chain.reach:
        return Readability.READABLE
    return Readability.BEYOND if counter > chain.counter else Readability.CONSUMED


def step(key: bytes, group: GroupId) -> tuple[Secret, Secret]:
    """One step of the chain: (next chain key, message key)."""
    material = hkdf_sha256(key, bytes(group), 64)
    return Secret(material[:32]), Secret(material[32:])


def take_key(chain: Chain, group: GroupId, counter: int) -> tuple[Secret, Chain]:
    """The message key of a readable counter, and the chain once that message is opened."""
    if readability(chain, counter) is not Readability.READABLE:
        raise LocalProtocolError(f"counter {counter} is not readable")
    skipped = dict(chain.skipped)
    if counter in skipped:
        return skipped.pop(counter), attrs.evolve(chain, skipped=skipped)
    key, current = chain.key, chain.counter
    while True:
        key, message_key = step(key, group)
        current += 1
        if current == counter:
            return message_key, Chain(key, current, skipped)
        skipped[current] = message_key


def advance(chain: Chain, group: GroupId, counter: int) -> Chain:
    """Move an own chain to `counter` without keeping anything of what lies between."""
    key, current = chain.key, chain.counter
    while current < counter:
        key, _ = step(key, group)
        current += 1
    return Chain(key, current)


def share_chain(chain: Chain, group: GroupId, device: PrivateKey, member: MemberId) -> bytes:
    """Seal the current chain for all devices of a member (event 2's payload, section 3.4)."""
    plaintext = pb.DeviceChainKey(chain_key=bytes(chain.key), counter=chain.counter).SerializeToString()
    return seal_box(x25519_private(device), x25519_public(member), group[:24], plaintext)


def open_shared_chain(payload: bytes, group: GroupId, member: PrivateKey, device: DeviceId) -> Chain:
    """Open what another device shared with our member; RemoteProtocolError if it is not for us or malformed."""
    plaintext = open_box(x25519_private(member), x25519_public(device), group[:24], payload)
    if plaintext is None:
        raise RemoteProtocolError("a chain key that is sealed for somebody else")
    shared = parse(pb.DeviceChainKey, plaintext, 256)
    if len(shared.chain_key) != 32 or shared.counter > MAX_COUNTER:
        raise RemoteProtocolError("a malformed chain key")
    return Chain(Secret(shared.chain_key), shared.counter)


def encode_chain(chain: Chain) -> bytes:
    """The form in which a chain is sealed at rest."""
    skipped = [[counter, bytes(key)] for counter, key in sorted(chain.skipped.items())]
    return encode_dagcbor([bytes(chain.key), chain.counter, skipped])


def decode_chain(data: bytes) -> Chain:
    """Read what `encode_chain` wrote."""
    key, counter, skipped = decode_dagcbor(data)
    return Chain(Secret(key), counter, {number: Secret(value) for number, value in skipped})
