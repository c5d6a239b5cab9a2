"""What one caller may take: sizes by method, and refusals that say what helps."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from datetime import timedelta

import pytest

import keypeg.v1
from keypeg.errors import LimitExceeded
from keypeg.v1 import activation_service_pb2, seat_service_pb2
from keypeg_server.rpc import authorization
from keypeg_server.rpc.quotas import (
    FRAMES_AT_ONCE,
    PLACE_STREAMS,
    SMALL,
    STRANGE_STREAMS,
    STREAM_FRAMES,
    Quotas,
    TooLarge,
    reader,
    size_limit,
)
from tests.server.service.office import HandClock

for module in pkgutil.iter_modules(keypeg.v1.__path__, "keypeg.v1."):  # all methods are known then
    if module.name.endswith("_service_pb2"):
        importlib.import_module(module.name)


def test_what_has_no_list_and_no_document_is_small() -> None:
    small = {method for method in authorization.TABLE if size_limit(method) is not None}
    assert "/keypeg.v1.SeatService/RenewSeat" in small
    assert "/keypeg.v1.SessionService/HoldSession" in small
    assert "/keypeg.v1.AccountService/SignIn" in small
    for method in (
        "/keypeg.v1.ActivationService/DeleteActivation",  # a receipt
        "/keypeg.v1.BorrowService/ReturnBorrow",  # a statement
        "/keypeg.v1.CatalogService/CreateProduct",  # features
        "/keypeg.v1.SeatService/UpdatePoolRules",
    ):
        assert method in authorization.TABLE
        assert method not in small
    assert size_limit("/grpc.health.v1.Health/Check") is None


def test_what_is_too_large_is_not_parsed() -> None:
    parse = reader("/keypeg.v1.SeatService/RenewSeat", seat_service_pb2.RenewSeatRequest.FromString)
    fits = seat_service_pb2.RenewSeatRequest(name="x" * (SMALL - 3))
    assert fits.ByteSize() == SMALL
    assert parse(fits.SerializeToString()) == fits
    large = parse(b"\xff" * (SMALL + 1))
    assert isinstance(large, TooLarge)
    refusal = large.refusal()
    assert refusal.metadata == {"limit": "message_bytes", "allowed": str(SMALL)}
    assert (
        "16,385 bytes is too large for SeatService/RenewSeat, which takes 16,384"
        in refusal.sentence
    )
    parse_any = activation_service_pb2.DeleteActivationRequest.FromString
    assert reader("/keypeg.v1.ActivationService/DeleteActivation", parse_any) is parse_any


def test_calls_and_streams_of_one_user_are_bounded_and_the_refusal_says_how() -> None:
    clock = HandClock()
    quotas = Quotas(clock, calls=10, streams=1, frames=640, openings=10)
    for _ in range(100):
        quotas.call("accounts/acme/users/ada")
    with pytest.raises(LimitExceeded) as caught:
        quotas.call("accounts/acme/users/ada")
    assert caught.value.metadata["limit"] == "user_calls"
    assert caught.value.retry_after is not None
    clock.now += caught.value.retry_after + timedelta(microseconds=10)
    quotas.call("accounts/acme/users/ada")
    quotas.call("accounts/acme/users/bob")
    with quotas.stream("accounts/acme/users/ada"):
        with (
            pytest.raises(LimitExceeded, match="1 streams open") as refused,
            quotas.stream("accounts/acme/users/ada"),
        ):
            raise AssertionError("one too many")
        assert refused.value.metadata["limit"] == "user_streams"
        with quotas.stream("accounts/acme/users/bob"):
            pass
    with quotas.stream("accounts/acme/users/ada"):
        pass


def test_new_sessions_of_one_user_come_one_after_another() -> None:
    clock = HandClock()
    quotas = Quotas(clock, calls=10, streams=1, frames=640, openings=10)
    waits = [quotas.opening("accounts/acme/users/ada") for _ in range(50)]
    assert waits == pytest.approx([number / 10 for number in range(50)])
    for _ in range(2):  # who is refused pushes nobody back
        with pytest.raises(LimitExceeded, match="in 5 s") as caught:
            quotas.opening("accounts/acme/users/ada")
        assert caught.value.metadata["limit"] == "user_openings"
    assert quotas.opening("accounts/acme/users/bob") == 0.0
    assert caught.value.retry_after is not None
    clock.now += caught.value.retry_after
    assert quotas.opening("accounts/acme/users/ada") == 0.0


def test_streams_of_who_has_not_signed_in_are_bounded_by_place_and_in_all() -> None:
    quotas = Quotas(HandClock(), calls=10, streams=1, frames=640, openings=10)
    with contextlib.ExitStack() as held:
        for _ in range(PLACE_STREAMS):
            held.enter_context(quotas.strange_stream("192.0.2.7"))
        with pytest.raises(LimitExceeded, match="from one place"):
            held.enter_context(quotas.strange_stream("192.0.2.7"))
        for number in range(STRANGE_STREAMS - PLACE_STREAMS):
            held.enter_context(quotas.strange_stream(f"place {number}"))
        for _ in range(2):  # and what is refused is not counted
            with pytest.raises(LimitExceeded, match="in all") as refused:
                held.enter_context(quotas.strange_stream("192.0.2.8"))
        assert refused.value.metadata["limit"] == "strange_streams"
    with quotas.strange_stream("192.0.2.7"):
        pass


def test_frames_of_streams_count_when_one_sends_more_than_an_app_does() -> None:
    clock = HandClock()
    quotas = Quotas(clock, calls=10, streams=1, frames=640, openings=10)
    at_rest, flood = (
        quotas.frames("accounts/acme/users/ada"),
        quotas.frames("accounts/acme/users/ada"),
    )
    other = quotas.frames("accounts/acme/users/bob")
    assert [flood() for _ in range(9)] == pytest.approx([0.0] * 8 + [FRAMES_AT_ONCE / 640])
    for _ in range(100):
        clock.now += timedelta(seconds=FRAMES_AT_ONCE / STREAM_FRAMES)
        assert at_rest() == 0.0
    for _ in range(50):
        flood()
    assert flood() > 0.0
    assert other() == 0.0
