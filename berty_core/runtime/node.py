"""A device, running: the replica on its thread, the sessions, the connectivity, and what a program may ask of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ..codec.cid import Cid
from ..config import NodeConfig, read_config
from ..crypto.keys import PrivateKey
from ..errors import StoreLocked, UserError
from ..fitting import fit
from ..ids import AccountId, DeviceId, GroupId
from ..plugins import Plugins, load_plugins
from ..protocol.group import PROFILES, Group, GroupKind
from ..protocol.payloads import GroupInvitation, UserMessage
from ..protocol.shareable import ShareableContact
from . import home as homes
from .actions import Actions, checked_name
from .control import serve
from .device_settings import DeviceSettings
from .lock import home_lock
from .replica.arrivals import Arrival
from .replica.effects import Effect, EffectsMissed, GroupsChanged, MessageArrived, OwnEntryMet
from .replica.records import Records
from .replica.replica import Points, Replica
from .sessions.sync_hub import SyncHub
from .store_worker import Outcome, StoreWorker

if TYPE_CHECKING:
    from ..contracts.bundle import BundleReport
    from ..contracts.session import ProfileHost
    from ..contracts.transport import State
    from .bundles.exporting import BundleExport
    from .bundles.importing import BundleImport
    from .connectivity.manager import Connectivity
    from .replica.archive import Archive, Progress
    from .sessions.peer_session import PeerSession

EVENT_BUFFER = 4096
_OWN_ENTRY = (
    "the network holds messages of this device that this home had lost: it goes on behind them, "
    "so that no message key is used twice"
)
PAGE = 64
LOCK_POLL = 0.05  # seconds; a lock file tells nobody that it is free

logger = logging.getLogger("berty.node")


@attrs.frozen
class Message:
    """One message as a program sees it. Times are Unix seconds; `sent` is the sender's own claim."""

    number: int
    id: Cid
    group: GroupId
    device: DeviceId
    sender: str
    text: str
    mine: bool
    sent: float
    received: float
    late: bool
    _node: Node = attrs.field(repr=False, eq=False)
    _cursor: str = attrs.field(default="", repr=False, eq=False)

    async def answer(self, text: str) -> Cid | None:
        """Send a text to the same group, and move the cursor in the same commit: answered once, whatever happens."""
        node, cursor = self._node, self._cursor
        return await node.store.write(node.actions.answer, self.group, text, cursor, self.number)


