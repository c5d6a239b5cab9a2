"""Second factors beside passwords: what is asked for, and one-time codes from setting them up to removing them.

Promises: the secret is wrapped, recovery codes are kept as hashes, and both are shown once. A code is used once, also
by two who send it at once, and a recovery code too. Setting up and removing ask for the password again, and count as
tries to sign in. All of it is in the log of the user's account.

Leaves to others: the arithmetic (domain/totp.py), signing in (sign_ins.py), passkeys (passkeys.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import Final

from keypeg import names
from keypeg.errors import (
    AlreadyExists,
    CodeRequired,
    CredentialsInvalid,
    FieldInvalid,
    SecondFactorRequired,
)
from keypeg_server.clock import from_us
from keypeg_server.domain import second_factor, totp
from keypeg_server.domain.account import Account, PublisherPeople, User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.events import SecondFactorsChanged
from keypeg_server.domain.passkey import is_strong
from keypeg_server.domain.second_factor import FactorReset
from keypeg_server.domain.sign_in import Method, SignIn
from keypeg_server.service.ports import Clock
from keypeg_server.service.sign_in_ports import Totp
from keypeg_server.service.store import Store, Unit
from keypeg_server.service.wrapping import Wrapping

ISSUER: Final = "keypeg"


class SecondFactors:
    """What is asked for beside a password."""

    def __init__(
        self, store: Store, clock: Clock, wrapping: Wrapping, date_us: Callable[[], int]
    ) -> None:
        """`date_us` is what the computer's clock says, without a high-water mark: authenticators know no other."""
        self._store = store
        self._clock = clock
        self._date_us = date_us
        self._wrapping = wrapping

    def check(self, unit: Unit, user: User, code: str) -> bool:
        """Use up a code of a user, within a unit of work; whether one was asked for. CodeRequired, or wrong."""
        kept = _confirmed(unit, user)
        if kept is None and not unit.passkeys.of_user(user.id):
            return False
        if not code:
            raise _code_required(unit, user)
        step = None if kept is None else self._step(kept, code)
        if step is not None and unit.factors.use_step(user.id, step):
            return True
        if unit.factors.use_recovery_code(user.id, totp.recovery_digest(user.id, code)):
            _record(unit, user, "recovery_code_used")
            return True
        raise wrong_code()

    def check_again(self, unit: Unit, caller: Caller, user: User, code: str = "") -> None:
        """Refuse who has a second factor, and shows none: neither a code now, nor any at a sign-in of just now."""
        if not has_one(unit, user):
            return
        if code:
            self.check(unit, user, code)
        elif not is_strong(unit.sign_ins.sign_in(caller.token), self._clock.wall()):
            raise CodeRequired(
                "This needs your second factor again: sign in with it first (keypeg login, or keypeg login --passkey), which"
                " is enough for 10 minutes; or, where one is asked for, give a one-time code or a recovery code.",
            )

    async def begin(self, caller: Caller, user: User) -> str:
        """A new secret, as a URI, for who has just shown the password, and has signed in with a passkey if there is one."""
        secret = os.urandom(totp.SECRET_BYTES)
        wrapped = self._wrapping.wrap(secret, _context(user.id))

        def put(unit: Unit) -> None:
            found = unit.factors.totp(user.id)
            if found is not None and found.confirmed:
                raise AlreadyExists(
                    "One-time codes are set up already; remove them first to begin with another authenticator."
                )
            self.check_again(unit, caller, user)
            unit.factors.put_totp(Totp(user.id, wrapped, confirmed=False, last_step=0))

        await self._store.write(put)
        return totp.uri(secret, ISSUER, user.login)

    async def confirm(self, caller: Caller, code: str) -> list[str]:
        """The authenticator has the secret: codes are asked for from now on. The recovery codes, shown once."""
        account, id = names.USER.parse(caller.user)

        def confirm(unit: Unit) -> list[str]:
            user, found = unit.accounts.user(account, id), unit.factors.totp(id)
            if user is None or found is None or found.confirmed:
                raise AlreadyExists("There is nothing to confirm; begin to set codes up.")
            step = self._step(found, code)
            if step is None:
                what = "is not the one that an authenticator with this secret shows now"
                raise FieldInvalid(f"This code {what}.", fields={"code": what})
            unit.factors.put_totp(Totp(id, found.wrapped_secret, confirmed=True, last_step=step))
            codes = new_recovery_codes(unit, user)
            changed(unit, user)
            _record(unit, user, "one_time_codes_set_up")
            return codes

        return await self._store.write(confirm)

    async def remove(self, user: User, code: str) -> None:
        """Ask for no codes any more, for who has just shown the password."""

        def remove(unit: Unit) -> None:
            if _confirmed(unit, user) is None:
                raise AlreadyExists("No one-time codes are set up.")
            self.check(unit, user, code)
            unit.factors.delete_totp(user.id)
            forget_unneeded(unit, user)
            check_leaves_one(unit, user)
            changed(unit, user)
            _record(unit, user, "one_time_codes_removed")

        await self._store.write(remove)

    def _step(self, kept: Totp, code: str) -> int | None:
        secret = self._wrapping.unwrap(kept.wrapped_secret, _context(kept.user))
        return totp.matching_step(secret, code, from_us(self._date_us()), kept.last_step)


