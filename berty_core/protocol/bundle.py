"""Entries of a group as sealed chunks for any medium (docs/reference/bundle.md).

Invariant: a chunk has `CHUNK` bytes that look random to whoever lacks the group's link key, and stands alone: it is
recognised, authenticated and taken in without any other chunk.
"""

from __future__ import annotations

import enum
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import attrs

from ..codec.cid import DAG_CBOR, Cid
from ..codec.dagcbor import decode_dagcbor, encode_dagcbor
from ..crypto.boxes import NONCE_LENGTH, OVERHEAD, open_secretbox, seal_secretbox
from ..crypto.kdf import equal, hkdf_sha256, hmac_sha256
from ..crypto.keys import SIGNATURE_LENGTH, PrivateKey, Secret, verify
from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import DeviceId
from .entry import MAX_BLOCK
from .group import Group, LogKind

VERSION = 1
CHUNK = 16 * 1024
TAG_LENGTH = 16
LENGTH_LENGTH = 2
PLAINTEXT = CHUNK - NONCE_LENGTH - TAG_LENGTH - OVERHEAD
MAX_CONTENT = PLAINTEXT - LENGTH_LENGTH
MAX_DIGESTS = 96  # heads, and wanted entries, of each log in one statement
MAX_UNFINISHED = 8  # entries of which some parts are here
_LIST_ROOM = 16  # around the blocks: version, kind, log, and the heads of two lists
_BLOCK_ROOM = 3  # before each block
_PART_ROOM = 64  # around the bytes of a part
PART = MAX_CONTENT - _PART_ROOM
_DIGEST = 32
_TIME_LENGTH = 8
_PROOF_LENGTH = DeviceId.LENGTH + _TIME_LENGTH + SIGNATURE_LENGTH
STATEMENT_LABEL = b"\0berty bundle statement"  # no protobuf begins with 0: it is signed as no message or event


class Kind(enum.IntEnum):
    """What a chunk holds; the numbers travel."""

    STATEMENT = 0
    ENTRIES = 1
    PART = 2
    PADDING = 3


@attrs.frozen
class BundleKeys:
    """What seals and recognises the chunks of one group; whoever has the link key has them."""

    tag: Secret
    seal: Secret

    @classmethod
    def of(cls, link_key: bytes) -> BundleKeys:
        """The keys that follow from a group's link key (32 bytes)."""
        return cls(hkdf_sha256(link_key, b"berty bundle tag"), hkdf_sha256(link_key, b"berty bundle seal"))


@attrs.frozen
class Statement:
    """What somebody holds: the heads of both logs, and which ancestors it waits for.

    `member` is a sealed proof of who says so; `who_states` opens it. It is empty if a mere replica says it.
    """

    heads: Mapping[LogKind, tuple[Cid, ...]]
    wanted: Mapping[LogKind, tuple[Cid, ...]]
    nonce: bytes = attrs.field(repr=False)
    member: bytes = attrs.field(repr=False)


@attrs.frozen
class Author:
    """The device of a member that signed a statement, and when by its clock (Unix milliseconds)."""

    device: DeviceId
    time: int


@attrs.frozen
class Entries:
    """Blocks of one log, parents before children; they are not verified yet."""

    kind: LogKind
    blocks: tuple[bytes, ...] = attrs.field(repr=False)


@attrs.frozen
class Part:
    """A piece of a block that no chunk has room for: `data` stands at `offset` of `size` bytes."""

    kind: LogKind
    cid: Cid
    size: int
    offset: int
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Padding:
    """Nothing: it hides how much there is."""


Content = Statement | Entries | Part | Padding


# -- sealing ---------------------------------------------------------------------------------------


def seal_entries(keys: BundleKeys, nonce: bytes, kind: LogKind, blocks: Sequence[bytes]) -> bytes:
    """The chunk of some blocks, as `pack_blocks` put them together; `nonce` is 24 random bytes."""
    return _seal(keys, nonce, [VERSION, Kind.ENTRIES, kind, list(blocks)])


def seal_part(keys: BundleKeys, nonce: bytes, part: Part) -> bytes:
    """The chunk of a piece of a large block."""
    return _seal(
        keys, nonce, [VERSION, Kind.PART, part.kind, part.cid.digest, part.size, part.offset, bytes(part.data)]
    )


def seal_padding(keys: BundleKeys, nonce: bytes) -> bytes:
    """A chunk that says nothing."""
    return _seal(keys, nonce, [VERSION, Kind.PADDING])


