"""Envelopes, their text form, and who is trusted to sign what."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg import document, envelope
from keypeg.errors import (
    DelegationExpired,
    DelegationNotYetValid,
    DocumentMalformed,
    DocumentOtherPublisher,
    DocumentType,
    KeypegError,
    PurposeNotDelegated,
    SignatureInvalid,
    SignerUnknown,
)
from keypeg.v1 import document_pb2 as d
from tests.client import proof_cases as cases

NOW = cases.NOW
ROOT_KEY = cases.ROOT.public_key.key


def sealed_delegation(*keys: d.DelegatedKey) -> d.Envelope:
    made = d.Delegation(publisher=cases.PUBLISHER, generation=1, keys=keys)
    return document.seal(made, document.DELEGATION_TYPE, cases.ROOT)


SEALED = sealed_delegation(cases.delegated(cases.LICENSES, d.PURPOSE_LICENSE))


def verified(sealed: d.Envelope, now: datetime = NOW) -> d.Delegation:
    return document.verify_delegation(sealed, publisher=cases.PUBLISHER, root=ROOT_KEY, now=now)


# The envelope


def test_the_pre_authentication_encoding_is_that_of_dsse() -> None:
    # The example of the DSSE protocol page.
    assert (
        document.pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert document.pae("", b"") == b"DSSEv1 0  0 "


def test_lengths_are_counted_in_bytes() -> None:
    assert document.pae("é", "ü".encode()) == b"DSSEv1 2 \xc3\xa9 2 \xc3\xbc"


def test_a_key_id_depends_on_algorithm_and_bytes() -> None:
    ed = document.ed25519_key(bytes(32))
    p256 = d.PublicKey(algorithm=d.KEY_ALGORITHM_ECDSA_P256, key=bytes(32))
    ids = {document.key_id(ed), document.key_id(p256), document.key_id(cases.ROOT.public_key)}
    assert len(ids) == 3
    assert all(len(one) == 32 and one == one.lower() for one in ids)


def test_a_private_key_is_in_no_repr() -> None:
    signer = document.Ed25519Signer.generate()
    assert signer.private_bytes().hex() not in repr(signer)
    assert repr(signer.private_bytes()) not in repr(signer)
    again = document.Ed25519Signer(signer.private_bytes())
    assert again.public_key == signer.public_key


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_private_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        document.Ed25519Signer(bytes(length))


def test_an_envelope_takes_one_to_eight_signers() -> None:
    with pytest.raises(ValueError, match="1 to 8"):
        document.seal(d.Delegation(publisher="p"), document.DELEGATION_TYPE)
    many = [cases.signer(str(number)) for number in range(9)]
    with pytest.raises(ValueError, match="1 to 8"):
        document.seal(d.Delegation(publisher="p"), document.DELEGATION_TYPE, *many)
    sealed = document.seal(d.Delegation(publisher="p"), document.DELEGATION_TYPE, *many[:8])
    for one in many[:8]:
        assert document.verify_with_key(sealed, document.DELEGATION_TYPE, one.public_key)


def too_large(sealed: d.Envelope) -> None:
    sealed.payload = bytes(document.PAYLOAD_BYTES + 1)


def nine_signatures(sealed: d.Envelope) -> None:
    sealed.signatures.extend([sealed.signatures[0]] * 8)


def long_signature(sealed: d.Envelope) -> None:
    sealed.signatures[0].signature = bytes(envelope.SIGNATURE_BYTES + 1)


def long_key_id(sealed: d.Envelope) -> None:
    sealed.signatures[0].key_id += "0"


def long_type(sealed: d.Envelope) -> None:
    sealed.payload_type = "a" * (envelope.TYPE_CHARACTERS + 1)


def no_payload(sealed: d.Envelope) -> None:
    sealed.payload = b""


def no_signature(sealed: d.Envelope) -> None:
    del sealed.signatures[:]


@pytest.mark.parametrize(
    "breaks",
    [too_large, nine_signatures, long_signature, long_key_id, long_type, no_payload, no_signature],
    ids=lambda breaks: breaks.__name__,
)
def test_an_envelope_beyond_a_limit_is_malformed(breaks: object) -> None:
    sealed = d.Envelope()
    sealed.CopyFrom(SEALED)
    breaks(sealed)  # type: ignore[operator]
    with pytest.raises(DocumentMalformed):
        verified(sealed)
    with pytest.raises(DocumentMalformed):
        document.parse_envelope(sealed.SerializeToString())


def test_the_largest_payload_is_read() -> None:
    for size in (document.PAYLOAD_BYTES, document.PAYLOAD_BYTES + 1):
        made = d.PublicKey(key=bytes(size - 4))  # a tag and a length of three bytes
        assert made.ByteSize() == size
        if size > document.PAYLOAD_BYTES:
            with pytest.raises(DocumentMalformed):
                document.seal(made, document.RECEIPT_TYPE, cases.ROOT)
        else:
            sealed = document.seal(made, document.RECEIPT_TYPE, cases.ROOT)
            assert document.parse_envelope(sealed.SerializeToString()) == sealed
            assert document.from_text(document.to_text(sealed)) == sealed


def test_an_envelope_of_too_many_bytes_is_not_even_parsed() -> None:
    padding = b"\xa2\x1f" + b"\x80\x80\x10" + bytes(2**18)  # an unknown field of 256 KiB
    with pytest.raises(DocumentMalformed, match="at most 135168 are read"):
        document.parse_envelope(SEALED.SerializeToString() + padding)


# The text form


def test_the_text_form_goes_both_ways() -> None:
    text = document.to_text(SEALED)
    assert text.startswith("-----BEGIN KEYPEG DELEGATION-----\n")
    assert text.endswith("\n-----END KEYPEG DELEGATION-----\n")
    assert max(len(line) for line in text.splitlines()) == 64
    assert document.from_text(text) == SEALED


def test_mail_around_a_text_and_its_line_ends_do_no_harm() -> None:
    text = "Dear Ada,\r\n\r\n" + document.to_text(SEALED).replace("\n", "\r\n  ") + "Yours"
    assert document.from_text(text) == SEALED


def test_a_file_may_hold_several_documents() -> None:
    text = document.to_text(SEALED) + "and\n" + document.to_text(SEALED)
    assert document.all_from_text(text) == (SEALED, SEALED)
    with pytest.raises(DocumentMalformed, match="2 documents"):
        document.from_text(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "", "0 documents"),
        (lambda text: text.replace("END", "ENDE"), "cut off"),
        (lambda text: text.replace("DELEGATION", "LICENSE"), "another type"),
        (lambda text: text.replace("\n", "\n!", 2), "not base64"),
        (lambda text: text[:80] + text[90:], "base64|envelope"),
        (lambda text: text + " " * envelope.TEXT_CHARACTERS, "characters"),
    ],
    ids=["empty", "no end", "another label", "another alphabet", "a piece missing", "too long"],
)
def test_a_broken_text_is_malformed_and_says_how(change: object, said: str) -> None:
    with pytest.raises(DocumentMalformed, match=said):
        document.from_text(change(document.to_text(SEALED)))  # type: ignore[operator]


# Bytes from strangers


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 10_000), change=st.integers(1, 255))
def test_any_changed_byte_of_an_envelope_is_refused(position: int, change: int) -> None:
    data = bytearray(SEALED.SerializeToString(deterministic=True))
    data[position % len(data)] ^= change
    with pytest.raises(KeypegError):
        verified(document.parse_envelope(bytes(data)))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(KeypegError):
        verified(document.parse_envelope(data))


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200))
def test_random_text_is_refused(text: str) -> None:
    for one in (text, f"-----BEGIN KEYPEG LICENSE-----{text}-----END KEYPEG LICENSE-----"):
        with pytest.raises(KeypegError):
            document.from_text(one)


@settings(max_examples=100, deadline=None)
@given(payload=st.binary(min_size=1, max_size=200))
def test_random_bytes_that_the_root_signed_are_no_other_exception(payload: bytes) -> None:
    sealed = d.Envelope(payload=payload, payload_type=document.DELEGATION_TYPE)
    signature = cases.ROOT.sign(document.pae(sealed.payload_type, payload))
    sealed.signatures.add(key_id=document.key_id(cases.ROOT.public_key), signature=signature)
    with pytest.raises(KeypegError):
        verified(sealed)


# Who may sign


def test_the_bytes_are_verified_before_they_are_parsed() -> None:
    sealed = d.Envelope(payload=b"\xff" * 9, payload_type=document.DELEGATION_TYPE)
    sealed.signatures.add(key_id=document.key_id(cases.ROOT.public_key), signature=bytes(64))
    with pytest.raises(SignatureInvalid):
        verified(sealed)


def test_a_right_key_id_with_a_stranger_s_signature_is_not_believed() -> None:
    sealed = document.seal(d.Delegation(publisher="p"), document.DELEGATION_TYPE, cases.STRANGER)
    sealed.signatures[0].key_id = document.key_id(cases.ROOT.public_key)
    with pytest.raises(SignatureInvalid):
        verified(sealed)


def test_a_right_signature_under_a_stranger_s_key_id_is_not_tried() -> None:
    sealed = d.Envelope()
    sealed.CopyFrom(SEALED)
    sealed.signatures[0].key_id = document.key_id(cases.STRANGER.public_key)
    with pytest.raises(SignerUnknown):
        verified(sealed)


def test_unknown_fields_of_a_signed_document_are_kept() -> None:
    newer = d.Delegation.FromString(SEALED.payload + b"\xa2\x1f\x03new")
    sealed = document.seal(newer, document.DELEGATION_TYPE, cases.ROOT)
    assert b"\xa2\x1f\x03new" in verified(sealed).SerializeToString()


@pytest.mark.parametrize(
    ("periods", "error"),
    [
        ([(-2, -1), (-3, -1)], DelegationExpired),
        ([(1, 2), (2, 3)], DelegationNotYetValid),
        ([(-2, -1), (-1, 1)], None),
        ([(-2, -1), (1, 2)], None),  # a gap: the document's own step 4 will say which key
    ],
    ids=["all ended", "none begun", "an overlap", "a gap"],
)
def test_a_delegation_is_refused_when_none_of_its_keys_can_be_used(
    periods: list[tuple[int, int]], error: type[KeypegError] | None
) -> None:
    keys = [
        cases.delegated(cases.LICENSES, d.PURPOSE_LICENSE, begin=b * cases.DAY, end=e * cases.DAY)
        for b, e in periods
    ]
    if error is None:
        assert len(verified(sealed_delegation(*keys)).keys) == 2
    else:
        with pytest.raises(error):
            verified(sealed_delegation(*keys))


def test_the_root_s_delegation_of_another_publisher_is_refused() -> None:
    with pytest.raises(DocumentOtherPublisher) as refused:
        document.verify_delegation(SEALED, publisher="publishers/b", root=ROOT_KEY, now=NOW)
    assert refused.value.metadata == {"publisher": cases.PUBLISHER, "expected": "publishers/b"}
    assert document.verify_delegation(SEALED, publisher=None, root=ROOT_KEY, now=NOW)


@pytest.mark.parametrize(("purpose", "said"), [(5, "may sign LOG,"), (77, "may sign 77,")])
def test_a_refusal_names_the_purpose_even_one_to_come(purpose: int, said: str) -> None:
    key = cases.delegated(cases.LICENSES, purpose)
    made = document.seal(cases.parts("host").license, document.LICENSE_TYPE, cases.LICENSES)
    with pytest.raises(PurposeNotDelegated, match=said) as refused:
        document.verify_license(made, d.Delegation(publisher=cases.PUBLISHER, keys=[key]), NOW)
    assert refused.value.metadata["purpose"] == "LICENSE"


def test_a_rotation_in_a_new_delegation_lets_both_keys_sign() -> None:
    new = cases.signer("new licenses")
    delegation = d.Delegation(publisher=cases.PUBLISHER, generation=2)
    delegation.keys.append(cases.delegated(cases.LICENSES, d.PURPOSE_LICENSE, end=cases.DAY))
    delegation.keys.append(
        cases.delegated(new, d.PURPOSE_LICENSE, begin=timedelta(0), end=9 * cases.DAY)
    )
    made = cases.parts("host").license
    for signer, day, error in [
        (cases.LICENSES, 0, None),
        (new, 0, None),
        (cases.LICENSES, 2, DelegationExpired),
        (new, 2, None),
        (new, -1, DelegationNotYetValid),
    ]:
        sealed = document.seal(made, document.LICENSE_TYPE, signer)
        now = NOW + day * cases.DAY
        if error is None:
            assert document.verify_license(sealed, delegation, now) == made
        else:
            with pytest.raises(error):
                document.verify_license(sealed, delegation, now)


def test_moments_are_compared_as_moments_in_any_time_zone() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    assert verified(SEALED, now=there) == verified(SEALED)


@pytest.mark.parametrize("seconds", [-(2**63), 2**63 - 1])
def test_a_moment_that_is_no_date_is_compared_all_the_same(seconds: int) -> None:
    key = cases.delegated(cases.LICENSES, d.PURPOSE_LICENSE)
    key.not_after_time.seconds = seconds
    if seconds > 0:
        assert verified(sealed_delegation(key)).keys[0] == key
    else:
        with pytest.raises(DelegationExpired):
            verified(sealed_delegation(key))


def test_an_expire_time_that_is_no_date_is_malformed() -> None:
    parts = cases.parts("host")
    parts.license.expire_time.seconds = 2**62
    license_ = document.seal(parts.license, document.LICENSE_TYPE, cases.LICENSES)
    document.verify_license(license_, parts.delegation, NOW)
    with pytest.raises(DocumentMalformed):
        document.instant(parts.license.expire_time)


def test_the_type_error_names_both_types() -> None:
    with pytest.raises(DocumentType) as refused:
        document.verify_license(SEALED, d.Delegation(), NOW)
    assert "is a delegation, and a license is needed" in str(refused.value)
