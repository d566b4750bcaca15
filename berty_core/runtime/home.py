"""A home: the directory of one device, its key, and whether it is still the one place where this device lives.

Two devices with one set of chains would use a counter twice. So a home bears a mark that a copy or a restored backup
does not share; a home without its mark takes part as a new device.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from ..contracts.store import Store, StoreSpec
from ..crypto.kdf import ARGON2_SALT_LENGTH, argon2id
from ..crypto.keys import Secret
from ..crypto.vault import Vault
from ..errors import StoreCorrupt, StoreError, UserError
from .replica.records import COPIED, SETTING, Records

KEY_FILE = "key"
MARK_FILE = "mark"
SALT_FILE = "salt"
MARK_DIGITS = 20
STORE_PREFIX = "berty.sqlite3"
KEYRING_SERVICE = "berty"
_HEX_KEY = re.compile("[0-9a-f]{64}")
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
    """Whether there is a home in this directory; UserError if that may not be known."""
    try:
        return (directory / MARK_FILE).exists()
    except OSError as error:
        raise UserError(f"the home {directory} cannot be read: {error.strerror}; choose another with --home") from error


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
        salt = _read_private(directory / SALT_FILE, ARGON2_SALT_LENGTH)
        return argon2id(ask_passphrase().encode(), salt), KeySource("passphrase")
    if (directory / KEY_FILE).exists():
        return Secret(_read_private(directory / KEY_FILE, 32)), KeySource("file")
    key = _get_from_keyring(directory)
    if key is None:
        raise UserError(
            f"the key of the home {directory} is neither in a file in it nor in your keyring: unlock the keyring;"
            " it has the key under the path at which the home was made"
        )
    return key, KeySource("keyring")


def _read_private(path: Path, length: int) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"the file {path} cannot be read: {error.strerror}; its owner must be you") from error
    if len(data) != length:
        raise StoreCorrupt(f"the file {path} has {len(data)} bytes, not {length}: put back the right one from a backup")
    return data


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
    if text and not _HEX_KEY.fullmatch(text):
        raise StoreCorrupt(
            f"what your keyring has as the key of the home {directory} is no key: put back the right one"
        )
    return Secret(bytes.fromhex(text)) if text else None


@contextlib.contextmanager
def open_records(
    directory: Path, spec: StoreSpec, key: Secret, entropy: Callable[[int], bytes], *, new: bool = False
) -> Iterator[Records]:
    """Open the home's store and check that the key fits; a store that holds nothing is for a `new` home only."""
    store: Store = spec.open(directory)
    try:
        with named_errors(directory):
            if not new and not store.scan(b"", b"\xff", limit=1):
                raise StoreCorrupt("its store is empty: put back a backup of all its files, or make a new home")
            records = Records(store, Vault(key, entropy))
            _check_key(records, new=new)
        yield records
    finally:
        store.close()


@contextlib.contextmanager
def named_errors(directory: Path) -> Iterator[None]:
    """Let errors of a home say which one it is."""
    try:
        yield
    except (StoreError, UserError) as error:
        if str(directory) in str(error):
            raise
        raise type(error)(f"the home {directory}: {error}") from error


def _check_key(records: Records, *, new: bool) -> None:
    name = SETTING + records.vault.blind(b"probe")
    if new:
        with records.write(durable=True) as transaction:
            transaction.seal(name, _PROBE)
    elif records.get(name) is None:
        raise UserError("the key or passphrase is not the one with which it was made; nothing was changed")


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
        raise StoreError(f"{path} cannot be written: {error.strerror}; make it writable for you") from error
    _keep_mark(records, moved, copied=copied)
    return records.unseal(_name(records, COPIED)) is None


def move_mark(directory: Path, records: Records) -> None:
    """Move the mark on at closing: a backup of the store alone, made while the home was open, fits it no longer."""
    with contextlib.suppress(StoreError):  # a full disk; the next opening moves it
        check_mark(directory, records)


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
        file.write(b"%0*d\n" % (MARK_DIGITS, generation))
        os.fsync(file.fileno())
        found = os.fstat(file.fileno())
    return _Mark(found.st_ino, generation, found.st_ctime_ns)


def _generation(path: Path) -> int:
    try:
        text = path.read_bytes().strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() and len(text) <= MARK_DIGITS else 0
