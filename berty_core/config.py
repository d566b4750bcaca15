"""The node's own configuration. Plugins' settings are tables of their own, checked by the plugin's attrs class."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import attrs

from .contracts.session import SessionProfile, SessionSpec
from .contracts.transport import Transport, TransportSpec
from .errors import ConfigError
from .plugins import Plugins
from .protocol.ranking import Policy

if TYPE_CHECKING:
    from cattrs import Converter

CONFIG_FILE = "berty.toml"
EXIT_CONFIG = 78


def _profile(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in ("berty", "wesh"):
        raise ValueError(f"{attribute.name}: `berty` (as the Berty app has it) or `wesh` is needed, not {value!r}")


@attrs.frozen(kw_only=True)
class NodeConfig:
    """The `[node]` table, and the plugins' tables as they stand in the file."""

    profile: str = attrs.field(default="berty", validator=_profile)
    keyring: bool = True
    acknowledge: Literal["never", "small", "always"] = "small"
    disabled: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()
    transports: Mapping[str, Policy] = attrs.field(factory=dict)
    plugins: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)

    def make_transports(self, plugins: Plugins) -> list[tuple[TransportSpec, Callable[[], Transport]]]:
        """What makes each transport that can run here; ConfigError names the table whose values do not fit."""
        made: list[tuple[TransportSpec, Callable[[], Transport]]] = []
        self._check_names(plugins)
        for name, spec in sorted(plugins.transports().items()):
            config = _structure(f"plugins.{name}", spec.config, self.plugins.get(name, {}))
            if spec.probe(config).available:
                made.append((spec, partial(spec.create, config)))
        return made

    def make_sessions(self, plugins: Plugins) -> list[tuple[SessionSpec, SessionProfile]]:
        """The same for session profiles."""
        made = []
        self._check_names(plugins)
        for name, spec in sorted(plugins.sessions().items()):
            config = _structure(f"plugins.{name}", spec.config, self.plugins.get(name, {}))
            if spec.probe(config).available:
                made.append((spec, spec.create(config)))
        return made

    def _check_names(self, plugins: Plugins) -> None:
        """ConfigError for a table whose plugin is not there."""
        loaded = {name for name, _ in plugins.hooks.list_name_plugin()}
        _check_names(loaded | {broken.name for broken in plugins.broken}, self.plugins)


def read_config(home: Path, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> NodeConfig:
    """Read the home's `berty.toml`, if there is one; `overrides` are tables that win over it. ConfigError in words."""
    path = home / CONFIG_FILE
    try:
        data = tomllib.loads(path.read_text()) if path.exists() else {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    _check_tables(path, data)
    tables = _merge(data, overrides or {})
    _check_tables(Path("-s"), tables)
    config: NodeConfig = _structure("node", NodeConfig, tables.get("node", {}), besides=("plugins",))
    return attrs.evolve(config, plugins=tables.get("plugins", {}))


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
            raise ConfigError(f"[plugins.{name}] in {CONFIG_FILE} or by -s: there is no such plugin; {hint}")


def _structure(table: str, kind: type[Any], values: Mapping[str, Any], besides: Collection[str] = ()) -> Any:
    """Make the settings of a table; ConfigError names every key that does not fit. `besides` are no keys of it."""
    if not values:
        return kind()
    import cattrs  # noqa: PLC0415  slow, and most homes have no settings

    kinds = get_type_hints(kind)
    known = [field.name for field in attrs.fields(kind) if field.name not in besides]
    faults = [_unknown(key, known) for key in values if key not in known]
    converter = _converter()
    fitting: dict[str, Any] = {}
    for key in values.keys() & set(known):
        try:
            fitting[key] = converter.structure(values[key], kinds[key])
        except (cattrs.BaseValidationError, ValueError, TypeError) as error:
            faults.append(f"{key}: {_reason(error)}")
    made = None
    try:
        made = kind(**fitting)
    except (ValueError, TypeError) as error:  # the words of a validator, which begin with its key
        faults.append(str(error))
    if faults:
        where = f"[{table}] in {CONFIG_FILE} or by -s"
        raise ConfigError("\n".join(f"{where}: {fault}" for fault in sorted(faults)))
    return made


def _unknown(key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"{key}: there is no such key; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")


def _reason(error: Exception) -> str:
    inner: BaseException = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return str(inner)


def _converter() -> Converter:
    """One that takes a value for what it is: "no" is no truth, and a text is no list of letters."""
    import cattrs  # noqa: PLC0415  slow, and most homes have no settings

    converter = cattrs.Converter()
    for kind, words in ((bool, "true or false"), (int, "a whole number"), (str, 'a text in "quotes"')):
        converter.register_structure_hook(kind, _exactly(kind, words))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook_func(_has_origin(Literal), _one_of)
    converter.register_structure_hook_factory(_has_origin(tuple), lambda kind: _list_of(get_args(kind)[0], converter))
    return converter


def _has_origin(wanted: Any) -> Callable[[Any], bool]:
    return lambda kind: bool(get_origin(kind) == wanted)


def _exactly(kind: type[Any], words: str) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{words} is needed, not {value!r}")
        return value

    return check


def _number(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a number is needed, not {value!r}")
    return float(value)


def _one_of(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    if value not in choices:
        raise ValueError(f"one of {', '.join(map(repr, choices))} is needed, not {value!r}")
    return value


def _list_of(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"a list in [brackets] is needed, not {value!r}")
        return tuple(converter.structure(item, kind) for item in value)

    return check
