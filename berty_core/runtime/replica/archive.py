"""Export an account and import it again, in Wesh's own archive (Wesh protocol, section 1.6).

Whoever holds an archive holds the account. A restored account takes part as a new device.
"""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import attrs

from ...codec.cid import Cid
from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.keys import Secret, decode_private, encode_private
from ...errors import RemoteProtocolError, UserError
from ...protocol.entry import decode_entry
from ...protocol.group import LogKind
from .replica import AccountKeys, Replica
from .stored_log import MAX_REFUSED_BLOCK
from .verification import verify_blocks

ACCOUNT_KEY, PROOF_KEY = "account.key", "account_proof.key"
ENTRIES, HEADS, MESSENGER = "entries/", "heads/", "messenger/"
MAX_KEY_FILE = 256
BATCH = 256
Progress = Callable[[int, int], None]


def export_archive(replica: Replica, file: BinaryIO, progress: Progress = lambda done, total: None) -> int:
    """Write the account with all entries of its open groups; the number of entries."""
    total = sum(len(log) for group in replica.groups.values() for log in group.logs.values())
    done = 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, ACCOUNT_KEY, bytes(encode_private(replica.keys.account)))
        _add(tar, PROOF_KEY, bytes(encode_private(replica.keys.proof)))
        for group in list(replica.groups.values()):
            for kind in LogKind:
                for cid in group.logs[kind].cids():
                    _add(tar, f"{ENTRIES}{cid}", group.logs[kind].read(cid).block)
                    done += 1
                    progress(done, total)
            heads = pb.GroupHeadsExport(
                public_key=bytes(group.group.public_key),
                sign_pub=bytes(group.group.signing_public),
                metadata_heads_cids=sorted(map(bytes, group.logs[LogKind.METADATA].heads)),
                messages_heads_cids=sorted(map(bytes, group.logs[LogKind.MESSAGES].heads)),
                link_key=bytes(group.group.link_key),
            )
            name = base64.urlsafe_b64encode(group.group.public_key).rstrip(b"=").decode()
            _add(tar, f"{HEADS}{name}", heads.SerializeToString())
    return done


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, 0
    tar.addfile(info, io.BytesIO(data))


@attrs.frozen
class ArchivedEntry:
    """Where the block of an entry lies in the archive; `time` is the entry's own clock."""

    time: int
    offset: int
    size: int


@attrs.frozen
class Archive:
    """An archive that was read through and found whole; blocks are read when they are needed."""

    path: Path
    keys: AccountKeys = attrs.field(repr=False)
    logs: dict[str, list[ArchivedEntry]] = attrs.field(repr=False)
    heads: tuple[pb.GroupHeadsExport, ...] = attrs.field(repr=False)

    @property
    def entries(self) -> int:
        """How many entries it holds."""
        return sum(len(entries) for entries in self.logs.values())

    def blocks(self, log_id: str) -> Iterator[list[bytes]]:
        """The blocks of one log in batches, by their clocks, so that parents mostly come first."""
        entries = sorted(self.logs.get(log_id, ()), key=lambda entry: entry.time)
        with self.path.open("rb") as file:
            for start in range(0, len(entries), BATCH):
                yield [_read_at(file, entry) for entry in entries[start : start + BATCH]]


def _read_at(file: BinaryIO, entry: ArchivedEntry) -> bytes:
    file.seek(entry.offset)
    return file.read(entry.size)


def read_archive(path: Path) -> Archive:
    """Check an archive from end to end; UserError or RemoteProtocolError in words, and nothing was changed."""
    files: dict[str, bytes] = {}
    logs: dict[str, list[ArchivedEntry]] = {}
    heads: list[pb.GroupHeadsExport] = []
    messenger = False
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if messenger := member.name.startswith(MESSENGER):
                    break  # the messenger's own database follows; it is not part of the protocol
                if member.isreg():
                    _take(tar, member, files, logs, heads)
            end = tar.offset
        if not messenger:
            _check_end(path, end)
    except OSError as error:
        raise UserError(f"the archive {path} cannot be read: {error.strerror or error}") from error
    except tarfile.TarError as error:
        raise UserError(f"{path} is no account archive, or it is damaged: {error}") from error
    if set(files) != {ACCOUNT_KEY, PROOF_KEY}:
        raise UserError(f"{path} is no account archive: it lacks the account's keys")
    keys = AccountKeys(decode_private(files[ACCOUNT_KEY]), decode_private(files[PROOF_KEY]))
    if keys.account == keys.proof:
        raise RemoteProtocolError("the two keys of an account must differ: this archive is damaged")
    return Archive(path, keys, logs, tuple(heads))


def _take(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    files: dict[str, bytes],
    logs: dict[str, list[ArchivedEntry]],
    heads: list[pb.GroupHeadsExport],
) -> None:
    name = member.name
    if name in (ACCOUNT_KEY, PROOF_KEY):
        if name in files:
            raise RemoteProtocolError(f"the archive has {name} twice")
        files[name] = _content(tar, member, MAX_KEY_FILE)
    elif name.startswith(ENTRIES):
        block = _content(tar, member, MAX_REFUSED_BLOCK)
        if Cid.parse(name.removeprefix(ENTRIES)) != Cid.of(block):
            raise RemoteProtocolError(f"{name} does not hold what its name says: the archive was changed or damaged")
        entry = decode_entry(block, MAX_REFUSED_BLOCK)
        logs.setdefault(entry.log_id, []).append(ArchivedEntry(entry.time, member.offset_data, member.size))
    elif name.startswith(HEADS):
        heads.append(parse(pb.GroupHeadsExport, _content(tar, member, MAX_REFUSED_BLOCK)))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, limit: int) -> bytes:
    if member.size > limit:
        raise RemoteProtocolError(f"{member.name} has {member.size} bytes, the limit is {limit}")
    file = tar.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise RemoteProtocolError("the archive ends in the middle of a file: it was cut off")
    return data


def _check_end(path: Path, end: int) -> None:
    """A whole archive ends with a block of zeros; one that was cut off does not."""
    with path.open("rb") as file:
        file.seek(end)
        block = file.read(512)
    if block.count(0) != 512:
        raise RemoteProtocolError("the archive has no end: it was cut off")


def import_archive(archive: Archive, replica: Replica, progress: Progress = lambda done, total: None) -> int:
    """Take everything of an archive into a new home; the number of entries that belong to the account's groups."""
    done, imported = 0, set[str]()
    with replica.silence():
        while pending := [
            (group, kind)
            for group in list(replica.groups.values())
            for kind in LogKind
            if group.logs[kind].address not in imported
        ]:
            for group, kind in pending:
                imported.add(group.logs[kind].address)
                for blocks in archive.blocks(group.logs[kind].address):
                    verified = verify_blocks(blocks, group.logs[kind].address, group.group.signing_public)
                    if verified.refused:
                        raise RemoteProtocolError(f"an entry in the archive breaks the rules: {verified.reason}")
                    with replica.batch():
                        group.receive(kind, verified.entries)
                    done += len(blocks)
                    progress(done, archive.entries)
    with replica.batch():
        for group in replica.groups.values():
            group.mark_read()
            group.settle()
    return done


def archive_keys(archive: Archive) -> tuple[Secret, Secret]:
    """The two keys in libp2p form."""
    return encode_private(archive.keys.account), encode_private(archive.keys.proof)
