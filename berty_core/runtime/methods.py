"""What may be asked of a running node, by name and with plain values: the whole surface of the private socket.

Invariant: only names that are listed here can be called, and only with values of the types they declare.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import typing
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from ..codec.cid import Cid
from ..errors import BertyError, UserError
from . import status, why
from .control_socket import NotInTime
from .replica.effects import DeliveryChanged, EffectsMissed, MessageArrived

if TYPE_CHECKING:
    from .bundles.methods import BundleMethods
    from .node import Node

READS = frozenset(
    {
        "account_show",
        "contact_list",
        "contact_verify",
        "group_invitations",
        "group_list",
        "group_show",
        "last_arrival",
        "message_state",
    }
)
WRITES = frozenset(
    {
        "account_rename",
        "contact_accept",
        "contact_add",
        "contact_block",
        "contact_discard",
        "contact_link",
        "contact_rename",
        "contact_unblock",
        "group_invite",
        "group_join",
        "group_leave",
        "group_new",
        "group_rename",
        "mark_read",
        "requests_off",
        "requests_on",
        "reset_link",
        "send_text",
    }
)
NODE_LEVEL = frozenset(
    {
        "bundle_chunks",
        "bundle_confirm",
        "bundle_export",
        "bundle_gaps",
        "bundle_import",
        "export",
        "peer_connect",
        "peers",
        "set_foreground",
        "status",
        "stop",
        "sync",
        "wait",
        "why_message",
        "why_peer",
    }
)
STREAMS = frozenset({"arrivals", "delivery", "history"})
STATES = ("stored", "sent", "held", "acknowledged")
PAGE = 128
MEETING = 2.0  # seconds in which those who are near are found
QUIET = 0.6  # seconds without any change after which the exchange counts as done
Json = dict[str, Any]


class Methods:
    """The methods of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._bundles: BundleMethods | None = None

    async def call(self, name: str, params: Json) -> Any:
        """Call a method that answers once."""
        if name in READS or name in WRITES:
            method = getattr(self._node.actions, name)
            check_parameters(method, params)
            run = self._node.store.write if name in WRITES else self._node.store.read
            return await run(lambda: method(**params))
        if name not in NODE_LEVEL:
            raise UserError(f"the running node knows no method {name!r}: it is of another version; start it again")
        method = getattr(self, name)
        check_parameters(method, params)
        return await method(**params)

    def stream(self, name: str, params: Json) -> AsyncGenerator[Any, None]:
        """Call a method that answers again and again; to be closed."""
        method: Callable[..., AsyncGenerator[Any, None]] = getattr(self, name)
        check_parameters(method, params)
        return method(**params)

    # -- the node ------------------------------------------------------------------------------

    async def status(self) -> Json:
        """Everything a person may want to know about the node."""
        return {**await status.status(self._node), "pid": os.getpid(), "home": str(self._node.home)}

    async def peers(self) -> list[Json]:
        """The live sessions."""
        return await status.peers(self._node)

    async def peer_connect(self, address: str) -> Json:
        """Meet a peer at an address that a session profile knows; who is there."""
        profiles = self._node.connectivity.profiles if self._node.connectivity else []
        if not profiles:
            raise UserError("no plugin here meets peers by their address: install one, such as berty-libp2p")
        running = next((one for one in profiles if one.started), None)
        if running is None:
            words = "; ".join(profiles[0].reasons) or "it starts"
            raise UserError(f"{profiles[0].spec.name} is not ready ({words}): try again")
        return {"id": await running.profile.connect(address), "session": running.spec.name}

    async def why_peer(self, name: str) -> Json:
        """All ways to a contact or group, and why they are used or not."""
        return await why.why_peer(self._node, name)

    async def why_message(self, id: str) -> Json:
        """What became of a message, and what comes next."""
        return await why.why_message(self._node, id)

    async def set_foreground(self, foreground: bool) -> Json:
        """Whether a person looks at the application."""
        self._node.set_foreground(foreground)
        return {"foreground": foreground}

    async def stop(self) -> Json:
        """End the node; it is told after the answer."""
        return {"stopping": True}

    async def export(self, path: str) -> Json:
        """Write the account to a new file that only this user can read."""
        return await self._node.store.read(_export, self._node, Path(path))

    async def sync(self, timeout: float, until_idle: bool = True) -> Json:
        """Exchange with whoever is near, until nothing changes any longer or the time is over."""
        node, start = self._node, self._node.monotonic()
        before = await node.store.read(node.actions.last_arrival)
        met: set[str] = set()
        idle = False
        changed = start
        with node.listen() as events:
            while not idle and node.monotonic() - start < timeout:
                count, busy = len(met), _drain(events) or self._busy()
                met |= {session.handshake_hash.hex() for session in node.sessions if session.is_open}
                met |= set(status.met_by_profiles(node))
                if busy or len(met) != count:
                    changed = node.monotonic()
                now = node.monotonic()
                idle = until_idle and now - start > MEETING and now - changed > QUIET
                await anyio.sleep(0.05)
        groups = await node.store.read(node.actions.group_list)
        return {
            "idle": idle or (not until_idle and not self._busy()),
            "met": len(met),
            "arrived": await node.store.read(node.actions.last_arrival) - before,
            "unsent": sum(group["unsent"] for group in groups),
            "transports": status.transports(node),
        }

    def _busy(self) -> bool:
        node = self._node
        half_open = any(not session.is_open for session in node.sessions)
        return half_open or not node.hub.idle

    # -- bundles -------------------------------------------------------------------------------

    @property
    def _carried(self) -> BundleMethods:
        from .bundles.methods import BundleMethods  # noqa: PLC0415  only where something is carried

        self._bundles = self._bundles or BundleMethods(self._node)
        return self._bundles

    async def bundle_export(
        self, groups: list[str], reader: str = "", whole: bool = False, since_last: bool = False, quota: int = 0
    ) -> Json:
        """Begin to write what the readers of some groups lack: the number of this export, and what there is."""
        return await self._carried.export(groups, reader, whole, since_last, quota)

    async def bundle_chunks(self, export: int) -> Json:
        """The next chunks of an export (base64, one behind the other), and how much that makes; at last no data."""
        return await self._carried.chunks(export)

    async def bundle_confirm(self, export: int) -> Json:
        """What an export wrote is safe, and `since_last` goes on behind it."""
        return await self._carried.confirm(export)

    async def bundle_import(self, data: str) -> Json:
        """Take in chunks (base64, one behind the other); what became of each."""
        return await self._carried.take(data)

    async def bundle_gaps(self) -> list[Json]:
        """What is known of but not here, by group."""
        return await self._carried.gaps()

    # -- messages ------------------------------------------------------------------------------

    async def wait(self, to: str, id: str, state: str, timeout: float) -> Json:
        """Wait until an own message has reached a state; NotInTime."""
        if state not in STATES:
            raise UserError(f"{state!r} is no state of delivery; there are {', '.join(STATES)}")
        view: Json = {}
        with anyio.move_on_after(timeout):
            async with aclosing(self.delivery(to, id)) as views:
                async for view in views:
                    if STATES.index(view["state"]) >= STATES.index(state):
                        return view
        raise NotInTime(
            f"the message is not {state} after {timeout:g} s: it is {view.get('state', 'stored')}; "
            "it goes on its way whenever the node runs and others are near"
        )

    async def delivery(self, to: str, id: str) -> AsyncGenerator[Json, None]:
        """Where an own message is: now, and with each change until somebody acknowledged it."""
        node, cid = self._node, _cid(id)
        before: Json | None = None
        with node.listen() as events:
            while before is None or before["state"] != STATES[-1]:
                view = await node.store.read(node.actions.message_state, to, id)
                if view != before:
                    yield view
                before = view
                if view["state"] == STATES[-1]:
                    return
                async for effect in events:
                    if isinstance(effect, EffectsMissed) or (isinstance(effect, DeliveryChanged) and effect.cid == cid):
                        break

    async def arrivals(self, to: str, after: int = -1, read: bool = False) -> AsyncGenerator[Json, None]:
        """Messages in order of arrival behind a number (-1: only new ones), as they come; `read` marks them so."""
        node = self._node
        with node.listen() as events:
            if to:
                await node.store.read(node.actions.find_group, to)
            position = await node.store.read(node.actions.last_arrival) if after < 0 else after
            while True:
                page = await node.store.read(node.actions.arrivals, to, position, PAGE)
                for found in page:
                    position = found["number"]
                    if "text" in found:
                        yield found
                if page and read and to:
                    await node.store.write(node.actions.mark_read, to)
                if not page:
                    await _until_arrival(events)

    async def history(self, to: str, last: int = 0, mark: bool = True) -> AsyncGenerator[Json, None]:
        """The last messages (0: all) in the log's order, page by page; afterwards they count as read."""
        node = self._node
        ids = await node.store.read(node.actions.message_ids, to)
        if last:
            for found in await self._newest(to, ids, last):
                yield found
        else:
            for start in range(0, len(ids), PAGE):
                for found in await node.store.read(node.actions.messages_at, to, ids[start : start + PAGE]):
                    yield found
        if mark:
            await node.store.write(node.actions.mark_read, to)

    async def _newest(self, to: str, ids: list[str], last: int) -> list[Json]:
        """The last messages among some entries, most of which may be receipts."""
        pages: list[list[Json]] = []
        count, end = 0, len(ids)
        while end and count < last:
            start = max(0, end - PAGE)
            pages.append(await self._node.store.read(self._node.actions.messages_at, to, ids[start:end]))
            count, end = count + len(pages[-1]), start
        return [found for page in reversed(pages) for found in page][-last:]


