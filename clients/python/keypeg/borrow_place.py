"""One borrowed seat on this computer's disk: the files of its folder.

Promises: a key that is destroyed is overwritten first; what can not be read is an error that says which.

Leaves to others: all folders together, and who may change them when (borrow_shelf.py).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keypeg import names
from keypeg.document import parsed
from keypeg.envelope import (
    BORROW_TYPE,
    DELEGATION_TYPE,
    LICENSE_TYPE,
    TEXT_CHARACTERS,
    Ed25519Signer,
    all_from_text,
    check_limits,
    check_type,
)
from keypeg.errors import DocumentMalformed, DocumentOtherDevice
from keypeg.files import read
from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.proof_pb2 import BorrowProof

KEY_SIZE: Final = 65  # bytes: 64 hexadecimal characters and the end of the line

KEY: Final = "key"
REQUEST: Final = "request"
DOCUMENTS: Final = "borrow.keypeg"
STATEMENT: Final = "return.keypeg"


@dataclass(frozen=True)
class Asked:
    """A borrow that the server was asked for, and whose answer did not come yet."""

    directory: Path
    request: bytes


@dataclass(frozen=True)
class Kept:
    """A borrow of this computer. Its document is not verified here."""

    directory: Path
    proof: BorrowProof
    document: BorrowDocument
    return_key: bytes  # the public half of the key that is here; empty when there is none

    @property
    def name(self) -> str:
        """`pools/{pool}/borrows/{borrow}`."""
        return self.document.borrow

    @property
    def pool(self) -> str:
        """`pools/{pool}`."""
        return self.document.borrow.partition("/borrows/")[0]


@dataclass(frozen=True)
class GivenUp:
    """A borrow that this computer has given up, and whose statement was not handed in yet."""

    directory: Path
    name: str
    statement: Envelope


def kept_in(place: Path) -> Kept:
    """The borrow of a folder; DocumentOtherDevice when there is none any more."""
    try:
        text = read(place / DOCUMENTS, TEXT_CHARACTERS).decode(errors="replace")
    except FileNotFoundError as error:
        raise DocumentOtherDevice(
            f"The seat of {place} was given back at this moment; borrow another one."
        ) from error
    found = all_from_text(text)
    proof = BorrowProof(
        delegation=one_of(found, DELEGATION_TYPE),
        license=one_of(found, LICENSE_TYPE),
        borrow=one_of(found, BORROW_TYPE),
    )
    try:
        return_key = signer_of(place).public_key.key
    except FileNotFoundError:
        return_key = b""
    return Kept(place, proof, document_of(proof), return_key)


def signer_of(place: Path) -> Ed25519Signer:
    """The private key of a folder's borrow; FileNotFoundError when it was destroyed."""
    try:
        return Ed25519Signer(bytes.fromhex(read(place / KEY, KEY_SIZE).decode().strip()))
    except ValueError:
        # `from None`: the text of the key stays out of every traceback
        raise DocumentMalformed(f"The key {place / KEY} is damaged.") from None


def one_of(envelopes: tuple[Envelope, ...], payload_type: str) -> Envelope:
    """The one document of a type; DocumentMalformed when there is none."""
    for envelope in envelopes:
        if envelope.payload_type == payload_type:
            return envelope
    word = payload_type.split(".")[2]
    raise DocumentMalformed(f"There is no {word} in it; get the file again.")


def document_of(proof: BorrowProof) -> BorrowDocument:
    """What a borrow says, NOT verified: the server that sent it was, and an app will."""
    check_limits(proof.borrow)
    check_type(proof.borrow, BORROW_TYPE)
    document = parsed(BorrowDocument, proof.borrow.payload)
    if not names.BORROW.matches(document.borrow):
        raise DocumentMalformed("The document names no borrow; borrow the seat again.")
    return document


def is_awaited(place: Path) -> bool:
    """Whether the server was asked, and nothing came of it yet."""
    later = (place / DOCUMENTS, place / STATEMENT)
    return (place / REQUEST).exists() and not any(one.exists() for one in later)


def destroy(path: Path) -> None:
    """Overwrites a key and takes it away; what the disk keeps of it below is out of reach."""
    with contextlib.suppress(FileNotFoundError):
        with path.open("r+b") as file:
            file.write(b"\0" * KEY_SIZE)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
