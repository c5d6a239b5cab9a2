"""Accounts that require a second factor, and security keys as one: server, command line and emulated key, all real."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from keypeg.cli import security_key
from keypeg.errors import Reason
from keypeg.v1 import account_service_pb2 as pb
from lab.keys import KeyLab
from lab.processes import Lab
from lab.world import PASSWORD, Computer, World
from tests.system.people import Customer, recorded, refused

Namer = Callable[[str], str]
PIN = "314159"
PASSKEY = ("login", "passkey")
WITH_KEY = ("login", "--passkey", "--usbip")


@pytest.fixture
def key(lab: Lab, new_name: Namer) -> Iterator[str]:
    """A security key with a PIN: where it is served over USB/IP."""
    made = KeyLab(lab, new_name("passkey"))
    made.start_key()
    address = made.backend.removeprefix("usbip:")
    with security_key.opened(address) as found:
        found.set_pin(PIN)
    yield address
    made.end()


def computer(world: World, name: str) -> Computer:
    """A computer that calls the server by the name that its passkeys are for."""
    made = world.computer(name)
    made.env["KEYPEG_SERVER"] = f"localhost:{world.address.rpartition(':')[2]}"
    return made


@pytest.fixture
def mine(world: World, customer: Customer, key: str, new_name: Namer) -> Computer:
    """The computer of a member whose account requires a second factor, signed in with a passkey that was just added."""
    admin = world.computer(new_name("office"), token=customer.admin_token)
    _, shown = world.keypeg(admin, "account", "second-factor", "--required")
    assert shown["second_factor_required"] is True
    made = computer(world, new_name("pc"))
    world.keypeg(made, "login", "--login", customer.member_login, stdin=PASSWORD)
    status, _ = world.keypeg(made, "license", "list", check=False)
    assert status == 5, "it needs a second factor"
    _, added = world.keypeg(
        made, *PASSKEY, "add", "--name", "blue", "--usbip", key, stdin=f"{PASSWORD}\n{PIN}\n"
    )
    assert len(added["recovery_codes"]) == 10
    _, alone = world.keypeg(made, *WITH_KEY, key, stdin=f"{PIN}\n")
    assert alone["login"] == customer.member_login
    return made


def test_a_member_who_needs_a_second_factor_adds_a_security_key_and_signs_in_with_it(
    world: World, customer: Customer, key: str, mine: Computer
) -> None:
    world.keypeg(mine, "license", "list")
    # Who requires it has none either, and is still let in to set one up.
    with refused(Reason.SECOND_FACTOR_REQUIRED):
        customer.admin.accounts.GetAccount(pb.GetAccountRequest(name=customer.account))
    signed_in = customer.admin.accounts.SignIn(
        pb.SignInRequest(login=customer.admin_login, password=PASSWORD)
    )
    assert signed_in.second_factor_owed


@pytest.mark.long  # it starts the command line twenty times
def test_passkeys_beside_passwords_and_at_other_names_and_until_they_are_removed(
    world: World, customer: Customer, key: str, mine: Computer, new_name: Namer
) -> None:
    other, login = computer(world, new_name("pc")), customer.member_login
    status, _ = world.keypeg(other, *WITH_KEY, key, stdin="000000\n", check=False)
    assert status == 1, "the PIN is wrong"
    status, _ = world.keypeg(other, "login", "--login", login, stdin=PASSWORD, check=False)
    assert status == 4, "the password alone is not enough"
    _, beside = world.keypeg(other, *WITH_KEY, key, "--login", login, stdin=PASSWORD)
    assert beside["login"] == login
    _, found = world.keypeg(other, "sign-ins", "list")
    methods = {one["method"] for one in found}
    assert methods >= {"SIGN_IN_METHOD_PASSKEY", "SIGN_IN_METHOD_PASSWORD_AND_PASSKEY"}

    # A server that is called by another name gets no answer of this key.
    by_number = world.computer(new_name("pc"))
    status, _ = world.keypeg(by_number, *WITH_KEY, key, stdin=f"{PIN}\n", check=False)
    assert status == 2

    status, _ = world.keypeg(mine, *PASSKEY, "remove", "blue", stdin=PASSWORD, check=False)
    assert status == 5, "it is the last one, and one is required"
    publisher = world.computer(new_name("publisher"), token=world.publisher.token)
    world.keypeg(publisher, "account", "second-factor", customer.account, "--optional")
    world.keypeg(mine, *PASSKEY, "rename", "blue", "red")
    (listed,) = world.keypeg(mine, *PASSKEY, "list")[1]
    assert listed["display_name"] == "red"
    world.keypeg(mine, *PASSKEY, "remove", "red", stdin=PASSWORD)
    status, _ = world.keypeg(other, *WITH_KEY, key, stdin=f"{PIN}\n", check=False)
    assert status == 4
    world.keypeg(other, "login", "--login", login, stdin=PASSWORD)
    for event in ("second_factor_required", "passkey_added", "passkey_renamed", "passkey_removed"):
        assert len(recorded(customer, event)) == 1, event
