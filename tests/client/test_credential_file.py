"""Credential files: what is in them, who opens them, and what is signed with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from keypeg import credential_file, errors
from keypeg.device_mark import proof
from keypeg.device_marks import Marks
from tests.client import credential_cases
from tests.client.credential_cases import CASES, Case

KEY = credential_cases.KEY.private_bytes()
RIGHT, LATER = CASES[0], Case("later", None, {"generation": 2})


def test_a_file_goes_both_ways_and_shows_no_secret() -> None:
    made = credential_file.make(RIGHT.envelope(), KEY)
    read = credential_file.parse(f"mail\n{made.text()}\nbye")
    assert read == made
    assert read.signer().private_bytes() == KEY
    assert KEY.hex() not in repr(read)
    assert repr(KEY) not in repr(read)


def test_a_sealed_file_opens_with_its_passphrase_and_beside_its_document_only() -> None:
    made = credential_file.make(RIGHT.envelope(), KEY, "open sesame")
    read = credential_file.parse(made.text())
    assert read.signer(lambda: "open sesame").private_bytes() == KEY
    with pytest.raises(errors.CredentialsInvalid):
        read.signer(lambda: "open barley")
    with pytest.raises(errors.FieldInvalid, match="KEYPEG_CREDENTIAL_PASSPHRASE_FILE"):
        read.signer()
    elsewhere = credential_file.CredentialFile(LATER.envelope(), read.document, read.key)
    with pytest.raises(errors.CredentialsInvalid):
        elsewhere.signer(lambda: "open sesame")


@pytest.mark.parametrize("text", ["", "no file", "-----BEGIN KEYPEG CREDENTIAL KEY-----\nAA"])
def test_what_is_no_file_is_refused(text: str) -> None:
    with pytest.raises(errors.DocumentMalformed):
        credential_file.parse(text)


def test_a_file_whose_key_is_another_one_is_refused() -> None:
    made = credential_file.make(RIGHT.envelope(), b"\4" * 32)
    with pytest.raises(errors.DocumentMalformed):
        made.signer()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_server_takes_what_is_right_and_says_what_is_wrong(case: Case) -> None:
    if case.reason is None:
        case.verify()
        return
    with pytest.raises(errors.KeypegError) as caught:
        case.verify()
    assert caught.value.reason is case.reason


def test_a_mark_is_found_where_it_was_made_and_on_later_copies_only(tmp_path: Path) -> None:
    here, copy = Marks(tmp_path / "here"), Marks(tmp_path / "copy")
    mark = here.make()
    assert mark is not None
    expected = proof(mark.secret, "sessions/s", b"n" * 32)
    assert here.prove(mark.id, "sessions/s", b"n" * 32) == expected
    assert here.prove(mark.id, "sessions/t", b"n" * 32) != expected
    assert copy.prove(mark.id, "sessions/s", b"n" * 32) == b""
    assert here.prove("../here/" + mark.id, "sessions/s", b"n" * 32) == b""
    here.remove(mark)
    assert here.prove(mark.id, "sessions/s", b"n" * 32) == b""
    (tmp_path / "file").write_text("")
    assert Marks(tmp_path / "file").make() is None
