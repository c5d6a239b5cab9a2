"""Receipts of keys: what a server takes for the key's own word, and what it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg import receipts
from keypeg.envelope import RECEIPT_TYPE, key_id
from keypeg.errors import KeypegError
from keypeg.v1.document_pb2 import Envelope
from tests.client.receipt_cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_receipt_is_judged_by_its_steps(case: Case) -> None:
    envelope, expected = case.made()
    if case.reason is None:
        assert receipts.verify_receipt(envelope, expected).activation == expected.activation
        return
    with pytest.raises(KeypegError) as refused:
        receipts.verify_receipt(envelope, expected)
    assert refused.value.reason is case.reason


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_any_bytes_are_a_receipt_or_a_refusal(payload: bytes, signature: bytes) -> None:
    _, expected = CASES[0].made()
    envelope = Envelope(payload=payload, payload_type=RECEIPT_TYPE)
    envelope.signatures.add(key_id=key_id(expected.location_key), signature=signature)
    with pytest.raises(KeypegError):
        receipts.verify_receipt(envelope, expected)
