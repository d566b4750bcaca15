"""DAG-CBOR: one canonical encoding for each value; anything else is refused."""

from __future__ import annotations

from typing import Any

import cbrrr

from ..errors import LocalProtocolError, RemoteProtocolError
from .cid import Cid


def encode_dagcbor(value: Any) -> bytes:
    """Encode dictionaries, lists, text, bytes, integers, None, booleans and links."""
    try:
        return cbrrr.encode_dag_cbor(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"this cannot be DAG-CBOR: {error}") from error


def decode_dagcbor(data: bytes) -> Any:
    """Decode one value that fills `data`; RemoteProtocolError if it is not canonical."""
    try:
        return cbrrr.decode_dag_cbor(data)
    except (ValueError, TypeError, EOFError, OverflowError, RecursionError) as error:
        raise RemoteProtocolError(f"not canonical DAG-CBOR: {error}") from error


def link(cid: Cid) -> cbrrr.CID:
    """Make the typed link that stands for a CID inside a value."""
    return cbrrr.CID(cid)


def unlink(value: object) -> Cid:
    """Take a CID out of a decoded link; RemoteProtocolError for any other value."""
    if not isinstance(value, cbrrr.CID):
        raise RemoteProtocolError("a link was expected")
    return Cid.from_bytes(bytes(value))
