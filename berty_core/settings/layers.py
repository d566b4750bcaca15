"""Layers of settings: the file, the environment, the options of a command. A later layer wins, key by key."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from .faults import DEFAULT, Fault, KeyPath, Origin, did_you_mean
from .locate import locate

MAX_FILE = 1_000_000  # bytes; a file of settings has some hundred
TABLES = ("node", "plugins")
PREFIX = "BERTY_"
OTHER_VARIABLES = ("BERTY_HOME", "BERTY_PASSPHRASE_FILE", "BERTY_DEBUG")
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@attrs.frozen
class Layers:
    """Tables as the layers give them together, where each value came from, and what could not be read."""

    tables: Mapping[str, Any] = attrs.field(factory=dict)
    origins: Mapping[KeyPath, Origin] = attrs.field(factory=dict)
    faults: tuple[Fault, ...] = ()

    def origin(self, path: KeyPath) -> Origin:
        """Where the value at this path was set, or the table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return DEFAULT

    def value(self, path: KeyPath) -> Any:
        """The value at a path, or None."""
        value: Any = self.tables
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def over(self, below: Layers) -> Layers:
        """Lay these upon others."""
        origins = {path: origin for path, origin in below.origins.items() if not self._covers(path)}
        return Layers(_merge(below.tables, self.tables), {**origins, **self.origins}, (*below.faults, *self.faults))

    def _covers(self, path: KeyPath) -> bool:
        """Whether a value of this layer takes the place of a table that the path leads through."""
        found = [self.value(path[:length]) for length in range(1, len(path))]
        return any(value is not None and not isinstance(value, Mapping) for value in found)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


# -- the file ------------------------------------------------------------------------------------


def read_file(path: Path) -> Layers:
    """Read a file, if it is there; what is wrong with it as a whole is a fault."""
    try:
        data = _read(path)
    except FileNotFoundError:
        return Layers()
    except OSError as error:
        return Layers(faults=(Fault(Origin("file", str(path)), (), f"it cannot be read: {error.strerror}"),))
    except ValueError as error:
        return Layers(faults=(Fault(Origin("file", str(path)), (), str(error)),))
    return read_text(str(path), data)


