"""Identify and its push: what a peer says of itself once the connection is open. Nothing in it is proven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from berty_core.codec.frames import FrameReader, encode_frame
from berty_core.codec.protobuf import parse
from berty_core.errors import RemoteProtocolError

from .multiaddr import Multiaddr
from .pb import libp2p_pb2 as pb

PROTOCOL: Final = "/ipfs/id/1.0.0"
PUSH: Final = "/ipfs/id/push/1.0.0"
MAX_FRAME: Final = 8192  # as go-libp2p reads
MAX_FRAMES: Final = 8
MAX_ADDRESSES: Final = 100
MAX_PROTOCOLS: Final = 500
MAX_TEXT: Final = 256
_VERSION: Final = "ipfs/0.1.0"


@attrs.frozen
class Description:
    """A peer as it describes itself; `observed` is the address at which it sees us."""

    addresses: tuple[Multiaddr, ...] = ()
    protocols: frozenset[str] = frozenset()
    agent: str = ""
    observed: Multiaddr | None = None


def encode_description(description: Description, public_key: bytes) -> bytes:
    """The frame that answers an identify stream, or that a push carries; `public_key` in libp2p's form (36 bytes)."""
    message = pb.Identify(
        public_key=public_key,
        listen_addrs=[address.encode() for address in description.addresses],
        protocols=[name.encode() for name in sorted(description.protocols)],
        observed_addr=description.observed.encode() if description.observed else b"",
        protocol_version=_VERSION.encode(),
        agent_version=description.agent.encode(),
    )
    return encode_frame(message.SerializeToString(), MAX_FRAME)


class DescriptionReader:
    """Collect the frames of an identify stream; several add up, as go-libp2p sends them."""

    def __init__(self) -> None:
        self._reader = FrameReader(MAX_FRAME)
        self._frames: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take bytes of the stream; RemoteProtocolError above the limits."""
        self._frames += self._reader.feed(data)
        if len(self._frames) > MAX_FRAMES:
            raise RemoteProtocolError(f"a peer that describes itself in more than {MAX_FRAMES} frames")

    def end(self) -> Description:
        """The stream ended: what the peer said. RemoteProtocolError if it said nothing whole."""
        if self._reader.pending or not self._frames:
            raise RemoteProtocolError("a peer's description that ends early")
        return decode_description(b"".join(self._frames))  # protobuf messages add up by standing together


def decode_description(data: bytes) -> Description:
    """Read an `Identify` message; addresses of kinds that are not known here are left out."""
    message = parse(pb.Identify, data, MAX_FRAME * MAX_FRAMES)
    if len(message.listen_addrs) > MAX_ADDRESSES or len(message.protocols) > MAX_PROTOCOLS:
        raise RemoteProtocolError("a peer that lists more addresses or protocols than it can have")
    return Description(
        addresses=_known(message.listen_addrs),
        protocols=frozenset(name.decode(errors="replace")[:MAX_TEXT] for name in message.protocols),
        agent=message.agent_version[:MAX_TEXT].decode(errors="replace"),
        observed=next(iter(_known([message.observed_addr])), None),
    )


def _known(addresses: Sequence[bytes]) -> tuple[Multiaddr, ...]:
    known = []
    for data in addresses:
        try:
            known.append(Multiaddr.decode(data))
        except RemoteProtocolError:
            continue
    return tuple(known)
