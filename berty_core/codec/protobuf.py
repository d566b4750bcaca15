"""Parsing of protobuf from strangers: a message or RemoteProtocolError, and a size limit first."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from ..errors import RemoteProtocolError

M = TypeVar("M", bound=Message)


def parse(kind: type[M], data: bytes, limit: int = 4 * 1024 * 1024) -> M:
    """Decode `data` as `kind`; unknown fields are kept aside, as protobuf does."""
    if len(data) > limit:
        raise RemoteProtocolError(f"{kind.__name__} of {len(data)} bytes, the limit is {limit}")
    try:
        return kind.FromString(bytes(data))
    except (DecodeError, ValueError) as error:
        raise RemoteProtocolError(f"not a {kind.__name__}: {error}") from error