def _drain(events: Any) -> bool:
    """Whether anything changed since the last time."""
    found = False
    with contextlib.suppress(anyio.WouldBlock):
        while True:
            events.receive_nowait()
            found = True
    return found


async def _until_arrival(events: Any) -> None:
    async for effect in events:
        if isinstance(effect, MessageArrived | EffectsMissed):
            return


def _cid(text: str) -> Cid:
    try:
        return Cid.parse(text)
    except BertyError as error:
        raise UserError(f"{text!r} is no message's id: `berty send` prints it") from error


def _export(node: Node, path: Path) -> Json:
    from .replica.archive import export_archive  # noqa: PLC0415  only exports need it

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UserError(f"{path} is there already: choose another name, or remove it first") from error
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            entries = export_archive(node.replica, file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        raise
    return {"file": str(path), "entries": entries}


def check_parameters(method: Callable[..., Any], params: Json) -> None:
    """Hold what came over the socket against what a method declares; UserError."""
    try:
        inspect.signature(method).bind(**params)
    except TypeError as error:
        raise UserError(f"wrong parameters: {error}") from error
    kinds = typing.get_type_hints(method)
    for name, value in params.items():
        if isinstance(value, str) and name != "path":  # the bytes of a path need not be text
            _check_text(name, value)
        wanted = (int, float) if kinds[name] is float else typing.get_origin(kinds[name]) or kinds[name]
        if not isinstance(value, wanted) or (isinstance(value, bool) and kinds[name] is not bool):
            raise UserError(f"wrong parameters: {name} is no {kinds[name].__name__}")


def _check_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{name}: what was typed is no UTF-8 text, at character {error.start + 1}") from error
