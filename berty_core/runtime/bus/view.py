"""What is told of buses: who speaks there, what was said and heard, and what became of a message. Plain values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...codec.cid import Cid
from ...ids import GroupId
from .on_bus import OnBus

if TYPE_CHECKING:
    from ..node import Node
    from .groups import BusGroups
    from .hub import BusHub

Json = dict[str, Any]
GONE = "the medium is not there"
TOO_SHORT = "its datagrams are too short to speak to groups"


def _buses(node: Node) -> dict[str, OnBus]:
    """The transports with a bus that run, by name."""
    made = [(one.name, one.transport) for one in node.connectivity.transports] if node.connectivity else []
    return {name: transport for name, transport in made if isinstance(transport, OnBus)}


def _speaking(node: Node) -> dict[str, BusGroups]:
    """The buses on which groups are spoken to."""
    return {name: on_bus.groups for name, on_bus in _buses(node).items() if on_bus.groups is not None}


async def bus_views(node: Node) -> dict[str, Json]:
    """Each bus, by its transport's name: who speaks there, and what was said and heard since it started."""
    speaking = _speaking(node)
    groups = await node.store.read(
        lambda: {name: _groups(node, bus.hub) for name, bus in speaking.items()} if speaking else {}
    )
    return {name: _bus(on_bus, groups.get(name, [])) for name, on_bus in _buses(node).items()}


def _bus(on_bus: OnBus, groups: list[Json]) -> Json:
    guarded, speaking = on_bus.guarded, on_bus.groups
    view: Json = {"silent": GONE if guarded is None else TOO_SHORT if speaking is None else speaking.silence()}
    view |= {"groups": groups, "waiting": 0, "repeated": 0, "refused": 0, "foreign": 0, "dropped": 0, "spared": 0}
    for name in ("said", "bytes_said", "heard", "bytes_heard"):
        view[name] = getattr(guarded, name, 0)
    if guarded is not None and speaking is not None:
        hub = speaking.hub
        view |= {"waiting": speaking.waiting, "dropped": speaking.dropped + guarded.flooded}
        view |= {"repeated": hub.repeated, "refused": hub.refused, "foreign": hub.foreign, "spared": hub.spared}
    return view


def _groups(node: Node, hub: BusHub) -> list[Json]:
    return [view for group in hub.groups() if (view := _group(node, hub, group)) is not None]


def _group(node: Node, hub: BusHub, group: GroupId) -> Json | None:
    """One group on one bus; None if it is not spoken to there."""
    heard, replica = hub.heard_lately(group, node.monotonic()), node.replica.groups.get(group)
    if heard is None or replica is None:
        return None
    devices = [
        {"device": str(device), "name": node.actions.sender_name(replica, device), "at": _clock(node, at)}
        for device, at in heard.devices.items()
    ]
    name = node.actions.conversation_name(replica)
    return {"id": str(group), "name": name, "members": heard.senders, "devices": devices}


def _clock(node: Node, at: float) -> float:
    return time.time() + at - node.monotonic()


async def group_on_buses(node: Node, group: GroupId) -> list[Json]:
    """Each bus that reaches a group: who was heard there lately, and why nothing is said there now, if so."""
    speaking = [(name, bus.silence(), bus.hub) for name, bus in _speaking(node).items()]
    views = await node.store.read(lambda: [(name, silent, _group(node, hub, group)) for name, silent, hub in speaking])
    return [
        {"transport": name, "silent": silent, "members": view["members"], "devices": view["devices"]}
        for name, silent, view in views
        if view is not None
    ]


async def message_on_buses(node: Node, group: GroupId, cid: Cid) -> list[Json]:
    """What became of an own message on each bus that reaches its group, and what is waited for, in words."""
    speaking = [(name, bus.silence(), bus.hub) for name, bus in _speaking(node).items()]
    views = await node.store.read(lambda: [_message(node, *bus, group, cid) for bus in speaking])
    return [view for view in views if view is not None]


def _message(node: Node, name: str, silence: str, hub: BusHub, group: GroupId, cid: Cid) -> Json | None:
    told = hub.told_of(group, cid)
    if told is None:
        return None
    said = None if told.said is None else _clock(node, told.said)
    ask = None if told.next_question is None else _clock(node, told.next_question)
    view = {"transport": name, "said": said, "questions": told.questions, "next_question": ask}
    return view | {"next": _next(view, is_unheld=told.is_unheld, silence=silence)}


def _next(view: Json, *, is_unheld: bool, silence: str) -> str:
    if not is_unheld and view["said"] is None:
        return "it need not be said there: all others have it"
    if silence:
        return f"nothing is said there now: {silence}"
    if view["said"] is None and is_unheld:
        return "it waits for its turn"
    if not is_unheld:
        return "somebody has it, and says it again to whoever lacks it and asks"
    if view["next_question"] is None:
        return "nobody confirmed it; they are asked when somebody is heard who was not there before"
    return f"nobody confirmed it yet; they are asked in {max(0.0, view['next_question'] - time.time()):.0f} s"


def next_on(buses: Sequence[Json]) -> str:
    """What a bus does for what is written to a group, in words; empty if none carries it now."""
    for bus in buses:
        if not bus["silent"]:
            return (
                f"what is written is said on {bus['transport']}, where {bus['members']} of this group "
                "were heard in the last hour"
            )
    return ""
