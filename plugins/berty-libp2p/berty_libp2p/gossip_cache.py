"""What gossipsub remembers: which messages were seen, and the newest ones whole, for peers that missed them."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from .gossip_messages import GossipMessage
from .peers import PeerId

SEEN_FOR: Final = 120.0
MAX_SEEN: Final = 65536
WINDOWS: Final = 5  # heartbeats for which a message can be asked for
TOLD: Final = 3  # of these, heartbeats in which it is told of
MAX_BYTES: Final = 8 * 1024 * 1024
MAX_RESENT: Final = 3


class SeenMessages:
    """Ids of messages that came in the last two minutes: at most 65,536, the oldest go first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def __contains__(self, name: bytes) -> bool:
        return name in self._seen

    def add(self, name: bytes, now: float) -> None:
        """Note a message."""
        self._seen[name] = now
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)

    def expire(self, now: float) -> None:
        """Forget what is old."""
        while self._seen and now - next(iter(self._seen.values())) > SEEN_FOR:
            self._seen.popitem(last=False)


class MessageCache:
    """The messages of the last five heartbeats, at most 8 MiB of them."""

    def __init__(self) -> None:
        self._messages: dict[bytes, GossipMessage] = {}
        self._windows: deque[list[bytes]] = deque([[]], maxlen=WINDOWS)
        self._sent: dict[tuple[bytes, PeerId], int] = {}
        self._bytes = 0

    def add(self, message: GossipMessage) -> None:
        """Keep a message, unless there is no room."""
        if message.id in self._messages or self._bytes + len(message.part) > MAX_BYTES:
            return
        self._messages[message.id] = message
        self._windows[0].append(message.id)
        self._bytes += len(message.part)

    def resend(self, name: bytes, peer: PeerId) -> GossipMessage | None:
        """A message that a peer asks for; None if it is gone or was sent to that peer three times."""
        message = self._messages.get(name)
        count = self._sent.get((name, peer), 0)
        if message is None or count >= MAX_RESENT:
            return None
        self._sent[name, peer] = count + 1
        return message

    def recent(self, topic: str) -> list[bytes]:
        """Ids of a topic's messages of the last three heartbeats."""
        windows = list(self._windows)[:TOLD]
        return [name for window in windows for name in window if self._messages[name].topic == topic]

    def shift(self) -> None:
        """A heartbeat went by."""
        if len(self._windows) == WINDOWS:
            for name in self._windows.pop():
                self._bytes -= len(self._messages.pop(name).part)
            self._sent = {key: count for key, count in self._sent.items() if key[0] in self._messages}
        self._windows.appendleft([])
