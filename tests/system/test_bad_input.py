"""Bytes that nobody should send, on the port of a real keypegd: a clear status, and nothing held."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable, Iterator

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from lab.world import SITE, World
from tests.system.people import Customer

Namer = Callable[[str], str]
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SEEDS = range(24)


def connect(world: World, *, tls: bool) -> socket.socket:
    host, port = world.address.rsplit(":", 1)
    plain = socket.create_connection((host, int(port)), timeout=10)
    if not tls:
        return plain
    context = ssl.create_default_context(cafile=str(world.ca_file))
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname="localhost")


def drain(connection: socket.socket) -> None:
    """Read until the other side closes; an error is a close."""
    try:
        while connection.recv(65536):
            pass
    except OSError:
        return


def well(world: World, customer: Customer, pool: str) -> None:
    """The server serves, and nobody holds anything."""
    now = world.pool(customer.admin, pool)
    assert (now.held_count, now.waiting_count) == (0, 0)
    assert world.server
    assert world.server.running


@pytest.fixture
def pool(world: World, customer: Customer, new_name: Namer) -> Iterator[tuple[str, str]]:
    product = world.product(new_name("solver"), locations=[SITE])
    name = world.seats(customer.account, product, 3)
    yield product, name
    well(world, customer, name)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("preface", [b"", HTTP2_PREFACE], ids=["raw", "http2"])
def test_random_bytes_on_the_port_end_their_connection_only(
    world: World, pool: tuple[str, str], tls: bool, preface: bytes
) -> None:
    for seed in SEEDS:
        rng = random.Random(seed)
        try:
            with connect(world, tls=tls) as connection:
                connection.sendall(preface + rng.randbytes(rng.randrange(1, 4096)))
                connection.settimeout(5)
                connection.shutdown(socket.SHUT_WR)
                drain(connection)
        except OSError:
            continue  # closed while we wrote: as good an answer


def hold_raw(customer: Customer, *messages: bytes) -> grpc.RpcError:
    """Send these as messages of HoldSession; how the stream ended."""
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = customer.member.channel.stream_stream(
        "/keypeg.v1.SessionService/HoldSession"
    )
    try:
        for _ in call(iter(messages), timeout=20):
            pass
    except grpc.RpcError as error:
        return error
    return pytest.fail("the stream ended well")


def good_open(product: str) -> bytes:
    return session_service_pb2.HoldSessionRequest(
        open=session_pb2.Open(
            sequence=1,
            protocol_version=1,
            device=session_pb2.Device(id="device-fuzz", host_name="fuzz"),
            app=session_pb2.App(name="fuzz"),
            product=product,
            nonce=bytes(32),
            key_share=bytes([9]) + bytes(31),
        )
    ).SerializeToString()


def test_random_and_truncated_messages_get_a_clear_status(
    world: World, customer: Customer, pool: tuple[str, str]
) -> None:
    product, _ = pool
    whole = good_open(product)
    for seed in SEEDS:
        rng = random.Random(seed)
        broken = bytearray(whole[: rng.randrange(1, len(whole))])
        for _ in range(rng.randrange(4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        for message in (bytes(broken), rng.randbytes(rng.randrange(1, 512))):
            error = hold_raw(customer, message)
            code = error.code()
            assert code in (
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.INTERNAL,  # grpc's own word for bytes that are no message
                grpc.StatusCode.FAILED_PRECONDITION,
                grpc.StatusCode.NOT_FOUND,
            ), error
            assert "Traceback" not in str(error)


def test_an_oversized_message_is_refused(customer: Customer, pool: tuple[str, str]) -> None:
    error = hold_raw(customer, good_open(pool[0]) + b"\x7a" + bytes(300_000))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_stream_must_begin_with_open_and_without_a_token_does_not_begin(
    world: World, customer: Customer, pool: tuple[str, str]
) -> None:
    renew = session_service_pb2.HoldSessionRequest(
        renew=session_pb2.Renew(sequence=1, mac=bytes(16))
    )
    assert translate(hold_raw(customer, renew.SerializeToString())).reason is (
        Reason.PROTOCOL_VIOLATION
    )
    credentials = grpc.ssl_channel_credentials(world.ca_file.read_bytes())
    with grpc.secure_channel(world.address, credentials) as channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        opening = session_service_pb2.HoldSessionRequest.FromString(good_open(pool[0]))
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.HoldSession(iter([opening]), timeout=20))
    assert translate(caught.value).reason is Reason.SIGN_IN_REQUIRED


def test_a_forged_renewal_and_a_replayed_one_end_the_session_and_buy_no_time(
    customer: Customer, pool: tuple[str, str]
) -> None:
    renew = session_service_pb2.HoldSessionRequest(
        renew=session_pb2.Renew(sequence=2, mac=bytes(16))
    )
    forged = hold_raw(customer, good_open(pool[0]), renew.SerializeToString())
    assert translate(forged).reason is Reason.FRAME_FORGED
    renew.renew.sequence = 1
    replayed = hold_raw(customer, good_open(pool[0]), renew.SerializeToString())
    assert translate(replayed).reason is Reason.FRAME_REPLAYED
