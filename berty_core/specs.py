"""Look at what plugins bring before it is used: a malformed object is named with what it lacks, and is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import attrs

from .calling import CALL_TIME, PluginFault, supervised
from .contracts.checks import Check
from .contracts.transport import Traits
from .crypto.keys import Secret
from .loading import NAME, check_api

Kind = Literal["transport", "session profile", "store", "check", "watcher"]
RESERVED = {"session profile": ("private",)}  # the core's own sessions
_Rule = tuple[Callable[[Any], bool], str]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, str) for part in value)


NAMED: dict[str, _Rule] = {"name": (_is_text, "a name of small letters, digits, `-` and `_`")}
CONFIGURED: dict[str, _Rule] = {
    **NAMED,
    "config": (lambda value: isinstance(value, type) and attrs.has(value), "an attrs class"),
    "tested_on": (_is_texts, "a tuple of texts"),
    "probe": (callable, "a method"),
    "create": (callable, "a method"),
}
RULES: dict[Kind, dict[str, _Rule]] = {
    "transport": {
        **CONFIGURED,
        "traits": (lambda value: isinstance(value, Traits), "a Traits object"),
        "api": (lambda value: isinstance(value, tuple), "the version of the contract that it was made for"),
        "platforms": (lambda value: isinstance(value, frozenset), "a frozenset of values of sys.platform"),
    },
    "session profile": {
        **CONFIGURED,
        "first_bytes": (lambda value: isinstance(value, bytes) and value != b"", "at least one byte"),
    },
    "store": {**NAMED, "open": (callable, "a method")},
    "check": {},
    "watcher": {**NAMED, "watch": (callable, "a method")},
}
HOOKS: dict[str, Kind] = {
    "berty_transports": "transport",
    "berty_sessions": "session profile",
    "berty_stores": "store",
    "berty_checks": "check",
    "berty_network": "watcher",
}


def collect(hook: str, call: Callable[[], Any]) -> list[Any]:
    """Call a hook of one plugin and look at all that it brings; PluginFault names the hook and the object."""
    found = supervised(CALL_TIME, f"its hook {hook}", lambda: _as_list(hook, call()))
    supervised(CALL_TIME, f"what its hook {hook} brings", lambda: _check_all(HOOKS[hook], found))
    return found


def _as_list(hook: str, results: list[Any]) -> list[Any]:
    """What pluggy gives back for one plugin: a list of its one result, or an empty one for None."""
    result = results[0] if results else None
    if not isinstance(result, Iterable) or isinstance(result, str | bytes):
        raise PluginFault(f"its hook {hook} returned {_shown(result)}, and a list is needed")
    return list(result)


def _check_all(kind: Kind, found: Iterable[Any]) -> None:
    for spec in found:
        _check(kind, spec)


def _check(kind: Kind, spec: object) -> None:
    if kind == "check" and not isinstance(spec, Check):
        raise PluginFault(f"its {kind} is {_shown(spec)}, and a Check is needed")
    for name, (holds, words) in RULES[kind].items():
        value = _attribute(kind, spec, name)
        if not holds(value):
            raise PluginFault(f"`{name}` of its {kind} {_name(spec)} is {_shown(value)}, and {words} is needed")
    if _name(spec) in RESERVED.get(kind, ()):
        raise PluginFault(f"the name {_name(spec)} of its {kind} is the core's own")
    check_api(getattr(spec, "api", (1, 0)))
    if "config" in RULES[kind]:
        _check_settings(kind, spec)


def _attribute(kind: Kind, spec: object, name: str) -> Any:
    try:
        return getattr(spec, name)
    except AttributeError:
        raise PluginFault(f"its {kind} {_name(spec)} has no `{name}`") from None
    except Exception as error:
        raise PluginFault(f"`{name}` of its {kind} {_name(spec)} raised {type(error).__name__}: {error}") from error


def _check_settings(kind: Kind, spec: Any) -> None:
    """A table may be absent, and a file is no place for secrets."""
    try:
        spec.config()
    except Exception as error:
        words = f"the settings of its {kind} {spec.name} cannot be made without values: {type(error).__name__}: {error}"
        raise PluginFault(words) from error
    for field in attrs.fields(attrs.resolve_types(spec.config)):
        if field.type is Secret:
            raise PluginFault(f"its setting {field.name} is a secret, and secrets are never in the configuration")


def _name(spec: object) -> str:
    try:
        return str(getattr(spec, "name", type(spec).__name__))
    except Exception:
        return type(spec).__name__


def _shown(value: object) -> str:
    """What it is, without trusting its repr."""
    return repr(value) if isinstance(value, str | int | bytes | None) else f"of the type {type(value).__name__}"
