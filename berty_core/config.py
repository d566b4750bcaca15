"""The node's own configuration. Plugins' settings are tables of their own, checked by the plugin's attrs class."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import cattrs

from .contracts.transport import Transport, TransportSpec
from .errors import ConfigError
from .plugins import Plugins

CONFIG_FILE = "berty.toml"
EXIT_CONFIG = 78


def _profile(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in ("berty", "wesh"):
        raise ValueError(f"{attribute.name} is `berty` (as the Berty app has it) or `wesh`, not {value!r}")


@attrs.frozen(kw_only=True)
class NodeConfig:
    """The `[node]` table, and the plugins' tables as they stand in the file."""

    profile: str = attrs.field(default="berty", validator=_profile)
    keyring: bool = True
    acknowledge: Literal["never", "small", "always"] = "small"
    disabled: tuple[str, ...] = ()
    plugins: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)

    def make_transports(self, plugins: Plugins) -> list[tuple[TransportSpec, Transport]]:
        """Make every transport that can run here; ConfigError names the table whose values do not fit."""
        made = []
        _check_names(
            {name for name, _ in plugins.hooks.list_name_plugin()} | {b.name for b in plugins.broken}, self.plugins
        )
        for name, spec in sorted(plugins.transports().items()):
            config = _structure(f"plugins.{name}", spec.config, self.plugins.get(name, {}))
            if spec.probe(config).available:
                made.append((spec, spec.create(config)))
        return made


def read_config(home: Path, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> NodeConfig:
    """Read the home's `berty.toml`, if there is one; `overrides` are tables that win over it. ConfigError in words."""
    path = home / CONFIG_FILE
    try:
        data = tomllib.loads(path.read_text()) if path.exists() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    _check_tables(path, data)
    tables = _merge(data, overrides or {})
    _check_tables(Path("-s"), tables)
    config: NodeConfig = _structure(
        "node", NodeConfig, {**tables.get("node", {}), "plugins": tables.get("plugins", {})}
    )
    return config


def _check_tables(source: Path, data: Mapping[str, Any]) -> None:
    unknown = set(data) - {"node", "plugins"}
    if unknown:
        raise ConfigError(f"{source}: [{min(unknown)}] is no table of it; there are [node] and [plugins.NAME]")
    if not isinstance(data.get("node", {}), Mapping) or not isinstance(data.get("plugins", {}), Mapping):
        raise ConfigError(f"{source}: [node] and [plugins.NAME] are tables, not single values")
    for name, table in data.get("plugins", {}).items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"{source}: [plugins.{name}] is a table, not a single value")


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Read settings such as `plugins.mdns.loopback=true` into tables; values are TOML or plain text. ConfigError."""
    tables: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        parts = [part.strip() for part in name.split(".")]
        if not separator or not all(parts) or len(parts) < 2:
            raise ConfigError(f"-s {text}: write it as TABLE.KEY=VALUE, for example plugins.mdns.loopback=true")
        nested: Any = _toml_value(value.strip())
        for part in reversed(parts):
            nested = {part: nested}
        tables = _merge(tables, nested)
    return tables


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check_names(known: Collection[str], named: Iterable[str]) -> None:
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"installed are {', '.join(sorted(known)) or 'none'}"
            raise ConfigError(f"[plugins.{name}]: there is no such plugin; {hint}")


def _structure(table: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    converter = cattrs.Converter(forbid_extra_keys=True)
    try:
        return converter.structure(dict(values), kind)
    except (cattrs.BaseValidationError, ValueError, TypeError) as error:
        reasons = cattrs.transform_error(error) if isinstance(error, cattrs.BaseValidationError) else [str(error)]
        raise ConfigError(f"[{table}]: {'; '.join(reasons)}") from error
