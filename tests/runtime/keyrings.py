"""Keyrings for tests. They do not derive from the library's class, which would offer them to every other test."""

from __future__ import annotations

from keyring.errors import KeyringLocked


class Keyring:
    """A keyring that works."""

    priority = 5.0

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False

    def set_password(self, service: str, name: str, text: str) -> None:
        """Keep a text."""
        self._check()
        self.entries[service, name] = text

    def get_password(self, service: str, name: str) -> str | None:
        """The text, or None."""
        self._check()
        return self.entries.get((service, name))

    def _check(self) -> None:
        if self.locked:
            raise KeyringLocked("locked")


class ForgetfulKeyring(Keyring):
    """A keyring that takes everything and has nothing."""

    def get_password(self, service: str, name: str) -> str | None:
        """Nothing."""
        return None


class NoKeyring(Keyring):
    """What the library gives where there is no keyring at all."""

    priority = 0.0
