"""Callers who mean harm, on a real server: each gets nowhere, others are served meanwhile, and the log says why.

docs/security.md names these cases. What is asked here is that others are answered at all and that memory stays
bounded; how fast is for measurements.
"""

from __future__ import annotations

import resource
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    seat_service_pb2,
    session_pb2,
)
from keypeg_server.rpc.limits import HANDSHAKE_TIMEOUT_MS
from lab.world import SITE, Api, World, request_id
from tests.system.logs import said
from tests.system.people import Customer

pytestmark = pytest.mark.own_server

SERVED = 5.0
"""Seconds in which others are answered, on a machine with other work."""
GROWTH = 200 << 20
"""Bytes by which the server may grow under any of this."""
OF_CONNECTION = 32 << 10
"""Bytes that the library keeps for a connection, until it hangs up on a handshake that does not go on."""


def memory(world: World) -> int:
    """Bytes that the server has."""
    assert world.server is not None
    with open(f"/proc/{world.server.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def me(api: Api) -> str:
    """Who a caller is, by the server."""
    answer = api.accounts.GetCaller(account_service_pb2.GetCallerRequest(), timeout=SERVED)
    return answer.user.name


@contextmanager
def others_are_served(world: World, customer: Customer, growth: int = GROWTH) -> Iterator[None]:
    """Somebody asks again and again meanwhile, on a connection of their own and on new ones."""
    before = memory(world)
    over = threading.Event()
    answered = [0]
    failed: list[Exception] = []

    def ask() -> None:
        try:
            while not over.is_set():
                assert me(customer.member)
                fresh = Api(world.address, world.ca_file.read_bytes(), customer.member_token)
                assert me(fresh)
                fresh.close()
                answered[0] += 1
        except Exception as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()
    assert not failed, failed
    assert answered[0] > 0
    assert me(customer.member)
    assert memory(world) - before < growth


def connected(world: World) -> socket.socket:
    host, _, port = world.address.rpartition(":")
    return socket.create_connection((host, int(port)), SERVED)


def refused(call: Callable[[], object]) -> Reason:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return translate(caught.value).reason


@pytest.mark.parametrize(
    "token",
    ["A" * 43, "", "x" * 4000, "../../etc/passwd", "Bearer Bearer"],
    ids=["forged", "empty", "long", "path", "words"],
)
def test_a_token_that_was_never_given_is_none(world: World, token: str) -> None:
    ca = grpc.ssl_channel_credentials(world.ca_file.read_bytes())
    with grpc.secure_channel(world.address, ca) as channel:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        header = (("authorization", f"Bearer {token}"),)
        why = refused(
            lambda: accounts.GetCaller(
                account_service_pb2.GetCallerRequest(), metadata=header, timeout=SERVED
            )
        )
    assert why in (Reason.TOKEN_INVALID, Reason.SIGN_IN_REQUIRED)


def test_a_token_that_was_signed_out_is_none(world: World, customer: Customer) -> None:
    thief = Api(world.address, world.ca_file.read_bytes(), customer.member_token)
    assert me(thief)
    customer.member = world.sign_in(customer.member_login)
    thief.accounts.SignOut(account_service_pb2.SignOutRequest())
    assert refused(lambda: me(thief)) is Reason.TOKEN_INVALID
    assert me(customer.member)


def test_a_request_id_of_somebody_else_says_and_does_nothing(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 2)
    asked = seat_service_pb2.AcquireSeatRequest(
        request_id=request_id(),
        pool=pool,
        device=session_pb2.Device(id="device-a", host_name="a"),
        app=session_pb2.App(name="a"),
    )
    given = customer.member.seats.AcquireSeat(asked).lease
    other = customer.admin.seats.AcquireSeat(asked).lease
    assert other.name != given.name
    assert not said(world, "call refused", user=me(customer.admin)), "nothing was refused"
    stranger = Customer(world)
    assert refused(lambda: stranger.member.seats.AcquireSeat(asked)) is Reason.NOT_FOUND


def test_plain_text_gets_no_answer(world: World, customer: Customer) -> None:
    with (
        others_are_served(world, customer),
        grpc.insecure_channel(world.address) as channel,
    ):
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        header = (("authorization", f"Bearer {customer.member_token}"),)
        with pytest.raises(grpc.RpcError) as caught:
            accounts.GetCaller(
                account_service_pb2.GetCallerRequest(), metadata=header, timeout=SERVED
            )
        assert caught.value.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )


def test_old_versions_of_tls_are_refused(world: World) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(world.ca_file))
    context.set_alpn_protocols(["h2"])
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with connected(world) as raw, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(raw, server_hostname="127.0.0.1")


@pytest.mark.parametrize(
    "count", [200, pytest.param(10_000, marks=pytest.mark.long)], ids=["some", "many"]
)
def test_half_open_connections_keep_nobody_out(
    world: World, customer: Customer, count: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 1_000), hard), hard))
    held: list[socket.socket] = []
    try:
        with others_are_served(world, customer, GROWTH + count * OF_CONNECTION):
            for number in range(count):
                one = connected(world)
                if number % 2:
                    one.sendall(b"\x16\x03\x01")  # the beginning of a handshake that never goes on
                held.append(one)
    finally:
        for one in held:
            one.close()


