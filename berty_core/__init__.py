"""The public API of berty-core. Names are imported when they are first used, so that `import berty_core` costs nothing.

Whatever is not listed in `__all__` here, in `berty_core.contracts` or in `berty_core.testing` may change at any time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import NodeConfig as NodeConfig
    from .config import read_config as read_config
    from .errors import AmbiguousName as AmbiguousName
    from .errors import BertyError as BertyError
    from .errors import BudgetSpent as BudgetSpent
    from .errors import ConfigError as ConfigError
    from .errors import DeadlinePassed as DeadlinePassed
    from .errors import EndOfStream as EndOfStream
    from .errors import LinkLost as LinkLost
    from .errors import LocalProtocolError as LocalProtocolError
    from .errors import MessageTooLarge as MessageTooLarge
    from .errors import RemoteProtocolError as RemoteProtocolError
    from .errors import StoreCorrupt as StoreCorrupt
    from .errors import StoreError as StoreError
    from .errors import StoreFull as StoreFull
    from .errors import StoreLocked as StoreLocked
    from .errors import StoreTooNew as StoreTooNew
    from .errors import TransportError as TransportError
    from .errors import UserError as UserError
    from .ids import AccountId as AccountId
    from .ids import DeviceId as DeviceId
    from .ids import GroupId as GroupId
    from .ids import MemberId as MemberId
    from .runtime.node import Message as Message
    from .runtime.node import Node as Node
    from .runtime.node import create_home as create_home

_HOMES = {
    "config": ("NodeConfig", "read_config"),
    "errors": (
        "AmbiguousName",
        "BertyError",
        "BudgetSpent",
        "ConfigError",
        "DeadlinePassed",
        "EndOfStream",
        "LinkLost",
        "LocalProtocolError",
        "MessageTooLarge",
        "RemoteProtocolError",
        "StoreCorrupt",
        "StoreError",
        "StoreFull",
        "StoreLocked",
        "StoreTooNew",
        "TransportError",
        "UserError",
    ),
    "ids": ("AccountId", "DeviceId", "GroupId", "MemberId"),
    "runtime.node": ("Message", "Node", "create_home"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: PLE0604  names by the module they come from; `__getattr__` finds them
    *_HOMES["runtime.node"],
    *_HOMES["config"],
    *_HOMES["ids"],
    *_HOMES["errors"],
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