def owed(unit: Unit, user: User) -> bool:
    """Whether a person has no second factor, where one is required of them."""
    group = group_of(unit, user.account)
    return group is not None and second_factor.is_required(group, user) and not has_one(unit, user)


def owed_by(unit: Unit, sign_in: SignIn) -> bool:
    """The same of who signed in; a trusted provider has asked for one."""
    return sign_in.method is not Method.TRUSTED_PROVIDER and owed(unit, sign_in.user)


def group_of(unit: Unit, account: str | None) -> Account | PublisherPeople | None:
    """Whose people are asked together: an account (id), or for None the publisher's people and resellers."""
    return unit.accounts.publisher_people() if account is None else unit.accounts.account(account)


def has_confirmed_codes(unit: Unit, user: User) -> bool:
    """Whether one-time codes are asked of a user."""
    return _confirmed(unit, user) is not None


def has_one(unit: Unit, user: User) -> bool:
    """Whether a user has a second factor."""
    return has_confirmed_codes(unit, user) or bool(unit.passkeys.of_user(user.id))


def told_reset(unit: Unit, user: str, now: datetime) -> FactorReset | None:
    """What a sign-in of a user (id) is told of a reset of their second factors; it counts as told."""
    found = unit.factors.reset_of(user)
    if found is None or not found.is_told(now):
        return None
    told = found.told(now)
    if told != found:
        unit.factors.put_reset(told)
    return told


def new_recovery_codes(unit: Unit, user: User) -> list[str]:
    """Codes for when the authenticator or the passkey is lost, instead of those before; shown once."""
    codes = [
        totp.recovery_code(os.urandom(totp.RECOVERY_BYTES)) for _ in range(totp.RECOVERY_CODES)
    ]
    digests = [totp.recovery_digest(user.id, one) for one in codes]
    unit.factors.put_recovery_codes(user.id, digests)
    return codes


def forget_begun(unit: Unit, user: User) -> None:
    """Whoever began to set codes up before there was another second factor begins anew, with that."""
    if _confirmed(unit, user) is None:
        unit.factors.delete_totp(user.id)


def forget_unneeded(unit: Unit, user: User) -> None:
    """The recovery codes go with the last second factor."""
    if not has_one(unit, user):
        unit.factors.delete_factors(user.id)


def check_leaves_one(unit: Unit, user: User) -> None:
    """Refuse what has just left a user without the second factor that the account requires."""
    if owed(unit, user):
        raise SecondFactorRequired(
            f"{user.account_name or 'The publisher'} requires a second factor, and this is your last one; set up another"
            " one first.",
            account=user.group_name,
        )


def changed(unit: Unit, user: User) -> None:
    """A user has other second factors than before."""
    unit.publish(SecondFactorsChanged(user.group_name, user.name))


def _confirmed(unit: Unit, user: User) -> Totp | None:
    kept = unit.factors.totp(user.id)
    return kept if kept is not None and kept.confirmed else None


def _code_required(unit: Unit, user: User) -> CodeRequired:
    codes, keys = _confirmed(unit, user), unit.passkeys.of_user(user.id)
    ways = [
        *(["the one-time code that the authenticator shows now"] if codes else []),
        *(["a passkey (keypeg login --passkey)"] if keys else []),
        "a recovery code",
    ]
    asked = [*(["code"] if codes else []), *(["passkey"] if keys else [])]
    return CodeRequired(
        f"This user signs in with a second factor, too; give {', or '.join(ways)}.",
        factors=",".join(asked),
    )


def wrong_code() -> CredentialsInvalid:
    """The refusal of a code."""
    return CredentialsInvalid(
        "This code is wrong, or was used before; wait for the next one, and check the authenticator's clock."
    )


def _context(user: str) -> str:
    return f"totp {user}"


def _record(unit: Unit, user: User, event: str) -> None:
    unit.record(user.group_name, event, user=user.name)