@pytest.mark.long
def test_who_does_not_begin_is_hung_up_on(world: World) -> None:
    with connected(world) as one:
        one.settimeout(2 * HANDSHAKE_TIMEOUT_MS / 1000)
        assert one.recv(1) == b""


@pytest.mark.parametrize("what", ["header", "message", "nonsense"])
def test_what_is_too_large_is_refused_before_it_is_read(
    world: World, customer: Customer, what: str
) -> None:
    with others_are_served(world, customer):
        for _ in range(5):
            api = Api(world.address, world.ca_file.read_bytes(), customer.member_token)
            ask: Any = api.channel.unary_unary(
                "/keypeg.v1.AccountService/GetCaller",
                request_serializer=None,
                response_deserializer=None,
            )
            header = (("x-large", "x" * 4_000_000),) if what == "header" else ()
            body = {"header": b"", "message": bytes(8 << 20), "nonsense": b"\xff" * 1000}[what]
            with pytest.raises(grpc.RpcError) as caught:
                ask(body, metadata=header, timeout=SERVED)
            assert (
                caught.value.code()
                in {
                    "header": (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE),
                    "message": (grpc.StatusCode.RESOURCE_EXHAUSTED,),
                    "nonsense": (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL),
                }[what]
            )
            api.close()


def test_what_is_larger_than_its_method_takes_is_refused_before_it_is_parsed(
    world: World, customer: Customer
) -> None:
    """It would be read elsewhere: only documents and lists are that large."""
    ask: Any = customer.member.channel.unary_unary(
        "/keypeg.v1.SeatService/RenewSeat", request_serializer=None, response_deserializer=None
    )
    with others_are_served(world, customer), pytest.raises(grpc.RpcError) as caught:
        ask(b"\xff" * 20_000, timeout=SERVED)
    refusal = translate(caught.value)
    assert (refusal.reason, refusal.metadata["limit"]) == (Reason.LIMIT_EXCEEDED, "message_bytes")
    assert refusal.metadata["allowed"] == "16384"


def test_a_stream_of_pings_and_settings_keeps_nobody_out(world: World, customer: Customer) -> None:
    """What HTTP/2 lets a client send without asking for anything (CVE-2019-9512, CVE-2019-9515)."""
    context = ssl.create_default_context(cafile=str(world.ca_file))
    context.set_alpn_protocols(["h2"])
    host = world.address.rpartition(":")[0]

    def frame(kind: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + bytes([kind, 0]) + bytes(4) + payload

    with (
        others_are_served(world, customer),
        context.wrap_socket(connected(world), server_hostname=host) as hostile,
    ):
        flood = frame(6, bytes(8)) * 500 + frame(4, b"") * 500
        try:
            hostile.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, b""))
            for _ in range(100):
                hostile.sendall(flood)
        except OSError:
            pass  # the server has hung up: just as well


def flood(world: World, login: str, count: int, at_once: int) -> Counter[Reason | None]:
    """Guess passwords of logins that begin so, so many at once, from one address; how each guess was answered."""
    credentials = grpc.ssl_channel_credentials(world.ca_file.read_bytes())
    own = [("grpc.use_local_subchannel_pool", 1)]  # a connection each
    channels = [
        grpc.secure_channel(world.address, credentials, own) for _ in range(-(-at_once // 100))
    ]
    stubs = [account_service_pb2_grpc.AccountServiceStub(one) for one in channels]
    room = threading.Semaphore(at_once)
    answers: list[Reason | None] = []

    def answered(call: Any) -> None:
        error = call.exception()
        answers.append(None if error is None else translate(error).reason)
        room.release()

    for number in range(count):
        room.acquire()
        asked = account_service_pb2.SignInRequest(
            login=f"{login}-{number % 7}", password=f"a longer guess {number}"
        )
        stubs[number % len(stubs)].SignIn.future(asked, timeout=60).add_done_callback(answered)
    for _ in range(at_once):  # all are back
        room.acquire()
    for channel in channels:
        channel.close()
    return Counter(answers)


@pytest.mark.parametrize(
    ("count", "at_once"),
    [
        pytest.param(100, 32, id="some"),
        pytest.param(100_000, 1_600, marks=pytest.mark.long, id="many"),
    ],
)
def test_floods_of_sign_ins_keep_nobody_out(
    world: World, customer: Customer, count: int, at_once: int
) -> None:
    # From the same address; at other logins than those that are at home here.
    login = customer.admin_login
    world.sign_in(login)
    with others_are_served(world, customer), ThreadPoolExecutor(1) as attacker:
        found = attacker.submit(flood, world, login, count, at_once)
        while not found.done():
            world.sign_in(login)  # at home here: nobody locks her out
    seen = found.result()
    assert sum(seen.values()) == count
    assert seen[Reason.LIMIT_EXCEEDED] > 0
    assert set(seen) <= {Reason.CREDENTIALS_INVALID, Reason.LIMIT_EXCEEDED, Reason.BUSY}
    assert world.server is not None
    assert "sign-in refused" in world.server.log.read_text()