class Node:
    """One device, open. `async with Node.open(home) as node:`"""

    def __init__(
        self,
        home: Path,
        replica: Replica,
        effects: list[Effect],
        config: NodeConfig,
        plugins: Plugins,
        key_source: homes.KeySource,
    ) -> None:
        self.home = home
        self.plugins = plugins
        self.replica = replica
        self.config = config
        self.fitted = fit(config, plugins).checked()
        self.left_out = list(self.fitted.left_out)
        self.key_source = key_source
        self.entropy: Callable[[int], bytes] = os.urandom
        self.monotonic: Callable[[], float] = time.monotonic
        self.now: Callable[[], float] = time.time
        self.profile_name = replica.profile.name
        self.hub = SyncHub(replica)
        self.store = StoreWorker(replica, self.hub, effects, self.monotonic, self._deliver)
        self.actions = Actions(replica)
        self.connectivity: Connectivity | None = None
        self.notices: list[str] = []
        self.is_brief = False  # whether a command that ends soon has the home open
        self._listeners: list[tuple[MemoryObjectSendStream[Effect], MemoryObjectReceiveStream[Effect]]] = []
        self._due: float | None = None
        self._due_changed = anyio.Event()
        self._importing: BundleImport | None = None
        self._scope = anyio.CancelScope()
        self.ended = anyio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        home: Path | str,
        *,
        name: str | None = None,
        network: bool = True,
        config: NodeConfig | None = None,
        plugins: Plugins | None = None,
        passphrase: Callable[[], str] | None = None,
        wait: float = 0.0,
    ) -> AsyncIterator[Node]:
        """Open a home and run its device until the block ends.

        `name` creates the home if there is none; `config` replaces the home's `berty.toml`; `wait` is how long
        (seconds) a process that has it may take to leave.
        UserError, StoreError with words for a person.
        """
        directory = Path(home).expanduser()
        config = config or read_config(directory)
        plugins = plugins or load_plugins(config.disabled)
        if not homes.exists(directory):
            if name is None:
                raise UserError(f"there is no account in {directory} yet: make one with `berty init --name YOUR-NAME`")
            create_home(directory, name, config=config, plugins=plugins, use_keyring=config.keyring)
        async with _held(directory, wait):
            with open_replica(directory, config, plugins, passphrase) as opened:
                node = cls(directory, opened.replica, opened.effects, config, plugins, opened.key_source)
                node.notices += opened.notices
                async with _plain_errors(), node._running(network):
                    yield node

    @asynccontextmanager
    async def _running(self, network: bool) -> AsyncIterator[None]:
        async with self._store_running(), anyio.create_task_group() as tasks:
            self._scope = tasks.cancel_scope
            tasks.start_soon(self._keep_time)
            try:
                if network:
                    from .bus.on_bus import on_buses  # noqa: PLC0415
                    from .connectivity.manager import Connectivity  # noqa: PLC0415  slow; short commands meet nobody
                    from .surroundings.network_watch import own_watcher  # noqa: PLC0415

                    for left in self.left_out:
                        level = logging.INFO if left.state == "unusable" else logging.WARNING
                        logger.log(level, "plugin %s is not used: %s; %s", left.name, left.reason, left.remedy)
                    watchers = [watcher for _, watcher in self.fitted.brought.of("watcher").values()]
                    self.connectivity = Connectivity(
                        self,
                        on_buses(self, self.fitted.make_transports()),
                        self.fitted.make_sessions(self.left_out.append),
                        prefer=self.config.prefer,
                        policies=self.config.transports,
                        watchers=[*watchers, own_watcher()],
                    )
                    await tasks.start(self.connectivity.run)
                async with serve(self):
                    yield
            finally:
                self.ended.set()
                tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def _store_running(self) -> AsyncIterator[None]:
        """Serve the store for as long as anybody can use it: it is the last to end, whatever is cancelled."""
        scope = anyio.CancelScope(shield=True)

        async def run(*, task_status: TaskStatus[None]) -> None:
            with scope:
                await self.store.run(task_status=task_status)

        async with anyio.create_task_group() as tasks:
            await tasks.start(run)
            try:
                yield
            finally:
                scope.cancel()

    def set_foreground(self, foreground: bool) -> None:
        """Tell whether a person looks at the application: some transports rest in the background."""
        if self.connectivity is not None:
            surroundings = self.connectivity.surroundings
            surroundings.change(attrs.evolve(surroundings.network, foreground=foreground))

    def stop(self) -> None:
        """End the node: the block that opened it is cancelled."""
        self._scope.cancel()

    # -- messages ------------------------------------------------------------------------------

    async def send(self, to: GroupId | str, text: str) -> Cid:
        """Send a text to a group or contact (id or local alias); durable when this returns."""
        return await self.store.write(self.actions.send, to, UserMessage(text))

    async def export_bundle(
        self,
        *groups: GroupId | str,
        reader: str = "",
        whole: bool = False,
        since_last: bool = False,
        quota: int | None = None,
    ) -> BundleExport:
        """Prepare what the readers of some groups (none named: of all) lack, as sealed chunks for any medium.

        `reader` names the one person it is for, `quota` is in bytes. UserError.
        """
        from .bundles.exporting import BundleExport, BundleWish, plan_durably  # noqa: PLC0415  only where something is carried

        wish = BundleWish(groups, reader, whole, since_last)
        return BundleExport(self, await self.store.write(plan_durably, self, wish), quota)

    async def import_bundle(self, chunks: Sequence[bytes]) -> BundleReport:
        """Take chunks in; what was here before changes nothing, and bytes of any kind do no harm."""
        return await self._bundles().take(chunks)

    async def bundle_gaps(self) -> dict[GroupId, int]:
        """How many entries of each group are known of but not here, at the least."""
        return await self.store.read(self._bundles().gaps)

    def _bundles(self) -> BundleImport:
        from .bundles.importing import BundleImport  # noqa: PLC0415  only where something is carried

        self._importing = self._importing or BundleImport(self)
        return self._importing

    async def messages(self, cursor: str = "default", *, own: bool = False) -> AsyncIterator[Message]:
        """All texts in order of arrival, from where this cursor stood when it was last moved, then as they come.

        The cursor moves past a message when the next one is asked for, or in one commit with `message.answer`.
        """
        position = await self.store.read(self.replica.cursor, cursor)
        with self.listen() as events:
            while True:
                page = await self.store.read(self._page, position, own)
                for number, found in page:
                    if found is not None:
                        yield attrs.evolve(found, cursor=cursor)
                    position = number
                    if found is not None:
                        await self.store.write(self.replica.move_cursor, cursor, number)
                if not page:
                    await _until_arrival(events)

    def _page(self, after: int, own: bool) -> list[tuple[int, Message | None]]:
        return [(arrival.number, self._message(arrival, own)) for arrival in self.replica.arrivals.after(after, PAGE)]

    def _message(self, arrival: Arrival, own: bool) -> Message | None:
        group = self.replica.groups.get(arrival.group)
        opened = group.message(arrival.cid, arrival.kind) if group else None
        if group is None or opened is None or (group.is_mine(opened.device) and not own):
            return None
        content = opened.payload.content
        if not isinstance(content, UserMessage | GroupInvitation):
            return None
        return Message(
            arrival.number,
            arrival.cid,
            arrival.group,
            opened.device,
            self.actions.sender_name(group, opened.device),
            content.body if isinstance(content, UserMessage) else content.link,
            group.is_mine(opened.device),
            opened.payload.sent_date / 1000,
            opened.received / 1000,
            arrival.late,
            self,
        )

    @contextmanager
    def listen(self) -> Iterator[MemoryObjectReceiveStream[Effect]]:
        """Everything that changes, as it is committed; who is too slow gets `EffectsMissed` for what is left out."""
        send, receive = anyio.create_memory_object_stream[Effect](EVENT_BUFFER)
        self._listeners.append((send, receive))
        with send, receive:
            try:
                yield receive
            finally:
                self._listeners.remove((send, receive))

    # -- what sessions and connectivity need ---------------------------------------------------

    def groups_to_offer(self) -> list[tuple[Group, PrivateKey]]:
        """The groups that may be shown to a peer."""
        return [(replica.group, replica.device) for replica in list(self.replica.groups.values())]

    def account_key(self) -> PrivateKey:
        """The account's key, for contact requests."""
        return self.replica.keys.account

    def accepts_requests(self) -> bool:
        """Whether strangers who hold our link may ask."""
        return self.replica.account.registers.get("requests") == b"\1"

    async def own_contact(self, contact: AccountId) -> ShareableContact:
        """What we tell a contact about ourselves."""
        return await self.store.read(self.actions.own_contact, contact)

    async def request_sent(self, contact: AccountId) -> None:
        """A request was handed over."""
        await self.store.write(self.actions.request_sent, contact)

    async def request_received(self, contact: ShareableContact) -> None:
        """Somebody asked."""
        await self.store.write(self.actions.request_received, contact)

    async def points(self) -> Points:
        """Where to meet."""
        return await self.store.read(self.replica.points)

    def session_changed(self, session: PeerSession) -> None:
        """A session opened, met a group, or ended."""
        if self.connectivity is not None:
            self.connectivity.session_changed(session)

    def session_doubted(self, session: PeerSession) -> None:
        """A session leaves what was sent without any answer, or gives one again."""
        if self.connectivity is not None:
            self.connectivity.session_doubted(session)

    def settings(self, name: str) -> DeviceSettings:
        """What a transport keeps in the home."""
        return DeviceSettings(self.store, self.replica, f"transport {name}")

    def profile_host(self, name: str, said: Callable[[State, tuple[str, ...]], None]) -> ProfileHost:
        """What a session profile may use."""
        from .sessions.profile_host import NodePort  # noqa: PLC0415  only where a plugin brings a profile

        return NodePort(self, name, said=said)

    @property
    def sessions(self) -> Sequence[PeerSession]:
        """The live sessions."""
        return tuple(self.connectivity.sessions) if self.connectivity else ()

    # -- after each commit ---------------------------------------------------------------------

    def _deliver(self, outcome: Outcome) -> None:
        for outgoing in outcome.outgoing:
            outgoing.peer.partner.deliver(outgoing.frame, outgoing.more)
        for bus, datagrams in outcome.said:
            bus.ready(datagrams)
        for peer, reason in outcome.offenders:
            peer.partner.drop(f"it sent an entry that breaks the rules: {reason}")
        for effect in outcome.effects:
            self._tell(effect)
            if isinstance(effect, OwnEntryMet) and _OWN_ENTRY not in self.notices:
                self.notices.append(_OWN_ENTRY)
                logger.warning(_OWN_ENTRY)
        if any(isinstance(effect, GroupsChanged) for effect in outcome.effects) and self.connectivity:
            self.connectivity.refresh()
        if outcome.timeout != self._due:
            self._due = outcome.timeout
            self._due_changed.set()

    def _tell(self, effect: Effect) -> None:
        for send, receive in self._listeners:
            try:
                send.send_nowait(effect)
            except anyio.WouldBlock:
                for _ in range(EVENT_BUFFER):
                    receive.receive_nowait()
                send.send_nowait(EffectsMissed())

    async def _keep_time(self) -> None:
        """Wake the sync machines when they are due."""
        while True:
            self._due_changed = anyio.Event()
            delay = max(0.0, self._due - self.monotonic()) if self._due is not None else 3600.0
            with anyio.move_on_after(delay):
                await self._due_changed.wait()
                continue
            self._due = None
            await self.store.read(lambda: self.hub.wake(self.monotonic()))


