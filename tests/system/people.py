"""Who takes part in the system tests: customers with accounts of their own, and what a refusal must say.

Promises: every name is new in the run, so that tests do not see each other.

Leaves to others: the world they live in (tools/lab), the fixtures (conftest.py).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import KeypegError, Reason
from keypeg.v1 import report_service_pb2, report_service_pb2_grpc
from lab.world import ADMIN, MEMBER, Api, World

SETTINGS = """
[sessions]
seat_grant = "6s"

[keys]
allow_emulated = true

[clients]
minimum_version = "0.1.0"

[tokens]
access = "7d"

[[sign_in.providers]]
name = "work"
issuer = "https://id.example.invalid"
client_id = "keypeg"
"""
"""Short grants, so that the tests that wait for one to run out are quick; this version of keypeg is served, older ones are not.

Tokens that outlast what tests do to clocks: the bare API does not refresh them.
"""

BRIDGES = """
[tls]
client_certificates = "accept"

[server]
bridge_listen = "127.0.0.1:0"
"""
"""Bridges and sites may call by certificates."""

_counter = itertools.count(1)


def new_id(stem: str) -> str:
    """An id that no other test of the run has."""
    return f"{stem}-{next(_counter)}"


class Customer:
    """An account of its own with an admin and a member."""

    def __init__(self, world: World) -> None:
        self.admin_login = new_id("admin")
        self.member_login = new_id("member")
        self.account = world.account(
            new_id("customer"), {self.admin_login: ADMIN, self.member_login: MEMBER}
        )
        self.admin = world.sign_in(self.admin_login)
        self.member = world.sign_in(self.member_login)
        self.admin_token = world.token(self.admin_login)
        self.member_token = world.token(self.member_login)


@contextmanager
def grants_of(world: World, seconds: int) -> Iterator[None]:
    """Apps go on so long by one answer: for what must outlast the start of a server on a slow machine."""
    settings = world.data / "keypegd.toml"
    before = settings.read_text()
    after = before.replace('seat_grant = "6s"', f'seat_grant = "{seconds}s"')
    assert after != before
    try:
        settings.write_text(after)
        _restart(world)
        yield
    finally:
        settings.write_text(before)
        _restart(world)


def _restart(world: World) -> None:
    assert world.server
    world.server.stop()
    world.serve()


@contextmanager
def refused(reason: Reason) -> Iterator[list[KeypegError]]:
    """The call inside is refused for this reason; the error is in the list afterwards."""
    caught: list[KeypegError] = []
    try:
        yield caught
    except grpc.RpcError as error:
        caught.append(translate(error))
        assert caught[0].reason is reason, f"{caught[0].reason}: {caught[0]}"
        return
    pytest.fail(f"expected a refusal for {reason.name}, but the call succeeded")


def recorded(customer: Customer, event: str) -> list[dict[str, Any]]:
    """What the account's log says of an event."""
    return recorded_in(customer.admin, customer.account, event)


def recorded_in(admin: Api, account: str, event: str) -> list[dict[str, Any]]:
    """What the log of an account says of an event."""
    stub = report_service_pb2_grpc.ReportServiceStub(admin.channel)
    request = report_service_pb2.ExportLogRequest(parent=account)
    bodies = [one for part in stub.ExportLog(request) for one in part.records.records]
    found = [json.loads(one.body) for one in bodies]
    return [one for one in found if one["event"] == event]
