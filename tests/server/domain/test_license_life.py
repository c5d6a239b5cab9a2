"""What may be done with a license, by whom: every state, command, person and switch."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from keypeg import errors
from keypeg.v1 import license_switches_pb2
from keypeg_server.domain.caller import Caller, Right, Role
from keypeg_server.domain.license import Feature, License, LicenseState, LicenseType
from keypeg_server.domain.license_change import (
    ChangeKind,
    Edit,
    LicenseChange,
    check_ready,
    due,
    in_order,
    marked,
)
from keypeg_server.domain.license_life import (
    DEFAULT,
    SWITCH_OF,
    TABLE,
    Access,
    Command,
    Switch,
    Switches,
    Who,
    check_switch,
    commanded,
    state_after,
    who_is,
)
from keypeg_server.domain.location import LocationKind

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LICENSE = License(
    account="studio",
    id="l1",
    product="publishers/acme/products/cad",
    type=LicenseType.PERPETUAL,
    state=LicenseState.ACTIVE,
    allowed_locations=frozenset(LocationKind),
    activation_count=2,
    seat_count=0,
    features=(),
    deposit_time=NOW - HOUR,
    expire_time=None,
    term_days=0,
    first_activate_time=None,
    maintenance_end_time=None,
    external_reference="",
)
CHANGE = LicenseChange(
    "studio", "l1", "c1", ChangeKind.SUSPEND, "unpaid", "accounts/-/users/ada", True, NOW
)

# Whether a command is carried out, by the state that people see: what it is stored as, or how it is refused.
A, S, R = LicenseState.ACTIVE, LicenseState.SUSPENDED, LicenseState.REVOKED
SUSPENDED, REVOKED = errors.LicenseSuspended, errors.LicenseRevoked
EXPIRED, UNFIT = errors.LicenseExpired, errors.LicenseUnsuitable
LIFE: dict[Command, tuple[LicenseState | type[errors.KeypegError], ...]] = {
    #                   active  suspended  revoked  expired
    Command.ACTIVATE: (A, SUSPENDED, REVOKED, EXPIRED),
    Command.MOVE: (A, SUSPENDED, REVOKED, EXPIRED),
    Command.RECOVER: (A, S, REVOKED, A),
    Command.CHANGE: (A, S, REVOKED, A),
    Command.SUSPEND: (S, UNFIT, REVOKED, S),
    Command.RESUME: (UNFIT, A, REVOKED, UNFIT),
    Command.REVOKE: (R, R, REVOKED, R),
    Command.BORROW: (A, SUSPENDED, REVOKED, EXPIRED),
}


def in_state(state: LicenseState) -> License:
    if state is LicenseState.EXPIRED:
        return replace(LICENSE, expire_time=NOW - HOUR)
    return replace(LICENSE, state=state)


@pytest.mark.parametrize(("state", "command"), list(product(LicenseState, Command)))
def test_each_state_takes_the_commands_of_the_table(state: LicenseState, command: Command) -> None:
    expected = LIFE[command][list(LicenseState).index(state)]
    license = in_state(state)
    if isinstance(expected, LicenseState):
        assert state_after(license, command, NOW) is expected
        assert TABLE[state, command] is expected
    else:
        assert (state, command) not in TABLE
        with pytest.raises(expected):
            state_after(license, command, NOW)


@pytest.mark.parametrize(("command", "who", "access"), list(product(Command, Who, (None, *Access))))
def test_switches_say_who_of_an_account_may(
    command: Command, who: Who, access: Access | None
) -> None:
    switch = SWITCH_OF[command]
    if switch is None:
        check_switch(DEFAULT, command, who, LICENSE.name, LICENSE.product)
        return
    usual = Access.MEMBERS if switch in (Switch.MOVE, Switch.BORROW) else Access.NOBODY
    switches = DEFAULT if access is None else DEFAULT.with_set({switch: access})
    may = {
        Access.NOBODY: {Who.PUBLISHER},
        Access.ADMINS: {Who.PUBLISHER, Who.ADMIN},
        Access.MEMBERS: set(Who),
    }[access or usual]
    if who in may:
        check_switch(switches, command, who, LICENSE.name, LICENSE.product)
        return
    with pytest.raises(errors.SwitchedOff) as refused:
        check_switch(switches, command, who, LICENSE.name, LICENSE.product)
    said = refused.value
    assert said.metadata["switch"] == switch.value
    assert f"`{switch}`" in said.sentence
    assert "publisher can change the switch" in said.sentence


@pytest.mark.parametrize(
    ("state", "command", "who"),
    list(
        product(
            LicenseState,
            (Command.SUSPEND, Command.RESUME, Command.REVOKE),
            (Who.ADMIN, Who.PUBLISHER),
        )
    ),
)
def test_what_a_command_makes_of_a_license(state: LicenseState, command: Command, who: Who) -> None:
    license = replace(in_state(state), state_reason="before", state_by_publisher=False)
    if (state, command) not in TABLE:
        with pytest.raises(errors.KeypegError):
            commanded(license, command, who, "unpaid", NOW)
        return
    after = commanded(license, command, who, "unpaid", NOW)
    reason = "" if command is Command.RESUME else "unpaid"
    by_publisher = command is not Command.RESUME and who is Who.PUBLISHER
    assert (after.state, after.state_reason) == (TABLE[state, command], reason)
    assert after.state_by_publisher is by_publisher


def test_what_the_publisher_suspended_only_the_publisher_resumes() -> None:
    suspended = commanded(LICENSE, Command.SUSPEND, Who.PUBLISHER, "unpaid", NOW)
    with pytest.raises(errors.SwitchedOff, match="by its publisher"):
        commanded(suspended, Command.RESUME, Who.ADMIN, "please", NOW)
    assert commanded(suspended, Command.RESUME, Who.PUBLISHER, "paid", NOW).state is A


def test_a_refusal_tells_why_it_was_suspended() -> None:
    suspended = commanded(LICENSE, Command.SUSPEND, Who.PUBLISHER, "Invoice 7 is open", NOW)
    with pytest.raises(errors.LicenseSuspended, match='by its publisher: "Invoice 7 is open"'):
        state_after(suspended, Command.MOVE, NOW)
    own = commanded(LICENSE, Command.SUSPEND, Who.ADMIN, "On leave", NOW)
    with pytest.raises(errors.LicenseSuspended, match="by an administrator of its account"):
        state_after(own, Command.MOVE, NOW)


@pytest.mark.parametrize(
    ("role", "scopes", "expected"),
    [
        (Role.MEMBER, None, Who.MEMBER),
        (Role.ADMIN, None, Who.ADMIN),
        (Role.OWNER, None, Who.ADMIN),
        (Role.ADMIN, {Right.LICENSES_USE}, Who.MEMBER),
        (Role.RESELLER, None, Who.MEMBER),
        (Role.SUPPORT, None, Who.MEMBER),
        (Role.OPERATOR, None, Who.PUBLISHER),
        (Role.PUBLISHER, None, Who.PUBLISHER),
        (Role.PUBLISHER, {Right.LICENSES_USE, Right.LICENSES_MANAGE}, Who.ADMIN),
    ],
)
def test_who_somebody_is(role: Role, scopes: set[Right] | None, expected: Who) -> None:
    caller = Caller("u", "u", None, role, "t", scopes=None if scopes is None else frozenset(scopes))
    assert who_is(caller) is expected


def test_numbers_are_those_of_the_contract() -> None:
    values = dict(license_switches_pb2.AccountAccess.items())
    assert {f"ACCOUNT_ACCESS_{one.name}": one.value for one in Access} == {
        name: value for name, value in values.items() if value
    }
    fields = license_switches_pb2.LicenseSwitches.DESCRIPTOR.fields_by_name
    assert set(fields) == {switch.value for switch in Switch}


def test_setting_one_switch_leaves_the_others() -> None:
    switches = Switches().with_set({Switch.SUSPEND: Access.ADMINS})
    switches = switches.with_set({Switch.MOVE: Access.NOBODY})
    assert switches.of(Switch.SUSPEND) is Access.ADMINS
    assert switches.of(Switch.MOVE) is Access.NOBODY
    assert switches.of(Switch.REVOKE) is Access.NOBODY


# Changes that come first.


def test_a_planned_change_is_due_at_its_moment() -> None:
    planned = replace(CHANGE, apply_time=NOW + HOUR)
    license = marked(LICENSE, [planned])
    assert license.next_change_time == NOW + HOUR
    assert [due(license, NOW + offset) for offset in (timedelta(0), HOUR)] == [False, True]
    check_ready(license)


def test_what_waits_for_a_key_is_in_the_way_and_says_what_helps() -> None:
    waiting = replace(CHANGE, kind=ChangeKind.MOVE, activation="a1", waits_for="k1")
    license = marked(LICENSE, [waiting, replace(CHANGE, id="c2")])
    assert not due(license, NOW + HOUR)
    with pytest.raises(errors.PendingChange) as refused:
        check_ready(license)
    said = refused.value
    assert said.metadata["location"] == "accounts/studio/locations/k1"
    assert said.metadata["change"] == waiting.name
    assert said.explanation is not None
    assert {one.action for one in said.explanation.remedies} == {
        "plug_in",
        "report_lost",
        "cancel_change",
    }


def test_changes_are_applied_by_their_moment_then_by_age() -> None:
    late = replace(CHANGE, id="c0", apply_time=NOW + 2 * HOUR)
    soon = replace(CHANGE, id="c9", apply_time=NOW + HOUR)
    assert in_order([late, soon, CHANGE]) == [CHANGE, soon, late]
    assert marked(LICENSE, []) == LICENSE


def test_an_edit_changes_what_it_names() -> None:
    edit = Edit(activation_count=5, features=(Feature("x"),), expire_time=NOW)
    after = edit.of(LICENSE)
    assert after == replace(LICENSE, activation_count=5, features=(Feature("x"),), expire_time=NOW)
    assert Edit(without_expire_time=True).of(after).expire_time is None
    assert Edit().of(after) == after


def test_every_kind_of_change_is_a_command() -> None:
    assert {kind.command for kind in ChangeKind} == {
        Command.SUSPEND,
        Command.RESUME,
        Command.REVOKE,
        Command.CHANGE,
        Command.MOVE,
    }


def test_the_page_shows_the_whole_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "license-life.md").read_text(encoding="utf-8")
    columns = (
        LicenseState.ACTIVE,
        LicenseState.SUSPENDED,
        LicenseState.REVOKED,
        LicenseState.EXPIRED,
    )
    for command in Command:
        cells = (TABLE.get((state, command)) for state in columns)
        words = (cell.name.lower() if cell else "refused" for cell in cells)
        assert f"| {command} | {' | '.join(words)} |" in page
    for switch in Switch:
        access = DEFAULT.of(switch).name.lower()
        assert re.search(rf"^\| `{switch}` \| .* \| `{access}` \|$", page, re.MULTILINE)
