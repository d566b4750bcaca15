"""The vault: records open where they were sealed, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.crypto.vault import Vault
from berty_core.errors import StoreCorrupt


def counting() -> Callable[[int], bytes]:
    """Entropy that never repeats."""
    state = iter(range(1 << 30))
    return lambda length: next(state).to_bytes(length, "big")


@given(st.binary(max_size=40), st.binary(max_size=80))
def test_round_trip(name: bytes, plain: bytes) -> None:
    """A record comes back, 40 bytes longer at rest, and never looks the same twice."""
    vault = Vault(b"k" * 32, counting())
    sealed = vault.seal(name, plain)
    assert vault.unseal(name, sealed) == plain
    assert len(sealed) == len(plain) + 40
    assert vault.seal(name, plain) != sealed


@given(st.binary(min_size=1, max_size=20), st.binary(max_size=80), st.integers(0, 10_000))
def test_moved_or_changed(name: bytes, plain: bytes, bit: int) -> None:
    """Under another name, another key, or with a changed bit, a record is corrupt."""
    vault = Vault(b"k" * 32, counting())
    sealed = bytearray(vault.seal(name, plain))
    with pytest.raises(StoreCorrupt):
        vault.unseal(name + b"x", bytes(sealed))
    with pytest.raises(StoreCorrupt):
        Vault(b"o" * 32, counting()).unseal(name, bytes(sealed))
    sealed[bit // 8 % len(sealed)] ^= 1 << bit % 8
    with pytest.raises(StoreCorrupt):
        vault.unseal(name, bytes(sealed))


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Bytes that no vault wrote are corrupt, and nothing else."""
    with pytest.raises(StoreCorrupt):
        Vault(b"k" * 32, counting()).unseal(b"name", data)


def test_names_are_blind() -> None:
    """A blinded name is stable in one home and tells nothing in another."""
    vault = Vault(b"k" * 32, counting())
    assert vault.blind(b"name") == vault.blind(b"name")
    assert len(vault.blind(b"name")) == 16
    assert vault.blind(b"name") != vault.blind(b"names")
    assert vault.blind(b"name") != Vault(b"o" * 32, counting()).blind(b"name")
