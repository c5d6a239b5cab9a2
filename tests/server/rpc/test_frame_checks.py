"""What is plainly right is right by the rules as well."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import FieldInvalid
from keypeg.v1 import seat_service_pb2, session_pb2
from keypeg_server.rpc import parts, validate
from keypeg_server.rpc.frame_checks import PLAINLY_RIGHT, REQUESTS_PLAINLY_RIGHT

SEQUENCES = st.integers(0, 3) | st.integers(2**63 - 2, 2**63 + 2)
UUIDS = st.uuids().map(str) | st.uuids().map(lambda id: str(id).upper()) | st.text(max_size=40)
POOLS = st.sampled_from(
    ["", "pools/p1", "pools/", "pools/P", "pools/p1/leases/l", "pools/" + "p" * 600]
)
NAMES = st.sampled_from(
    ["pools/p/leases/l", "pools/p/places/l", "leases/l", "", "pools/p/leases/" + "l" * 64]
)
FRAMES = (
    st.builds(
        session_pb2.Acquire,
        sequence=SEQUENCES,
        request_id=UUIDS,
        pool=POOLS,
        units=st.integers(0, 3) | st.integers(9_999, 10_002),
        priority=st.integers(-102, -98) | st.integers(98, 102),
        wait=st.booleans(),
    )
    | st.builds(session_pb2.Release, sequence=SEQUENCES, name=NAMES)
    | st.builds(
        session_pb2.Renew,
        sequence=SEQUENCES,
        mac=st.binary(min_size=15, max_size=17),
        nonce=st.sampled_from([b"", b"n" * 31, b"n" * 32]),
    )
)


def by_the_rules(frame) -> bool:
    try:
        validate._check(frame, parts.FRAMES[frame.DESCRIPTOR.name.lower()])
    except FieldInvalid:
        return False
    return True


@given(frame=FRAMES)
def test_nothing_that_the_rules_refuse_passes(frame):
    if PLAINLY_RIGHT[frame.DESCRIPTOR.name.lower()](frame):
        assert by_the_rules(frame)


@pytest.mark.parametrize(
    "frame",
    [
        session_pb2.Renew(sequence=1, mac=b"m" * 16),
        session_pb2.Renew(sequence=2**63 - 1, mac=b"m" * 16, nonce=b"n" * 32),
        session_pb2.Acquire(sequence=1, request_id="8b4a2c9e-0d6f-4f3a-9c1b-2f7d5e6a1c30"),
        session_pb2.Acquire(
            sequence=1, request_id="8b4a2c9e-0d6f-4f3a-9c1b-2f7d5e6a1c30", pool="pools/p1", units=1
        ),
        session_pb2.Release(sequence=1, name="pools/p1/leases/l1"),
    ],
    ids=lambda frame: frame.DESCRIPTOR.name,
)
def test_the_usual_frames_are_plainly_right(frame):
    assert PLAINLY_RIGHT[frame.DESCRIPTOR.name.lower()](frame)
    assert by_the_rules(frame)


TEXTS = st.sampled_from(
    ["", "a", "device-1", "1.2", "v1", "x" * 129, "\u20ac", "a\n", "\x7f", "A b"]
)
DURATIONS = st.none() | st.builds(
    Duration,
    seconds=st.sampled_from([-1, 0, 9, 10, 60, 61, 3_600, 3_601]),
    nanos=st.integers(-1, 1),
)
REQUESTS = (
    st.builds(
        seat_service_pb2.AcquireSeatRequest,
        request_id=UUIDS,
        pool=POOLS,
        units=st.integers(0, 3) | st.integers(9_999, 10_002),
        features=st.sampled_from([[], [{"feature": "f", "units": 1}], [{"feature": ""}]]),
        ttl=DURATIONS,
        device=st.none()
        | st.builds(
            session_pb2.Device, id=st.just("device-1") | TEXTS, host_name=TEXTS | st.just("h" * 256)
        ),
        app=st.none()
        | st.builds(session_pb2.App, name=TEXTS, version=TEXTS | st.just("1." * 9), sdk=TEXTS),
        wait=DURATIONS,
        priority=st.integers(-102, -98) | st.integers(98, 102),
    )
    | st.builds(seat_service_pb2.RenewSeatRequest, name=NAMES, ttl=DURATIONS)
    | st.builds(seat_service_pb2.ReleaseSeatRequest, name=NAMES)
)


def right_by_the_rules(request) -> bool:
    try:
        validate._check(request, validate.RULES[request.DESCRIPTOR.name])
    except FieldInvalid:
        return False
    return True


@given(request=REQUESTS)
def test_no_request_that_the_rules_refuse_passes(request):
    if REQUESTS_PLAINLY_RIGHT[type(request)](request):
        assert right_by_the_rules(request)


@pytest.mark.parametrize(
    "request_",
    [
        seat_service_pb2.AcquireSeatRequest(
            request_id="8b4a2c9e-0d6f-4f3a-9c1b-2f7d5e6a1c30",
            pool="pools/p1",
            units=1,
            ttl=Duration(seconds=60),
            device=session_pb2.Device(id="device-1", host_name="atlas"),
            app=session_pb2.App(name="cad", version="1.0", sdk="keypeg/1", process_id=7),
            wait=Duration(seconds=30),
        ),
        seat_service_pb2.RenewSeatRequest(name="pools/p1/leases/l1", fencing_number=3),
        seat_service_pb2.ReleaseSeatRequest(name="pools/p1/leases/l1", fencing_number=3),
    ],
    ids=lambda request: request.DESCRIPTOR.name,
)
def test_the_usual_requests_are_plainly_right(request_):
    assert REQUESTS_PLAINLY_RIGHT[type(request_)](request_)
    assert right_by_the_rules(request_)
