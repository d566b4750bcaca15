"""DAG-CBOR: one canonical encoding for each value; anything else is refused.

libipld gives a link as the bare bytes of its CID, and writes bytes that are a CID as a link. So decoding encodes again
and compares: what is not canonical, and bytes where a link must stand, come out differently.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import libipld

from ..errors import LocalProtocolError, RemoteProtocolError
from .cid import DAG_CBOR, RAW, UNKNOWN_KIND, Cid

_KINDS = (DAG_CBOR, RAW)
_FAULTS = (ValueError, TypeError, OverflowError, RecursionError)


def encode_dagcbor(value: Any) -> bytes:
    """Encode dictionaries, lists, text, bytes, integers, None, booleans and links (`link`)."""
    try:
        return bytes(libipld.encode_dag_cbor(value))
    except _FAULTS as error:
        raise LocalProtocolError(f"this cannot be DAG-CBOR: {error}") from error


def decode_dagcbor(data: bytes) -> Any:
    """Decode one value that fills `data`; RemoteProtocolError if it is not canonical."""
    try:
        value = libipld.decode_dag_cbor(data)
        canonical = libipld.encode_dag_cbor(value) == data
    except _FAULTS as error:
        raise RemoteProtocolError(f"not DAG-CBOR: {error}") from error
    if not canonical:
        raise RemoteProtocolError("not in the one canonical form of DAG-CBOR")
    return value


def link(cid: Cid) -> bytes:
    """Make the value that is written as a link."""
    return bytes(cid)


def unlink(value: object) -> Cid:
    """Take a CID out of a decoded link; RemoteProtocolError for any other value."""
    return unlink_all((value,))[0]


def unlink_all(values: Iterable[object]) -> tuple[Cid, ...]:
    """Take the CIDs out of decoded links; RemoteProtocolError if one is no link, or of a kind that is not spoken."""
    cids = []
    for value in values:
        if type(value) is not bytes or len(value) != Cid.LENGTH or value[:4] not in _KINDS:
            raise RemoteProtocolError(UNKNOWN_KIND)
        cids.append(bytes.__new__(Cid, value))  # its length was checked
    return tuple(cids)
