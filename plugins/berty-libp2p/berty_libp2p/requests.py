"""Contact requests over libp2p: shown and found by local records, in both roles (Wesh protocol, sections 5 and 6.6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import anyio

from berty_core.contracts.session import Meeting, ProfileHost
from berty_core.errors import BertyError
from berty_core.ids import AccountId
from berty_core.protocol.handshake import PROTOCOL as CONTACT
from berty_core.protocol.handshake import ContactRequester, ContactResponder, RequestReceived, RequestSent

from . import local_records
from .host import Host, StreamServer
from .link import Stream
from .local_records import LIFETIME, decode_records, encode_records
from .peers import PeerId

PATIENCE: Final = 10.0
REPEAT: Final = 0.8 * LIFETIME  # seconds after which a record is sent again


class Requests:
    """Shows the topic of our own link to peers (not when `hidden`), and asks those who show one that we look for."""

    def __init__(self, host: ProfileHost, start: Callable[..., None], *, hidden: bool = False) -> None:
        self.failed = 0
        self._host = host
        self._start = start
        self._hidden = hidden
        self._node: Host | None = None
        self._meeting = Meeting(None, {})
        self._told: dict[PeerId, tuple[str, float]] = {}
        self._records: dict[PeerId, tuple[str, ...]] = {}
        self._asking: set[AccountId] = set()

    @property
    def served(self) -> dict[str, StreamServer]:
        """The streams that are served."""
        return {CONTACT: self._serve_contact, local_records.PROTOCOL: self._serve_records}

    async def refresh(self, node: Host) -> None:
        """Meet under the topics of this moment."""
        self._node = node
        meeting = await self._host.meeting()
        self._meeting = Meeting(None, meeting.wanted) if self._hidden else meeting
        for peer in list(node.peers):
            self._tell(node, peer)
            self._ask(node, peer)

    def peer_changed(self, node: Host, peer: PeerId) -> None:
        """A peer came, described itself or left."""
        if peer in node.peers:
            self._tell(node, peer)
            return
        self._told.pop(peer, None)
        self._records.pop(peer, None)

    # -- being found ---------------------------------------------------------------------------

    def _tell(self, node: Host, peer: PeerId) -> None:
        """Show a peer the topic under which our account takes requests, and again before that expires."""
        topic, now = self._meeting.own, self._host.now()
        if topic is None or local_records.PROTOCOL not in node.peers[peer].description.protocols:
            return
        told, when = self._told.get(peer, ("", 0.0))
        if told != topic or now - when > REPEAT:
            self._told[peer] = (topic, now)
            self._start(self._send_records, node, peer, topic)

    async def _send_records(self, node: Host, peer: PeerId, topic: str) -> None:
        try:
            stream = await node.open_stream(peer, local_records.PROTOCOL)
            stream.send(encode_records([topic], self._host.now()))
            stream.finish()
            await until_closed(stream)
        except BertyError:
            return

    async def _serve_contact(self, peer: PeerId, stream: Stream) -> None:
        if self._meeting.own is None:
            return
        machine = ContactResponder(self._host.account_key(), self._host.entropy(32))
        async for event in _converse(machine, stream):
            if isinstance(event, RequestReceived):
                await self._host.request_received(event.contact)

    # -- looking for others --------------------------------------------------------------------

    async def _serve_records(self, peer: PeerId, stream: Stream) -> None:
        frame = await stream.receive_frame(local_records.MAX_MESSAGE)
        self._records[peer] = decode_records(frame, self._host.now())
        if self._node is not None:
            self._ask(self._node, peer)

    def _ask(self, node: Host, peer: PeerId) -> None:
        """Ask for contact if the peer is met under the topic of somebody whom we want to ask."""
        for topic in self._records.get(peer, ()):
            account = self._meeting.wanted.get(topic)
            if account is not None and account not in self._asking:
                self._asking.add(account)
                self._start(self._request, node, peer, account)

    async def _request(self, node: Host, peer: PeerId, account: AccountId) -> None:
        try:
            with anyio.move_on_after(PATIENCE):
                stream = await node.open_stream(peer, CONTACT)
                own = await self._host.own_contact(account)
                machine = ContactRequester(self._host.account_key(), account, own, self._host.entropy(32))
                async for event in _converse(machine, stream):
                    if isinstance(event, RequestSent):
                        await until_closed(stream)
                        await self._host.request_sent(account)
        except BertyError:
            self.failed += 1  # the next record of the peer is the next attempt
        finally:
            self._asking.discard(account)


async def _converse(
    machine: ContactRequester | ContactResponder, stream: Stream
) -> AsyncIterator[RequestSent | RequestReceived]:
    """Walk a contact request through a stream; ends with its last event."""
    stream.send(machine.take())
    while True:
        events = machine.receive(await stream.receive())
        stream.send(machine.take())
        if events:
            stream.finish()
        for event in events:
            yield event
        if events:
            return


async def until_closed(stream: Stream) -> None:
    """Wait until the peer has closed or reset a stream that we have finished."""
    try:
        with anyio.move_on_after(PATIENCE):
            while True:
                await stream.receive()
    except BertyError:
        pass
    finally:
        stream.reset()
