"""Passkeys of people: adding, listing, renaming and removing them.

Promises: people see and change their own. Adding and removing take the password again and, of who has a second factor,
that too; both are in the log of the user's account. The first second factor brings recovery codes, shown once.

Leaves to others: what WebAuthn asks to be verified (passkey_checks.py), challenges (passkey_challenges.py), signing in
with them (passkey_sign_ins.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from keypeg import names
from keypeg.errors import (
    AlreadyExists,
    LimitExceeded,
)
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.passkey import (
    PASSKEYS_LIMIT,
    Ceremony,
    Passkey,
)
from keypeg_server.service.accounts import not_found
from keypeg_server.service.passkey_challenges import (
    Challenges,
    recorded,
    refused_registration,
    tag_of,
    use_up,
)
from keypeg_server.service.passkey_checks import PasskeyChecks, Refused
from keypeg_server.service.ports import Clock
from keypeg_server.service.second_factors import (
    SecondFactors,
    changed,
    check_leaves_one,
    forget_begun,
    forget_unneeded,
    has_one,
    new_recovery_codes,
)
from keypeg_server.service.sign_ins import SignIns, person
from keypeg_server.service.store import Request, Store, Unit


@dataclass(frozen=True)
class Begun:
    """What a security key is asked with."""

    challenge: bytes
    user: User | None  # None for anybody
    credential_ids: tuple[bytes, ...]


@dataclass(frozen=True)
class Added:
    """A new passkey, and recovery codes where it is the first second factor."""

    passkey: Passkey
    recovery_codes: list[str] = field(repr=False)


class PasskeyService:
    """See the contract's PasskeyService, but for signing in."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        sign_ins: SignIns,
        factors: SecondFactors,
        checks: PasskeyChecks,
        challenges: Challenges,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._sign_ins = sign_ins
        self._factors = factors
        self._challenges = challenges
        self.checks: Final = checks

    async def begin_registration(
        self, caller: Caller, password: str, code: str, address: str
    ) -> Begun:
        """What a new passkey is asked for with."""
        user = await self._sign_ins.again(caller, password, address)

        def look(unit: Unit) -> list[Passkey]:
            self._factors.check_again(unit, caller, user, code)
            return self._room(unit, user)

        there = await self._sign_ins.guarded.attempt(
            caller.login, address, lambda: self._store.write(look)
        )
        challenge = self._challenges.new(Ceremony.REGISTER, user)
        return Begun(challenge, user, tuple(one.credential_id for one in there))

    async def finish_registration(
        self,
        request: Request[Added],
        caller: Caller,
        display_name: str,
        client_data_json: bytes,
        attestation_object: bytes,
    ) -> bytes:
        """A new passkey, which is asked for beside the password from now on."""
        account, id = names.USER.parse(caller.user)
        person(caller)
        try:
            challenge = self.checks.challenge_in(client_data_json)
            made = self.checks.made(challenge, client_data_json, attestation_object)
        except Refused as error:
            raise refused_registration(error) from error

        def add(unit: Unit) -> Added:
            user = unit.accounts.user(account, id)
            if user is None:
                raise not_found(caller.user)
            said = self._challenges.holding(challenge, frozenset({Ceremony.REGISTER}))
            if said.user != tag_of(user):
                raise Refused("another user's challenge")
            self._room(unit, user)
            if unit.passkeys.of_credential(made.credential_id) is not None:
                raise AlreadyExists("This passkey was added before; use another security key.")
            use_up(unit, user, said)
            forget_begun(unit, user)
            first = not has_one(unit, user)
            passkey = Passkey(
                user,
                self._new_id(),
                made.credential_id,
                made.public_key,
                made.sign_count,
                display_name,
                self._clock.wall(),
            )
            unit.passkeys.add(passkey)
            recorded(unit, passkey, "passkey_added")
            changed(unit, user)
            return Added(passkey, new_recovery_codes(unit, user) if first else [])

        try:
            return await self._store.once(request, add)
        except Refused as error:
            raise refused_registration(error) from error

    async def listed(self, caller: Caller) -> list[Passkey]:
        """The caller's, oldest first."""
        id = person(caller)
        return await self._store.read(lambda unit: unit.passkeys.of_user(id))

    async def rename(
        self, request: Request[Passkey], caller: Caller, name: str, display_name: str
    ) -> bytes:
        """Call one of the caller's otherwise."""
        person(caller)

        def rename(unit: Unit) -> Passkey:
            passkey = replace(_own(unit, caller, name), display_name=display_name)
            unit.passkeys.rename(passkey)
            recorded(unit, passkey, "passkey_renamed")
            return passkey

        return await self._store.once(request, rename)

    async def delete(
        self,
        request: Request[None],
        caller: Caller,
        name: str,
        password: str,
        code: str,
        address: str,
    ) -> bytes:
        """Remove one of the caller's."""
        user = await self._sign_ins.again(caller, password, address)

        def delete(unit: Unit) -> None:
            passkey = _own(unit, caller, name)
            self._factors.check_again(unit, caller, user, code)
            unit.passkeys.delete(passkey.id)
            check_leaves_one(unit, user)
            forget_unneeded(unit, user)
            recorded(unit, passkey, "passkey_removed")
            changed(unit, user)

        return await self._sign_ins.guarded.attempt(
            caller.login, address, lambda: self._store.once(request, delete)
        )

    def _room(self, unit: Unit, user: User) -> list[Passkey]:
        """Those that there are; refused where there is no room for another one."""
        found = unit.passkeys.of_user(user.id)
        if len(found) >= PASSKEYS_LIMIT:
            raise LimitExceeded(
                f"You have {PASSKEYS_LIMIT} passkeys, which is the limit; remove one first.",
                limit="passkeys",
                value=str(PASSKEYS_LIMIT),
            )
        return found


def _own(unit: Unit, caller: Caller, name: str) -> Passkey:
    _, user, id = names.PASSKEY.parse(name)
    for one in unit.passkeys.of_user(user):
        if one.id == id and one.user.name == caller.user and one.name == name:
            return one
    raise not_found(name)
