"""Taking away the second factors of somebody who has lost them.

Promises: one transaction: one-time codes, recovery codes and passkeys are gone, everything that the user is signed in
with ends, the log of their account says so, and so does every sign-in of theirs for a while. The password stays, and is
nobody else's: who resets can not sign in by it. Whoever asks for it has signed in just now, with a second factor where
they have one.

Leaves to others: who may (rpc/authorization.py, domain/people.py), setting up factors anew (second_factors.py, passkeys.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keypeg import names
from keypeg.errors import AlreadyExists, SignInRequired
from keypeg_server.domain import people
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.second_factor import FactorReset, is_in_person
from keypeg_server.service.accounts import not_found, owner_count
from keypeg_server.service.ports import Clock
from keypeg_server.service.second_factors import changed, has_confirmed_codes, has_one
from keypeg_server.service.sign_ins import SignIns, person
from keypeg_server.service.store import Request, Store, Unit

WHY: Final = "second_factors_reset"  # of sign-ins that end by it


@dataclass(frozen=True)
class WasReset:
    """What was taken away."""

    reset: FactorReset
    ended_count: int  # sign-ins


class FactorResets:
    """See the contract's PeopleService."""

    def __init__(self, store: Store, clock: Clock, sign_ins: SignIns) -> None:
        self._store = store
        self._clock = clock
        self._sign_ins = sign_ins

    async def reset(
        self, request: Request[WasReset], caller: Caller, account: str, id: str
    ) -> bytes:
        """Take away the second factors of a user; `account` is NO_ACCOUNT for the publisher's people."""
        caller_id = person(caller)

        def reset(unit: Unit) -> WasReset:
            user = unit.accounts.user(account, id)
            if user is None:
                raise not_found(names.USER.build(account, id))
            people.check_resets(caller.role, caller.user, user, owner_count(unit, user.account))
            self._check_in_person(unit, caller, caller_id)
            return self._reset(unit, caller, user)

        return await self._store.once(request, reset)

    def _check_in_person(self, unit: Unit, caller: Caller, id: str) -> None:
        me = unit.accounts.user(names.USER.parse(caller.user)[0], id)
        has_factor = me is not None and has_one(unit, me)
        sign_in = unit.sign_ins.sign_in(caller.token)
        if not is_in_person(sign_in, self._clock.wall(), has_factor=has_factor):
            raise SignInRequired(
                "Who takes away second factors has signed in within the last 10 minutes, with their own second factor"
                " where they have one; sign in again (keypeg login), and repeat it then.",
            )

    def _reset(self, unit: Unit, caller: Caller, user: User) -> WasReset:
        codes, passkeys = has_confirmed_codes(unit, user), unit.passkeys.of_user(user.id)
        if not codes and not passkeys:
            raise AlreadyExists(
                f"{user.login} has no second factor: the password alone signs in. Whoever has lost that is removed, and"
                " invited again.",
                name=user.name,
            )
        unit.factors.delete_factors(user.id)
        for passkey in passkeys:
            unit.passkeys.delete(passkey.id)
        ended = self._sign_ins.end_all(unit, user.id, WHY)
        reset = FactorReset(
            user.id, self._clock.wall(), caller.user, caller.login, codes, len(passkeys)
        )
        unit.factors.put_reset(reset)
        changed(unit, user)
        unit.record(
            user.group_name,
            "second_factors_reset",
            user=user.name,
            one_time_codes=codes,
            passkeys=[passkey.id for passkey in passkeys],
        )
        return WasReset(reset, ended)
