"""What is set, what is installed and what of it can be used: for the commands that show the device to its operator."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from ..config import Examined, NodeConfig, examine, examine_text, node_keys, stops
from ..fitting import Fitted, fit, setting_classes
from ..plugins import Plugins, load_plugins
from ..settings.faults import DEFAULT, Fault, KeyPath, Origin
from ..settings.structure import one
from .settings import Settings

_ORDER = ("file", "environment", "option", "default")
_TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@attrs.frozen
class Setting:
    """One setting: its value here, where that is from, and what is known of it."""

    path: KeyPath
    value: Any
    origin: Origin
    default: Any = None
    type: str = ""
    doc: str = ""


@attrs.frozen
class Survey:
    """The configuration, the plugins, and both together. Where a fault stops, `config` is the defaults."""

    examined: Examined
    config: NodeConfig
    plugins: Plugins
    fitted: Fitted

    @property
    def faults(self) -> list[Fault]:
        """All that is wrong, in the order of the file."""
        found = (*self.examined.faults, *self.fitted.faults)
        return sorted(found, key=lambda fault: (_ORDER.index(fault.origin.kind), fault.origin.line, fault.path))

    @property
    def stopping(self) -> list[Fault]:
        """Those with which no node starts."""
        return [fault for fault in self.faults if stops(fault)]

    def settings(self) -> Iterator[Setting]:
        """Every setting of the node and of each plugin, and what the file has for plugins that are not loaded."""
        yield from self._of_class(("node",), NodeConfig, node_keys())
        for name in self.fitted.brought.by_plugin:
            yield from self.plugin_settings(name)
        for name, table in self.config.plugins.items():
            if name not in self.fitted.brought.by_plugin:
                yield from self._raw(("plugins", name), table)

    def plugin_settings(self, name: str) -> Iterator[Setting]:
        """The settings of one plugin."""
        for kind in setting_classes(name, self.fitted.brought):
            yield from self._of_class(
                ("plugins", name), kind, [field.name for field in attrs.fields(kind) if field.init]
            )

    def _of_class(self, table: KeyPath, kind: type[Any], keys: list[str]) -> Iterator[Setting]:
        """Each setting of a class; a value that does not fit is given as it stands there."""
        defaults, hints, fields = kind(), get_type_hints(kind), attrs.fields_dict(kind)
        nested = {key for key in keys if isinstance(getattr(defaults, key), Mapping)}
        layers = self.examined.layers
        single, tables = [key for key in keys if key not in nested], [key for key in keys if key in nested]
        for key in single:
            path, default = (*table, key), getattr(defaults, key)
            raw = layers.value(path)
            value = default if raw is None else one(kind, path, layers)[0].get(key, raw)
            origin = DEFAULT if raw is None else layers.origin(path)
            doc = str(fields[key].metadata.get("doc", ""))
            yield Setting(path, value, origin, default, type_words(hints[key]), doc)
        for key in tables:
            path = (*table, key)
            made = one(kind, path, layers)[0].get(key, {}) if layers.value(path) is not None else {}
            yield from self._tables(path, made)

    def _tables(self, path: KeyPath, tables: Mapping[str, Any]) -> Iterator[Setting]:
        """The settings of tables that a person names, such as `[node.transports.mdns]`."""
        layers = self.examined.layers
        for name, table in tables.items():
            for field in attrs.fields(type(table)):
                inner = (*path, name, field.name)
                origin = DEFAULT if layers.value(inner) is None else layers.origin(inner)
                doc = str(field.metadata.get("doc", ""))
                yield Setting(inner, getattr(table, field.name), origin, field.default, str(field.type), doc)

    def _raw(self, table: KeyPath, values: Any) -> Iterator[Setting]:
        for key, value in values.items() if isinstance(values, Mapping) else ():
            yield Setting((*table, key), value, self.examined.layers.origin((*table, key)))


def survey(settings: Settings) -> Survey:
    """Look at the home that the options name."""
    return _survey(examine(settings.home, settings.overrides))


def survey_text(home: Path, data: bytes, options: Iterable[str] = ()) -> Survey:
    """Look at the same home with this content of its file, these options, and nothing of the environment."""
    return _survey(examine_text(home, data, options, {}))


def _survey(examined: Examined) -> Survey:
    config = examined.config or _as_far_as_it_goes(examined)
    plugins = load_plugins(config.disabled)
    return Survey(examined, config, plugins, fit(config, plugins))


def _as_far_as_it_goes(examined: Examined) -> NodeConfig:
    """The defaults, with the plugins' tables, so that these can be checked too."""
    tables = examined.layers.tables.get("plugins", {})
    return NodeConfig(plugins=tables if isinstance(tables, Mapping) else {}, origins=examined.layers.origins)


def type_words(kind: Any) -> str:
    """What a setting takes, in words."""
    if kind in _TYPES:
        return _TYPES[kind]
    inner = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) is Literal:
        return " or ".join(as_toml(part) for part in inner)
    if get_origin(kind) is tuple:
        return f"list of: {type_words(inner[0])}"
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(type_words, inner))
    return getattr(kind, "__name__", str(kind))


def plain(value: Any) -> Any:
    """A value as JSON and TOML can have it."""
    import cattrs  # noqa: PLC0415  slow

    made = cattrs.Converter().unstructure(value)
    return list(made) if isinstance(made, tuple) else made


def as_toml(value: Any) -> str:
    """A value as the file would have it."""
    import tomlkit  # noqa: PLC0415  only who shows values needs it

    try:
        return str(tomlkit.item(plain(value)).as_string())
    except (TypeError, ValueError):
        return repr(value)
