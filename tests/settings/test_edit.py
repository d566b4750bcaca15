"""Changes to a file by commands: what was written by hand stays, and the file is the old one or the new one."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from berty_core.errors import ConfigError, UserError
from berty_core.settings.edit import replace, with_value, without

from .documents import documents

VALUES = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=2)
)


def put(tables: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The same on plain tables."""
    first, *rest = path
    inner = put(tables.get(first, {}), tuple(rest), value) if rest else value
    return {**tables, first: inner}


@given(documents(), st.sampled_from([("node", "a"), ("plugins", "x-y", "b"), ("plugins", "k0", "k 1")]), VALUES)
def test_one_key_is_set_and_taken_out(document: tuple[str, object], path: tuple[str, ...], value: Any) -> None:
    """Of any document nothing else changes, in data or in comments, and taking the key out again leaves what was."""
    data = document[0].encode()
    before = tomllib.loads(document[0])
    after = with_value(data, path, value)
    assert tomllib.loads(after.decode()) == put(before, path, value)
    comments = re.findall(r"# [a-z]", document[0])
    assert len(re.findall(r"# [a-z]", after.decode())) >= len(comments)
    again = tomllib.loads(without(after, path).decode())
    tables = [again]
    for part in path[:-1]:
        tables.append(tables[-1][part])
    assert path[-1] not in tables[-1]


@settings(max_examples=25)
@given(documents(), VALUES)
def test_a_key_that_is_there(document: tuple[str, object], value: Any) -> None:
    """Any key of a document can be set to another value, where it stands."""
    before = tomllib.loads(document[0])
    names = [name for name, kept in before.items() if not isinstance(kept, dict | list)]
    assume(names)
    after = with_value(document[0].encode(), (names[0],), value)
    assert tomllib.loads(after.decode()) == {**before, names[0]: value}


def test_where_a_new_key_goes() -> None:
    """Behind the last one of its table; the comments that lead to the next table stay with that."""
    before = "# mine\n[node] # here\nprofile = 'wesh' # because\n\n# the LAN\n[plugins.mdns]\nport = 1\n"
    after = with_value(before.encode(), ("node", "keyring"), False).decode()
    assert after == before.replace("because\n", "because\nkeyring = false\n")
    deep = with_value(b"", ("node", "transports", "mdns", "min_battery"), 0.5)
    assert deep == b"[node.transports.mdns]\nmin_battery = 0.5\n"
    apart = with_value(b"[plugins.mdns]\nport = 1\n\n[node]\nkeyring = true\n", ("plugins", "udp", "port"), 2)
    assert apart == b"[plugins.mdns]\nport = 1\n\n[plugins.udp]\nport = 2\n\n[node]\nkeyring = true\n"
    assert with_value(b"", ("plugins", "mdns", "ip"), "4") == b'[plugins.mdns]\nip = "4"\n'


def test_line_ends() -> None:
    """A file of Windows stays one."""
    after = with_value(b"[node]\r\nprofile = 'wesh'\r\n", ("node", "keyring"), True)
    assert after == b"[node]\r\nprofile = 'wesh'\r\nkeyring = true\r\n"


def test_what_cannot_be_changed() -> None:
    """A key below a value, one that is not there, and a file that is none."""
    with pytest.raises(ConfigError, match=r"\[node\] is no table"):
        with_value(b"node = 1", ("node", "a"), 1)
    for path in (("node", "b"), ("node", "a", "b"), ("plugins", "x")):
        with pytest.raises(UserError, match="is not set in the file"):
            without(b"[node]\na = 1", path)
    for data in (b"[node", b"\xff"):
        with pytest.raises(ConfigError, match="berty config check"):
            with_value(data, ("node", "a"), 1)


def test_replacing(tmp_path: Path) -> None:
    """The mode stays, a link stays a link, and nothing is left behind, also where it fails."""
    file = tmp_path / "berty.toml"
    replace(file, b"1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    (tmp_path / "link").symlink_to("berty.toml")
    replace(tmp_path / "link", b"2")
    assert file.read_bytes() == b"2"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "directory").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        replace(tmp_path / "directory", b"3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["berty.toml", "directory", "link"]