@asynccontextmanager
async def _plain_errors() -> AsyncIterator[None]:
    """Let an error leave the node's task group as itself, so that callers can catch what they or the node raised."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        raise error from error.__cause__


@asynccontextmanager
async def _held(directory: Path, wait: float) -> AsyncIterator[None]:
    """Hold the home's lock, once a short command that may have it has ended; StoreLocked after `wait` seconds."""
    deadline = time.monotonic() + wait
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(home_lock(directory))
                break
            except StoreLocked:
                if time.monotonic() >= deadline:
                    raise
            await anyio.sleep(LOCK_POLL)
        yield


async def _until_arrival(events: MemoryObjectReceiveStream[Effect]) -> None:
    async for effect in events:
        if isinstance(effect, MessageArrived | EffectsMissed):
            return


@attrs.frozen
class _Opened:
    replica: Replica
    effects: list[Effect]
    key_source: homes.KeySource
    notices: list[str]


@contextmanager
def open_replica(
    directory: Path, config: NodeConfig, plugins: Plugins, passphrase: Callable[[], str] | None
) -> Iterator[_Opened]:
    homes.prepare(directory)
    key, source = homes.find_key(directory, passphrase)
    with ExitStack() as stack:
        records = stack.enter_context(homes.open_records(directory, plugins.store(), key, os.urandom))
        effects: list[Effect] = []
        with homes.named_errors(directory):
            genuine = homes.check_mark(directory, records)
            replica = _make_replica(records, config, effects.extend)
        notices = []
        if not genuine:
            replica.renew_devices()
            notices.append(
                "this home is a copy or was restored from a backup: it takes part as a new device from now on, "
                "so that no message key is ever used twice"
            )
        stack.callback(homes.move_mark, directory, records)
        yield _Opened(replica, effects, source, notices)


