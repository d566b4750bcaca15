"""How a command reaches the node: the one that has the home open, or one of its own for as long as the command runs."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ..contracts.command import Reached
from ..errors import StoreLocked
from ..runtime.control_socket import Connection, NodeEnded
from .output import hint
from .settings import Settings

if TYPE_CHECKING:
    from anyio import CancelScope, Event
    from anyio.abc import TaskStatus
    from anyio.from_thread import BlockingPortal

    from ..runtime.node import Node

PATIENCE = 10.0  # seconds that another command may take to leave the home
POLL = 0.05


@contextmanager
def reach(settings: Settings, *, network: bool = False, lasting: bool = False) -> Iterator[Reached]:
    """Reach a node; `network` wants one that meets others, `lasting` has it for as long as a person likes.

    Waits for a short command that has the home. StoreLocked.
    """
    deadline = time.monotonic() + PATIENCE
    own = partial(own_node, settings, network=network, lasting=lasting)
    while (found := _try_to_reach(settings, network, own, time.monotonic() >= deadline)) is None:
        time.sleep(POLL)  # a lock tells nobody that it is free
    with found as reached:
        yield reached


def _try_to_reach(
    settings: Settings, network: bool, own_node: Callable[[], AbstractContextManager[Reached]], last: bool
) -> Any:
    connection = Connection.open(settings.home)
    if connection is not None and (connection.has_network or not network):
        return connection
    if connection is not None:
        connection.close()
        if last:
            raise StoreLocked("another command is at work in this home and does not end; try again")
        return None
    own = own_node()
    try:
        check_free(settings)
        return _Entered(own, own.__enter__())
    except StoreLocked:
        if last:
            raise
        return None


def check_free(settings: Settings) -> None:
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
    return ask_who(settings, method, **params)[0]


def ask_who(settings: Settings, method: str, **params: Any) -> tuple[Any, bool]:
    """The same, and whether the node that answered meets others."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with reach(settings) as node:
            try:
                return node.call(method, **params), node.has_network
            except NodeEnded as error:
                if not error.untouched or time.monotonic() >= deadline:
                    raise


@contextmanager
def own_node(settings: Settings, *, network: bool, lasting: bool) -> Iterator[Reached]:
    """Open the home in this process, on a thread of its own, so that the command itself may block."""
    passphrase = _passphrase(settings)
    with ExitStack() as stack:
        try:
            with _signals_held_back():
                node = stack.enter_context(_opened(settings, network, not lasting, passphrase))
            yield node
        finally:
            with _signals_held_back():
                stack.close()


def _passphrase(settings: Settings) -> Callable[[], str] | None:
    from ..runtime.home import SALT_FILE  # noqa: PLC0415  slow; not needed as a client

    if not (settings.home / SALT_FILE).exists():
        return None
    words = settings.passphrase.read("Passphrase of this home")
    return lambda: words


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until a home is open, or closed: halfway they would leave a thread behind."""
    if threading.current_thread() is not threading.main_thread():  # signals never interrupt it
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def _opened(settings: Settings, network: bool, brief: bool, passphrase: Callable[[], str] | None) -> Iterator[OwnNode]:
    from anyio.from_thread import start_blocking_portal  # noqa: PLC0415  slow; not needed as a client

    from ..runtime.node import Node  # noqa: PLC0415

    opening = partial(Node.open, settings.home, network=network, config=settings.config(), passphrase=passphrase)
    with start_blocking_portal() as portal:
        running, (node, leave) = portal.start_task(_hold, opening, brief)
        for notice in node.notices:
            hint(f"Notice: {notice}")
        try:
            yield OwnNode(portal, node)
        finally:
            portal.call(leave.set)
            running.result()


async def _hold(
    opening: Callable[[], AbstractAsyncContextManager[Node]],
    brief: bool,
    *,
    task_status: TaskStatus[tuple[Node, Event]],
) -> None:
    """Have a node open until its user leaves, or another process ends it."""
    from anyio import Event  # noqa: PLC0415  slow; not needed as a client

    leave = Event()
    async with opening() as node:
        node.is_brief = brief
        task_status.started((node, leave))
        await leave.wait()


class OwnNode:
    """The node that this command opened by itself."""

    def __init__(self, portal: BlockingPortal, node: Node) -> None:
        from ..runtime.methods import Methods  # noqa: PLC0415  slow; not needed as a client

        self._portal, self._node = portal, node
        self._methods = Methods(node)
        self._at_work: set[CancelScope] = set()
        self.has_network = node.connectivity is not None
        portal.start_task_soon(self._end)

    async def _end(self) -> None:
        """Another process may end the node: whoever waits for it here is let go."""
        await self._node.ended.wait()
        for scope in self._at_work:
            scope.cancel()

    @contextmanager
    def _while_it_runs(self) -> Iterator[None]:
        from anyio import CancelScope  # noqa: PLC0415  slow; not needed as a client

        with CancelScope() as scope:
            self._at_work.add(scope)
            try:
                yield
            finally:
                self._at_work.discard(scope)
        if scope.cancelled_caught or self._node.ended.is_set():
            raise NodeEnded("the node has ended", untouched=False)

    def call(self, method: str, **params: Any) -> Any:
        """Call a method and return its result."""
        return self._portal.call(self._call, method, params)

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        with self._while_it_runs():
            return await self._methods.call(method, params)

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
            with self._while_it_runs():
                async for event in self._methods.stream(method, params):
                    events.put((True, event))
        except Exception as error:
            events.put((False, error))  # raised where the events are read
        else:
            events.put((False, None))
