"""A Wesh peer of our own that speaks the line protocol: what the driver itself is tried against.

`python own_peer.py --home DIR [--profile wesh|berty] [--fault NAME]`. With a fault it breaks one promise of the
protocol, so that the driver can be seen to notice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup
from berty_libp2p.exchange import Exchange
from berty_libp2p.multiaddr import Multiaddr

from berty_core.codec.cid import Cid
from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.codec.protobuf import parse
from berty_core.config import NodeConfig
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import BertyError, UserError
from berty_core.ids import AccountId, GroupId
from berty_core.protocol.contact import Action, event_for
from berty_core.protocol.group import LogKind, decode_group, encode_group
from berty_core.protocol.metadata import ContactState, open_metadata
from berty_core.protocol.payloads import UserMessage, contact_name, decode_payload, encode_payload
from berty_core.protocol.shareable import encode_contact
from berty_core.runtime.node import Node
from berty_core.runtime.replica.archive import export_archive
from berty_core.runtime.replica.effects import EffectsMissed, EntryAdded, StateChanged
from berty_core.runtime.replica.group_replica import GroupReplica
from berty_core.runtime.replica.replica import Replica
from berty_core.runtime.sessions.profile_host import NodePort

MAX_LINE = 64 << 20
STORES = {"messages": LogKind.MESSAGES, "metadata": LogKind.METADATA}
FAULTS = ("deaf", "mute", "babble", "ends", "refuses", "other texts", "no contacts")
Json = dict[str, Any]


class OwnPeer:
    """One node behind the line protocol. What a command does runs on the store's thread."""

    def __init__(self, node: Node, exchange: Exchange, address: Multiaddr, fault: str) -> None:
        self._node = node
        self._exchange = exchange
        self._address = address
        self._fault = fault
        self.over = anyio.Event()

    # -- lines ---------------------------------------------------------------------------------

    def say(self, line: Json) -> None:
        if self._fault == "mute" and line.get("event") == "message":
            return
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    async def obey(self) -> None:
        """Carry out commands until there are no more."""
        reader = asyncio.StreamReader(limit=MAX_LINE)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            if self._fault == "deaf":
                continue
            if self._fault == "babble":
                sys.stdout.write("good morning\n")
                sys.stdout.flush()
            if self._fault == "ends":
                break
            self.say({"id": command["id"], "cmd": command["cmd"], **await self._answer(command)})
            if command["cmd"] == "quit":
                break
        self.over.set()

    async def _answer(self, command: Json) -> Json:
        name = str(command["cmd"])
        fields = {key: value for key, value in command.items() if key not in ("id", "cmd")}
        try:
            if self._fault == "refuses":
                raise UserError("not today")
            return {"ok": True, "result": await self._run(name, fields)}
        except (BertyError, ValueError, KeyError, TypeError, OSError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    async def _run(self, name: str, fields: Json) -> Json:
        network: dict[str, Callable[..., Awaitable[Json]]] = {"connect": self._connect, "disconnect": self._disconnect}
        if name in network:
            return await network[name](**fields)
        function = getattr(self, f"do_{name}", None)
        if function is None:
            raise UserError(f"`{name}` is not spoken here")
        result: Json = await self._node.store.write(lambda: function(self._node.replica, **fields)) or {}
        return result

    # -- events --------------------------------------------------------------------------------

    async def tell(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Say what the logs hold, and what joins them."""
        with self._node.listen() as effects:
            task_status.started()
            known: set[tuple[GroupId, Cid]] = set()
            await self._tell_all(known)
            async for effect in effects:
                if isinstance(effect, EntryAdded | StateChanged | EffectsMissed):
                    await self._tell_all(known)

    async def _tell_all(self, known: set[tuple[GroupId, Cid]]) -> None:
        for line in await self._node.store.read(lambda: self._news(self._node.replica, known)):
            self.say(line)

    def _news(self, replica: Replica, known: set[tuple[GroupId, Cid]]) -> list[Json]:
        found: list[Json] = []
        for group in list(replica.groups.values()):
            for kind in (LogKind.METADATA, LogKind.MESSAGES):
                for cid in group.logs[kind].cids():
                    view = None if (group.group.id, cid) in known else self._view(group, kind, cid)
                    if view is not None:
                        known.add((group.group.id, cid))
                        found.append(view)
        return found

    def _view(self, group: GroupReplica, kind: LogKind, cid: Cid) -> Json | None:
        place = {"cid": str(cid), "group": group.group.id.hex()}
        entry = group.logs[kind].read(cid).entry
        if kind is LogKind.METADATA:
            event = open_metadata(group.group, entry.value)
            payload = event.payload.SerializeToString().hex()
            return {
                "event": "metadata",
                **place,
                "type": int(event.type),
                "type_name": event.type.name,
                "payload": payload,
            }
        opened = group.message(cid)
        if opened is None:
            return None
        payload = encode_payload(opened.payload.content, opened.payload.sent_date).hex()
        if self._fault == "other texts":
            payload = encode_payload(UserMessage("something else")).hex()
        parents = [str(parent) for parent in entry.next]
        return {
            **{"event": "message", **place, "parents": parents, "device_pk": opened.device.hex()},
            **{"counter": opened.counter, "payload": payload},
        }

    # -- the network ---------------------------------------------------------------------------

    def identity(self, replica: Replica) -> Json:
        return {
            "peer_id": str(self._exchange.node.peer_id),
            "addrs": [str(self._address).partition("/p2p/")[0]],
            "account_pk": replica.account_id.hex(),
            "device_pk": replica.account.device_id.hex(),
            "account_group_pk": replica.account.group.id.hex(),
            "pid": os.getpid(),
        }

    async def _connect(self, addr: str) -> Json:
        return {"peer": str(await self._exchange.node.dial(Multiaddr.parse(addr)))}

    async def _disconnect(self, peer: str) -> Json:
        for known in list(self._exchange.node.peers):
            if str(known) == peer:
                self._exchange.node.close_peer(known)
        return {}

    def do_info(self, replica: Replica) -> Json:
        return self.identity(replica)

    def do_peers(self, replica: Replica) -> Json:
        return {"peers": [str(peer) for peer in self._exchange.node.peers]}

    def do_quit(self, replica: Replica) -> Json:
        return {}

    # -- contacts ------------------------------------------------------------------------------

    def do_contact_enable(self, replica: Replica) -> Json:
        self._node.actions.contact_link()
        return self.do_contact_ref(replica)

    def do_contact_disable(self, replica: Replica) -> Json:
        self._node.actions.requests_off()
        return {}

    def do_contact_reset(self, replica: Replica) -> Json:
        self._node.actions.reset_link()
        return self.do_contact_ref(replica)

    def do_contact_ref(self, replica: Replica) -> Json:
        registers = replica.account.registers
        return {"seed": (registers.get("seed") or b"").hex(), "enabled": registers.get("requests") == b"\1"}

    def do_contact_share(self, replica: Replica) -> Json:
        return {"encoded": encode_contact(self._node.actions.own_contact(replica.account_id)).hex()}

    def do_contact_request(
        self, replica: Replica, pk: str, seed: str, metadata: str = "", own_metadata: str = ""
    ) -> Json:
        account = AccountId(bytes.fromhex(pk))
        state = replica.contacts().get(account, ContactState.UNDEFINED)
        contact = pb.ShareableContact(
            pk=bytes(account), public_rendezvous_seed=bytes.fromhex(seed), metadata=bytes.fromhex(metadata)
        )
        replica.account.write_event(
            event_for(Action.SEND, state),
            pb.AccountContactRequestOutgoingEnqueued(
                device_pk=bytes(replica.account.device_id), contact=contact, own_metadata=bytes.fromhex(own_metadata)
            ),
        )
        return {}

    def do_contact_accept(self, replica: Replica, pk: str) -> Json:
        if self._fault != "no contacts":
            self._node.actions.contact_accept(pk)
        return {}

    def do_contact_discard(self, replica: Replica, pk: str) -> Json:
        self._node.actions.contact_discard(pk)
        return {}

    def do_contact_block(self, replica: Replica, pk: str) -> Json:
        self._node.actions.contact_block(pk)
        return {}

    def do_contact_unblock(self, replica: Replica, pk: str) -> Json:
        self._node.actions.contact_unblock(pk)
        return {}

    def do_contacts(self, replica: Replica) -> Json:
        registers = replica.account.registers
        contacts = {
            pk.hex(): {
                "state": int(state),
                "metadata": (registers.get("contact metadata", pk) or b"").hex(),
                "name": contact_name(registers.get("contact metadata", pk) or b""),
            }
            for pk, state in replica.contacts().items()
        }
        return {"contacts": contacts, **self.do_contact_ref(replica)}

    # -- groups --------------------------------------------------------------------------------

    def do_group_create(self, replica: Replica) -> Json:
        return {"group": replica.create_group("").group.id.hex()}

    def do_group_invite(self, replica: Replica, group: str) -> Json:
        found = self._group(replica, group).group
        return {
            "invitation": {"proto": encode_group(found).SerializeToString().hex(), "link_key": found.link_key.hex()}
        }

    def do_group_join(self, replica: Replica, invitation: str) -> Json:
        return {"group": replica.join_group(decode_group(parse(pb.Group, bytes.fromhex(invitation)))).group.id.hex()}

    def do_group_leave(self, replica: Replica, group: str) -> Json:
        replica.leave_group(self._group(replica, group).group.id)
        return {}

    def do_group_info(self, replica: Replica, group: str = "", contact: str = "") -> Json:
        found = self._group(replica, group, contact)
        return {
            "group": encode_group(found.group).SerializeToString().hex(),
            "member_pk": found.member_id.hex(),
            "device_pk": found.device_id.hex(),
        }

    def do_activate(self, replica: Replica, group: str = "", contact: str = "") -> Json:
        """A group of ours is always active; this tells whether it is one."""
        return {"group": self._group(replica, group, contact).group.id.hex()}

    def do_groups(self, replica: Replica) -> Json:
        kinds = {group.group.id.hex(): int(group.group.kind) for group in replica.groups.values()}
        return {"groups": [{"group": group, "type": kind} for group, kind in kinds.items()]}

    def do_members(self, replica: Replica, group: str) -> Json:
        found = self._group(replica, group)
        members = [
            {
                "device": device.hex(),
                "member": member.hex(),
                "chain_key_known": found.chains.get(device) is not None,
            }
            for device, member in found.devices().items()
        ]
        return {"members": members}

    def _group(self, replica: Replica, group: str = "", contact: str = "") -> GroupReplica:
        if group:
            return replica.groups[GroupId(bytes.fromhex(group))]
        found = replica.contact_group(AccountId(bytes.fromhex(contact)))
        if found is None:
            raise UserError("there is no group with this contact")
        return found

    # -- messages ------------------------------------------------------------------------------

    def do_send(self, replica: Replica, group: str, payload: str = "", text: str = "") -> Json:
        app = decode_payload(bytes.fromhex(payload)) if payload else None
        content = app.content if app else UserMessage(text)
        sent = app.sent_date if app else int(time.time() * 1000)
        return {"cid": str(self._group(replica, group).send(content, sent_date=sent))}

    def do_send_meta(self, replica: Replica, group: str, payload: str) -> Json:
        return {"cid": str(self._group(replica, group).write_payload(decode_payload(bytes.fromhex(payload)).content))}

    def do_list(self, replica: Replica, group: str) -> Json:
        return {"cids": self._listed(replica, group, LogKind.MESSAGES)}

    def do_list_meta(self, replica: Replica, group: str) -> Json:
        return {"cids": self._listed(replica, group, LogKind.METADATA)}

    def _listed(self, replica: Replica, group: str, kind: LogKind) -> list[str]:
        return [str(cid) for cid in self._group(replica, group).logs[kind].cids(reverse=True)]

    def do_log(self, replica: Replica, group: str, store: str) -> Json:
        log = self._group(replica, group).logs[STORES[store]]
        return {"entries": [{"cid": str(cid), "block": log.read(cid).block.hex()} for cid in log.cids()]}

    def do_block(self, replica: Replica, cid: str, local: bool = False) -> Json:
        wanted = Cid.parse(cid)
        logs = (log for group in replica.groups.values() for log in group.logs.values())
        block = next((block for log in logs if (block := log.block(wanted)) is not None), None)
        if local:
            return {"has": block is not None}
        if block is None:
            raise UserError("this block is not here")
        return {"block": block.hex()}

    def do_export(self, replica: Replica, file: str) -> Json:
        with Path(file).open("wb") as archive:
            return {"entries": export_archive(replica, archive)}


async def main(home: Path, profile_name: str, fault: str) -> None:
    config = NodeConfig(keyring=False, profile=profile_name, acknowledge="never")
    async with (
        Node.open(home, name="Peer", config=config, network=False) as node,
        joined(node) as exchange,
        anyio.create_task_group() as tasks,
    ):
        peer = OwnPeer(node, exchange, await exchange.node.listen("127.0.0.1"), fault)
        peer.say({"event": "ready", **await node.store.read(lambda: peer.identity(node.replica))})
        await _serve(peer, tasks)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def joined(node: Node) -> AsyncIterator[Exchange]:
    """An exchange that runs for a node."""
    exchange = Exchange(PrivateKey(os.urandom(32)), NodePort(node, "libp2p"), time.monotonic)
    async with anyio.create_task_group() as tasks:
        await tasks.start(exchange.run)
        yield exchange
        tasks.cancel_scope.cancel()


async def _serve(peer: OwnPeer, tasks: TaskGroup) -> None:
    await tasks.start(peer.tell)
    tasks.start_soon(peer.obey)
    await peer.over.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--profile", choices=("wesh", "berty"), default="wesh")
    parser.add_argument("--fault", choices=FAULTS, default="")
    chosen = parser.parse_args()
    anyio.run(main, chosen.home, chosen.profile, chosen.fault)
