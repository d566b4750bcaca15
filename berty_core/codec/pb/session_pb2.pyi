from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Greeting(_message.Message):
    __slots__ = ("version_min", "version_max", "capabilities", "profile", "beacon_nonce")
    VERSION_MIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_MAX_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    BEACON_NONCE_FIELD_NUMBER: _ClassVar[int]
    version_min: int
    version_max: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    profile: str
    beacon_nonce: bytes
    def __init__(self, version_min: _Optional[int] = ..., version_max: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., profile: _Optional[str] = ..., beacon_nonce: _Optional[bytes] = ...) -> None: ...

class StreamHeader(_message.Message):
    __slots__ = ("type", "tag")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    type: str
    tag: bytes
    def __init__(self, type: _Optional[str] = ..., tag: _Optional[bytes] = ...) -> None: ...

class ControlFrame(_message.Message):
    __slots__ = ("offer", "proof", "presence", "withdrawal", "beacon", "draining")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWAL_FIELD_NUMBER: _ClassVar[int]
    BEACON_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    offer: Offer
    proof: Proof
    presence: Presence
    withdrawal: Withdrawal
    beacon: BeaconChange
    draining: Draining
    def __init__(self, offer: _Optional[_Union[Offer, _Mapping]] = ..., proof: _Optional[_Union[Proof, _Mapping]] = ..., presence: _Optional[_Union[Presence, _Mapping]] = ..., withdrawal: _Optional[_Union[Withdrawal, _Mapping]] = ..., beacon: _Optional[_Union[BeaconChange, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("tags",)
    TAGS_FIELD_NUMBER: _ClassVar[int]
    tags: bytes
    def __init__(self, tags: _Optional[bytes] = ...) -> None: ...

class Proof(_message.Message):
    __slots__ = ("tag", "mac")
    TAG_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    tag: bytes
    mac: bytes
    def __init__(self, tag: _Optional[bytes] = ..., mac: _Optional[bytes] = ...) -> None: ...

class Presence(_message.Message):
    __slots__ = ("tag", "device", "signature")
    TAG_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    tag: bytes
    device: bytes
    signature: bytes
    def __init__(self, tag: _Optional[bytes] = ..., device: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Withdrawal(_message.Message):
    __slots__ = ("tag",)
    TAG_FIELD_NUMBER: _ClassVar[int]
    tag: bytes
    def __init__(self, tag: _Optional[bytes] = ...) -> None: ...

class BeaconChange(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    def __init__(self, nonce: _Optional[bytes] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ("silent",)
    SILENT_FIELD_NUMBER: _ClassVar[int]
    silent: bool
    def __init__(self, silent: _Optional[bool] = ...) -> None: ...

class SyncFrame(_message.Message):
    __slots__ = ("log", "ranges", "have", "want", "entries", "held", "in_sync", "want_below")
    LOG_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    WANT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    WANT_BELOW_FIELD_NUMBER: _ClassVar[int]
    log: int
    ranges: Ranges
    have: Digests
    want: Digests
    entries: Entries
    held: Digests
    in_sync: Range
    want_below: Paths
    def __init__(self, log: _Optional[int] = ..., ranges: _Optional[_Union[Ranges, _Mapping]] = ..., have: _Optional[_Union[Digests, _Mapping]] = ..., want: _Optional[_Union[Digests, _Mapping]] = ..., entries: _Optional[_Union[Entries, _Mapping]] = ..., held: _Optional[_Union[Digests, _Mapping]] = ..., in_sync: _Optional[_Union[Range, _Mapping]] = ..., want_below: _Optional[_Union[Paths, _Mapping]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("path", "count", "fingerprint")
    PATH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    path: str
    count: int
    fingerprint: bytes
    def __init__(self, path: _Optional[str] = ..., count: _Optional[int] = ..., fingerprint: _Optional[bytes] = ...) -> None: ...

class Ranges(_message.Message):
    __slots__ = ("within", "ranges")
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    within: str
    ranges: _containers.RepeatedCompositeFieldContainer[Range]
    def __init__(self, within: _Optional[str] = ..., ranges: _Optional[_Iterable[_Union[Range, _Mapping]]] = ...) -> None: ...

class Digests(_message.Message):
    __slots__ = ("within", "length", "digests")
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    within: str
    length: int
    digests: bytes
    def __init__(self, within: _Optional[str] = ..., length: _Optional[int] = ..., digests: _Optional[bytes] = ...) -> None: ...

class Entries(_message.Message):
    __slots__ = ("blocks",)
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    blocks: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, blocks: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Paths(_message.Message):
    __slots__ = ("paths",)
    PATHS_FIELD_NUMBER: _ClassVar[int]
    paths: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, paths: _Optional[_Iterable[str]] = ...) -> None: ...
