"""The node's own configuration, from its layers. Plugins' tables are checked later, by `fitting`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import attrs

from .errors import ConfigError
from .plugins import KNOWN, installed
from .protocol.ranking import Policy
from .settings.faults import Fault, KeyPath, Origin
from .settings.layers import OTHER_VARIABLES, PREFIX, Layers, read_environment, read_file, read_options, read_text
from .settings.structure import structure

CONFIG_FILE = "berty.toml"
EXIT_CONFIG = 78
_NO_KEYS = ("plugins", "origins")

ProfileName = Literal["berty", "wesh"]
Acknowledge = Literal["never", "small", "always"]


def _profile(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in get_args(ProfileName):
        raise ValueError(f"{attribute.name}: `berty` (as the Berty app has it) or `wesh` is needed, not {value!r}")


def _doc(words: str) -> dict[str, str]:
    """What `berty plugin show` and the file that `berty config edit` begins with say of a setting."""
    return {"doc": words}


@attrs.frozen(kw_only=True)
class NodeConfig:
    """The `[node]` table, and the plugins' tables as the layers give them; `origins` tell where each value is from."""

    profile: str = attrs.field(
        default="berty", validator=_profile, metadata=_doc('as the Berty app ("berty") or a bare weshnet node ("wesh")')
    )
    keyring: bool = attrs.field(default=True, metadata=_doc("whether `init` may put the home's key into the keyring"))
    acknowledge: Acknowledge = attrs.field(
        default="small", metadata=_doc('acknowledge texts: in groups of at most 8 ("small"), "always" or "never"')
    )
    disabled: tuple[str, ...] = attrs.field(default=(), metadata=_doc("plugins that are not loaded, by name"))
    prefer: tuple[str, ...] = attrs.field(
        default=(), metadata=_doc("transports in the order in which they are to be used")
    )
    transports: Mapping[str, Policy] = attrs.field(factory=dict, metadata=_doc("what is allowed to single transports"))
    plugins: Mapping[str, Any] = attrs.field(factory=dict)
    origins: Mapping[KeyPath, Origin] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def plugin_layers(self) -> Layers:
        """The plugins' tables with their origins."""
        return Layers({"plugins": self.plugins}, self.origins)


def node_keys() -> list[str]:
    """The keys of `[node]`."""
    return [field.name for field in attrs.fields(NodeConfig) if field.name not in _NO_KEYS]


@attrs.frozen
class Examined:
    """What the layers give: the configuration, or None where a fault stops the node, and all that is wrong so far."""

    layers: Layers
    config: NodeConfig | None
    faults: tuple[Fault, ...]

    def checked(self) -> NodeConfig:
        """The configuration; ConfigError with every fault that stops."""
        if self.config is None:
            raise ConfigError("\n".join(str(fault) for fault in self.faults if stops(fault)))
        return self.config


def stops(fault: Fault) -> bool:
    """Whether a node does not start with this: what is wrong in a plugin's table costs that plugin only.

    An option of the command stops in any case, for it was typed just now.
    """
    kind = fault.origin.kind
    return kind == "option" or fault.path[:1] == ("node",) or (kind == "file" and len(fault.path) < 2)


def read_config(home: Path, options: Iterable[str] = (), environment: Mapping[str, str] | None = None) -> NodeConfig:
    """Read the configuration of a home: defaults, `berty.toml`, `BERTY_...` variables, options such as `a.b=1`.

    ConfigError has a line for each fault in the file's syntax, in `[node]` and in the options.
    """
    return examine(home, options, environment).checked()


def examine(home: Path, options: Iterable[str] = (), environment: Mapping[str, str] | None = None) -> Examined:
    """The same for those who want to know what is wrong, and never an error."""
    return _examine(read_file(home / CONFIG_FILE), options, environment)


def examine_text(
    home: Path, data: bytes, options: Iterable[str] = (), environment: Mapping[str, str] | None = None
) -> Examined:
    """The same with this content in place of the file's."""
    return _examine(read_text(str(home / CONFIG_FILE), data), options, environment)


def _examine(file: Layers, options: Iterable[str], environment: Mapping[str, str] | None) -> Examined:
    variables = os.environ if environment is None else environment
    layers = read_options(options).over(_from_variables(variables, file).over(file))
    node, faults = structure(NodeConfig, ("node",), layers, besides=_NO_KEYS)
    if not isinstance(layers.tables.get("node", {}), Mapping):
        faults = ()  # the layers say so already
    found = (*layers.faults, *faults)
    if node is None or any(map(stops, found)):
        return Examined(layers, None, found)
    plugins = layers.tables.get("plugins", {})
    return Examined(layers, attrs.evolve(node, plugins=plugins, origins=layers.origins), found)


def _from_variables(variables: Mapping[str, str], file: Layers) -> Layers:
    if not any(name.startswith(PREFIX) and name not in OTHER_VARIABLES for name in variables):
        return Layers()
    tables = file.tables.get("plugins", {})
    names = {point.name for point in installed()} | set(KNOWN) | set(tables if isinstance(tables, Mapping) else ())
    return read_environment(variables, names, [("node", key) for key in node_keys()])
