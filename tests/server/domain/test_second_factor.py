"""Second factors: of whom one is required, who is there in person, and who is told of a reset until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import AccountOwned, FieldInvalid, PermissionDenied
from keypeg_server.domain.account import Account, PublisherPeople, User
from keypeg_server.domain.passkey import FRESH
from keypeg_server.domain.people import GIVES, check_requires, check_resets
from keypeg_server.domain.rights import OUTSIDE, Role
from keypeg_server.domain.second_factor import TOLD_FOR, FactorReset, is_in_person, is_required
from keypeg_server.domain.sign_in import Method, SignIn

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
MOMENTS = st.timedeltas(timedelta(0), timedelta(days=40))
# By which methods somebody is there in person who has a second factor, and who has none.
IN_PERSON = {
    True: {
        Method.PASSWORD_AND_CODE,
        Method.PASSKEY,
        Method.PASSWORD_AND_PASSKEY,
        Method.TRUSTED_PROVIDER,
    },
    False: set(Method) - {Method.DEVICE_CODE},
}


def user(role: Role = Role.MEMBER, id: str = "u", *, service: bool = False) -> User:
    account = None if role in OUTSIDE else "studio"
    return User(account, id, "una", "Una", role, NOW, service)


def sign_in(method: Method, age: timedelta) -> SignIn:
    return SignIn("s", user(), method, "", NOW - age, NOW, NOW + FRESH, 0, b"")


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("service", [True, False])
def test_people_of_an_account_and_of_the_publisher_need_one_alike(
    required: bool, service: bool
) -> None:
    account = Account("studio", "Studio", NOW, second_factor_required=required)
    for group, role in ((account, Role.OWNER), (PublisherPeople(required), Role.PUBLISHER)):
        assert is_required(group, user(role, service=service)) is (required and not service)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("has_factor", [True, False])
def test_who_has_just_shown_what_they_have_is_there_in_person(
    method: Method, has_factor: bool
) -> None:
    expected = method in IN_PERSON[has_factor]
    assert is_in_person(sign_in(method, FRESH), NOW, has_factor=has_factor) is expected
    old = sign_in(method, FRESH + timedelta(microseconds=1))
    assert not is_in_person(old, NOW, has_factor=has_factor)


def test_a_key_or_a_sign_in_that_has_ended_is_nobody_in_person() -> None:
    assert not is_in_person(None, NOW, has_factor=False)


@given(first=MOMENTS, others=st.lists(MOMENTS))
def test_a_reset_is_told_once_for_certain_and_for_a_while_after(
    first: timedelta, others: list[timedelta]
) -> None:
    """However late the first sign-in is, and whoever it is that signs in first."""
    reset = FactorReset("u", NOW, "accounts/studio/users/o", "ona", True, 1)
    assert reset.is_told(NOW + first)
    reset = reset.told(NOW + first)
    for later in sorted(others):
        at = NOW + first + later
        assert reset.is_told(at) is (later < TOLD_FOR)
        assert reset.told(at) == reset


@pytest.mark.parametrize("giver", Role)
@pytest.mark.parametrize("role", Role)
def test_who_gives_a_role_resets_who_has_it_and_nobody_else_does(giver: Role, role: Role) -> None:
    one, other = user(role), "accounts/studio/users/other"
    if role not in GIVES[giver]:
        with pytest.raises(PermissionDenied):
            check_resets(giver, other, one, owner_count=1)
        return
    check_resets(giver, other, one, owner_count=0)
    if giver is Role.RESELLER:
        with pytest.raises(AccountOwned):
            check_resets(giver, other, one, owner_count=1)
        return
    check_resets(giver, other, one, owner_count=1)
    with pytest.raises(FieldInvalid, match="yourself"):
        check_resets(giver, one.name, one, owner_count=1)
    with pytest.raises(FieldInvalid, match="program"):
        check_resets(giver, other, user(role, service=True), owner_count=1)


@pytest.mark.parametrize("giver", Role)
def test_who_may_require_factors(giver: Role) -> None:
    """Of an account, who gives roles there; of the publisher's people, its administrators alone."""
    if giver is Role.PUBLISHER:
        check_requires(giver, None, owner_count=0)
    else:
        with pytest.raises(PermissionDenied):
            check_requires(giver, None, owner_count=0)
    if giver in (Role.MEMBER, Role.SUPPORT):
        with pytest.raises(PermissionDenied):
            check_requires(giver, "studio", owner_count=0)
    else:
        check_requires(giver, "studio", owner_count=0)
