"""A home: the directory of one device, its key, and whether it is still the one place where this device lives.

Two devices with one set of chains would use a counter twice. So a home bears a mark that a copy or a restored backup
does not share; a home without its mark takes part as a new device.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from ..contracts.store import Store, StoreSpec
from ..crypto.kdf import ARGON2_SALT_LENGTH, argon2id
from ..crypto.keys import Secret
from ..crypto.vault import Vault
from ..errors import StoreCorrupt, StoreError, UserError
from .records import COPIED, SETTING, Records

KEY_FILE = "key"
MARK_FILE = "mark"
SALT_FILE = "salt"
STORE_PREFIX = "berty.sqlite3"
KEYRING_SERVICE = "berty"
_PROBE = b"this key is of this home"


@attrs.frozen
class KeySource:
    """Where the home's key comes from, in words for `status`."""

    kind: str  # "keyring", "file" or "passphrase"

    @property
    def words(self) -> str:
        """What a person should know about it."""
        return {
            "keyring": "the key of this home is in your keyring",
            "file": "the key of this home is in a file in it (0600): who can read your files can read your messages",
            "passphrase": "the key of this home is made from your passphrase",
        }[self.kind]


def prepare(directory: Path) -> None:
    """Create the home's directory for this user alone; UserError if that cannot be."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix" and directory.stat().st_mode & 0o077 and directory.stat().st_uid == os.getuid():
            directory.chmod(0o700)
    except OSError as error:
        raise UserError(f"the home {directory} cannot be used: {error.strerror}; choose another with --home") from error


def exists(directory: Path) -> bool:
    """Whether there is a home in this directory."""
    return (directory / MARK_FILE).exists()


def discard_unfinished(directory: Path) -> None:
    """Remove what an interrupted creation left: a home without a mark was never used."""
    for path in directory.iterdir():
        if path.name in (KEY_FILE, SALT_FILE) or path.name.startswith(STORE_PREFIX):
            path.unlink()


def new_key(
    directory: Path, entropy: Callable[[int], bytes], *, passphrase: str | None, use_keyring: bool
) -> tuple[Secret, KeySource]:
    """Make the key of a new home, and put it where it will be found again."""
    if passphrase is not None:
        salt = entropy(ARGON2_SALT_LENGTH)
        _write_private(directory / SALT_FILE, salt)
        return argon2id(passphrase.encode(), salt), KeySource("passphrase")
    key = Secret(entropy(32))
    if use_keyring and _put_in_keyring(directory, key):
        return key, KeySource("keyring")
    _write_private(directory / KEY_FILE, bytes(key))
    return key, KeySource("file")


def find_key(directory: Path, ask_passphrase: Callable[[], str] | None) -> tuple[Secret, KeySource]:
    """Find the key of a home; UserError in words if it is nowhere."""
    if (directory / SALT_FILE).exists():
        if ask_passphrase is None:
            raise UserError(
                f"the home {directory} is locked with a passphrase: give --passphrase-file or use a terminal"
            )
        salt = (directory / SALT_FILE).read_bytes()
        return argon2id(ask_passphrase().encode(), salt), KeySource("passphrase")
    if (directory / KEY_FILE).exists():
        return _read_key_file(directory / KEY_FILE), KeySource("file")
    key = _get_from_keyring(directory)
    if key is None:
        raise UserError(f"the key of the home {directory} is neither in a file nor in your keyring: unlock the keyring")
    return key, KeySource("keyring")


def _read_key_file(path: Path) -> Secret:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"the key file {path} cannot be read: {error.strerror}") from error
    if len(data) != 32:
        raise StoreCorrupt(f"the key file {path} has {len(data)} bytes, not 32: put back the right one")
    return Secret(data)


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _put_in_keyring(directory: Path, key: Secret) -> bool:
    import keyring  # noqa: PLC0415  heavy, and only here
    from keyring.errors import KeyringError  # noqa: PLC0415

    try:
        if keyring.get_keyring().priority <= 0:
            return False
        keyring.set_password(KEYRING_SERVICE, str(directory.resolve()), bytes(key).hex())
        return keyring.get_password(KEYRING_SERVICE, str(directory.resolve())) == bytes(key).hex()
    except (KeyringError, RuntimeError, OSError):
        return False  # no working keyring: the key file takes its place, and the person is told


def _get_from_keyring(directory: Path) -> Secret | None:
    import keyring  # noqa: PLC0415
    from keyring.errors import KeyringError  # noqa: PLC0415

    try:
        text = keyring.get_password(KEYRING_SERVICE, str(directory.resolve()))
    except (KeyringError, RuntimeError, OSError):
        return None
    return Secret(bytes.fromhex(text)) if text else None


@contextlib.contextmanager
def open_records(directory: Path, spec: StoreSpec, key: Secret, entropy: Callable[[int], bytes]) -> Iterator[Records]:
    """Open the home's store and check that the key fits."""
    store: Store = spec.open(directory)
    try:
        records = Records(store, Vault(key, entropy))
        _check_key(records)
        yield records
    finally:
        store.close()