def _read(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no file")
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ValueError(f"it has more than {MAX_FILE} bytes, which no file of settings has")
    return data


def read_text(name: str, data: bytes) -> Layers:
    """Read the content of a file called `name`."""
    try:
        return _read_text(name, data)
    except RecursionError:
        return Layers(faults=(Fault(Origin("file", name), (), "its arrays or tables are nested too deep"),))


def _read_text(name: str, data: bytes) -> Layers:
    try:
        text = data.decode("utf-8-sig")
        tables = tomllib.loads(text)
        lines = locate(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        words = f"byte 0x{data[error.start]:02X} is no UTF-8: save the file as UTF-8"
        return Layers(faults=(Fault(Origin("file", name, line), (), words),))
    except tomllib.TOMLDecodeError as error:
        return Layers(faults=(_syntax(name, data.decode("utf-8-sig"), str(error)),))
    origins = {_texts(path): Origin("file", name, line) for path, line in lines.items()}
    return Layers(tables, origins, _strange_tables(tables, origins))


def _texts(path: tuple[str | int, ...]) -> KeyPath:
    return tuple(str(part) for part in path)


def _syntax(name: str, text: str, words: str) -> Fault:
    """What tomllib says, with the line in front, and with the first place of what stands there twice."""
    end = len(text.rstrip().splitlines()) or 1
    match = _AT_LINE.search(words)
    line = int(match[1]) if match and match[1] else end
    reason = words[: match.start()] if match else words
    reason = reason[:1].lower() + reason[1:]
    if "twice" in reason or "overwrite" in reason.lower():
        reason = f"this is set a second time{_first(text, line)}; a table or key stands in the file once"
    return Fault(Origin("file", name, line), (), f"no valid TOML: {reason}")


def _first(text: str, line: int) -> str:
    """Where what this line sets was set first."""
    rows = text.splitlines()
    before = locate("\n".join(rows[: line - 1]) + "\n")
    heading = next((row for row in reversed(rows[:line]) if row.lstrip().startswith("[")), "")
    last = rows[line - 1]
    path = next(iter(reversed(locate(last if last.lstrip().startswith("[") else f"{heading}\n{last}"))), ())
    return f" (first in line {before[path]})" if path in before else ""


def _strange_tables(tables: Mapping[str, Any], origins: Mapping[KeyPath, Origin]) -> tuple[Fault, ...]:
    """Tables that are none of ours, and values where tables belong."""
    faults = []
    for name, value in tables.items():
        origin = origins.get((name,), DEFAULT)
        if name not in TABLES:
            hint = did_you_mean(name, TABLES, otherwise="")
            faults.append(
                Fault(origin, (name,), f"there is no such table{hint or '; there are [node] and [plugins.NAME]'}")
            )
        elif not isinstance(value, Mapping):
            faults.append(Fault(origin, (name,), "this is a table, not a single value"))
    return tuple(faults)


# -- options and the environment -----------------------------------------------------------------


def read_options(texts: Iterable[str]) -> Layers:
    """Read settings such as `plugins.mdns.loopback=true`; values are TOML or plain text."""
    layers = Layers()
    for text in texts:
        layers = _option(text).over(layers)
    return layers


def _option(text: str) -> Layers:
    name, separator, value = text.partition("=")
    origin = Origin("option", f"-s {text}", text=value.strip())
    parts = key_path(name)
    if not separator or len(parts) < 2:
        words = "write it as TABLE.KEY=VALUE, for example plugins.mdns.loopback=true"
        return Layers(faults=(Fault(origin, (), words),))
    return _single(parts, origin)


def key_path(name: str) -> KeyPath:
    """The parts of a key such as `plugins.mdns.loopback`; nothing if one of them is empty."""
    parts = tuple(part.strip() for part in name.split("."))
    return parts if all(parts) else ()


def _single(path: KeyPath, origin: Origin) -> Layers:
    nested: Any = toml_value(origin.text or "")
    for part in reversed(path):
        nested = {part: nested}
    origins = {path: origin}
    return Layers(nested, origins, _strange_tables(nested, {path[:1]: origin}))


def toml_value(text: str) -> Any:
    """Read a value as TOML has it, or else as plain text."""
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except (ValueError, RecursionError):
        return text
    return value


def read_environment(variables: Mapping[str, str], plugins: Collection[str], known: Collection[KeyPath]) -> Layers:
    """Read `BERTY_NODE_KEY` and `BERTY_PLUGINS_NAME_KEY`; `__` stands for a dot in a key.

    `plugins` are names of plugins, for one with an underscore; `known` are settings, to tell what was meant.
    """
    layers = Layers()
    for name in sorted(variables):
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        origin = Origin("environment", name, text=variables[name])
        path = _path_of(name, plugins)
        if path:
            layers = _single(path, origin).over(layers)
        elif meant := _meant(name, known):
            layers = attrs.evolve(layers, faults=(*layers.faults, Fault(origin, (), meant)))
    return layers


def variable(path: KeyPath) -> str:
    """The variable that sets a key."""
    length = 2 if path[0] == "plugins" else 1
    words = ["_".join(path[:length]), "__".join(path[length:])]
    return PREFIX + re.sub("[^A-Z0-9_]", "_", "_".join(words).upper())


def _path_of(name: str, plugins: Collection[str]) -> KeyPath:
    table, _, rest = name.removeprefix(PREFIX).partition("_")
    if table == "NODE" and rest:
        return ("node", *rest.lower().split("__"))
    if table != "PLUGINS":
        return ()
    for plugin in sorted(plugins, key=len, reverse=True):
        own = re.sub("[^A-Z0-9]", "_", plugin.upper()) + "_"
        if rest.startswith(own) and rest != own:
            return ("plugins", plugin, *rest.removeprefix(own).lower().split("__"))
    plugin, _, key = rest.lower().partition("_")
    return ("plugins", plugin, *key.split("__")) if plugin and key else ()


def _meant(name: str, known: Collection[KeyPath]) -> str:
    """What to say of a variable that looks like a setting and is none; nothing if it looks like something else."""
    if name.startswith("BERTY_PLUGIN_"):
        return f"there is no such variable, did you mean {name.replace('PLUGIN', 'PLUGINS', 1)}?"
    variables = [*OTHER_VARIABLES, *map(variable, known)]
    hint = did_you_mean(name, variables, otherwise="")
    if not hint and not re.match(r"BERTY_(NODE|PLUGINS?)(_|$)", name):
        return ""
    return f"there is no such variable{hint or '; settings are BERTY_NODE_KEY and BERTY_PLUGINS_NAME_KEY'}"
