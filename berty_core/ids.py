"""Identifiers as types: the raw bytes of a public key or a CID, of one fixed length, so none can stand for another."""

from __future__ import annotations

from typing import ClassVar, Self

from .errors import RemoteProtocolError


class _FixedBytes(bytes):
    """Bytes of one length; a wrong length is the fault of whoever sent them."""

    LENGTH: ClassVar[int] = 32
    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        if len(value) != cls.LENGTH:
            raise RemoteProtocolError(f"{cls.__name__} needs {cls.LENGTH} bytes, got {len(value)}")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()[:16]}…)"

    def __str__(self) -> str:
        return self.hex()


class PublicKey(_FixedBytes):
    """A raw Ed25519 public key."""

    __slots__ = ()


class AccountId(PublicKey):
    """The public key of an account."""

    __slots__ = ()


class MemberId(PublicKey):
    """The public key of a member: an account's face in one group."""

    __slots__ = ()


class DeviceId(PublicKey):
    """The public key of a device in one group."""

    __slots__ = ()


class GroupId(PublicKey):
    """The public key of a group, which is also its name on the wire."""

    __slots__ = ()
