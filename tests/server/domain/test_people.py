"""Who gives which role to whom: every pair of roles."""

from __future__ import annotations

import pytest

from keypeg.errors import AccountOwned, FieldInvalid, LastOwner, PermissionDenied
from keypeg_server.domain.people import GIVES, check_gives, check_leaves, check_place
from keypeg_server.domain.rights import OUTSIDE, RIGHTS, STAFF, Right, Role

INSIDE = frozenset(Role) - OUTSIDE


@pytest.mark.parametrize("giver", Role)
@pytest.mark.parametrize("role", Role)
def test_nobody_gives_what_they_do_not_have(giver: Role, role: Role) -> None:
    """But who sets up accounts for others: they never give what is of the publisher."""
    if role not in GIVES[giver]:
        with pytest.raises(PermissionDenied):
            check_gives(giver, role, owner_count=1)
    elif giver is Role.RESELLER:
        check_gives(giver, role, owner_count=0)
        with pytest.raises(AccountOwned):
            check_gives(giver, role, owner_count=1)
    else:
        check_gives(giver, role, owner_count=1)
        assert RIGHTS[role] <= RIGHTS[giver]
    assert role in INSIDE or giver is Role.PUBLISHER or role not in GIVES[giver]


def test_administrators_manage_each_other_only_where_nobody_owns() -> None:
    check_gives(Role.ADMIN, Role.ADMIN, owner_count=0)
    with pytest.raises(PermissionDenied, match="an owner of the account can"):
        check_gives(Role.ADMIN, Role.ADMIN, owner_count=1)


@pytest.mark.parametrize("role", Role)
def test_the_last_who_may_do_everything_stays(role: Role) -> None:
    check_leaves(role, 2)
    if role in (Role.OWNER, Role.PUBLISHER):
        with pytest.raises(LastOwner):
            check_leaves(role, 1)
    else:
        check_leaves(role, 1)


@pytest.mark.parametrize("role", Role)
def test_a_role_has_its_place(role: Role) -> None:
    right, wrong = (None, "studio") if role in OUTSIDE else ("studio", None)
    check_place(role, right)
    with pytest.raises(FieldInvalid) as refused:
        check_place(role, wrong)
    assert "role" in refused.value.fields


def test_support_changes_nothing_but_seats() -> None:
    changing = {right for right in RIGHTS[Role.SUPPORT] if not right.value.endswith(":read")}
    assert changing == {Right.SEATS_FREE}
    everything = {right for right in Right if right.value.endswith(":read")}
    assert everything <= RIGHTS[Role.SUPPORT]


def test_only_the_publisher_s_administrators_manage_staff_and_products() -> None:
    for role in Role:
        alone = {Right.STAFF_WRITE, Right.CATALOG_WRITE} & RIGHTS[role]
        assert bool(alone) is (role is Role.PUBLISHER)
    assert Role.RESELLER not in STAFF
