"""Marks: how sessions of one computer are told from those of a copy of it (docs/formats.md, "Device marks").

Promises: each session puts a file of its own, with a new secret, where every app of this user on this computer finds it;
whoever is asked for the file of another session and finds it shares the computer. A virtual machine that was copied, or
put back, has the files of before and none that came after. Where no file can be written there is no mark. What is read is
bounded, and named by nobody but the folder.

Leaves to others: what is in them (device_mark), when to ask, and what follows (the server).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

from keypeg.device_mark import Mark, proof

ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
SECRET_BYTES: Final = 32
KEPT: Final = 256  # files: of sessions that run, and of apps that were killed


class Marks:
    """The folder of all sessions of this computer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> Mark | None:
        """A new one; None where no file can be written."""
        mark = Mark(secrets.token_hex(16), secrets.token_bytes(SECRET_BYTES))
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(self._folder / mark.id, flags, 0o600), "wb") as file:
                file.write(mark.secret)
            self._sweep()
        except OSError:
            return None
        return mark

    def prove(self, id: str, session: str, nonce: bytes) -> bytes:
        """What shows to the server that the mark is here; empty when it is not."""
        if not ID.fullmatch(id):
            return b""
        try:
            with (self._folder / id).open("rb") as file:
                secret = file.read(SECRET_BYTES + 1)
        except OSError:
            return b""
        return proof(secret, session, nonce) if len(secret) == SECRET_BYTES else b""

    def remove(self, mark: Mark) -> None:
        """The session is over."""
        with contextlib.suppress(OSError):
            (self._folder / mark.id).unlink()

    def _sweep(self) -> None:
        """Forgets the oldest, which killed apps have left."""
        files = [one for one in self._folder.iterdir() if ID.fullmatch(one.name)]
        if len(files) > KEPT:
            for old in sorted(files, key=lambda one: one.stat().st_mtime_ns)[:-KEPT]:
                old.unlink(missing_ok=True)
