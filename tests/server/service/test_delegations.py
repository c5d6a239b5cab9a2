"""Delegations that follow each other, and what a server takes of a root's answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.document import DELEGATED_KEY_COUNT, Ed25519Signer, key_id, verify_document
from keypeg.envelope import GRANT_TYPE, LICENSE_TYPE, seal
from keypeg.errors import DelegationExpired, KeypegError, SignerUnknown
from keypeg.v1 import document_pb2
from keypeg.v1.document_pb2 import Delegation, Grant, LicenseDocument
from keypeg_server.service import delegations
from keypeg_server.service.delegations import DelegationRefused

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PUBLISHER = "publishers/acme"
ROOT, FIRST, SECOND, THIRD = (Ed25519Signer(bytes([byte]) * 32) for byte in range(1, 5))
ONE = delegations.wanted(Delegation(), PUBLISHER, FIRST.public_key, NOW)
LATER = NOW + timedelta(days=100)
TWO = delegations.wanted(ONE, PUBLISHER, SECOND.public_key, LATER)


def takes(delegation: Delegation, signer: Ed25519Signer, kind: str, now: datetime) -> None:
    """Verify what this key signs, as an app does."""
    if kind == "grant":
        grant = seal(Grant(publisher=PUBLISHER), GRANT_TYPE, signer)
        verify_document(grant, GRANT_TYPE, document_pb2.PURPOSE_GRANT, delegation, now)
    else:
        license_ = seal(LicenseDocument(publisher=PUBLISHER), LICENSE_TYPE, signer)
        verify_document(license_, LICENSE_TYPE, document_pb2.PURPOSE_LICENSE, delegation, now)


@pytest.mark.parametrize(
    ("signer", "kind", "after", "error"),
    [
        pytest.param(SECOND, "grant", timedelta(0), None, id="the new key signs"),
        pytest.param(FIRST, "grant", timedelta(days=29), None, id="an overlap"),
        pytest.param(FIRST, "grant", timedelta(days=31), DelegationExpired, id="which ends"),
        pytest.param(FIRST, "license", timedelta(days=700), None, id="documents stay good"),
    ],
)
def test_a_rotation_takes_what_both_keys_signed(
    signer: Ed25519Signer, kind: str, after: timedelta, error: type[KeypegError] | None
) -> None:
    if error is None:
        takes(TWO, signer, kind, LATER + after)
        return
    with pytest.raises(error):
        takes(TWO, signer, kind, LATER + after)


def test_an_overlap_is_not_longer_than_the_key_had_left() -> None:
    late = NOW + delegations.LIFETIME - timedelta(days=2)
    after = delegations.wanted(ONE, PUBLISHER, SECOND.public_key, late)
    with pytest.raises(DelegationExpired):
        takes(after, FIRST, "grant", late + timedelta(days=3))


def test_a_withdrawn_key_is_in_no_later_delegation() -> None:
    gone = delegations.wanted(
        TWO, PUBLISHER, THIRD.public_key, LATER, withdrawn=[key_id(FIRST.public_key)]
    )
    for kind in ("grant", "license"):
        with pytest.raises(SignerUnknown):
            takes(gone, FIRST, kind, LATER)
        takes(gone, SECOND, kind, LATER)


def test_renewing_keeps_the_keys_before_and_the_beginning_of_one() -> None:
    renewed = delegations.wanted(TWO, PUBLISHER, SECOND.public_key, LATER + timedelta(days=300))
    takes(renewed, FIRST, "license", LATER + timedelta(days=900))
    assert renewed.keys[0].not_before_time == TWO.keys[0].not_before_time
    assert renewed.generation == 3


@given(st.lists(st.integers(0, 400), min_size=1, max_size=12))
def test_of_any_row_of_rotations_the_last_key_signs_and_all_documents_stay(days: list[int]) -> None:
    now, delegation, signers = NOW, ONE, [FIRST]
    for number, pause in enumerate(days):
        now += timedelta(days=pause, seconds=1)
        signers.append(Ed25519Signer(bytes([10 + number]) * 32))
        delegation = delegations.wanted(delegation, PUBLISHER, signers[-1].public_key, now)
    here = [key_id(signer.public_key) for signer in signers]
    assert delegations.signing_key(delegation, here, now) == here[-1]
    for signer in signers:
        takes(delegation, signer, "license", now)
    assert delegation.generation == len(signers)


def test_the_first_key_that_is_here_and_may_signs() -> None:
    first, second = key_id(FIRST.public_key), key_id(SECOND.public_key)
    assert delegations.signing_key(TWO, [first, second], LATER) == second
    assert delegations.signing_key(TWO, [first], LATER) == first
    assert delegations.signing_key(TWO, [first], LATER + timedelta(days=31)) is None
    assert delegations.signing_key(TWO, [], LATER) is None


def test_too_many_keys_are_refused_and_not_cut_off() -> None:
    full = Delegation(publisher=PUBLISHER, generation=1)
    for number in range(DELEGATED_KEY_COUNT):
        signer = Ed25519Signer(bytes([20 + number]) * 32)
        full.keys.add(public_key=signer.public_key).CopyFrom(ONE.keys[0])
        full.keys[-1].public_key.CopyFrom(signer.public_key)
    with pytest.raises(DelegationRefused, match="at most 64"):
        delegations.wanted(full, PUBLISHER, SECOND.public_key, NOW)


def test_a_request_shows_that_its_key_is_there() -> None:
    request = delegations.request(TWO, SECOND)
    assert delegations.requested(request) == TWO
    for wrong in (delegations.request(TWO, FIRST), delegations.signed(request, ROOT)):
        with pytest.raises((KeypegError, DelegationRefused)):
            delegations.requested(wrong)


def test_only_a_newer_delegation_of_the_root_is_taken() -> None:
    answer = delegations.signed(delegations.request(TWO, SECOND), ROOT)
    root = ROOT.public_key.key
    assert delegations.accepted(answer, PUBLISHER, root, 1, LATER) == TWO
    with pytest.raises(DelegationRefused, match="generation 2, and 2 is in use"):
        delegations.accepted(answer, PUBLISHER, root, 2, LATER)
    with pytest.raises(KeypegError):
        delegations.accepted(answer, "publishers/other", root, 1, LATER)
    with pytest.raises(KeypegError):
        delegations.accepted(answer, PUBLISHER, FIRST.public_key.key, 1, LATER)
