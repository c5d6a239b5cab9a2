"""Signing in with a passkey, alone or beside a password.

Promises: a challenge is good once, for its time, its ceremony and its user; who answers wrong may do so only so often. Alone, a passkey signs in only when the
security key has verified its user, by PIN or fingerprint. A counter that did not grow is refused, and in the log.

Leaves to others: what WebAuthn asks to be verified (passkey_checks.py), challenges (passkey_challenges.py), guessing and
tokens (sign_ins.py).
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import Final

from keypeg.errors import CredentialsInvalid, FieldInvalid, NotFound
from keypeg_server.domain.passkey import Ceremony, Challenge, Passkey, handle_of, is_copied
from keypeg_server.domain.sign_in import Method
from keypeg_server.service.passkey_challenges import (
    Challenges,
    recorded,
    refused_sign_in,
    tag_of,
    use_up,
)
from keypeg_server.service.passkey_checks import Answer, PasskeyChecks, Refused
from keypeg_server.service.passkeys import Begun
from keypeg_server.service.ports import Clock
from keypeg_server.service.sign_ins import Guarded, SignIns
from keypeg_server.service.store import Store, Unit
from keypeg_server.service.tokens import NewTokens

_LOG: Final = logging.getLogger(__name__)
_SIGNS_IN: Final = frozenset({Ceremony.ALONE, Ceremony.BESIDE_PASSWORD})


class PasskeySignIns:
    """See the contract's PasskeyService, BeginPasskeySignIn and FinishPasskeySignIn."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        sign_ins: SignIns,
        checks: PasskeyChecks,
        challenges: Challenges,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sign_ins = sign_ins
        self._checks = checks
        self._challenges = challenges
        # Of its own: such tries cost little, and push none with passwords out of what is remembered.
        self._guarded = Guarded(clock)

    async def begin_sign_in(self, login: str, password: str, address: str) -> Begun:
        """What a passkey is asked with: alone, or of who knows a password."""
        if not login:
            return Begun(self._challenges.new(Ceremony.ALONE, None), None, ())
        user = await self._sign_ins.knows(login, password, address)
        found = await self._store.read(lambda unit: unit.passkeys.of_user(user.id))
        if not found:
            raise NotFound(
                "This user has no passkey; sign in with the password, and add one: keypeg login passkey add."
            )
        challenge = self._challenges.new(Ceremony.BESIDE_PASSWORD, user)
        return Begun(challenge, user, tuple(one.credential_id for one in found))

    async def finish_sign_in(
        self, answer: Answer, client_name: str, address: str = ""
    ) -> NewTokens:
        """Tokens for whose passkey this is; wrong answers count as tries to sign in, of that passkey and from there."""
        which = hashlib.sha256(answer.credential_id).hexdigest()  # ids are as long as anybody likes
        return await self._guarded.attempt(
            which[:32], address, lambda: self._finish(answer, client_name)
        )

    async def _finish(self, answer: Answer, client_name: str) -> NewTokens:
        try:
            challenge = self._checks.challenge_in(answer.client_data_json)
        except Refused as error:
            what = "is not what a client of WebAuthn makes"
            raise FieldInvalid(
                f"The client data {what}.", fields={"client_data_json": what}
            ) from error
        try:
            said = self._challenges.holding(challenge, _SIGNS_IN)
            alone = said.ceremony is Ceremony.ALONE
            passkey = await self._store.read(
                lambda unit: unit.passkeys.of_credential(answer.credential_id)
            )
            if passkey is None:
                raise Refused("unknown passkey")
            if not alone and said.user != tag_of(passkey.user):
                raise Refused("another user's passkey")
            if answer.user_handle and answer.user_handle != handle_of(passkey.user):
                raise Refused("another user's handle")
            told = self._checks.verify(challenge, answer, passkey.public_key, verified=alone)
            method = Method.PASSKEY if alone else Method.PASSWORD_AND_PASSKEY
            new = await self._store.write(
                lambda unit: self._signed_in(unit, passkey, said, told, method, client_name)
            )
        except Refused as error:
            raise refused_sign_in(error) from error
        if new is None:
            _LOG.warning("passkey refused: its counter did not grow")
            raise CredentialsInvalid(
                "This passkey tells of fewer uses than before: there may be a copy of it. Sign in otherwise, and remove it."
            )
        return new

    def _signed_in(
        self,
        unit: Unit,
        passkey: Passkey,
        said: Challenge,
        told: int,
        method: Method,
        client_name: str,
    ) -> NewTokens | None:
        """None when the passkey may have been copied, which is kept in the log."""
        now = unit.passkeys.of_credential(passkey.credential_id)
        if now is None or now.id != passkey.id:
            raise Refused("removed meanwhile")
        use_up(unit, now.user, said)
        if is_copied(now.sign_count, told):
            recorded(unit, now, "passkey_copied", kept=now.sign_count, told=told)
            return None
        unit.passkeys.count(replace(now, sign_count=told, use_time=self._clock.wall()))
        return self._sign_ins.new(unit, now.user, method, client_name)
