"""Statements that a borrowed seat was given up: only its own key makes one, and about nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keypeg import borrowed, document
from keypeg.document import Ed25519Signer
from keypeg.envelope import RETURN_TYPE
from keypeg.errors import DocumentMalformed, DocumentOtherDevice, DocumentType, SignerUnknown
from keypeg.v1.document_pb2 import Envelope, Grant, HostFingerprint

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BORROW, DEVICE = "pools/p1/borrows/b1", "laptop-1"
KEY = Ed25519Signer(b"k" * 32)
OTHER = Ed25519Signer(b"o" * 32)


def stated() -> Envelope:
    return borrowed.give_up(BORROW, DEVICE, 3, NOW, KEY)


def test_the_key_of_a_borrow_gives_it_up() -> None:
    statement = borrowed.verify_return(stated(), BORROW, DEVICE, KEY.public_key)
    assert (statement.serial, statement.return_time.ToDatetime(UTC)) == (3, NOW)
    assert borrowed.named_by(stated()) == BORROW


def test_it_travels_as_text() -> None:
    text = document.to_text(stated())
    assert text.startswith("-----BEGIN KEYPEG RETURN-----")
    assert document.from_text(text) == stated()


def test_nobody_else_gives_it_up() -> None:
    with pytest.raises(SignerUnknown):
        borrowed.verify_return(stated(), BORROW, DEVICE, OTHER.public_key)


@pytest.mark.parametrize(
    ("borrow", "device"), [("pools/p1/borrows/b2", DEVICE), (BORROW, "laptop-2")]
)
def test_a_statement_is_about_one_borrow_of_one_device(borrow: str, device: str) -> None:
    with pytest.raises(DocumentOtherDevice):
        borrowed.verify_return(stated(), borrow, device, KEY.public_key)


def test_another_document_of_the_same_key_is_no_statement() -> None:
    grant = document.seal(Grant(session="sessions/s"), document.GRANT_TYPE, KEY)
    for look in (
        lambda: borrowed.verify_return(grant, BORROW, DEVICE, KEY.public_key),
        lambda: borrowed.named_by(grant),
    ):
        with pytest.raises(DocumentType):
            look()


def test_bytes_that_are_no_statement_are_refused() -> None:
    wrong = document.seal(HostFingerprint(salt=b"\xff" * 16), RETURN_TYPE, KEY)
    with pytest.raises(DocumentMalformed):
        borrowed.named_by(wrong)
    with pytest.raises(DocumentMalformed):
        borrowed.verify_return(wrong, BORROW, DEVICE, KEY.public_key)
