"""What this node shows of itself in each period, and what it recognises of others. Nothing here trusts an advert."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

import attrs

from ...contracts.transport import NONCE_LENGTH, TAG_LENGTH, Beacon
from ...crypto.kdf import hmac_sha256
from ...crypto.keys import Secret, x25519_pair
from ...ids import AccountId, GroupId
from ...protocol.rendezvous import advert_key, session_secret
from ...protocol.session import NodeIdentity
from ..replica.replica import Points

ROTATION = 900.0  # seconds for which node key, nonce, name and port stay the same
GRACE = 2  # adverts that may still be answered: the present one and the one before
ROOM = 1000  # bytes of a beacon where no transport says how much it can show


@attrs.frozen
class Shown:
    """What one advert period is made of: identity, nonce, and the points that are shown."""

    identity: NodeIdentity
    beacon: Beacon
    secrets: dict[bytes, Secret] = attrs.field(repr=False)
    link_tag: bytes  # the one of these tags that stands for our contact link, or nothing


@attrs.frozen
class Recognised:
    """A tag that somebody shows and we know: by a group, or as somebody we want to reach."""

    tag: bytes
    secret: Secret = attrs.field(repr=False)
    wanted: AccountId | None


class Adverts:
    """Our points, the periods in which they are shown, and the keys by which those of others are known."""

    def __init__(self, entropy: Callable[[int], bytes], profile_name: str) -> None:
        self.shown: deque[Shown] = deque(maxlen=GRACE)
        self.points = Points({}, None, {})
        self._entropy = entropy
        self._profile_name = profile_name
        self._keys: dict[bytes, tuple[Secret, Secret]] = {}

    @property
    def present(self) -> Shown:
        """What is shown now."""
        return self.shown[-1]

    def take(self, points: Points, rooms: Iterable[int], *, rotate: bool) -> bool:
        """Show these points; True where that begins a period, since they are others or the old one is over.

        `rooms` are the bytes that each transport can show (0: none).
        """
        rotate = rotate or points != self.points
        self.points = points
        own = [points.own_link] if points.own_link else []
        everything = [*points.groups, *own, *points.wanted]
        self._keys = {point: self._keys.get(point) or _point_keys(point) for point in everything}
        if rotate:
            self._begin_period([*points.groups, *own], min((room for room in rooms if room), default=ROOM))
        return rotate

    def _begin_period(self, shown: list[bytes], room: int) -> None:
        """Fresh node key and nonce, and tags for as many of our points as the transports can show."""
        nonce = self._entropy(NONCE_LENGTH)
        key = Secret(self._entropy(32))
        identity = NodeIdentity(key, x25519_pair(key)[1], nonce, self._profile_name)
        count = max(1, (room - NONCE_LENGTH) // TAG_LENGTH)
        if len(shown) > count:
            shown = random.sample(shown, count)  # another part of them in each period
        secrets = {self._tag(point, nonce): self._keys[point][1] for point in shown}
        own_link = self.points.own_link
        link_tag = self._tag(own_link, nonce) if own_link else b""
        self.shown.append(Shown(identity, Beacon(nonce, tuple(sorted(secrets))), secrets, link_tag))

    def _tag(self, point: bytes, nonce: bytes) -> bytes:
        return hmac_sha256(bytes(self._keys[point][0]), nonce)[:TAG_LENGTH]

    # -- others --------------------------------------------------------------------------------

    def is_own(self, nonce: bytes) -> bool:
        """Whether a nonce is one of ours."""
        return any(shown.beacon.nonce == nonce for shown in self.shown)

    def recognise(self, beacon: Beacon) -> Recognised | None:
        """The first of its tags that we know, groups first."""
        tags = set(beacon.tags)
        for point in [*self.points.groups, *self.points.wanted]:
            tag = self._tag(point, beacon.nonce)
            if tag in tags:
                return Recognised(tag, self._keys[point][1], self.points.wanted.get(point))
        return None

    def groups_in(self, beacon: Beacon) -> list[GroupId]:
        """The groups of ours that an advert shows."""
        tags = set(beacon.tags)
        return [group for point, group in self.points.groups.items() if self._tag(point, beacon.nonce) in tags]

    def wanted_in(self, beacon: Beacon) -> list[AccountId]:
        """Whom we want to ask, and who shows itself in an advert."""
        return [
            contact for point, contact in self.points.wanted.items() if self._tag(point, beacon.nonce) in beacon.tags
        ]

    def is_link_tag(self, tag: bytes) -> bool:
        """Whether a tag stands for our contact link."""
        return any(shown.link_tag == tag for shown in self.shown)

    def secret_for_tag(self, tag: bytes) -> Secret | None:
        """The pre-shared key behind a tag that is shown."""
        return next((shown.secrets[tag] for shown in self.shown if tag in shown.secrets), None)


def _point_keys(point: bytes) -> tuple[Secret, Secret]:
    return advert_key(point), session_secret(point)
