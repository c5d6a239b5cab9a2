"""The life of a license: what may be done with it, by whom, and what it is afterwards.

Promises: pure. A table `(state, command) -> state` is the whole life; what is absent is refused, by the state. A
product's switches say who of an account may give a command at all, and the refusal names the switch and who may
change it (LIC-8). What the publisher suspended, only the publisher resumes. Whether the switch allows it is
looked at first: nobody learns more of a state than they may change.

Leaves to others: doing it (service/license_life.py), what is recorded for later (license_change.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from keypeg.errors import LicenseUnsuitable, SwitchedOff

from .caller import Caller
from .license import License, LicenseState, check_usable
from .rights import STAFF, Right


class Who(enum.IntEnum):
    """Who gives a command, as seen from the license; a higher one may more."""

    MEMBER = 1
    ADMIN = 2
    PUBLISHER = 3


class Access(enum.IntEnum):
    """keypeg.v1.AccountAccess, but for its zero: who of an account may; the publisher always may."""

    NOBODY = 1
    ADMINS = 2
    MEMBERS = 3

    @property
    def least(self) -> Who:
        """The least of those who may."""
        return Who(4 - self)


class Switch(enum.StrEnum):
    """The switches of a product; fields of keypeg.v1.LicenseSwitches."""

    MOVE = "move"
    RECOVER = "recover"
    CHANGE = "change"
    SUSPEND = "suspend"
    REVOKE = "revoke"
    BORROW = "borrow"


class Command(enum.StrEnum):
    """What may be done with a license."""

    ACTIVATE = "activate"
    MOVE = "move"  # and take back
    RECOVER = "recover"
    CHANGE = "change"
    SUSPEND = "suspend"
    RESUME = "resume"
    REVOKE = "revoke"
    BORROW = "borrow"


SWITCH_OF: Final[Mapping[Command, Switch | None]] = MappingProxyType(
    {
        Command.ACTIVATE: None,  # every member, where the license may live
        Command.MOVE: Switch.MOVE,
        Command.RECOVER: Switch.RECOVER,
        Command.CHANGE: Switch.CHANGE,
        Command.SUSPEND: Switch.SUSPEND,
        Command.RESUME: Switch.SUSPEND,
        Command.REVOKE: Switch.REVOKE,
        Command.BORROW: Switch.BORROW,
    }
)
assert set(SWITCH_OF) == set(Command)

DEFAULT_ACCESS: Final[Mapping[Switch, Access]] = MappingProxyType(
    dict.fromkeys(Switch, Access.NOBODY)
    | {Switch.MOVE: Access.MEMBERS, Switch.BORROW: Access.MEMBERS}
)

_ACTIVE, _SUSPENDED = LicenseState.ACTIVE, LicenseState.SUSPENDED
_REVOKED, _EXPIRED = LicenseState.REVOKED, LicenseState.EXPIRED

# What is stored after a command, by the state that people see; EXPIRED is stored as ACTIVE.
TABLE: Final[Mapping[tuple[LicenseState, Command], LicenseState]] = MappingProxyType(
    {
        (_ACTIVE, Command.ACTIVATE): _ACTIVE,
        (_ACTIVE, Command.MOVE): _ACTIVE,
        (_ACTIVE, Command.RECOVER): _ACTIVE,
        (_ACTIVE, Command.CHANGE): _ACTIVE,
        (_ACTIVE, Command.SUSPEND): _SUSPENDED,
        (_ACTIVE, Command.REVOKE): _REVOKED,
        (_ACTIVE, Command.BORROW): _ACTIVE,
        (_SUSPENDED, Command.RECOVER): _SUSPENDED,
        (_SUSPENDED, Command.CHANGE): _SUSPENDED,
        (_SUSPENDED, Command.RESUME): _ACTIVE,
        (_SUSPENDED, Command.REVOKE): _REVOKED,
        (_EXPIRED, Command.RECOVER): _ACTIVE,
        (_EXPIRED, Command.CHANGE): _ACTIVE,
        (_EXPIRED, Command.SUSPEND): _SUSPENDED,
        (_EXPIRED, Command.REVOKE): _REVOKED,
    }
)
_NEEDS_USABLE: Final = frozenset({Command.ACTIVATE, Command.MOVE, Command.BORROW})


@dataclass(frozen=True)
class Switches:
    """Who of an account may do what with licenses of a product; what is not set is as the default."""

    set: tuple[tuple[Switch, Access], ...] = ()

    def of(self, switch: Switch) -> Access:
        return dict(self.set).get(switch, DEFAULT_ACCESS[switch])

    def for_canceling(self, *, by_publisher: bool) -> Switches:
        """What the publisher recorded, nobody of the account cancels."""
        if not by_publisher:
            return self
        return Switches(tuple((switch, Access.NOBODY) for switch in Switch))

    def with_set(self, more: Mapping[Switch, Access]) -> Switches:
        """The same, with some set anew."""
        return Switches(tuple(sorted({**dict(self.set), **more}.items())))


DEFAULT: Final = Switches()


def who_is(caller: Caller) -> Who:
    """Who somebody is to the licenses that they see."""
    if caller.role in STAFF and caller.may(Right.LICENSES_WRITE):
        return Who.PUBLISHER
    return Who.ADMIN if caller.may(Right.LICENSES_MANAGE) else Who.MEMBER


def check_switch(
    switches: Switches, command: Command, who: Who, license: str, product: str
) -> None:
    """SwitchedOff unless the product (name) of a license (name) lets them give this command."""
    switch = SWITCH_OF[command]
    if switch is None:
        return
    access = switches.of(switch)
    if who >= access.least:
        return
    allowed = {
        Access.NOBODY: "its publisher alone",
        Access.ADMINS: "administrators of the account, and its publisher",
    }
    raise SwitchedOff(
        f"You may not {command} {license}: the switch `{switch}` of {product} allows it to "
        f"{allowed[access]}. {_helps(access)}; the publisher can change the switch.",
        license=license,
        product=product,
        switch=str(switch),
        allowed=access.name.lower(),
        command=str(command),
    )


def state_after(license: License, command: Command, now: datetime) -> LicenseState:
    """The state to store after a command; the refusal when the license is in no state for it."""
    state = license.state_at(now)
    found = TABLE.get((state, command))
    if found is not None:
        return found
    if command in _NEEDS_USABLE or state is _REVOKED:
        check_usable(license, now)
    said = f"{license.name} is {state.name.lower()}"
    raise LicenseUnsuitable(
        f"{said}, and there is nothing to {command}; look at it again: keypeg license show.",
        license=license.name,
        rule="state",
        state=state.name.lower(),
        command=str(command),
    )


def commanded(license: License, command: Command, who: Who, reason: str, now: datetime) -> License:
    """The license after suspending, resuming or revoking it."""
    state = state_after(license, command, now)
    by_publisher = who is Who.PUBLISHER
    if command is Command.RESUME:
        if license.state_by_publisher and not by_publisher:
            raise SwitchedOff(
                f"{license.name} was suspended by its publisher, who alone can resume it; ask the publisher.",
                license=license.name,
                product=license.product,
                switch=str(Switch.SUSPEND),
                allowed="nobody",
                command=str(command),
            )
        return replace(license, state=state, state_reason="", state_by_publisher=False)
    return replace(license, state=state, state_reason=reason, state_by_publisher=by_publisher)


def _helps(access: Access) -> str:
    return "Ask the publisher" if access is Access.NOBODY else "Ask an administrator"
