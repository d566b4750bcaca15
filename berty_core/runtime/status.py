"""What a node says of itself: plain values for `berty status` and for programs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..ids import DeviceId, GroupId
from ..protocol.group import GroupKind
from .bus.view import bus_views
from .why import transport_view

if TYPE_CHECKING:
    from ..contracts.session import PeerView
    from .node import Node
    from .replica.group_replica import GroupReplica
    from .sessions.peer_session import PeerSession

Json = dict[str, Any]
MAX_DECISIONS = 20


async def status(node: Node) -> Json:
    """Profile, account, key, transports, session profiles, peers, own link and groups. Times are Unix seconds."""
    buses = await bus_views(node) if node.connectivity else {}
    return {
        **await node.store.read(_account, node),
        "key": {"kind": node.key_source.kind, "words": node.key_source.words},
        "network": node.connectivity is not None,
        "notices": list(node.notices),
        "transports": [view | {"bus": buses.get(view["name"])} for view in transports(node)],
        "session_profiles": session_profiles(node),
        "plugins_not_used": [
            {"name": left.name, "state": left.state, "reason": left.reason, "remedy": left.remedy}
            for left in node.left_out
        ],
        "peers": await peers(node),
        "decisions": [one.view() for one in list(node.connectivity.decisions)[-MAX_DECISIONS:]]
        if node.connectivity
        else [],
    }


def _account(node: Node) -> Json:
    """What needs the store's thread."""
    registers = node.replica.account.registers
    return {
        "account": node.actions.account_show(),
        "profile": node.profile_name,
        "requests": registers.get("requests") == b"\1",
        "contact_requests": [view for view in node.actions.contact_list() if view["state"] == "received"],
        "groups": node.actions.group_list(),
    }


def transports(node: Node) -> list[Json]:
    """Each transport that runs, its state and its reasons."""
    if node.connectivity is None:
        return []
    return [transport_view(running) for running in node.connectivity.transports]


def session_profiles(node: Node) -> list[Json]:
    """Each session profile that runs beside the private one, its state, and where it can be met."""
    return [
        {
            "name": running.spec.name,
            "state": running.state.value,
            "reasons": list(running.reasons),
            "addresses": list(running.profile.addresses()) if running.started else [],
        }
        for running in (node.connectivity.profiles if node.connectivity else ())
    ]


async def peers(node: Node) -> list[Json]:
    """Each live session, private or of another profile: over what, since when, and which groups both sides are in."""
    private = [session for session in node.sessions if session.is_open]
    return await node.store.read(_peers, node, private, _others(node))


def _others(node: Node) -> list[tuple[str, PeerView]]:
    """Peers of session profiles beside the private one, each with the profile's name."""
    return [
        (running.spec.name, peer)
        for running in (node.connectivity.profiles if node.connectivity else ())
        if running.started
        for peer in running.profile.peers()
    ]


def met_by_profiles(node: Node) -> list[str]:
    """The ids of peers of session profiles beside the private one."""
    return [peer.id for _, peer in _others(node)]


def _peers(node: Node, sessions: list[PeerSession], others: list[tuple[str, PeerView]]) -> list[Json]:
    return [_peer(node, session) for session in sessions] + [_other_peer(node, name, peer) for name, peer in others]


def _other_peer(node: Node, profile: str, peer: PeerView) -> Json:
    shared = {log.group: node.replica.groups[log.group] for log in peer.logs if log.group in node.replica.groups}
    return {
        "name": _meant(node, shared),
        "session": profile,
        "id": peer.id,
        "agent": peer.agent,
        "transport": profile,
        "address": next(iter(peer.addresses), ""),
        "why": "",
        "addresses": list(peer.addresses),
        "dialled_by_us": peer.dialled_by_us,
        "since": time.time() - (node.monotonic() - peer.since),
        "groups": [
            {"name": node.actions.conversation_name(replica), "id": str(group), "device": None}
            for group, replica in shared.items()
        ],
    }


def _meant(node: Node, shared: dict[GroupId, GroupReplica]) -> str:
    """Whose peer it is, as far as the groups tell that it follows: it has not proved to be that."""
    if any(replica.group.kind is GroupKind.ACCOUNT for replica in shared.values()):
        return node.replica.own_name()
    contacts = [replica.contact for replica in shared.values() if replica.contact is not None]
    return node.actions.alias(contacts[0]) if contacts else ""


def _peer(node: Node, session: PeerSession) -> Json:
    groups = dict(session.groups)
    return {
        "name": _name(node, groups),
        "session": "private",
        "transport": session.transport,
        "address": session.link.remote.address,
        "why": node.connectivity.kept.why_kept(session) if node.connectivity else "",
        "dialled_by_us": session.session.initiator,
        "since": time.time() - (node.monotonic() - session.opened_at),
        "groups": [
            {
                "name": node.actions.conversation_name(replica),
                "id": str(group),
                "device": str(device) if device else None,
            }
            for group, device in groups.items()
            if (replica := node.replica.groups.get(group)) is not None
        ],
    }


def _name(node: Node, groups: dict[GroupId, DeviceId | None]) -> str:
    """The contact behind a session, or our own account, or what it calls itself in a group that both are in."""
    found = [(node.replica.groups[group], device) for group, device in groups.items() if group in node.replica.groups]
    found.sort(key=lambda pair: {GroupKind.ACCOUNT: 0, GroupKind.CONTACT: 1}.get(pair[0].group.kind, 2))
    return next((node.actions.sender_name(group, device) for group, device in found if device is not None), "")
