"""Which of two sessions with one device stays."""

from __future__ import annotations

from berty_core.runtime.connectivity.kept_sessions import SIMULTANEOUS, _of_equals
from berty_core.runtime.sessions.peer_session import PeerSession


def opened(at: float, handshake_hash: bytes) -> PeerSession:
    """A session of which only its age and its hash are known."""
    session = PeerSession.__new__(PeerSession)
    session.opened_at, session.handshake_hash = at, handshake_hash
    return session


def worse_of(one: PeerSession, other: PeerSession) -> PeerSession:
    """The one that goes."""
    return _of_equals(one, other)[1]


def test_dialled_at_once_both_ends_keep_the_same() -> None:
    """The smaller hash stays, whichever opened first here: the other end may have seen the other order."""
    one, other = opened(10.0, b"\1"), opened(10.0 + SIMULTANEOUS / 2, b"\2")
    assert worse_of(one, other) is worse_of(other, one) is other
    one.opened_at, other.opened_at = other.opened_at, one.opened_at
    assert worse_of(one, other) is worse_of(other, one) is other


def test_later_the_newer_one_stays() -> None:
    """Who dials although we have a session with it has lost that one, whatever the hashes are."""
    for hashes in ((b"\1", b"\2"), (b"\2", b"\1")):
        old, new = opened(10.0, hashes[0]), opened(10.1 + SIMULTANEOUS, hashes[1])
        assert worse_of(old, new) is worse_of(new, old) is old
