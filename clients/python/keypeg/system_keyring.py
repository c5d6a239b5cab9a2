"""The keyring of the operating system, through the library `keyring`.

Promises: the system's own keyring or none: never one of that library's that keeps its secrets in plain text or nowhere,
never another that somebody has set for it. Nobody is asked for a password: a locked one is trouble. Every call ends within
its time, whatever is at the other end; a keyring that has not answered is left alone for a while. Loading this module loads
no library.

Leaves to others: what is kept (token_keeping), and what happens when there is none (token_place).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Final, Protocol, TypeVar

from keypeg.clock import Clock, SystemClock
from keypeg.keyring_trouble import KeyringTrouble, Trouble, trouble_of

T = TypeVar("T")
SERVICE: Final = "keypeg"  # whose entries they are, where people look at their keyring
ANSWER_TIME: Final = 5.0  # seconds; one that has to be started first takes one or two
REST: Final = 60.0  # seconds without another try after one that took too long
SESSION_BUS: Final = "DBUS_SESSION_BUS_ADDRESS"

# KWallet serves the Secret Service, too; what the library has for it besides would ask for passwords.
_SECRET_SERVICE: Final = ("keyring.backends.SecretService", "Keyring")
_OF_SYSTEM: Final = {
    "darwin": ("keyring.backends.macOS", "Keyring"),
    "win32": ("keyring.backends.Windows", "WinVaultKeyring"),
}


class Backend(Protocol):
    """What `keyring` calls a backend, as far as it is needed here."""

    def get_password(self, service: str, username: str) -> str | None:
        """A secret; None when there is none."""
        ...

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a secret in place of the one before."""
        ...

    def delete_password(self, service: str, username: str) -> None:
        """Take a secret away; raises when there is none."""
        ...


def find(environment: Mapping[str, str] | None = None) -> SystemKeyring:
    """The keyring of this session; KeyringTrouble where it is known at once that there is none."""
    env = os.environ if environment is None else environment
    if importlib.util.find_spec("keyring") is None:
        raise KeyringTrouble(Trouble.NOT_INSTALLED)
    if sys.platform not in _OF_SYSTEM and not env.get(SESSION_BUS):
        raise KeyringTrouble(Trouble.ABSENT, f"{SESSION_BUS} is not set")
    return _SYSTEM


class SystemKeyring:
    """Secrets by name; a Vault."""

    def __init__(
        self,
        opened: Callable[[], Backend],
        clock: Clock | None = None,
        answer_time: float = ANSWER_TIME,
    ) -> None:
        """`opened` gives the backend where it can be used right now, and raises why not."""
        self._opened = opened
        self._clock = clock or SystemClock()
        self._answer_time = answer_time
        self._rests_until = 0.0

    def check(self) -> None:
        """Raises KeyringTrouble where it can not be used right now."""
        self._ask(lambda backend: None)

    def get(self, entry: str) -> str | None:
        """The secret of that name; None when there is none."""
        return self._ask(lambda backend: backend.get_password(SERVICE, entry))

    def set(self, entry: str, secret: str) -> None:
        """Keep a secret in place of the one before."""
        self._ask(lambda backend: backend.set_password(SERVICE, entry, secret))

    def delete(self, entry: str) -> None:
        """Take a secret away, if it is there."""

        def work(backend: Backend) -> None:
            if backend.get_password(SERVICE, entry) is not None:
                backend.delete_password(SERVICE, entry)

        self._ask(work)

    def _ask(self, work: Callable[[Backend], T]) -> T:
        """Does it in a thread, as nothing else ends a call to a library that waits."""
        if self._clock.monotonic() < self._rests_until:
            raise KeyringTrouble(Trouble.SLOW)
        answers: queue.SimpleQueue[tuple[T] | Exception] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put((work(self._opened()),))
            except Exception as error:  # the edge to libraries of others: all they raise is trouble
                answers.put(error)

        threading.Thread(target=run, name="keypeg-keyring", daemon=True).start()
        try:
            answer = answers.get(timeout=self._answer_time)
        except queue.Empty:
            self._rests_until = self._clock.monotonic() + REST
            raise KeyringTrouble(Trouble.SLOW, f"{self._answer_time:g} s") from None
        if isinstance(answer, Exception):
            raise trouble_of(answer) from answer
        return answer[0]


def system_backend() -> Backend:
    """The system's own backend, which can be used right now; raises why not."""
    module, name = _OF_SYSTEM.get(sys.platform, _SECRET_SERVICE)
    kind = getattr(importlib.import_module(module), name)
    _refuse_others(kind)
    if (module, name) == _SECRET_SERVICE:
        _check_secret_service()
    else:
        _check_system(kind)
    backend: Backend = kind()
    return backend


def _refuse_others(kind: type) -> None:
    """Whoever has set or disabled keyrings for Python's programs, has meant it."""
    from keyring import core

    try:
        chosen: Any = core.load_env() or core.load_config()
    except Exception as error:
        raise KeyringTrouble(
            Trouble.ABSENT, f"the one that is set for Python's programs: {type(error).__name__}"
        ) from error
    if chosen is not None and type(chosen) is not kind:
        raise KeyringTrouble(
            Trouble.ABSENT,
            f"{type(chosen).__module__} is set for Python's programs, which is not the system's",
        )


def _check_system(kind: Any) -> None:
    """All that it needs is there."""
    try:
        _ = kind.priority
    except RuntimeError as error:
        raise KeyringTrouble(Trouble.ABSENT, type(error).__name__) from error


def _check_secret_service() -> None:
    """Its default collection is there and open: the library would ask for passwords else, and wait."""
    secretstorage: Any = importlib.import_module("secretstorage")
    try:
        bus = secretstorage.dbus_init()
    except (OSError, RuntimeError, ValueError, StopIteration) as error:
        raise KeyringTrouble(
            Trouble.ABSENT, f"{SESSION_BUS} leads nowhere: {type(error).__name__}"
        ) from error
    with closing(bus):
        if not secretstorage.check_service_availability(bus):
            raise KeyringTrouble(Trouble.ABSENT)
        if secretstorage.Collection(bus).is_locked():
            raise KeyringTrouble(Trouble.LOCKED)


_SYSTEM: Final = SystemKeyring(system_backend)
