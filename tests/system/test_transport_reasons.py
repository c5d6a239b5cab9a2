"""Why connections end that never become a call, as the log of a real server tells it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from keypeg_server.domain.silence import GROWN
from keypeg_server.grpc_words import FILE
from keypeg_server.silent_connections import EVERY
from lab.processes import START_TIMEOUT, Lab
from lab.world import World
from tests.system.logs import said
from tests.system.people import SETTINGS

STEP = 0.2  # seconds


def told(world: World, event: str, within: float = START_TIMEOUT, **fields: object) -> bool:
    """Whether the log has it, or gets it soon."""
    tick = threading.Event()
    for _ in range(int(within / STEP)):
        if said(world, event, **fields):
            return True
        tick.wait(STEP)
    return False


@contextlib.contextmanager
def connected(world: World) -> Iterator[socket.socket]:
    host, _, port = world.address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as one:
        yield one


def plain_text(world: World) -> None:
    with connected(world) as one:
        one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        ended(one)


def plain_http(world: World) -> None:
    with connected(world) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        ended(one)


def old_tls(world: World) -> None:
    """What a client of TLS 1.1 begins with, whatever this computer's own library still can."""
    hello = b"\x03\x02" + bytes(32) + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    message = b"\x01" + len(hello).to_bytes(3, "big") + hello
    with connected(world) as one:
        one.sendall(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message)
        ended(one)


def no_trust(world: World) -> None:
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connected(world) as one, pytest.raises(ssl.SSLError):
        context.wrap_socket(one, server_hostname="localhost")


def ended(one: socket.socket) -> None:
    """The server has hung up, with or without a word."""
    with contextlib.suppress(ConnectionResetError):
        while one.recv(1_024):
            pass


def test_handshakes_that_fail_are_told_with_why(world: World) -> None:
    for attempt in (plain_text, plain_http, old_tls, no_trust):
        attempt(world)
    for reason, why in (
        ("WRONG_VERSION_NUMBER", "no TLS: plain text, or another protocol"),
        ("HTTP_REQUEST", "no TLS: plain HTTP"),
        ("UNSUPPORTED_PROTOCOL", "no version of TLS from 1.2 on"),
        ("TLSV1_ALERT_UNKNOWN_CA", "the client does not trust this server's certificate"),
    ):
        assert told(world, "handshake failed", reason=reason, why=why)
    assert stat.S_IMODE((world.data / FILE).stat().st_mode) == 0o600


@pytest.mark.long  # silent at two looks
def test_many_connections_that_say_nothing_are_told_with_where_they_come_from(
    world: World,
) -> None:
    with contextlib.ExitStack() as held:
        for number in range(2 * GROWN):
            one = held.enter_context(connected(world))
            if number % 2:
                one.sendall(b"\x16\x03\x01")  # the beginning of a handshake
        within = START_TIMEOUT + 3 * EVERY
        assert told(world, "connections that say nothing", within, address="127.0.0.1")


@pytest.mark.long  # a server of its own
def test_what_stood_there_when_a_server_was_killed_is_told_at_the_next_start(
    lab: Lab, made_data: Path
) -> None:
    world = World(lab, settings=SETTINGS, like=made_data)
    assert world.server is not None
    world.server.kill()
    (world.data / FILE).write_text("malloc(): corrupted\n")
    again = world.serve()
    assert said(world, "last words of the process before", said="malloc(): corrupted")
    again.stop()
    assert not (world.data / FILE).exists()
