"""Accounts that require a second factor: server and command line, both real."""

from __future__ import annotations

from collections.abc import Callable

from keypeg.errors import Reason
from keypeg.v1 import account_service_pb2 as pb
from lab.world import PASSWORD, World
from tests.system.people import Customer, refused

Namer = Callable[[str], str]


def test_members_of_an_account_that_requires_a_second_factor_set_one_up_first(
    world: World, customer: Customer, new_name: Namer
) -> None:
    admin = world.computer(new_name("office"), token=customer.admin_token)
    _, shown = world.keypeg(admin, "account", "second-factor", "--required")
    assert shown["second_factor_required"] is True
    # Who requires it has none either, and is still let in to set one up.
    with refused(Reason.SECOND_FACTOR_REQUIRED):
        customer.admin.accounts.GetAccount(pb.GetAccountRequest(name=customer.account))
    with refused(Reason.SECOND_FACTOR_REQUIRED):
        customer.member.accounts.GetAccount(pb.GetAccountRequest(name=customer.account))

    signed_in = customer.member.accounts.SignIn(
        pb.SignInRequest(login=customer.member_login, password=PASSWORD)
    )
    assert signed_in.second_factor_owed
    # The publisher's operators can take it back.
    off = world.computer(new_name("publisher"), token=world.publisher.token)
    world.keypeg(off, "account", "second-factor", customer.account, "--optional")
    customer.member.accounts.GetAccount(pb.GetAccountRequest(name=customer.account))
