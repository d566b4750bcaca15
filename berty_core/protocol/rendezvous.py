"""Rendezvous points: rotating names under which peers meet (Wesh protocol, sections 5.2 and 6.1)."""

from __future__ import annotations

import base64

from ..crypto.kdf import hkdf_sha256, hmac_sha256
from ..crypto.keys import Secret
from ..ids import AccountId


def period_start(now: float, interval: int) -> int:
    """Start of the period that `now` (Unix seconds) lies in; `interval` in seconds."""
    interval = abs(interval)
    return int(now // interval) * interval


def rotation_point(topic: bytes, seed: bytes, start: int) -> bytes:
    """The 32-byte point of a topic in the period that starts at `start`."""
    return hmac_sha256(topic + seed, start.to_bytes(8, "big"))


def contact_topic(account: AccountId, seed: bytes, start: int) -> str:
    """The topic under which the holder of a contact link finds its owner (section 5.2)."""
    return base64.b64encode(contact_point(account, seed, start)).decode()


def contact_point(account: AccountId, seed: bytes, start: int) -> bytes:
    """The same as 32 bytes."""
    return rotation_point(base64.b64encode(account), seed, start)


def group_point(metadata_address: str, link_key: bytes) -> bytes:
    """The point at which members of a group meet: of the static period, so that no clock stands in the way."""
    return rotation_point(metadata_address.encode(), bytes(link_key), 0)


def advert_tag(point: bytes, nonce: bytes) -> bytes:
    """The 8 bytes that an advert shows for a point: other ones for each nonce."""
    return hmac_sha256(advert_key(point), nonce)[:8]


def advert_key(point: bytes) -> Secret:
    """The key of a point's advert tags."""
    return hkdf_sha256(point, b"advert")


def session_secret(point: bytes) -> Secret:
    """The pre-shared key of sessions that meet at a point."""
    return hkdf_sha256(point, b"session")
