"""Make an object of settings from a table: every fault is found, and none of a stranger's validators goes through."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import attrs

from .faults import Fault, KeyPath, did_you_mean
from .layers import Layers

if TYPE_CHECKING:
    from cattrs import Converter

_SECRET = re.compile("pass(word|phrase)|secret|token|psk|private")


def structure(
    kind: type[Any], path: KeyPath, layers: Layers, *, besides: Collection[str] = (), others: Collection[str] = ()
) -> tuple[Any, tuple[Fault, ...]]:
    """Make the settings of the table at `path`, or None and what is wrong.

    `besides` are fields that are no keys of the table; `others` are keys of it that belong to another class.
    """
    values = layers.value(path)
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        return None, (Fault(layers.origin(path), path, "this is a table, not a single value"),)
    known = [field.name for field in attrs.fields(kind) if field.init and field.name not in besides]
    faults = [
        Fault(layers.origin((*path, key)), (*path, key), _unknown(key, {*known, *others}))
        for key in values
        if key not in known and key not in others
    ]
    fitting: dict[str, Any] = {}
    for key in [key for key in known if key in values]:
        made, found = one(kind, (*path, key), layers)
        fitting |= made
        faults += found
    if faults:
        return None, tuple(faults)
    settings, reason = _made(kind, fitting)
    return settings, tuple(_about_all(path, known, reason, layers))


def one(kind: type[Any], path: KeyPath, layers: Layers) -> tuple[dict[str, Any], list[Fault]]:
    """Make the one value at `path`, by its type and by what the class's validator says of it alone; or its faults."""
    key, origin = path[-1], layers.origin(path)
    wanted = get_type_hints(kind)[key]
    given = layers.value(path)
    value, wrong = _by_type(wanted, given, key)
    if wrong and origin.text is not None and not isinstance(given, list | Mapping):
        value, still = _by_type(wanted, _typed(wanted, origin.text), key)
        wrong = wrong if still else ()
    if wrong:
        return {}, [_nested_fault(path, where, reason, layers) for where, reason in wrong]
    _, reason = _made(kind, {key: value})
    if reason:
        return {}, [Fault(origin, path, reason.removeprefix(f"{key}: "))]
    return {key: value}, []


def _typed(wanted: Any, text: str) -> Any:
    """What somebody typed without quotes or brackets."""
    if get_origin(wanted) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _nested_fault(path: KeyPath, where: str, reason: str, layers: Layers) -> Fault:
    inner = (*path[:-1], *re.findall(r"[^.\[\]']+", where)) if where else path
    return Fault(layers.origin(inner), inner, reason)


def _by_type(wanted: Any, value: Any, key: str) -> tuple[Any, list[tuple[str, str]] | tuple[()]]:
    """The value as its type has it, or where in it and why not."""
    import cattrs  # noqa: PLC0415  slow, and most homes have no settings

    try:
        return _converter().structure(value, wanted), ()
    except cattrs.BaseValidationError as error:
        said = cattrs.transform_error(error, path=key, format_exception=lambda found, _: _plain(found))
        return None, [(where, reason) for reason, _, where in (words.rpartition(" @ ") for words in said)]
    except Exception as error:  # a stranger's class may have a converter of its own
        return None, [("", _plain(error))]


def _made(kind: type[Any], values: Mapping[str, Any]) -> tuple[Any, str]:
    """The object, or why its validators refuse it."""
    try:
        return kind(**values), ""
    except (ValueError, TypeError) as error:
        return None, str(error) or type(error).__name__
    except (Exception, SystemExit) as error:  # a stranger's validator may raise anything
        return None, f"its check failed with {type(error).__name__}: {error}"


def _about_all(path: KeyPath, known: Collection[str], reason: str, layers: Layers) -> list[Fault]:
    """A fault of values that are right alone: it is the key's with which the words begin, or the table's."""
    if not reason:
        return []
    key, colon, rest = reason.partition(": ")
    if colon and key in known:
        return [Fault(layers.origin((*path, key)), (*path, key), rest)]
    return [Fault(layers.origin(path), path, reason)]


def _unknown(key: str, known: Collection[str]) -> str:
    if _SECRET.search(key) and key not in known:
        return "there is no such key, and secrets are never in the configuration"
    if not known:
        return "there is no such key; this table has none"
    return "there is no such key" + did_you_mean(key, known)


def _plain(error: BaseException) -> str:
    if type(error).__name__ == "ForbiddenExtraKeysError":
        return f"there is no such key: {', '.join(sorted(getattr(error, 'extra_fields', ())))}"
    if isinstance(error, KeyError):
        return f"the key {error.args[0] if error.args else ''} is missing"
    return str(error) or type(error).__name__


@cache
def _converter() -> Converter:
    """One that takes a value for what it is: "no" is no truth, and a text is no list of letters."""
    import cattrs  # noqa: PLC0415  slow, and most homes have no settings

    converter = cattrs.Converter(forbid_extra_keys=True)
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
        hint = did_you_mean(value, choices, otherwise="") if isinstance(value, str) else ""
        raise ValueError(f"one of {', '.join(map(repr, choices))} is needed, not {value!r}{hint}")
    return value


def _list_of(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"a list in [brackets] is needed, not {value!r}")
        return tuple(converter.structure(item, kind) for item in value)

    return check
