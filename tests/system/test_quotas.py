"""What one user, or who has not signed in, gets of a real server at most; others get theirs meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import (
    account_service_pb2,
    cloud_session_service_pb2,
    seat_service_pb2,
    session_pb2,
)
from keypeg_server.rpc.quotas import PLACE_STREAMS
from lab.processes import Lab
from lab.world import SITE, Api, World, request_id
from tests.system.logs import said
from tests.system.people import SETTINGS, Customer, recorded, refused
from tests.system.seats import acquire, release
from tests.system.streams import Stream

pytestmark = pytest.mark.own_server

LIMITS = """
[limits]
user_calls = 10
user_streams = 10
user_openings = 1
user_queue_places = 2
"""
SERVED = 5.0
"""Seconds in which others are answered, on a machine with other work."""


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path) -> World:
    """A server on which one user gets little."""
    return World(lab, settings=SETTINGS + LIMITS, like=made_data)


def me(api: Api) -> str:
    """Who a caller is, by the server."""
    return api.accounts.GetCaller(account_service_pb2.GetCallerRequest()).user.name


def test_who_calls_without_end_is_told_when_to_come_again_and_others_go_on(world: World) -> None:
    greedy, other = Customer(world), Customer(world)
    refusal, user = None, me(greedy.member)
    for _ in range(200):
        try:
            me(greedy.member)
        except grpc.RpcError as error:
            refusal = translate(error)
            break
    assert refusal is not None, "a hundred at once, and ten a second"
    assert (refusal.reason, refusal.metadata["limit"]) == (Reason.LIMIT_EXCEEDED, "user_calls")
    assert refusal.retry_after is not None
    assert 0 < refusal.retry_after.total_seconds() <= 0.1
    assert said(world, "call refused", reason="LIMIT_EXCEEDED", why="user_calls", user=user)
    me(other.member)


def test_who_opens_streams_without_end_is_refused_and_may_again_when_some_have_ended(
    world: World,
) -> None:
    greedy, other = Customer(world), Customer(world)

    def watch(customer: Customer) -> Any:
        name = f"{customer.account}/cloudSession"
        request = cloud_session_service_pb2.WatchCloudSessionRequest(name=name)
        stream = customer.member.cloud.WatchCloudSession(request)
        next(stream)
        return stream

    streams = [watch(greedy) for _ in range(10)]
    with pytest.raises(grpc.RpcError) as caught:
        watch(greedy)
    refusal = translate(caught.value)
    assert (refusal.reason, refusal.metadata["limit"]) == (Reason.LIMIT_EXCEEDED, "user_streams")
    user = me(greedy.member)
    assert said(world, "call refused", reason="LIMIT_EXCEEDED", why="user_streams", user=user)
    watch(other).cancel()
    streams[0].cancel()
    ends = time.monotonic() + SERVED
    again = None
    while again is None and time.monotonic() < ends:  # the server hears of the end a moment later
        try:
            again = watch(greedy)
        except grpc.RpcError as error:
            refusal = translate(error)
    assert again is not None, refusal
    streams.append(again)
    for stream in streams:
        stream.cancel()


def test_who_opens_sessions_without_end_waits_for_each_and_others_do_not(
    world: World, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    greedy, other = Customer(world), Customer(world)
    for customer in (greedy, other):
        world.seats(customer.account, product, 4)
    begun = time.monotonic()
    streams = [Stream(greedy.member, world.root, product, "device-a") for _ in range(3)]
    assert time.monotonic() - begun > 1.9  # one a second, the first at once
    begun = time.monotonic()
    streams.append(Stream(other.member, world.root, product, "device-b"))
    assert time.monotonic() - begun < 1.0
    begun = time.monotonic()
    streams[0].resume(greedy.member)  # and what is open is taken up again at once
    assert time.monotonic() - begun < 1.0
    for stream in streams:
        stream.close()


def test_who_has_not_signed_in_opens_so_many_streams(world: World) -> None:
    other = Customer(world)
    ca = grpc.ssl_channel_credentials(world.ca_file.read_bytes())
    with grpc.secure_channel(world.address, ca) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        streams = [watch(health_pb2.HealthCheckRequest()) for _ in range(PLACE_STREAMS)]
        for one in streams:
            assert next(one).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(watch(health_pb2.HealthCheckRequest()))
        assert translate(caught.value).metadata["limit"] == "strange_streams"
        me(other.member)
        for one in streams:
            one.cancel()


def test_who_fills_a_queue_is_refused_and_others_get_their_places(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    pool = world.seats(customer.account, world.product(new_name("solver"), locations=[SITE]), 1)

    def place(api: Api) -> int:
        """The position of one more that waits."""
        asked = seat_service_pb2.AcquireSeatRequest(
            request_id=request_id(),
            pool=pool,
            device=session_pb2.Device(id="device-a", host_name="a"),
            app=session_pb2.App(name="a"),
            wait=Duration(nanos=1_000_000),  # for this call; the place is kept for the next
        )
        return api.seats.AcquireSeat(asked).place.position

    held = acquire(customer.admin, pool).lease
    assert [place(customer.member), place(customer.member)] == [1, 2]
    with refused(Reason.QUEUE_FULL) as caught:
        place(customer.member)
    assert caught[0].metadata["limit"] == "pool.user_queue_places"
    assert f"2 places in the queue of {pool} already, which is the limit" in caught[0].sentence
    assert place(customer.admin) == 3  # on disk, and what came before it
    (kept,) = recorded(customer, "denied")
    assert (kept["reason"], f"pools/{kept['pool']}") == ("QUEUE_FULL", pool)
    release(customer.admin, held)  # serves one of them
    assert place(customer.member) == 3
