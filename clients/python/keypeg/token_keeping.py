"""Where tokens are kept: in a file, in a keyring, in memory.

Promises: one who keeps is as good as another (one suite tries all). What is stored is there whole or not at all, and is
readable by its owner only. Those who change tokens do so one after the other, processes too: a lock beside the file, also
for what is in a keyring.

Leaves to others: which one is used (token_place), what tokens are (token_file), and the keyring itself (system_keyring).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from keypeg import files, token_file
from keypeg.errors import FieldInvalid
from keypeg.keyring_trouble import KeyringTrouble, Trouble
from keypeg.token_file import Tokens

TOKEN_SIZE: Final = 8192  # bytes; the longest header that servers commonly take


class Keeper(Protocol):
    """Where tokens are kept."""

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else changes them inside of this."""
        ...

    def load(self) -> Tokens:
        """What is kept; empty tokens when nothing is."""
        ...

    def store(self, tokens: Tokens) -> None:
        """Keep these from now on."""
        ...

    def forget(self) -> None:
        """Keep nothing."""
        ...


class Vault(Protocol):
    """Secrets by name. Every method raises KeyringTrouble where it can not be used."""

    def check(self) -> None:
        """Whether it can be used right now."""
        ...

    def get(self, entry: str) -> str | None:
        """The secret of that name; None when there is none."""
        ...

    def set(self, entry: str, secret: str) -> None:
        """Keep a secret in place of the one before."""
        ...

    def delete(self, entry: str) -> None:
        """Take a secret away, if it is there."""
        ...


class FileKeeper:
    """In a file, 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def alone(self) -> AbstractContextManager[None]:
        return alone(self._path)

    def load(self) -> Tokens:
        return token_file.read(self.bytes())

    def bytes(self) -> bytes:
        """The file; empty where there is none."""
        try:
            with self._path.open("rb") as file:
                return file.read(TOKEN_SIZE)
        except OSError:
            return b""

    def store(self, tokens: Tokens) -> None:
        files.write(self._path, token_file.written(tokens))

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


class KeyringKeeper:
    """In an entry of a keyring; the path is only locked."""

    def __init__(self, vault: Callable[[], Vault], entry: str, path: Path) -> None:
        self._vault = vault
        self._entry = entry
        self._path = path

    def alone(self) -> AbstractContextManager[None]:
        return alone(self._path)

    def load(self) -> Tokens:
        return token_file.read((self._vault().get(self._entry) or "").encode())

    def store(self, tokens: Tokens) -> None:
        vault, text = self._vault(), token_file.written(tokens).decode()
        before = vault.get(self._entry)
        vault.set(self._entry, text)
        if vault.get(self._entry) == text:
            return
        if before is None:
            vault.delete(self._entry)
        else:
            vault.set(self._entry, before)
        raise KeyringTrouble(Trouble.CUT, f"{len(text)} characters")

    def forget(self) -> None:
        self._vault().delete(self._entry)


class MemoryKeeper:
    """In this process only."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def alone(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def load(self) -> Tokens:
        return self._tokens

    def store(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def forget(self) -> None:
        self._tokens = Tokens("")


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other process of this computer changes the tokens of that path meanwhile, where the system can say so."""
    with _opened(path.with_name(f"{path.name}.lock")) as file:
        try:
            import fcntl
        except ImportError:  # Windows: two processes may ask at once, by one request id on disk
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _opened(lock: Path) -> BinaryIO:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return lock.open("ab")
    except OSError as error:
        raise FieldInvalid(
            f"{lock} can not be written: {error.strerror}; set KEYPEG_CONFIG_DIR to a directory of your own.",
            field="config",
        ) from error
