"""How a command reaches the node: the one that has the home open, or one of its own for as long as the command runs."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import StoreLocked
from ..runtime.control_socket import Connection, NodeEnded
from .settings import Settings

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from ..runtime.node import Node

PATIENCE = 10.0  # seconds that another command may take to leave the home
POLL = 0.05


class Reached(Protocol):
    """A node that can be asked."""

    @property
    def has_network(self) -> bool:
        """Whether it meets others."""

    def call(self, method: str, **params: Any) -> Any:
        """Call a method and return its result."""

    def stream(self, method: str, **params: Any) -> Iterator[Any]:
        """Call a method that answers again and again."""


@contextmanager
def reach(settings: Settings, *, network: bool = False) -> Iterator[Reached]:
    """Reach a node; `network` wants one that meets others. Waits for a short command that has the home. StoreLocked."""
    deadline = time.monotonic() + PATIENCE
    while (found := _try_to_reach(settings, network, time.monotonic() >= deadline)) is None:
        time.sleep(POLL)  # a lock tells nobody that it is free
    with found as reached:
        yield reached


def _try_to_reach(settings: Settings, network: bool, last: bool) -> Any:
    connection = Connection.open(settings.home)
    if connection is not None and (connection.has_network or not network):
        return connection
    if connection is not None:
        connection.close()
        if last:
            raise StoreLocked("another command is at work in this home and does not end; try again")
        return None
    own = own_node(settings, network=network)
    try:
        _check_free(settings)
        return _Entered(own, own.__enter__())
    except StoreLocked:
        if last:
            raise
        return None


def _check_free(settings: Settings) -> None:
    """See that nobody has the home before anybody is asked for a passphrase. StoreLocked."""
    from ..runtime.home import exists  # noqa: PLC0415  slow; not needed as a client
    from ..runtime.lock import home_lock  # noqa: PLC0415

    if exists(settings.home):
        with home_lock(settings.home):
            return


class _Entered:
    """A context that was entered already; only its end is left."""

    def __init__(self, manager: Any, value: Reached) -> None:
        self._manager, self._value = manager, value

    def __enter__(self) -> Reached:
        return self._value

    def __exit__(self, *reason: Any) -> Any:
        return self._manager.__exit__(*reason)


def ask(settings: Settings, method: str, **params: Any) -> Any:
    """Call one method of whichever node can be reached; again if it ended before it took the request."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with reach(settings) as node:
            try:
                return node.call(method, **params)
            except NodeEnded as error:
                if not error.untouched or time.monotonic() >= deadline:
                    raise


@contextmanager
def own_node(settings: Settings, *, network: bool) -> Iterator[Reached]:
    """Open the home in this process, on a thread of its own, so that the command itself may block."""
    from anyio.from_thread import start_blocking_portal  # noqa: PLC0415  slow; not needed as a client

    from ..runtime.home import SALT_FILE  # noqa: PLC0415
    from ..runtime.node import Node  # noqa: PLC0415

    passphrase: Callable[[], str] | None = None
    if (settings.home / SALT_FILE).exists():
        words = settings.passphrase.read("Passphrase of this home")
        passphrase = lambda: words  # noqa: E731
    config = settings.config()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            Node.open(settings.home, network=network, config=config, passphrase=passphrase)
        ) as node,
    ):
        yield OwnNode(portal, node)


class OwnNode:
    """The node that this command opened by itself."""

    def __init__(self, portal: BlockingPortal, node: Node) -> None:
        from ..runtime.methods import Methods  # noqa: PLC0415  slow; not needed as a client

        self._portal = portal
        self._methods = Methods(node)
        self.has_network = node.connectivity is not None

    def call(self, method: str, **params: Any) -> Any:
        """Call a method and return its result."""
        return self._portal.call(self._methods.call, method, params)

    def stream(self, method: str, **params: Any) -> Iterator[Any]:
        """Call a method that answers again and again."""
        events: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=0)
        future = self._portal.start_task_soon(self._pump, events, method, params)
        try:
            while (event := events.get())[0]:
                yield event[1]
            if event[1] is not None:
                raise event[1]
        finally:
            future.cancel()

    async def _pump(self, events: queue.Queue[tuple[bool, Any]], method: str, params: dict[str, Any]) -> None:
        try:
            async for event in self._methods.stream(method, params):
                events.put((True, event))
        except Exception as error:
            events.put((False, error))  # raised where the events are read
        else:
            events.put((False, None))
