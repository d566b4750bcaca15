"""Why a contact is met over this transport and no other, and what became of a message: plain values, with words.

Nothing here decides anything: it tells what the connectivity would decide now, and what it decided before.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..codec.cid import Cid
from ..errors import BertyError, UserError
from ..ids import DeviceId, GroupId
from .bus.view import group_on_buses, message_on_buses, next_on
from .replica.group_replica import GroupReplica

if TYPE_CHECKING:
    from .connectivity.endpoints import Near
    from .connectivity.manager import Connectivity
    from .drivers.running import RunningTransport
    from .node import Node
    from .sessions.peer_session import PeerSession

Json = dict[str, Any]
MAX_TOLD = 20
NOBODY_NEAR = "it goes as soon as this device, or another one that has it, is met; nobody of this group is near now"
NOT_RUNNING = "no node runs here: `berty run` starts it, then whoever is near is met"


async def why_peer(node: Node, name: str) -> Json:
    """All ways to a contact or the members of a group: sessions, order, refusals, and what comes next."""
    group, called = await node.store.read(_named, node, name)
    connectivity = node.connectivity
    if connectivity is None:
        nothing: Json = {"sessions": [], "ways": [], "buses": [], "transports": [], "decisions": []}
        return {"name": called, "group": str(group), **nothing, "next": NOT_RUNNING}
    near = _showing(connectivity, group)
    sessions = [session for session in connectivity.sessions if session.is_open and group in session.groups]
    ways = [way for nonce in _nonces(near) for way in _ways(connectivity, nonce)]
    buses = await group_on_buses(node, group)
    peers = {nonce.hex() for nonce in _nonces(near)} | {session.beacon_nonce.hex() for session in sessions}
    peers |= {nonce.hex() for nonce, groups in connectivity.met.items() if group in groups}
    return {
        "name": called,
        "group": str(group),
        "sessions": [_session(node, connectivity, session) for session in sessions],
        "ways": ways,
        "buses": buses,
        "next": (not sessions and next_on(buses)) or _next(connectivity, sessions, ways),
        "transports": [transport_view(running) for running in connectivity.transports],
        "decisions": [one.view() for one in connectivity.decisions if one.peer in peers or not one.peer][-MAX_TOLD:],
    }


def _named(node: Node, name: str) -> tuple[GroupId, str]:
    group = node.actions.find_group(name)
    return group.group.id, node.actions.conversation_name(group)


def _showing(connectivity: Connectivity, group: GroupId) -> list[Near]:
    """Endpoints whose advert shows a group."""
    adverts = connectivity.adverts
    return [
        near
        for near in connectivity.dialling.endpoints
        if near.beacon and not adverts.is_own(near.beacon.nonce) and group in adverts.groups_in(near.beacon)
    ]


def _nonces(near: list[Near]) -> list[bytes]:
    return list({one.beacon.nonce: None for one in near if one.beacon})


def _session(node: Node, connectivity: Connectivity, session: PeerSession) -> Json:
    return {
        "transport": session.transport,
        "address": session.link.remote.address,
        "dialled_by_us": session.session.initiator,
        "since": time.time() - (node.monotonic() - session.opened_at),
        "why": connectivity.kept.why_kept(session),
        "peer": session.beacon_nonce.hex(),
    }


def _ways(connectivity: Connectivity, nonce: bytes) -> list[Json]:
    """The ways to one peer, the best first, then what is refused."""
    ranking = connectivity.dialling.ways.ranking(nonce)
    used = {session.transport for session in connectivity.kept.of(nonce)}
    ways: list[Json] = []
    for ranked in ranking.order:
        ways.append(_way(ranked.candidate.transport, ranked.candidate.address, nonce, used) | {"for": ranked.reasons})
    for refused in ranking.refused:
        way = _way(refused.candidate.transport, refused.candidate.address, nonce, used) | {"refused": refused.reasons}
        if refused.until is not None:
            way["until"] = time.time() + refused.until - connectivity.monotonic()
        ways.append(way)
    return ways


def _way(transport: str, address: str, nonce: bytes, used: set[str]) -> Json:
    way = {"transport": transport, "address": address, "peer": nonce.hex(), "used": transport in used}
    return way | {"for": (), "refused": (), "until": None}


def _next(connectivity: Connectivity, sessions: list[PeerSession], ways: list[Json]) -> str:
    if any(session.life.doubted_since is not None for session in sessions):
        return "the session leaves what was sent without an answer: the next way is tried"
    if sessions:
        return "what is written goes over the session that is open"
    if any(way["for"] for way in ways):
        return "it is being dialled"
    times = [way["until"] for way in ways if way["until"]]
    if times:
        return f"it is dialled again in {max(0.0, min(times) - time.time()):.0f} s, or when the network changes"
    if ways:
        return "nothing, until what is refused may be used again"
    return "it is dialled when it is found"


def transport_view(running: RunningTransport) -> Json:
    """A transport, its state, its reasons and what is left of its quotas."""
    retry = running.retry_at
    return {
        "name": running.name,
        "state": running.state.value,
        "reasons": [*running.reasons, *running.waits],
        "quota": running.usage.view(),
        "retry_at": None if retry is None else time.time() + retry - running.monotonic(),
    }


# -- messages --------------------------------------------------------------------------------------


async def why_message(node: Node, id: str) -> Json:
    """What is proven of a message for each device of its group, what was tried, and what comes next."""
    view, group, devices = await node.store.read(_message, node, id)
    view["buses"] = await message_on_buses(node, group, Cid.parse(id)) if view["mine"] else []
    for entry, device in zip(view["devices"], devices, strict=True):
        entry["next"] = _next_for(node, group, device, entry["state"], view["buses"])
    return view


def _message(node: Node, id: str) -> tuple[Json, GroupId, list[DeviceId]]:
    try:
        cid = Cid.parse(id)
    except BertyError as error:
        raise UserError(f"{id!r} is no message's id: `berty send` prints it") from error
    for group in node.replica.groups.values():
        found = node.actions.message_view(group, cid)
        if found is not None:
            return _told(node, group, cid, found)
    raise UserError("no conversation here has this message: `berty read --json` shows the ids of those that are here")


def _told(node: Node, group: GroupReplica, cid: Cid, found: Json) -> tuple[Json, GroupId, list[DeviceId]]:
    view: Json = {"id": str(cid), "group": str(group.group.id), "conversation": node.actions.conversation_name(group)}
    view |= {"mine": found["mine"], "sent": found["sent"], "received": found["received"], "devices": []}
    if not found["mine"]:
        return view | {"state": "received"}, group.group.id, []
    delivery, tried = group.deliveries.get(cid), group.deliveries.tried(cid)
    devices = [device for device in group.devices() if device != group.device_id]
    for device in devices:
        state = "sent" if device in tried else "stored"
        state = "held" if device in delivery.held else state
        state = "acknowledged" if device in delivery.acknowledged else state
        view["devices"].append(
            {
                "device": str(device),
                "name": node.actions.sender_name(group, device),
                "state": state,
                "tried": [{"transport": transport, "at": at} for transport, at in tried.get(device, {}).items()],
            }
        )
    return view | {"state": delivery.state}, group.group.id, devices


def _next_for(node: Node, group: GroupId, device: DeviceId, state: str, buses: list[Json]) -> str:
    """What happens next towards one device."""
    if state in ("held", "acknowledged"):
        return "nothing: it is there"
    connectivity = node.connectivity
    if connectivity is None:
        return NOT_RUNNING
    sessions = [session for session in connectivity.sessions if session.is_open and session.groups.get(group) == device]
    if any(session.life.doubted_since is not None for session in sessions):
        return "its session gives no answer: it goes again over the next way that opens"
    if sessions:
        return f"its session over {sessions[0].transport} has it, and has not confirmed it yet"
    near = _showing(connectivity, group)
    if not near:
        return f"on {buses[0]['transport']}: {buses[0]['next']}" if buses else NOBODY_NEAR
    ways = [way for nonce in _nonces(near) for way in _ways(connectivity, nonce)]
    return f"somebody of this group is near: {_next(connectivity, [], ways)}"
