"""Every field of every request has a rule, and rules refuse what the contract's comments exclude."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import FieldInvalid, KeypegError, ProtocolViolation
from keypeg.v1 import session_pb2
from keypeg.v1.account_service_pb2 import CreateUserRequest, ListAccountsRequest, SignInRequest
from keypeg.v1.borrow_service_pb2 import (
    CreateBorrowRequest,
    ReturnBorrowRequest,
    WriteOffBorrowRequest,
)
from keypeg.v1.catalog_service_pb2 import CreateProductRequest
from keypeg.v1.cloud_session_service_pb2 import OpenCloudSessionRequest
from keypeg.v1.document_pb2 import Envelope, HostFingerprint, KeyAlgorithm, PublicKey
from keypeg.v1.license_service_pb2 import CreateLicenseRequest
from keypeg.v1.product_pb2 import FeatureGrant
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from keypeg_server.rpc import validate
from keypeg_server.rpc.health import CONTRACT
from keypeg_server.rpc.parts import PARTS

UUID = "8b4a2c9e-0d6f-4f3a-9c1b-2f7d5e6a1c30"


def requests() -> Iterator[Descriptor]:
    for module in CONTRACT:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield method.input_type


def messages_within(descriptor: Descriptor) -> Iterator[Descriptor]:
    for field in descriptor.fields:
        inner = field.message_type
        if inner is not None and inner.file.package == validate.PACKAGE:
            yield inner
            yield from messages_within(inner)


def borrow(**changes: Any) -> CreateBorrowRequest:
    fields = {
        "request_id": UUID,
        "pool": "pools/p",
        "duration": Duration(seconds=60),
        "device": session_pb2.Device(id="laptop-1"),
        "app": session_pb2.App(),
        "return_key": PublicKey(algorithm=KeyAlgorithm.KEY_ALGORITHM_ED25519, key=b"k" * 32),
        **changes,
    }
    return CreateBorrowRequest(**fields)


def parts(required: int, *kinds: str) -> HostFingerprint:
    made = HostFingerprint(salt=b"s" * 16, required_count=required)
    for kind in kinds:
        made.components.add(kind=kind, digest=b"d" * 32)
    return made


def test_every_field_of_every_request_has_a_rule() -> None:
    wanted = {descriptor.name: descriptor for descriptor in requests()}
    assert set(validate.RULES) == set(wanted)
    for name, descriptor in wanted.items():
        assert set(validate.RULES[name]) == {field.name for field in descriptor.fields}, name


def test_every_field_of_every_message_within_has_a_rule() -> None:
    wanted = {inner.name: inner for request in requests() for inner in messages_within(request)}
    assert set(PARTS) == set(wanted)
    for name, descriptor in wanted.items():
        assert set(PARTS[name]) == {field.name for field in descriptor.fields}, name


def product(**fields: Any) -> CreateProductRequest:
    right: dict[str, Any] = {
        "parent": "publishers/acme",
        "request_id": UUID,
        "product_id": "daw",
        "display_name": "DAW",
        "allowed_locations": [1],
    }
    return CreateProductRequest(**{**right, **fields})


def license(**fields: Any) -> CreateLicenseRequest:
    right: dict[str, Any] = {
        "parent": "accounts/acme",
        "request_id": UUID,
        "product": "publishers/acme/products/daw",
    }
    return CreateLicenseRequest(**{**right, **fields})


def user(**fields: Any) -> CreateUserRequest:
    right: dict[str, Any] = {
        "parent": "accounts/acme",
        "request_id": UUID,
        "login": "anna@example.com",
        "password": "long enough",
    }
    return CreateUserRequest(**{**right, **fields})


GRACE = Duration()
GRACE.FromTimedelta(timedelta(seconds=9))
DAW = "publishers/acme/products/daw"


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (product(), set()),
        (product(request_id="x"), {"request_id"}),
        (product(product_id="1st", display_name=""), {"product_id", "display_name"}),
        (product(allowed_locations=[]), {"allowed_locations"}),
        (product(allowed_locations=[1, 1]), {"allowed_locations"}),
        (product(allowed_locations=[0]), {"allowed_locations[0]"}),
        (product(allowed_locations=[9]), {"allowed_locations[0]"}),
        (product(offline_grace=GRACE), {"offline_grace"}),
        (product(offline_grace=Duration(seconds=2**62)), {"offline_grace"}),
        (product(offline_grace=Duration(seconds=60, nanos=-1)), {"offline_grace"}),
        (product(offline_grace=Duration(seconds=60)), set()),
        (product(minimum_app_version="two"), {"minimum_app_version"}),
        (product(minimum_app_version="2.1"), set()),
        (product(bundle_products=["daw"]), {"bundle_products[0]"}),
        (product(bundle_products=[DAW, DAW]), {"bundle_products"}),
        (product(bundle_products=[DAW] * 257), {"bundle_products"}),
        (product(features=["Surround"]), {"features[0]"}),
        (license(), set()),
        (license(activation_count=10_001), {"activation_count"}),
        (license(seat_count=1_000_001, term_days=40_000), {"seat_count", "term_days"}),
        (license(features=[FeatureGrant()]), {"features[0].feature"}),
        (license(expire_time=Timestamp(seconds=-1)), {"expire_time"}),
        (license(expire_time=Timestamp(seconds=1, nanos=-1)), {"expire_time"}),
        (license(type=99), {"type"}),
        (license(external_reference="x" * 129), {"external_reference"}),
        (license(external_reference="a\nb"), {"external_reference"}),
        (user(), set()),
        (user(password="short"), {"password"}),
        (user(login="Anna"), {"login"}),
        (user(login="an na"), {"login"}),
        (user(role=99), {"role"}),
        (user(parent="accounts/acme/users/x"), {"parent"}),
        (SignInRequest(), {"login", "password"}),
        (ListAccountsRequest(page_size=1_001), {"page_size"}),
        (
            OpenCloudSessionRequest(name="accounts/acme/cloudSession", request_id=UUID),
            {"device"},
        ),
        (
            OpenCloudSessionRequest(
                name="accounts/acme/cloudSession",
                request_id=UUID,
                device=session_pb2.Device(id="short", host_name="h" * 256),
            ),
            {"device.id", "device.host_name"},
        ),
        (borrow(), set()),
        (borrow(duration=None), {"duration"}),
        (borrow(duration=Duration(seconds=59)), {"duration"}),
        (borrow(duration=Duration(seconds=367 * 86_400)), {"duration"}),
        (
            borrow(
                return_key=PublicKey(algorithm=KeyAlgorithm.KEY_ALGORITHM_ECDSA_P256, key=b"4" * 65)
            ),
            {"return_key.algorithm", "return_key.key"},
        ),
        (
            borrow(fingerprint=HostFingerprint(salt=b"s" * 16)),
            {"fingerprint.components", "fingerprint.required_count"},
        ),
        (borrow(fingerprint=parts(2, "board")), {"fingerprint.required_count"}),
        (borrow(fingerprint=parts(1, "board", "board")), {"fingerprint.components"}),
        (borrow(fingerprint=parts(1, "Board")), {"fingerprint.components[0].kind"}),
        (borrow(fingerprint=parts(2, "board", "disk")), set()),
        (ReturnBorrowRequest(name="pools/p/borrows/b"), {"statement"}),
        (
            ReturnBorrowRequest(name="pools/p/leases/b", statement=Envelope(payload_type="x")),
            {"name", "statement.payload", "statement.signatures"},
        ),
        (WriteOffBorrowRequest(name="pools/p/borrows/b", dry_run=True), set()),
        (WriteOffBorrowRequest(name="pools/p/borrows/b", request_id="1"), {"request_id"}),
    ],
)
def test_what_is_wrong_is_said_field_by_field(request_: Message, fields: set[str]) -> None:
    if not fields:
        validate.request(request_)
        return
    with pytest.raises(FieldInvalid) as refused:
        validate.request(request_)
    assert set(refused.value.fields) == fields
    assert "long enough" not in refused.value.sentence


def renew(**fields: Any) -> HoldSessionRequest:
    right: dict[str, Any] = {"sequence": 2, "mac": bytes(16)}
    return HoldSessionRequest(renew=session_pb2.Renew(**{**right, **fields}))


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (renew(), None),
        (renew(nonce=bytes(32)), None),
        (renew(sequence=0), FieldInvalid),
        (renew(sequence=2**63), FieldInvalid),
        (renew(mac=bytes(15)), FieldInvalid),
        (renew(nonce=bytes(31)), FieldInvalid),
        (HoldSessionRequest(), ProtocolViolation),
        (HoldSessionRequest(open=session_pb2.Open()), FieldInvalid),
        (HoldSessionRequest(close=session_pb2.Close(sequence=1)), None),
        (HoldSessionRequest(release=session_pb2.Release(sequence=1, name="pools/p")), FieldInvalid),
        (
            HoldSessionRequest(release=session_pb2.Release(sequence=1, name="pools/p/leases/l")),
            None,
        ),
        (
            HoldSessionRequest(acquire=session_pb2.Acquire(sequence=1, request_id=UUID)),
            None,
        ),
        (
            HoldSessionRequest(
                acquire=session_pb2.Acquire(sequence=1, request_id=UUID, priority=101)
            ),
            FieldInvalid,
        ),
    ],
)
def test_frames_are_checked(frame: HoldSessionRequest, error: type[KeypegError] | None) -> None:
    if error is None:
        validate.frame(frame)
    else:
        with pytest.raises(error):
            validate.frame(frame)


@given(st.binary(max_size=200))
def test_random_bytes_that_parse_are_right_or_refused(data: bytes) -> None:
    checks: tuple[tuple[type[Message], Callable[[Any], None]], ...] = (
        (HoldSessionRequest, validate.frame),
        (CreateLicenseRequest, validate.request),
    )
    for message, check in checks:
        try:
            found = message.FromString(data)
        except DecodeError:
            continue
        with contextlib.suppress(FieldInvalid, ProtocolViolation):
            check(found)