def create_home(
    directory: Path,
    name: str,
    *,
    config: NodeConfig | None = None,
    plugins: Plugins | None = None,
    passphrase: str | None = None,
    use_keyring: bool = True,
    archive: Archive | None = None,
    progress: Progress = lambda done, total: None,
) -> homes.KeySource:
    """Make a home with a new account, or with the account of an archive; tell where its key lies.

    UserError where there is a home already. An import that fails or is interrupted leaves no home behind.
    """
    config = config or NodeConfig()
    plugins = plugins or load_plugins(config.disabled)
    if name or archive is None:
        name = checked_name(name, "display name")
    homes.prepare(directory)
    if homes.exists(directory):
        raise UserError(f"there is an account in {directory} already; choose another directory with --home")
    with home_lock(directory):
        homes.discard_unfinished(directory)
        key, source = homes.new_key(directory, os.urandom, passphrase=passphrase, use_keyring=use_keyring)
        with homes.open_records(directory, plugins.store(), key, os.urandom, new=True) as records:
            Replica.create(records, os.urandom, archive.keys if archive else None)
            replica = _make_replica(records, config, lambda _: None, silent=archive is not None)
            if archive:
                from .replica.archive import import_archive  # noqa: PLC0415  only for this

                import_archive(archive, replica, progress)
            if name:
                with replica.batch():
                    replica.rename(name)
            homes.check_mark(directory, records)
    return source


def _make_replica(
    records: Records, config: NodeConfig, listen: Callable[[list[Effect]], None], *, silent: bool = False
) -> Replica:
    return Replica(
        records,
        now=time.time,
        entropy=os.urandom,
        listen=listen,
        profile=PROFILES[config.profile],
        acknowledge=config.acknowledge,
        silent=silent,
    )


__all__ = ["GroupKind", "Message", "Node", "create_home"]
