"""Channels and the errors of calls."""

from __future__ import annotations

import json

import grpc
import grpc.aio
import pytest

from keypeg import calls, dialing, errors, status
from keypeg.testing import StandInHost
from keypeg.v1 import session_service_pb2, session_service_pb2_grpc


def rpc_error(code: grpc.StatusCode, details: bytes | None = None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata()
    if details is not None:
        trailing.add("grpc-status-details-bin", details)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "text")


def test_an_error_with_details_is_the_error_of_its_reason():
    sent = errors.PoolExhausted("Every seat is held.", pool="pools/p")
    packed = status.to_status(sent).SerializeToString()
    found = calls.translate(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, packed))
    assert isinstance(found, errors.PoolExhausted)
    assert found.metadata["pool"] == "pools/p"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unreachable),
        (grpc.StatusCode.CANCELLED, errors.Unreachable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.TimedOut),
        (grpc.StatusCode.UNIMPLEMENTED, errors.ProtocolUnsupported),
        (grpc.StatusCode.UNAUTHENTICATED, errors.SignInRequired),
        (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDenied),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.Busy),
        (grpc.StatusCode.UNKNOWN, errors.Internal),
    ],
)
def test_an_error_without_details_is_told_by_its_code(code, kind):
    assert type(calls.translate(rpc_error(code))) is kind
    assert type(calls.translate(rpc_error(code, b"\xff no status"))) is kind


def test_a_stream_that_ended_while_it_was_written_to_is_lost_and_not_broken():
    code = grpc.StatusCode.INTERNAL
    assert type(calls.from_code(code, "Internal error from Core.")) is errors.Unreachable
    assert type(calls.from_code(code, "something else")) is errors.Internal


async def test_a_call_ends_in_its_time_with_an_answer_or_the_error_of_its_reason():
    asked = []

    async def method(request: str, timeout: float) -> str:
        asked.append((request, timeout))
        if request == "late":
            raise rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED)
        return "answer"

    assert await calls.call(method, "a request") == "answer"
    with pytest.raises(errors.TimedOut):
        await calls.call(method, "late", timeout=0.5)
    assert asked == [("a request", calls.CALL_TIMEOUT), ("late", 0.5)]


@pytest.mark.parametrize("target", ["", "host", "host:", ":1", "host:0", "host:99999", "a:1,b"])
def test_what_is_no_address_is_refused(target):
    with pytest.raises(errors.FieldInvalid):
        calls.connect(target)


@pytest.mark.parametrize(("several", "attempts"), [(False, 4), (True, 2)])
def test_a_stream_is_never_repeated_and_a_call_is(several, attempts):
    config = json.loads(dialing.service_config(several=several))
    default, streams = config["methodConfig"]
    assert default["retryPolicy"]["maxAttempts"] == attempts
    assert "retryPolicy" not in streams
    assert {name["method"] for name in streams["name"]} == {"HoldSession", "WatchProcess"}


async def test_a_server_without_the_right_certificate_is_not_spoken_to():
    async with StandInHost(tls=True) as host, StandInHost(tls=True) as other:
        async with calls.connect(host.target, ca=other.ca, token="secret") as channel:
            stub = session_service_pb2_grpc.SessionServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.CloseSession(session_service_pb2.CloseSessionRequest(), timeout=5)
        assert isinstance(calls.translate(caught.value), errors.Unreachable)
        assert host.tokens == []
