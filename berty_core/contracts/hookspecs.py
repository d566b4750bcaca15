"""All hooks. A hook registers; everything at run time goes through the typed objects it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:  # the list of commands is shown without what these import
    from .checks import Check
    from .command import CommandSpec
    from .network import NetworkWatcher
    from .session import SessionSpec
    from .store import StoreSpec
    from .transport import TransportSpec

PROJECT = "berty"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def berty_transports() -> Sequence[TransportSpec]:  # type: ignore[empty-body]
    """Give the transports this plugin brings."""


@hookspec
def berty_stores() -> Sequence[StoreSpec]:  # type: ignore[empty-body]
    """Give the stores this plugin brings."""


@hookspec
def berty_sessions() -> Sequence[SessionSpec]:  # type: ignore[empty-body]
    """Give the session profiles this plugin brings."""


@hookspec
def berty_network() -> Sequence[NetworkWatcher]:  # type: ignore[empty-body]
    """Give watchers that tell what is known of the device's surroundings."""


@hookspec
def berty_checks() -> Sequence[Check]:  # type: ignore[empty-body]
    """Give the checks of `berty doctor` this plugin brings."""


@hookspec
def berty_commands() -> Sequence[CommandSpec]:  # type: ignore[empty-body]
    """Give the commands this plugin brings to `berty`."""