def seal_statement(
    keys: BundleKeys,
    nonce: bytes,
    group: Group,
    device: PrivateKey | None,
    heads: Mapping[LogKind, Iterable[Cid]],
    wanted: Mapping[LogKind, Iterable[Cid]],
    time: int,
) -> bytes:
    """The chunk that says what a device holds durably; at most `MAX_DIGESTS` of each list are told.

    `time` is in Unix milliseconds. Without a device (or in a group without its secret) it proves no more than that
    its author has the link key.
    """
    said = _said(heads, wanted)
    member = b""
    if device is not None and group.secret:
        stamp = time.to_bytes(_TIME_LENGTH, "big")
        proof = device.public + stamp + device.sign(_signed(group, said, stamp))
        member = seal_secretbox(_member_key(group), nonce, proof)
    return _seal(keys, nonce, [VERSION, Kind.STATEMENT, *said, member])


def _said(*told: Mapping[LogKind, Iterable[Cid]]) -> list[bytes]:
    """The digests of each list, metadata first."""
    return [b"".join(cid.digest for cid in islice(cids[kind], MAX_DIGESTS)) for cids in told for kind in LogKind]


def _signed(group: Group, said: Sequence[bytes], stamp: bytes) -> bytes:
    return STATEMENT_LABEL + group.id + stamp + encode_dagcbor([VERSION, Kind.STATEMENT, *said])


def _member_key(group: Group) -> Secret:
    return hkdf_sha256(group.secret, b"berty bundle member")


def _seal(keys: BundleKeys, nonce: bytes, content: list[object]) -> bytes:
    data = encode_dagcbor([int(value) if isinstance(value, int) else value for value in content])
    if len(data) > MAX_CONTENT or len(nonce) != NONCE_LENGTH:
        raise LocalProtocolError(f"a chunk holds {MAX_CONTENT} bytes under a nonce of {NONCE_LENGTH}, not {len(data)}")
    plaintext = len(data).to_bytes(LENGTH_LENGTH, "big") + data.ljust(MAX_CONTENT, b"\0")
    return nonce + _tag(keys, nonce) + seal_secretbox(keys.seal, nonce, plaintext)


def _tag(keys: BundleKeys, nonce: bytes) -> bytes:
    return hmac_sha256(keys.tag, nonce)[:TAG_LENGTH]


def pack_blocks(kind: LogKind, blocks: Iterable[bytes]) -> Iterator[Entries | Part]:
    """Put blocks into as few chunks as their order allows; a large one is cut into parts."""
    held: list[bytes] = []
    room = MAX_CONTENT - _LIST_ROOM
    for block in blocks:
        needed = len(block) + _BLOCK_ROOM
        if held and needed > room:
            yield Entries(kind, tuple(held))
            held, room = [], MAX_CONTENT - _LIST_ROOM
        if needed > room:
            yield from _cut(kind, block)
            continue
        held.append(block)
        room -= needed
    if held:
        yield Entries(kind, tuple(held))


def _cut(kind: LogKind, block: bytes) -> Iterator[Part]:
    cid = Cid.of(block)
    for offset in range(0, len(block), PART):
        yield Part(kind, cid, len(block), offset, block[offset : offset + PART])


def padding_step(count: int) -> int:
    """The number of chunks in a bundle is a multiple of this: a power of two, at most an eighth of them."""
    return max(4, 1 << max(0, count.bit_length() - 4))


