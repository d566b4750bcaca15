"""What a node says of itself: plain values for `berty status` and for programs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..ids import DeviceId, GroupId
from ..protocol.group import GroupKind

if TYPE_CHECKING:
    from .node import Node
    from .peer_session import PeerSession

Json = dict[str, Any]
MAX_DECISIONS = 20


async def status(node: Node) -> Json:
    """Profile, account, key, transports, peers, own link and groups. Times are Unix seconds."""
    return {
        **await node.store.read(_account, node),
        "key": {"kind": node.key_source.kind, "words": node.key_source.words},
        "network": node.connectivity is not None,
        "notices": list(node.notices),
        "transports": transports(node),
        "plugins_not_used": [{"name": broken.name, "reason": broken.reason} for broken in node.plugins.broken],
        "peers": await peers(node),
        "decisions": list(node.connectivity.decisions)[-MAX_DECISIONS:] if node.connectivity else [],
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
    return [
        {"name": running.spec.name, "state": running.state.value, "reasons": list(running.reasons)}
        for running in node.connectivity.transports
    ]


async def peers(node: Node) -> list[Json]:
    """Each live session: over what, since when, and which groups both sides are in."""
    return await node.store.read(_peers, node, [session for session in node.sessions if session.is_open])


def _peers(node: Node, sessions: list[PeerSession]) -> list[Json]:
    return [_peer(node, session) for session in sessions]


def _peer(node: Node, session: PeerSession) -> Json:
    groups = dict(session.groups)
    return {
        "name": _name(node, groups),
        "transport": session.transport,
        "address": session.link.remote.address,
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
