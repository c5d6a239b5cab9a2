"""Keyrings of tests: in memory, as the library `keyring` sees them, and out of order on command."""

from __future__ import annotations

import threading
from collections.abc import Callable

from keypeg.clock import Clock
from keypeg.system_keyring import SystemKeyring


class PasswordDeleteError(Exception):
    """As the library's own."""


class MemoryBackend:
    """A backend of `keyring`: secrets by service and name."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.longest = 100_000  # characters; what is longer is cut
        self.fault: Exception | None = None
        self.writes = 0
        self.after_write: Callable[[], None] = lambda: None

    def get_password(self, service: str, username: str) -> str | None:
        self._fail()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._fail()
        self.writes += 1
        self.entries[service, username] = password[: self.longest]
        self.after_write()

    def delete_password(self, service: str, username: str) -> None:
        self._fail()
        if (service, username) not in self.entries:
            raise PasswordDeleteError
        del self.entries[service, username]

    def opened(self) -> MemoryBackend:
        """This one, where it can be used."""
        self._fail()
        return self

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault


class SlowBackend(MemoryBackend):
    """Answers when the test is over."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.asked = threading.Event()

    def opened(self) -> MemoryBackend:
        self.asked.set()
        self.over.wait(60)
        return self


def keyring_of(backend: MemoryBackend, clock: Clock | None = None) -> SystemKeyring:
    """The system's keyring, if that were its backend."""
    return SystemKeyring(backend.opened, clock, answer_time=30)
