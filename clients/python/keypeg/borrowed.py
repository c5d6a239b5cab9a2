"""Borrowed seats: whether a document lets this computer use one, and the statement that it is given up.

Promises: pure; step 16 of docs/formats.md, and what a server checks of a return. A statement is worth what
the device's own key for the borrow is worth: nobody else can make one, and who makes one must destroy the key
first or with it, since the document opens nothing without it.

Leaves to others: keeping and destroying keys and documents, and the rest of the proof (proof.py).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime

from google.protobuf.message import DecodeError

from keypeg import document, fingerprint
from keypeg.document import Signer
from keypeg.envelope import BORROW_TYPE, RETURN_TYPE, check_limits, check_type, seal
from keypeg.errors import (
    DocumentExpired,
    DocumentMalformed,
    DocumentOtherDevice,
    DocumentSuperseded,
    SignerUnknown,
)
from keypeg.instants import after, instant, time_text
from keypeg.v1.borrow_pb2 import BorrowDocument, ReturnStatement
from keypeg.v1.document_pb2 import Envelope, LicenseDocument, PublicKey


def verify_borrow(envelope: Envelope, license_: LicenseDocument) -> BorrowDocument:
    """The borrow of a site's seat, signed by the key that its license document names; steps 1 to 3, 5 and 8."""
    try:
        payload = document.verify_with_key(envelope, BORROW_TYPE, license_.location_key)
    except SignerUnknown as error:
        raise DocumentOtherDevice(
            f"The borrow is signed by another site than the one that has {license_.activation}; "
            "borrow a seat of that site.",
            activation=license_.activation,
        ) from error
    borrow = document.parsed(BorrowDocument, payload)
    document.check_publisher("borrow", borrow.publisher, license_.publisher)
    return borrow


def check_computer(
    borrow: BorrowDocument,
    device: str,
    return_key: bytes,
    parts: Mapping[str, str] | None,
) -> None:
    """Step 16: the seat is borrowed for this computer, which has not given it back.

    `return_key` is the public half of the private key that this computer holds for the borrow; empty when it
    holds none. `parts` are the computer's own, None when they were not read.
    """
    if borrow.device != device:
        raise DocumentOtherDevice(
            f"The seat is borrowed for device {borrow.device!r}, and this is {device!r}; borrow one here.",
            device=borrow.device,
            expected=device,
        )
    ours = document.ed25519_key(return_key)
    has_it = hmac.compare_digest(borrow.return_key.key, ours.key)
    if not return_key or borrow.return_key.algorithm != ours.algorithm or not has_it:
        raise DocumentOtherDevice(
            f"This computer has no key for {borrow.borrow}: the seat was given back, or borrowed by another "
            "computer. Borrow one here.",
            borrow=borrow.borrow,
        )
    if borrow.HasField("fingerprint"):
        if parts is None:
            raise DocumentOtherDevice(
                f"{borrow.borrow} is for one computer, and this one's fingerprint was not read; "
                "let the app read it.",
                borrow=borrow.borrow,
            )
        fingerprint.check(borrow.fingerprint, parts)


def check_term(borrow: BorrowDocument, now: datetime, seen: Mapping[str, int]) -> datetime:
    """Step 16: the document is the newest of its borrow, and has not ended; when it does."""
    if not borrow.HasField("expire_time"):
        raise DocumentMalformed(
            f"The document of {borrow.borrow} has no end; ask the site's administrator for a new one."
        )
    if borrow.serial < seen.get(borrow.borrow, 0):
        raise DocumentSuperseded(
            f"The document of {borrow.borrow} has serial {borrow.serial}, and {seen[borrow.borrow]} has been "
            "seen; use the newest.",
            borrow=borrow.borrow,
            serial=str(borrow.serial),
            seen=str(seen[borrow.borrow]),
        )
    if after(now, borrow.expire_time):
        when = time_text(borrow.expire_time)
        raise DocumentExpired(
            f"The seat was borrowed until {when} ({borrow.borrow}); connect and borrow one again, "
            "and check this computer's clock.",
            borrow=borrow.borrow,
            expire_time=when,
        )
    return instant(borrow.expire_time)


def give_up(borrow: str, device: str, serial: int, now: datetime, key: Signer) -> Envelope:
    """The statement that the holder of `key` has given a borrow up; `serial` is of its newest document."""
    statement = ReturnStatement(borrow=borrow, device=device, serial=serial)
    statement.return_time.FromDatetime(now)
    return seal(statement, RETURN_TYPE, key)


def verify_return(
    envelope: Envelope, borrow: str, device: str, return_key: PublicKey
) -> ReturnStatement:
    """The statement that this borrow was given up, signed by its key."""
    payload = document.verify_with_key(envelope, RETURN_TYPE, return_key)
    statement = document.parsed(ReturnStatement, payload)
    if statement.borrow != borrow or statement.device != device:
        raise DocumentOtherDevice(
            f"The statement is about {statement.borrow!r} on device {statement.device!r}, and this is "
            f"{borrow} on {device!r}; hand it in for the one that it names.",
            borrow=statement.borrow,
            expected=borrow,
        )
    return statement


def named_by(envelope: Envelope) -> str:
    """Which borrow a return statement names; NOT verified, only to know whom to hand it to."""
    check_limits(envelope)
    check_type(envelope, RETURN_TYPE)
    try:
        return ReturnStatement.FromString(envelope.payload).borrow
    except DecodeError as error:
        raise DocumentMalformed("This is no return statement; export it again.") from error