def padded_count(count: int) -> int:
    """How many chunks are written for so many with something in them."""
    step = padding_step(count)
    return -(-count // step) * step


# -- opening ---------------------------------------------------------------------------------------


def is_for(keys: BundleKeys, chunk: bytes) -> bool:
    """Whether a chunk says to be of this group; what is in it is not authenticated by that."""
    nonce, tag = chunk[:NONCE_LENGTH], chunk[NONCE_LENGTH : NONCE_LENGTH + TAG_LENGTH]
    return len(chunk) == CHUNK and equal(_tag(keys, nonce), tag)


def open_chunk(keys: BundleKeys, chunk: bytes) -> Content:
    """Authenticate and read a chunk of this group; RemoteProtocolError if it is damaged or breaks the rules."""
    if len(chunk) != CHUNK:
        raise RemoteProtocolError(f"a chunk has {CHUNK} bytes, not {len(chunk)}")
    nonce = chunk[:NONCE_LENGTH]
    plaintext = open_secretbox(keys.seal, nonce, chunk[NONCE_LENGTH + TAG_LENGTH :])
    if plaintext is None or not is_for(keys, chunk):
        raise RemoteProtocolError("a chunk that is damaged, or of another group")
    end = LENGTH_LENGTH + int.from_bytes(plaintext[:LENGTH_LENGTH], "big")
    if end > len(plaintext) or plaintext[end:].strip(b"\0"):
        raise RemoteProtocolError("a chunk with a false length")
    return _content(decode_dagcbor(plaintext[LENGTH_LENGTH:end]), nonce)


def _content(value: object, nonce: bytes) -> Content:
    if not isinstance(value, list) or any(isinstance(item, bool) for item in value):
        raise RemoteProtocolError("a chunk whose content is no list of numbers and bytes")
    match value:
        case [int(version), *_] if version != VERSION:
            raise RemoteProtocolError(f"a chunk of version {version}; version {VERSION} is spoken here")
        case [_, Kind.STATEMENT, bytes(one), bytes(two), bytes(three), bytes(four), bytes(member)]:
            return Statement(_by_log(one, two), _by_log(three, four), nonce, member)
        case [_, Kind.ENTRIES, int(log), list(blocks)] if all(type(block) is bytes for block in blocks):
            return Entries(_log(log), tuple(blocks))
        case [_, Kind.PART, int(log), bytes(digest), int(size), int(offset), bytes(data)]:
            return _part(_log(log), digest, size, offset, data)
        case [_, Kind.PADDING]:
            return Padding()
    raise RemoteProtocolError("a chunk whose content is of no known kind")


def _log(number: int) -> LogKind:
    if number not in (LogKind.METADATA, LogKind.MESSAGES):
        raise RemoteProtocolError(f"unknown log {number}")
    return LogKind(number)


def _by_log(metadata: bytes, messages: bytes) -> dict[LogKind, tuple[Cid, ...]]:
    return {LogKind.METADATA: _digests(metadata), LogKind.MESSAGES: _digests(messages)}


def _digests(data: bytes) -> tuple[Cid, ...]:
    if len(data) % _DIGEST or len(data) > _DIGEST * MAX_DIGESTS:
        raise RemoteProtocolError("malformed digests")
    return tuple(Cid(DAG_CBOR + data[start : start + _DIGEST]) for start in range(0, len(data), _DIGEST))


def _part(kind: LogKind, digest: bytes, size: int, offset: int, data: bytes) -> Part:
    """A part stands where `_cut` cuts, so that parts neither overlap nor leave gaps."""
    fits = len(digest) == _DIGEST and PART < size <= MAX_BLOCK and 0 <= offset < size and offset % PART == 0
    if not fits or len(data) != min(PART, size - offset):
        raise RemoteProtocolError("a part that is not cut as parts are")
    return Part(kind, Cid(DAG_CBOR + digest), size, offset, data)


def who_states(group: Group, statement: Statement) -> Author | None:
    """Who signed a statement; None if a replica made it. RemoteProtocolError if it is false."""
    if not statement.member:
        return None
    proof = open_secretbox(_member_key(group), statement.nonce, statement.member) if group.secret else None
    if proof is None or len(proof) != _PROOF_LENGTH:
        raise RemoteProtocolError("a statement whose author cannot be read")
    said = _said(statement.heads, statement.wanted)
    device, stamp = DeviceId(proof[: DeviceId.LENGTH]), proof[DeviceId.LENGTH : -SIGNATURE_LENGTH]
    if not verify(device, _signed(group, said, stamp), proof[-SIGNATURE_LENGTH:]):
        raise RemoteProtocolError("a statement with a false signature")
    return Author(device, int.from_bytes(stamp, "big"))


class PartsInWaiting:
    """Parts of large blocks until they are whole: at most `MAX_UNFINISHED` blocks, the oldest give way."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[Cid, int], dict[int, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, part: Part) -> bytes | None:
        """Keep a part; the block, once all of it is here and is what its name says."""
        key = (part.cid, part.size)
        parts = self._blocks.setdefault(key, {})
        parts[part.offset] = part.data
        if sum(map(len, parts.values())) == part.size:
            del self._blocks[key]
            block = b"".join(parts[offset] for offset in sorted(parts))
            return block if hashlib.sha256(block).digest() == part.cid.digest else None
        if len(self._blocks) > MAX_UNFINISHED:
            self._blocks.popitem(last=False)
        return None
