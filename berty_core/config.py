"""The node's own configuration. Plugins' settings are tables of their own, checked by the plugin's attrs class."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs

from .contracts.transport import Transport, TransportSpec
from .errors import UserError
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
    acknowledge_in_large_groups: bool = False
    disabled: tuple[str, ...] = ()
    plugins: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)

    def make_transports(self, plugins: Plugins) -> list[tuple[TransportSpec, Transport]]:
        """Make every transport that can run here; UserError names the table whose values do not fit."""
        made = []
        for name, spec in sorted(plugins.transports().items()):
            config = _structure(f"plugins.{name}", spec.config, self.plugins.get(name, {}))
            if spec.probe(config).available:
                made.append((spec, spec.create(config)))
        return made


def read_config(home: Path, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> NodeConfig:
    """Read the home's `berty.toml`, if there is one; UserError in words for what does not fit."""
    path = home / CONFIG_FILE
    try:
        data = tomllib.loads(path.read_text()) if path.exists() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: {error}") from error
    plugins = {**data.get("plugins", {})}
    for name, values in (overrides or {}).items():
        plugins[name] = {**plugins.get(name, {}), **values}
    unknown = set(data) - {"node", "plugins"}
    if unknown:
        raise UserError(f"{path}: [{min(unknown)}] is no table of it; there are [node] and [plugins.NAME]")
    return _structure("node", NodeConfig, {**data.get("node", {}), "plugins": plugins})


def _structure(table: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    converter = cattrs.Converter(forbid_extra_keys=True)
    try:
        return converter.structure(dict(values), kind)
    except (cattrs.BaseValidationError, ValueError, TypeError) as error:
        reasons = cattrs.transform_error(error) if isinstance(error, cattrs.BaseValidationError) else [str(error)]
        raise UserError(f"[{table}]: {'; '.join(reasons)}") from error
