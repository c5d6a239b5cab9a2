"""The borrowed seats of this computer, on its disk.

Promises: a borrow's key is readable by its owner only, and exists before the server is asked. Documents are
replaced whole. A seat is used under locks that end with the process: never more units by all programs of
this computer than were borrowed, and a borrow that is in use is not given up. Giving up writes the statement
durably, then destroys the key and the documents; whatever interrupts it, the seat can not be used any more
from the moment that there is a statement.

    borrows/memory.json        what must not be forgotten (borrow_memory)
    borrows/<id>/key           the private key of one borrow, 0600
    borrows/<id>/request       what the server was asked, until it has answered
    borrows/<id>/borrow.keypeg what an app verifies
    borrows/<id>/return.keypeg the statement that it was given up, until it was handed in

Leaves to others: one borrow's files (borrow_place), what a document is worth (proof, borrowed), the server (cli.borrow), and the computer's
owner, who can copy and put back whole disks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from keypeg import borrowed
from keypeg.borrow_memory import MEMORY_SIZE, Memory
from keypeg.borrow_place import (
    DOCUMENTS,
    KEY,
    REQUEST,
    STATEMENT,
    Asked,
    GivenUp,
    Kept,
    destroy,
    document_of,
    is_awaited,
    kept_in,
    one_of,
    signer_of,
)
from keypeg.borrow_use import HAS_LOCKS, IN_USE, Use, lock, use_of, wait_for
from keypeg.envelope import (
    RETURN_TYPE,
    TEXT_CHARACTERS,
    Ed25519Signer,
    all_from_text,
    to_text,
)
from keypeg.errors import (
    AlreadyExists,
    Busy,
    DocumentMalformed,
    DocumentOtherDevice,
    FieldInvalid,
    KeypegError,
    ProtocolUnsupported,
)
from keypeg.files import read, write
from keypeg.instants import instant
from keypeg.v1.proof_pb2 import BorrowProof

BORROW_COUNT: Final = 256  # on one computer; more is not a person's doing
SWEPT_AFTER: Final = timedelta(days=2)  # a server frees the seat within hours of its end
REQUEST_SIZE: Final = 65_536  # bytes of a request

_MEMORY: Final = "memory.json"
_LOCK: Final = "lock"


class Shelf:
    """All borrows of one configuration directory."""

    def __init__(self, directory: Path) -> None:
        if not HAS_LOCKS:
            raise ProtocolUnsupported(
                "Seats can be borrowed for computers with Linux or macOS; on this one, connect to the "
                "server."
            )
        self._directory = directory

    # Borrowing.

    def begin(self, identity: str, request: bytes, key: Ed25519Signer) -> Asked:
        """Keeps the key and the request, before the server is asked."""
        place = self._directory / identity
        with self._locked():
            if len(self._places()) >= BORROW_COUNT:
                raise AlreadyExists(
                    f"This computer keeps {BORROW_COUNT} borrowed seats; return some of them first.",
                    limit=str(BORROW_COUNT),
                )
            write(place / KEY, f"{key.private_bytes().hex()}\n".encode())
            write(place / REQUEST, request)
        return Asked(place, request)

    def asked(self) -> tuple[Asked, ...]:
        """What the server was asked without an answer, the oldest first."""
        places = [one for one in self._places() if is_awaited(one)]
        return tuple(Asked(one, read(one / REQUEST, REQUEST_SIZE)) for one in places)

    def refused(self, asked: Asked) -> None:
        """The server said no: nothing is kept."""
        with self._locked():
            destroy(asked.directory / KEY)
            shutil.rmtree(asked.directory, ignore_errors=True)

    def keep(self, place: Path, proof: BorrowProof, wall: datetime) -> Kept:
        """Keeps the documents that a server has just sent, instead of any before."""
        document = document_of(proof)
        with self._locked():
            if (place / STATEMENT).exists():
                raise DocumentOtherDevice(
                    f"{document.borrow} was given up here meanwhile; borrow another seat.",
                    borrow=document.borrow,
                )
            memory = self.memory()
            write(self._directory / _MEMORY, memory.received(document, wall).to_text().encode())
            text = "".join(to_text(one) for one in (proof.delegation, proof.license, proof.borrow))
            write(place / DOCUMENTS, text.encode())
            (place / REQUEST).unlink(missing_ok=True)
        return kept_in(place)

    # Using.

    def kept(self, refusals: list[KeypegError] | None = None) -> tuple[Kept, ...]:
        """The borrows that may be used, as far as the disk says; what can not be read is in `refusals`."""
        found = []
        for place in self._places():
            if (place / STATEMENT).exists() or not (place / DOCUMENTS).exists():
                continue
            try:
                found.append(kept_in(place))
            except KeypegError as error:
                if refusals is not None:
                    refusals.append(error)
        return tuple(found)

    def again(self, kept: Kept) -> Kept:
        """The borrow as it is on the disk now; DocumentOtherDevice when it was given up."""
        known = self.memory().is_given_up(kept.name)
        if known or (kept.directory / STATEMENT).exists() or not kept.directory.exists():
            raise DocumentOtherDevice(
                f"{kept.name} was given back by this computer, and can not be used here again; "
                "borrow another seat.",
                borrow=kept.name,
            )
        return kept_in(kept.directory)

    def use(self, kept: Kept, units: int, features: Mapping[str, int]) -> Use:
        """Takes units of a borrow for this process; PoolExhausted when other programs have them."""
        use = use_of(kept.directory, kept.name, kept.document.lease, units, features)
        try:
            self.again(kept)  # nobody has given it up meanwhile
        except BaseException:
            use.end()
            raise
        return use

    def memory(self) -> Memory:
        """What is known; empty where nothing was ever borrowed."""
        path = self._directory / _MEMORY
        try:
            return Memory.from_text(read(path, MEMORY_SIZE).decode(errors="replace"))
        except FileNotFoundError:
            return Memory()
        except DocumentMalformed as error:
            raise DocumentMalformed(
                f"{path} is damaged, so borrowed seats can not be used here; return them, move the file "
                "away, and borrow again."
            ) from error

    def used(
        self,
        now: datetime,
        generations: Mapping[str, int],
        delegations: Mapping[str, bytes] | None = None,
    ) -> None:
        """Remembers how late it is, and what was verified."""
        with self._locked():
            memory = self.memory()
            after = memory.used(now, generations, delegations or {})
            if after != memory:
                write(self._directory / _MEMORY, after.to_text().encode())

    def sweep(self, now: datetime) -> None:
        """Takes away what has ended long ago: the server has freed those seats by itself.

        `now` is what a server has said: by this computer's clock, which may be wrong, nothing is taken away.
        """
        for kept in self.kept():
            if instant(kept.document.expire_time) + SWEPT_AFTER < now:
                with self._locked():
                    destroy(kept.directory / KEY)
                    shutil.rmtree(kept.directory, ignore_errors=True)

    # Giving back.

    def give_up(self, kept: Kept, wall: datetime) -> GivenUp:
        """Gives a borrow up for good, and returns the statement; Busy while a program uses it."""
        with self._locked():
            kept = self.again(kept)
            file = lock(kept.directory / IN_USE, exclusive=True)
            if file is None:
                raise Busy(
                    f"A program on this computer uses {kept.name}; close it, and return the seat then.",
                    borrow=kept.name,
                )
            try:
                signer = signer_of(kept.directory)
                document = kept.document
                statement = borrowed.give_up(
                    document.borrow, document.device, document.serial, wall, signer
                )
                write(kept.directory / STATEMENT, to_text(statement).encode())
                return self._settle(kept.directory)
            finally:
                os.close(file)

    def given_up(self) -> tuple[GivenUp, ...]:
        """What was given up and not handed in yet; finishes what was interrupted."""
        places = [one for one in self._places() if (one / STATEMENT).exists()]
        if not places:
            return ()
        with self._locked():
            return tuple(self._settle(place) for place in places)

    def is_over(self, name: str, wall: datetime) -> bool:
        """Whether a borrow is known to no server any more: its end is long ago, or nothing is known of it."""
        known = self.memory().borrows.get(name)
        return known is None or known.end + SWEPT_AFTER < wall

    def handed_in(self, given_up: GivenUp) -> None:
        """The server has the statement: only the memory is kept."""
        with self._locked():
            shutil.rmtree(given_up.directory, ignore_errors=True)

    def _settle(self, place: Path) -> GivenUp:
        """From the statement on: nothing here opens anything any more."""
        text = read(place / STATEMENT, TEXT_CHARACTERS).decode(errors="replace")
        statement = one_of(all_from_text(text), RETURN_TYPE)
        if (place / DOCUMENTS).exists():
            document = kept_in(place).document
            after = self.memory().gave_up(document)
            write(self._directory / _MEMORY, after.to_text().encode())
        destroy(place / KEY)
        (place / DOCUMENTS).unlink(missing_ok=True)
        return GivenUp(place, borrowed.named_by(statement), statement)

    # The disk.

    def _places(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        places = []
        for one in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError):  # handed in at this moment
                if one.is_dir():
                    places.append((one.stat().st_mtime, one.name))
        return [self._directory / name for _, name in sorted(places)[: 2 * BORROW_COUNT]]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time changes what is kept."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = wait_for(self._directory / _LOCK)
        except OSError as error:
            raise FieldInvalid(
                f"{self._directory} can not be written: {error.strerror}; set KEYPEG_CONFIG_DIR to a "
                "directory of your own.",
                field="config",
            ) from error
        try:
            yield
        finally:
            os.close(file)
