"""Connections of this process, as the system knows them."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from keypeg_server.domain.noticing import WHILE
from keypeg_server.domain.silence import GROWN, HANDSHAKE_BYTES
from keypeg_server.silent_connections import REST, SilentConnections, ports_of, seen, sockets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the files of a process: Linux")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=2 * GROWN) as one:
        yield one


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def test_a_connection_has_its_place_and_what_has_come(listener: socket.socket) -> None:
    ports = {port_of(listener)}
    with socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as one:
        found = seen(one.fileno(), ports)
        assert found is not None
        assert (found.place, found.received) == ("127.0.0.1", 0)
        client.sendall(bytes(HANDSHAKE_BYTES))
        assert one.recv(HANDSHAKE_BYTES, socket.MSG_WAITALL)
        found = seen(one.fileno(), ports)
        assert found is not None
        assert found.received == HANDSHAKE_BYTES
        assert seen(one.fileno(), {1}) is None, "to another port"
        assert seen(client.fileno(), ports) is None, "it is the other side"
        assert seen(listener.fileno(), ports) is None
        one.sendall(b"x")
        assert client.recv(1) == b"x", "nobody has closed it"


def test_an_address_of_ipv4_within_ipv6_is_one_of_ipv4() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this computer has no IPv6: enable it")
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])),
        listener.accept()[0] as one,
    ):
        found = seen(one.fileno(), {port_of(listener)})
        assert found is not None
        assert found.place == "127.0.0.1"


def test_what_is_no_connection_of_the_network_is_none_and_stays_open() -> None:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    with ours, theirs:
        for file in (ours.fileno(), reading):
            assert seen(file, {0}) is None
            os.fstat(file)
    for file in (reading, writing):
        os.close(file)
    assert seen(reading, {0}) is None, "nor one that was closed meanwhile"


@contextlib.contextmanager
def held(listener: socket.socket, count: int) -> Iterator[None]:
    """So many connections that say nothing."""
    with contextlib.ExitStack() as all_of_them:
        for _ in range(count):
            all_of_them.enter_context(socket.create_connection(listener.getsockname()))
            all_of_them.enter_context(listener.accept()[0])
        yield


async def test_many_that_say_nothing_are_told_at_the_second_look(listener: socket.socket) -> None:
    looking = SilentConnections({port_of(listener)}, lambda: 0.0)
    with capture_logs() as told, held(listener, GROWN):
        assert sum(each is not None for each in sockets()) >= 2 * GROWN
        await looking.look()
        assert told == []
        await looking.look()
    (record,) = told
    assert record["event"] == "connections that say nothing"
    assert (record["address"], record["connections"], record["times"]) == ("127.0.0.1", GROWN, 1)


async def test_files_that_are_closed_during_a_look_are_each_a_step_of_it() -> None:
    files = [os.dup(0) for _ in range(500)]
    looking = sockets()
    next(looking)
    for file in files:
        os.close(file)
    assert sum(each is None for each in looking) >= 490, "others have their turn between them"


async def test_who_has_told_rests_before_the_next_look(listener: socket.socket) -> None:
    clock = iter((0.0, 2 * WHILE))
    looking = SilentConnections({port_of(listener)}, lambda: next(clock))
    with capture_logs() as told, held(listener, GROWN):
        for _ in range(2 + REST):
            await looking.look()
        assert len(told) == 1
        await looking.look()
    assert [each["times"] for each in told] == [1, 1]


def test_ports_of_the_addresses_that_there_are() -> None:
    assert ports_of("127.0.0.1:7400", "", "[::1]:7401") == {7400, 7401}
