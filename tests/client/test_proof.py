"""Which proofs let an app run, and for which one reason each other one is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg import document, proof
from keypeg.envelope import signature_is_right
from keypeg.errors import (
    DocumentOtherProduct,
    DocumentType,
    FencingStale,
    KeypegError,
    KeyProofInvalid,
    KeyRolledBack,
    error_class,
)
from keypeg.possession import Assertion, Counted
from keypeg.v1 import document_pb2 as d
from keypeg.v1 import location_pb2, proof_pb2
from tests.client import proof_cases as cases


@pytest.mark.parametrize("case", cases.RIGHT, ids=lambda case: case.id)
def test_a_right_proof_is_believed(case: cases.Case) -> None:
    made, expectation = case.made()
    assert cases.PRODUCT in proof.verify(made, expectation).products


@pytest.mark.parametrize("case", cases.WRONG, ids=lambda case: case.id)
def test_a_proof_with_one_thing_wrong_is_refused_for_that_reason(case: cases.Case) -> None:
    made, expectation = case.made()
    assert case.reason is not None
    with pytest.raises(error_class(case.reason)) as refused:
        proof.verify(made, expectation)
    assert refused.value.reason is case.reason
    # What, which, and what to do next: at least two clauses, ending as a sentence.
    assert refused.value.sentence.endswith(".")
    assert any(mark in refused.value.sentence for mark in (";", ". "))


def test_a_cloud_proof_gives_what_its_grant_says() -> None:
    made, expectation = cases.parts("cloud").made()
    verified = proof.verify(made, expectation)
    assert verified.kind == location_pb2.LOCATION_KIND_CLOUD
    assert verified.valid_for == timedelta(seconds=180)
    assert verified.features == ("export",)
    assert (verified.seat_required, verified.leases, verified.license) == (False, (), None)


def test_a_key_proof_holds_for_half_a_minute_whatever_the_bridge_says() -> None:
    made, expectation = cases.parts("key").made()
    verified = proof.verify(made, expectation)
    assert verified.valid_for == proof.KEY_VALID_FOR == timedelta(seconds=30)
    assert verified.unplug_grace == timedelta(seconds=30)
    assert verified.license_expire_time == cases.NOW + 300 * cases.DAY
    assert verified.products == (cases.PRODUCT, cases.PRODUCT + "-extra")
    assert verified.features == ("export", "render")


def test_a_site_proof_gives_its_seats() -> None:
    made, expectation = cases.parts("site").made()
    verified = proof.verify(made, expectation)
    assert [(one.lease, one.units, one.fencing_number) for one in verified.leases] == [
        ("pools/p1/leases/e1", 2, 7)
    ]
    assert verified.seat_required
    assert verified.license is not None
    assert verified.license.seat_count == 5


def test_a_counted_license_takes_a_seat_even_when_the_site_says_that_it_does_not() -> None:
    parts = cases.parts("site")
    parts.grant.seat_required = False
    assert proof.verify(*parts.made()).seat_required


def test_a_license_without_an_end_has_no_expire_time() -> None:
    parts = cases.parts("host")
    parts.license.ClearField("expire_time")
    assert proof.verify(*parts.made()).license_expire_time is None


def test_a_proof_of_no_kind_is_refused() -> None:
    _, expectation = cases.parts("cloud").made()
    with pytest.raises(KeypegError) as refused:
        proof.verify(proof_pb2.Proof(), expectation)
    assert "no kind" in str(refused.value)


@pytest.mark.parametrize("kind", cases.EVERY)
def test_a_proof_of_one_kind_does_not_serve_as_another(kind: str) -> None:
    made, expectation = cases.parts(kind).made()
    envelopes = {field.name: value for field, value in getattr(made, kind).ListFields()}
    for other in set(cases.EVERY) - {kind}:
        moved = proof_pb2.Proof()
        body = getattr(moved, other)
        body.SetInParent()
        for name, value in envelopes.items():
            if name in body.DESCRIPTOR.fields_by_name:
                if isinstance(value, str | bytes):
                    setattr(body, name, value)
                else:
                    getattr(body, name).CopyFrom(value)
        with pytest.raises(KeypegError):
            proof.verify(moved, replace(expectation, fingerprint=cases.PARTS))


def test_an_expectation_with_a_short_nonce_or_root_cannot_be_made() -> None:
    _, expectation = cases.parts("key").made()
    with pytest.raises(ValueError, match="nonce"):
        replace(expectation, nonce=b"")
    with pytest.raises(ValueError, match="root"):
        replace(expectation, publisher_root=bytes(31))


@pytest.mark.parametrize(("kind", "said"), [(4, "kind site"), (99, "kind 99")])
def test_a_refusal_names_the_kind_of_place_even_one_to_come(kind: int, said: str) -> None:
    parts = cases.parts("key")
    parts.license.location_kind = kind  # type: ignore[assignment]
    with pytest.raises(DocumentType, match=f"{said}, and the proof is of kind key"):
        proof.verify(*parts.made())


def test_a_refusal_names_a_few_of_the_products_that_a_license_opens() -> None:
    parts = cases.parts("host")
    parts.license.opens_products[:] = [f"publishers/acme/products/p{n}" for n in range(9)]
    with pytest.raises(DocumentOtherProduct, match=r"p0, .*p2 and others") as refused:
        proof.verify(*parts.made())
    assert "p3" not in str(refused.value)
    parts.license.opens_products[:] = ["publishers/acme/products/p1"]
    with pytest.raises(DocumentOtherProduct, match=r"opens publishers/acme/products/p1\. "):
        proof.verify(*parts.made())


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(cases.EVERY),
    position=st.integers(0, 10_000),
    change=st.integers(1, 255),
)
def test_a_changed_byte_is_a_keypeg_error_or_does_not_matter(
    kind: str, position: int, change: int
) -> None:
    made, expectation = cases.parts(kind).made()
    data = bytearray(made.SerializeToString(deterministic=True))
    data[position % len(data)] ^= change
    try:
        changed = proof_pb2.Proof.FromString(bytes(data))
    except Exception:
        return  # protobuf's own refusal, before any of this code runs
    try:
        verified = proof.verify(changed, expectation)
    except KeypegError:
        return
    right = proof.verify(made, expectation)
    # Nothing that was signed can have changed: what is believed is what was signed.
    assert verified == right


def test_a_fencing_number_must_not_fall() -> None:
    proof.check_fencing(0, 1)
    proof.check_fencing(7, 7)
    with pytest.raises(FencingStale) as refused:
        proof.check_fencing(8, 7)
    assert refused.value.metadata == {"fencing_number": "7", "seen": "8"}


# Challenges


def test_challenges_differ_by_every_part_and_by_purpose() -> None:
    seen = {
        proof.challenge("b", "s", b"n"),
        proof.challenge("bs", "", b"n"),
        proof.challenge("b", "sn", b""),
        proof.enrollment_challenge("b", "s", b"n"),
        proof.enrollment_challenge("b", "sn", b""),
    }
    assert len(seen) == 5
    assert {len(one) for one in seen} == {32}


def test_an_ed25519_key_signs_the_challenge_as_its_message() -> None:
    challenge = proof.enrollment_challenge("00" * 16, cases.ACCOUNT, bytes(32))
    signer = cases.signer("smart key")
    proof.check_possession(signer.public_key, challenge, signer.sign(challenge))
    with pytest.raises(KeyProofInvalid):
        proof.check_possession(signer.public_key, challenge, cases.STRANGER.sign(challenge))


def test_a_fido2_key_tells_its_flags_and_counter() -> None:
    told = cases.Fido2Signer(cases.SMART_KEY, flags=0x05, counter=0xFFFFFFFE)
    found = proof.check_possession(told.public_key, bytes(32), told.sign_challenge(bytes(32)))
    assert found == Assertion(0x05, 0xFFFFFFFE)
    assert found.touched
    plain = cases.SMART_KEY
    assert (
        proof.check_possession(plain.public_key, bytes(32), plain.sign_challenge(bytes(32))) is None
    )
    case = next(one for one in cases.RIGHT if "counts nothing" in one.name)
    assert proof.verify(*case.made()).key_counter == 0


def test_a_fido2_credential_signs_challenges_and_no_documents() -> None:
    key = cases.FIDO2_KEY
    signed = key.sign_challenge(bytes(32))
    assert not signature_is_right(key.public_key, bytes(32), signed)
    assert not signature_is_right(key.public_key, signed[:37] + bytes(32), signed[37:])


def test_a_smartkey_tells_its_counter_and_signs_no_documents() -> None:
    key = cases.CountingSigner(cases.SMART_KEY, counter=2**40)
    signed = key.sign_challenge(bytes(32))
    assert proof.check_possession(key.public_key, bytes(32), signed) == Counted(2**40)
    assert not signature_is_right(key.public_key, bytes(32), signed)
    case = next(one for one in cases.RIGHT if one.name == "a smartkey that counts on")
    assert proof.verify(*case.made()).key_counter == 1_001


def test_a_counter_that_fell_is_told_with_both_numbers() -> None:
    case = next(one for one in cases.WRONG if one.name == "a smartkey that was put back")
    with pytest.raises(KeyRolledBack) as refused:
        proof.verify(*case.made())
    assert refused.value.metadata == {
        "told": "7", "seen": "1000", "key_id": cases.COUNTING_KEY_ID
    }  # fmt: skip


def test_a_p256_key_of_another_form_is_refused_though_it_is_the_same_point() -> None:
    point = cases.SMART_KEY.public_key.key
    signature = cases.SMART_KEY.sign_challenge(bytes(32))
    proof.check_possession(cases.SMART_KEY.public_key, bytes(32), signature)
    compressed = bytes([2 + point[-1] % 2]) + point[1:33]
    hybrid = bytes([6 + point[-1] % 2]) + point[1:]
    for key in (compressed, hybrid):
        other = d.PublicKey(algorithm=d.KEY_ALGORITHM_ECDSA_P256, key=key)
        with pytest.raises(KeyProofInvalid):
            proof.check_possession(other, bytes(32), signature)
    modulus = cases.RSA_KEY.public_key.key
    for other_form in (modulus[1:], b"\x00" + modulus, b"\x7f" + modulus[1:], b""):
        other = d.PublicKey(algorithm=d.KEY_ALGORITHM_RSA_2048, key=other_form)
        with pytest.raises(KeyProofInvalid):
            proof.check_possession(other, bytes(32), cases.RSA_KEY.sign_challenge(bytes(32)))
    to_come = d.PublicKey(key=point)
    to_come.algorithm = 99  # type: ignore[assignment]
    with pytest.raises(KeyProofInvalid):
        proof.check_possession(to_come, bytes(32), signature)


@settings(max_examples=50, deadline=None)
@given(key=st.binary(max_size=80), signature=st.binary(max_size=80), algorithm=st.integers(0, 6))
def test_any_foreign_key_and_signature_are_refused_alike(
    key: bytes, signature: bytes, algorithm: int
) -> None:
    public_key = document.ed25519_key(key)
    public_key.algorithm = algorithm  # type: ignore[assignment]
    with pytest.raises(KeyProofInvalid):
        proof.check_possession(public_key, bytes(32), signature)
