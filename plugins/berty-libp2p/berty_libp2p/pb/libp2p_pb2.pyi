from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NoiseExtensions(_message.Message):
    __slots__ = ("stream_muxers",)
    STREAM_MUXERS_FIELD_NUMBER: _ClassVar[int]
    stream_muxers: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, stream_muxers: _Optional[_Iterable[bytes]] = ...) -> None: ...

class NoisePayload(_message.Message):
    __slots__ = ("identity_key", "identity_sig", "extensions")
    IDENTITY_KEY_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_SIG_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    identity_key: bytes
    identity_sig: bytes
    extensions: NoiseExtensions
    def __init__(self, identity_key: _Optional[bytes] = ..., identity_sig: _Optional[bytes] = ..., extensions: _Optional[_Union[NoiseExtensions, _Mapping]] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("type", "data")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    type: int
    data: bytes
    def __init__(self, type: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Identify(_message.Message):
    __slots__ = ("public_key", "listen_addrs", "protocols", "observed_addr", "protocol_version", "agent_version")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    LISTEN_ADDRS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_ADDR_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    listen_addrs: _containers.RepeatedScalarFieldContainer[bytes]
    protocols: _containers.RepeatedScalarFieldContainer[bytes]
    observed_addr: bytes
    protocol_version: bytes
    agent_version: bytes
    def __init__(self, public_key: _Optional[bytes] = ..., listen_addrs: _Optional[_Iterable[bytes]] = ..., protocols: _Optional[_Iterable[bytes]] = ..., observed_addr: _Optional[bytes] = ..., protocol_version: _Optional[bytes] = ..., agent_version: _Optional[bytes] = ...) -> None: ...

class Rpc(_message.Message):
    __slots__ = ("subscriptions", "publish", "control")
    class Subscription(_message.Message):
        __slots__ = ("subscribe", "topic")
        SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        subscribe: bool
        topic: bytes
        def __init__(self, subscribe: _Optional[bool] = ..., topic: _Optional[bytes] = ...) -> None: ...
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    subscriptions: _containers.RepeatedCompositeFieldContainer[Rpc.Subscription]
    publish: _containers.RepeatedCompositeFieldContainer[PubsubMessage]
    control: Control
    def __init__(self, subscriptions: _Optional[_Iterable[_Union[Rpc.Subscription, _Mapping]]] = ..., publish: _Optional[_Iterable[_Union[PubsubMessage, _Mapping]]] = ..., control: _Optional[_Union[Control, _Mapping]] = ...) -> None: ...

class PubsubMessage(_message.Message):
    __slots__ = ("author", "data", "seqno", "topic", "signature", "key")
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SEQNO_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    author: bytes
    data: bytes
    seqno: bytes
    topic: bytes
    signature: bytes
    key: bytes
    def __init__(self, author: _Optional[bytes] = ..., data: _Optional[bytes] = ..., seqno: _Optional[bytes] = ..., topic: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., key: _Optional[bytes] = ...) -> None: ...

class Control(_message.Message):
    __slots__ = ("ihave", "iwant", "graft", "prune")
    class IHave(_message.Message):
        __slots__ = ("topic", "message_ids")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
        topic: bytes
        message_ids: _containers.RepeatedScalarFieldContainer[bytes]
        def __init__(self, topic: _Optional[bytes] = ..., message_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...
    class IWant(_message.Message):
        __slots__ = ("message_ids",)
        MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
        message_ids: _containers.RepeatedScalarFieldContainer[bytes]
        def __init__(self, message_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...
    class Graft(_message.Message):
        __slots__ = ("topic",)
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        topic: bytes
        def __init__(self, topic: _Optional[bytes] = ...) -> None: ...
    class Prune(_message.Message):
        __slots__ = ("topic", "backoff")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        BACKOFF_FIELD_NUMBER: _ClassVar[int]
        topic: bytes
        backoff: int
        def __init__(self, topic: _Optional[bytes] = ..., backoff: _Optional[int] = ...) -> None: ...
    IHAVE_FIELD_NUMBER: _ClassVar[int]
    IWANT_FIELD_NUMBER: _ClassVar[int]
    GRAFT_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    ihave: _containers.RepeatedCompositeFieldContainer[Control.IHave]
    iwant: _containers.RepeatedCompositeFieldContainer[Control.IWant]
    graft: _containers.RepeatedCompositeFieldContainer[Control.Graft]
    prune: _containers.RepeatedCompositeFieldContainer[Control.Prune]
    def __init__(self, ihave: _Optional[_Iterable[_Union[Control.IHave, _Mapping]]] = ..., iwant: _Optional[_Iterable[_Union[Control.IWant, _Mapping]]] = ..., graft: _Optional[_Iterable[_Union[Control.Graft, _Mapping]]] = ..., prune: _Optional[_Iterable[_Union[Control.Prune, _Mapping]]] = ...) -> None: ...

class Bitswap(_message.Message):
    __slots__ = ("wantlist", "payload", "presences", "pending_bytes")
    class Wantlist(_message.Message):
        __slots__ = ("entries", "full")
        class Entry(_message.Message):
            __slots__ = ("cid", "priority", "cancel", "want_type", "send_dont_have")
            CID_FIELD_NUMBER: _ClassVar[int]
            PRIORITY_FIELD_NUMBER: _ClassVar[int]
            CANCEL_FIELD_NUMBER: _ClassVar[int]
            WANT_TYPE_FIELD_NUMBER: _ClassVar[int]
            SEND_DONT_HAVE_FIELD_NUMBER: _ClassVar[int]
            cid: bytes
            priority: int
            cancel: bool
            want_type: int
            send_dont_have: bool
            def __init__(self, cid: _Optional[bytes] = ..., priority: _Optional[int] = ..., cancel: _Optional[bool] = ..., want_type: _Optional[int] = ..., send_dont_have: _Optional[bool] = ...) -> None: ...
        ENTRIES_FIELD_NUMBER: _ClassVar[int]
        FULL_FIELD_NUMBER: _ClassVar[int]
        entries: _containers.RepeatedCompositeFieldContainer[Bitswap.Wantlist.Entry]
        full: bool
        def __init__(self, entries: _Optional[_Iterable[_Union[Bitswap.Wantlist.Entry, _Mapping]]] = ..., full: _Optional[bool] = ...) -> None: ...
    class Block(_message.Message):
        __slots__ = ("prefix", "data")
        PREFIX_FIELD_NUMBER: _ClassVar[int]
        DATA_FIELD_NUMBER: _ClassVar[int]
        prefix: bytes
        data: bytes
        def __init__(self, prefix: _Optional[bytes] = ..., data: _Optional[bytes] = ...) -> None: ...
    class Presence(_message.Message):
        __slots__ = ("cid", "type")
        CID_FIELD_NUMBER: _ClassVar[int]
        TYPE_FIELD_NUMBER: _ClassVar[int]
        cid: bytes
        type: int
        def __init__(self, cid: _Optional[bytes] = ..., type: _Optional[int] = ...) -> None: ...
    WANTLIST_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PRESENCES_FIELD_NUMBER: _ClassVar[int]
    PENDING_BYTES_FIELD_NUMBER: _ClassVar[int]
    wantlist: Bitswap.Wantlist
    payload: _containers.RepeatedCompositeFieldContainer[Bitswap.Block]
    presences: _containers.RepeatedCompositeFieldContainer[Bitswap.Presence]
    pending_bytes: int
    def __init__(self, wantlist: _Optional[_Union[Bitswap.Wantlist, _Mapping]] = ..., payload: _Optional[_Iterable[_Union[Bitswap.Block, _Mapping]]] = ..., presences: _Optional[_Iterable[_Union[Bitswap.Presence, _Mapping]]] = ..., pending_bytes: _Optional[int] = ...) -> None: ...

class LocalRecords(_message.Message):
    __slots__ = ("records",)
    class Record(_message.Message):
        __slots__ = ("topic", "expires")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        EXPIRES_FIELD_NUMBER: _ClassVar[int]
        topic: str
        expires: int
        def __init__(self, topic: _Optional[str] = ..., expires: _Optional[int] = ...) -> None: ...
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[LocalRecords.Record]
    def __init__(self, records: _Optional[_Iterable[_Union[LocalRecords.Record, _Mapping]]] = ...) -> None: ...
