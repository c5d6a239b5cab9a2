"""Fixtures of whole processes: a lab for each test file, a world with a running server in it.

Promises: every program started in a file ends with it; each test takes an account of its own, so that
tests of one file do not see each other.

Leaves to others: the programs and how they are started (tools/lab).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import KeypegError, Reason
from lab.processes import Lab
from lab.world import ADMIN, MEMBER, World

SETTINGS = """
[sessions]
seat_grant = "6s"

[keys]
allow_emulated = true
"""
"""Short grants, so that the tests that wait for one to run out are quick."""

_counter = itertools.count(1)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    return World(lab, settings=SETTINGS)


class Customer:
    """An account of its own with an admin and a member."""

    def __init__(self, world: World) -> None:
        number = next(_counter)
        self.admin_login = f"admin-{number}"
        self.member_login = f"member-{number}"
        self.account = world.account(
            f"customer-{number}", {self.admin_login: ADMIN, self.member_login: MEMBER}
        )
        self.admin = world.sign_in(self.admin_login)
        self.member = world.sign_in(self.member_login)
        self.admin_token = world.token(self.admin_login)
        self.member_token = world.token(self.member_login)


@pytest.fixture
def customer(world: World) -> Customer:
    return Customer(world)


@pytest.fixture
def new_name() -> Callable[[str], str]:
    """Ids that no other test of the run has."""
    return lambda stem: f"{stem}-{next(_counter)}"


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
