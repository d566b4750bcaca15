"""Change a file of settings by hand-made steps: comments and order stay, and it is the old file or the new one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from ..errors import ConfigError, UserError
from .faults import KeyPath

MODE = 0o600


def current(path: Path) -> bytes:
    """The content of a file, or nothing if there is none; ConfigError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read: {error.strerror}") from error


def with_value(data: bytes, path: KeyPath, value: Any) -> bytes:
    """The content with a key set; its table is made if there is none. ConfigError for one that is no table."""
    document = _parse(data)
    table: MutableMapping[str, Any] = document
    is_new = False
    for position, part in enumerate(path[:-1], 1):
        if part not in table:
            table[part] = tomlkit.table(is_super_table=position < len(path) - 1)
            is_new = True
        table = table[part]
        if not isinstance(table, MutableMapping):
            raise ConfigError(f"[{'.'.join(path[:position])}] is no table in the file: `berty config edit`")
    _put(table, path[-1], value)
    if is_new and isinstance(table, Table) and not tomlkit.dumps(document).endswith(table.as_string()):
        table.add(tomlkit.nl())  # another table follows
    return _written(document, data)


def _put(table: MutableMapping[str, Any], key: str, value: Any) -> None:
    """Set a key; a new one goes behind the last one, before the comments that lead to the next table."""
    body = table.value.body if isinstance(table, Table) and key not in table else []
    last = max((place for place, (known, _) in enumerate(body) if known is not None), default=len(body) - 1)
    trailing = body[last + 1 :]
    del body[last + 1 :]
    table[key] = value
    body.extend(trailing)


def without(data: bytes, path: KeyPath) -> bytes:
    """The content without a key or table; UserError if it is not set there."""
    document = _parse(data)
    table: Any = document
    for part in path[:-1]:
        table = table.get(part) if isinstance(table, MutableMapping) else None
    if not isinstance(table, MutableMapping) or path[-1] not in table:
        raise UserError(f"{'.'.join(path)} is not set in the file: `berty config show --origin` tells where it is from")
    del table[path[-1]]
    return _written(document, data)


def _parse(data: bytes) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, TOMLKitError, RecursionError) as error:
        raise ConfigError("the file is no valid TOML: `berty config check` says where") from error


def _written(document: tomlkit.TOMLDocument, before: bytes) -> bytes:
    text = tomlkit.dumps(document)
    text += "" if text.endswith("\n") or not text else "\n"
    if b"\r\n" in before:
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    return text.encode()


def replace(path: Path, data: bytes) -> None:
    """Put the content in the file's place at once, also after a power cut; a link stays one. UserError."""
    target = path.resolve()
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else MODE
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=target.parent)
        with _removed_on_failure(Path(name)):
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(mode)
            Path(name).replace(target)
            _sync_directory(target.parent)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Any:
    try:
        yield
    except BaseException:  # also Ctrl-C leaves no file behind; it is raised again
        path.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
