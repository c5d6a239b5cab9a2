"""Why each hostile caller of docs/security.md was refused, as the log of a real server tells it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest

from keypeg.errors import Reason
from keypeg.sessionkey import MAC_BYTES, KeyShare
from keypeg.v1 import (
    account_service_pb2,
    seat_service_pb2,
    session_pb2,
    session_service_pb2_grpc,
)
from keypeg.v1.session_service_pb2 import CloseSessionRequest, HoldSessionRequest
from keypeg_server import secret_files
from keypeg_server.clock import to_us
from keypeg_server.rpc.session_service import UNREAD_TIME
from keypeg_server.service.token_texts import AccessToken, TokenTexts
from lab.world import SITE, Api, World, request_id
from tests.system.logs import said
from tests.system.people import Customer, refused
from tests.system.streams import Stream

GET_CALLER = account_service_pb2.GetCallerRequest()


def as_thief(world: World, token: str, call: Callable[[Api], object], reason: Reason) -> None:
    thief = Api(world.address, world.ca_file.read_bytes(), token)
    with refused(reason):
        call(thief)
    thief.close()


def test_tokens_that_are_forged_expired_revoked_and_of_another_server(
    world: World, customer: Customer
) -> None:
    key = secret_files.load(world.data, None).ticket_key
    ours, theirs = TokenTexts(key, ""), TokenTexts(key, "another")
    later, before = (to_us(datetime.now(UTC) + timedelta(hours=h)) for h in (1, -1))
    ask = lambda api: api.accounts.GetCaller(GET_CALLER)  # noqa: E731 - one question
    refuse = partial(as_thief, world, call=ask)
    refuse(ours.access(AccessToken("a" * 32, later))[:-4] + "AAAA", reason=Reason.TOKEN_INVALID)
    refuse(ours.access(AccessToken("a" * 32, before)), reason=Reason.TOKEN_EXPIRED)
    refuse(theirs.access(AccessToken("a" * 32, later)), reason=Reason.TOKEN_INVALID)
    owner = world.sign_in(customer.member_login)
    stolen = owner.token
    owner.accounts.SignOut(account_service_pb2.SignOutRequest())
    refuse(stolen, reason=Reason.TOKEN_INVALID)
    for reason, why in (
        ("TOKEN_INVALID", ""),
        ("TOKEN_INVALID", "other_audience"),
        ("TOKEN_EXPIRED", ""),
    ):
        assert said(world, "call refused", reason=reason, why=why, address="127.0.0.1")
    assert stolen not in world.server.log.read_text()  # type: ignore[union-attr]  # it runs


def test_a_resume_with_what_was_used_or_is_not_its_own(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    world.seats(customer.account, product, 2)
    stream = Stream(customer.member, world.root, product, "device-a")
    stub = session_service_pb2_grpc.SessionServiceStub(customer.admin.channel)
    resume = session_pb2.Resume(
        sequence=9,
        protocol_version=1,
        session=stream.opened.session,
        resume_ticket=stream.opened.resume_ticket,
        nonce=os.urandom(32),
        key_share=KeyShare.generate().public,
        mac=bytes(MAC_BYTES),
    )
    with refused(Reason.RESUME_INVALID):
        list(stub.HoldSession(iter([HoldSessionRequest(resume=resume)]), timeout=20))
    user = customer.admin.accounts.GetCaller(GET_CALLER).user.name
    assert said(world, "call refused", reason="RESUME_INVALID", user=user)
    stream.renew()
    stream.close()


def test_a_release_token_of_another_session_ends_none(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    world.seats(customer.account, product, 2)
    mine, other = (
        Stream(customer.member, world.root, product, device) for device in ("device-a", "device-b")
    )
    stub = session_service_pb2_grpc.SessionServiceStub(customer.member.channel)
    close = CloseSessionRequest(
        session=other.opened.session, release_token=mine.opened.release_token
    )
    with refused(Reason.NOT_FOUND):
        stub.CloseSession(close)
    method = "/keypeg.v1.SessionService/CloseSession"
    assert said(world, "call refused", reason="NOT_FOUND", method=method)
    for stream in (mine, other):
        stream.renew()
        stream.close()


def test_a_request_id_of_somebody_else_is_told_with_who_sent_it(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    asked = seat_service_pb2.AcquireSeatRequest(
        request_id=request_id(),
        pool=world.seats(customer.account, product, 2),
        device=session_pb2.Device(id="device-a", host_name="a"),
        app=session_pb2.App(name="a"),
    )
    assert customer.member.seats.AcquireSeat(asked).lease.name
    stranger = Customer(world)
    with refused(Reason.NOT_FOUND):
        stranger.member.seats.AcquireSeat(asked)
    user = stranger.member.accounts.GetCaller(GET_CALLER).user.name
    assert said(world, "call refused", reason="NOT_FOUND", user=user)


@pytest.mark.parametrize("what", ["header", "message"])
def test_a_bomb_is_told_though_nobody_reads_it(world: World, customer: Customer, what: str) -> None:
    method = {
        "header": "/keypeg.v1.AccountService/ListUsers",
        "message": "/keypeg.v1.AccountService/GetAccount",
    }[what]
    ask: Any = customer.member.channel.unary_unary(
        method, request_serializer=None, response_deserializer=None
    )
    header = (("x-large", "x" * 4_000_000),) if what == "header" else ()
    with pytest.raises(grpc.RpcError):
        ask(bytes(8 << 20) if what == "message" else b"", metadata=header, timeout=20)
    ends = time.monotonic() + 10
    while not said(world, "call cut off", method=method):  # a moment after its client heard
        assert time.monotonic() < ends
        customer.admin.accounts.GetCaller(GET_CALLER)


def test_a_message_over_its_method_s_size_is_told_with_who_sent_it(
    world: World, customer: Customer
) -> None:
    ask: Any = customer.member.channel.unary_unary(
        "/keypeg.v1.SeatService/RenewSeat", request_serializer=None, response_deserializer=None
    )
    with refused(Reason.LIMIT_EXCEEDED):
        ask(b"\xff" * 20_000, timeout=20)
    user = customer.member.accounts.GetCaller(GET_CALLER).user.name
    assert said(world, "call refused", reason="LIMIT_EXCEEDED", why="message_bytes", user=user)


def test_who_guesses_is_told_with_where_they_are(world: World, customer: Customer) -> None:
    login = customer.admin_login + "-guessed"
    for number in itertools.count():
        try:
            world.token(login, f"a wrong guess {number}")
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                break
    assert said(world, "sign-in failed", address="127.0.0.1")
    assert said(world, "sign-in refused: too many failures", address="127.0.0.1")


@pytest.mark.long  # the server waits for half a minute
def test_who_asks_and_does_not_read_is_told_with_who_they_are(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    world.seats(customer.account, product, 2)
    stream = Stream(customer.member, world.root, product, "device-a")
    user = customer.member.accounts.GetCaller(GET_CALLER).user.name
    cut_off = partial(
        said, world, "call refused", reason="LIMIT_EXCEEDED", why="session.unread_frames", user=user
    )
    stream.ask(20_000)
    ends = time.monotonic() + 2 * UNREAD_TIME
    while not cut_off():
        assert time.monotonic() < ends
        time.sleep(0.5)
    stream.close()


def test_a_ticket_that_was_used_is_told_with_who_used_it_again(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    world.seats(customer.account, product, 2)
    stream = Stream(customer.member, world.root, product, "device-a")
    used = stream.resume(customer.member)
    stream.renew()
    stub = session_service_pb2_grpc.SessionServiceStub(customer.member.channel)
    with refused(Reason.RESUME_INVALID):
        list(stub.HoldSession(iter([HoldSessionRequest(resume=used)]), timeout=20))
    user = customer.member.accounts.GetCaller(GET_CALLER).user.name
    assert said(world, "call refused", reason="RESUME_INVALID", user=user)
    stream.renew()
    stream.close()