def _check_key(records: Records) -> None:
    name = SETTING + records.vault.blind(b"probe")
    known = {item for item, _ in records.scan(SETTING)}
    if not known:
        with records.write(durable=True) as transaction:
            transaction.seal(name, _PROBE)
    elif name not in known:
        raise UserError("the key or passphrase is not the one of this home")


@attrs.frozen
class _Mark:
    """What the store remembers of the mark's file: which one it is, its number, and when it was last changed.

    Nobody can set the time of a change (ctime), so a backup that is copied over a home gives itself away.
    """

    inode: int
    generation: int
    changed: int
    moving: bool = False

    def is_of(self, path: Path) -> bool:
        """Whether the file is the one that was written last; `moving`: a crash may have come in between."""
        try:
            found = path.stat()
        except OSError:
            return False
        generation = _generation(path)
        if self.moving and generation in (self.generation, self.generation + 1):
            return found.st_ino == self.inode
        return (found.st_ino, generation, found.st_ctime_ns) == (self.inode, self.generation, self.changed)


def check_mark(directory: Path, records: Records) -> bool:
    """Move the mark on; False if this home is a copy, or older than it was: its chains may be in use elsewhere.

    It stays False until `Replica.renew_devices` has made it a new device, also if the process is killed before.
    """
    path = directory / MARK_FILE
    stored = records.unseal(_name(records, "mark"))
    mark = _Mark(**json.loads(bytes(stored))) if stored is not None else None
    copied = mark is not None and not mark.is_of(path)
    generation = max(mark.generation if mark else 0, _generation(path)) + 1
    if mark is not None:
        _keep_mark(records, attrs.evolve(mark, moving=not copied), copied=copied)
    try:
        moved = _write_mark(path, generation)
    except OSError as error:
        raise StoreError(f"the home {directory} cannot be written: {error.strerror}") from error
    _keep_mark(records, moved, copied=copied)
    return records.unseal(_name(records, COPIED)) is None


def _name(records: Records, name: str) -> bytes:
    return SETTING + records.vault.blind(name.encode())


def _keep_mark(records: Records, mark: _Mark, *, copied: bool) -> None:
    with records.write(durable=True) as transaction:
        transaction.seal(_name(records, "mark"), json.dumps(attrs.asdict(mark)).encode())
        if copied:
            transaction.seal(_name(records, COPIED), b"\1")


def _write_mark(path: Path, generation: int) -> _Mark:
    """Write the number in place: a new file would be another inode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        file.write(b"%020d\n" % generation)
        os.fsync(file.fileno())
        found = os.fstat(file.fileno())
    return _Mark(found.st_ino, generation, found.st_ctime_ns)


def _generation(path: Path) -> int:
    try:
        text = path.read_bytes().strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
