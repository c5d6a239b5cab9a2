"""Signing in by a code that somebody approves elsewhere: for clients on which nobody types a password.

Promises: the code that people read and type is of 34 bits, holds for minutes, and only who has signed in may try it,
so many times; the one that the client finishes with is of 256 bits, kept as a hash, and good once. Who approves sees
before what asks and from where; the decision, and the sign-in, are in the log of their account.

Leaves to others: what follows every sign-in (sign_ins.py).
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.errors import NotFound, SignInDeclined, SignInPending
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.sign_in import Decision, DeviceSignIn, Method, read_user_code
from keypeg_server.service.ports import Clock
from keypeg_server.service.sign_ins import Guarded, SignIns, parent_of, person
from keypeg_server.service.store import Request, Store, Unit
from keypeg_server.service.tokens import NewTokens

LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so that no code is a word (RFC 8628, 6.1)
CODE_SIZE: Final = 8
VALID_FOR: Final = timedelta(minutes=10)
INTERVAL: Final = timedelta(seconds=2)
_CODE_BYTES: Final = 32


@dataclass(frozen=True)
class Begun:
    """A client that waits, and the only time that its device code is there."""

    device_code: str = field(repr=False)
    waiting: DeviceSignIn


class DeviceSignIns:
    """See the contract's SignInService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        sign_ins: SignIns,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sign_ins = sign_ins
        self._begun = Guarded(clock, NotFound)
        self._guessed = Guarded(clock, NotFound)

    async def begin(self, client_name: str, address: str) -> Begun:
        """Codes for a client; LimitExceeded when too many were asked for from there."""
        self._begun.count(f"codes for {address}", address)
        code = base64.urlsafe_b64encode(os.urandom(_CODE_BYTES)).rstrip(b"=").decode()
        user_code = "".join(secrets.choice(LETTERS) for _ in range(CODE_SIZE))
        now = self._clock.wall()
        waiting = DeviceSignIn(
            digest_of(code), user_code, client_name, address, now, now + VALID_FOR
        )
        await self._store.write(lambda unit: unit.sign_ins.add_device_sign_in(waiting, now))
        return Begun(code, waiting)

    async def finish(self, device_code: str) -> NewTokens:
        """The tokens, once somebody has approved."""
        digest = digest_of(device_code)
        found = await self._store.read(lambda unit: unit.sign_ins.device_sign_in(digest))
        if found is None or found.expire_time <= self._clock.wall():
            raise NotFound("This code is over, or was used; begin to sign in again.")
        if found.decision is Decision.NONE:
            raise SignInPending("Nobody has approved this code yet.", retry_after=INTERVAL)
        if found.decision is Decision.DECLINED or found.user is None:
            raise SignInDeclined("This sign-in was refused by who was asked; begin again.")
        user = found.user

        def keep(unit: Unit) -> NewTokens:
            if not unit.sign_ins.delete_device_sign_in(digest):
                raise NotFound("This code was used, or taken back; begin to sign in again.")
            return self._sign_ins.new(unit, user, Method.DEVICE_CODE, found.client_name)

        return await self._store.write(keep)

    async def get(self, caller: Caller, user_code: str, address: str) -> DeviceSignIn:
        """The client that shows a code."""
        person(caller)
        return await self._guessed.attempt(
            caller.user, address, lambda: self._find(user_code), clears=False
        )

    async def decide(
        self,
        request: Request[DeviceSignIn],
        caller: Caller,
        user_code: str,
        *,
        approve: bool,
        address: str,
    ) -> bytes:
        """Let it sign in as the caller, or refuse it."""
        id = person(caller)
        account, _ = names.USER.parse(caller.user)

        def decide(unit: Unit) -> DeviceSignIn:
            found = unit.sign_ins.device_sign_in_of(read_user_code(user_code))
            if found is None or found.expire_time <= self._clock.wall():
                raise _unknown()
            decision = Decision.APPROVED if approve else Decision.DECLINED
            user = unit.accounts.user(account, id)
            if user is None:
                raise _unknown()
            decided = replace(found, decision=decision, user=user)
            if not unit.sign_ins.decide_device_sign_in(decided):
                raise _unknown()
            event = "device_approved" if approve else "device_declined"
            unit.record(parent_of(user), event, client=found.client_name, address=found.address)
            return decided

        return await self._guessed.attempt(
            caller.user, address, lambda: self._store.once(request, decide), clears=False
        )

    async def _find(self, user_code: str) -> DeviceSignIn:
        code = read_user_code(user_code)
        found = await self._store.read(lambda unit: unit.sign_ins.device_sign_in_of(code))
        undecided = found is not None and found.decision is Decision.NONE
        if found is None or not undecided or found.expire_time <= self._clock.wall():
            raise _unknown()
        return found


def digest_of(device_code: str) -> bytes:
    """What is kept of a device code."""
    return hashlib.sha256(device_code.encode()).digest()


def _unknown() -> NotFound:
    return NotFound("No client waits with this code; read it again, or have the client begin anew.")
