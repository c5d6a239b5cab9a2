"""Tokens of credentials, and challenges: what the server need not remember, sealed and given away.

Promises: a token is good for minutes, on one device, for what its credential is for, and only while the credential
takes the key that it was got with and the device is on it; a reset is felt at the next call. A challenge is good for a
short time, once. No row holds either.

Leaves to others: signing in (credentials.py), reading the metadata (rpc/gate.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keypeg import names
from keypeg.errors import CredentialsInvalid, TokenExpired, TokenInvalid
from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller, Right, Role
from keypeg_server.domain.credential import revoked
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Store, Unit
from keypeg_server.service.tokens import SignedIn

PREFIX: Final = "kpc_"  # so that whoever looks for secrets in files finds it
TOKEN_CHARACTERS: Final = 2_048
CHALLENGE_TIME: Final = timedelta(seconds=60)
KNOWN_COUNT: Final = 16_384  # tokens kept in memory: about 1 KiB each
USED_COUNT: Final = 100_000  # challenges remembered: more than are answered in their time
_RIGHTS: Final = frozenset({Right.LICENSES_READ, Right.LICENSES_USE})
_NONCE_BYTES: Final = 12
_CONTEXT: Final = b"keypeg credential token v1"


@dataclass(frozen=True)
class Bearer:
    """What a token says."""

    credential: str  # name
    device: str
    generation: int  # of the key that signed in
    expire_time: datetime


class Challenges:
    """Random bytes with their time, under a code of this server; each is taken once by this process."""

    def __init__(self, secret: bytes, clock: Clock, random: Callable[[int], bytes]) -> None:
        self._secret = secret
        self._clock = clock
        self._random = random
        self._used: OrderedDict[bytes, int] = OrderedDict()

    def new(self) -> bytes:
        """64 bytes."""
        body = self._clock.wall_us().to_bytes(8, "big") + self._random(24)
        return body + self._code(body)

    def take(self, challenge: bytes) -> None:
        """Use it up; CredentialsInvalid when it is none, too old, or was used."""
        body, code = challenge[:32], challenge[32:]
        now = self._clock.wall_us()
        age = now - int.from_bytes(body[:8], "big")
        right = hmac.compare_digest(self._code(body), code)
        if not right or not 0 <= age < CHALLENGE_TIME // timedelta(microseconds=1):
            raise _late()
        if challenge in self._used:
            raise _late()
        self._used[challenge] = now
        if len(self._used) > USED_COUNT:
            self._used.popitem(last=False)

    def _code(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, b"keypeg sign-in challenge v1" + body, hashlib.sha256)


class CredentialTokens:
    """Makes tokens of credentials and recognizes them."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        secret: bytes,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`secret` is the server's, shared by all servers of a database."""
        self._store = store
        self._clock = clock
        self._random = random
        self._cipher = AESGCM(hmac.digest(secret, _CONTEXT, hashlib.sha256))
        self._known: OrderedDict[str, SignedIn] = OrderedDict()
        self._epoch = 0  # grows with everything that may have ended a token
        self.challenges: Final = Challenges(secret, clock, random)

    def seal(self, bearer: Bearer) -> str:
        """The token."""
        content = [
            bearer.credential,
            bearer.device,
            bearer.generation,
            to_us(bearer.expire_time),
        ]
        nonce = self._random(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, json.dumps(content).encode(), _CONTEXT)
        return PREFIX + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def known(self, text: str) -> SignedIn | None:
        """Who sent this token, when it is in memory and good."""
        found = self._known.get(text)
        if found is None or self._clock.wall() >= found.expire_time:
            return None
        return found

    async def authenticate(self, text: str) -> SignedIn:
        """Who sent this token; TokenInvalid, TokenExpired or CredentialRevoked when nobody may have."""
        bearer = self._open(text)
        if self._clock.wall() >= bearer.expire_time:
            self._known.pop(text, None)
            raise TokenExpired(
                f"The token of {bearer.credential} has run out; sign in with its file again.",
                credential=bearer.credential,
            )
        epoch = self._epoch
        user = await self._store.read(lambda unit: _user(unit, bearer, self._clock.wall()))
        signed_in = _signed_in(bearer, user)
        if epoch == self._epoch:  # else it may be one that was ended meanwhile
            self._known[text] = signed_in
            if len(self._known) > KNOWN_COUNT:
                self._known.popitem(last=False)
        return signed_in

    def forget_all(self) -> None:
        """Something has ended tokens: look at the rows again."""
        self._epoch += 1
        self._known.clear()

    def _open(self, text: str) -> Bearer:
        try:
            if len(text) > TOKEN_CHARACTERS or not text.startswith(PREFIX):
                raise ValueError
            body = text.removeprefix(PREFIX)
            sealed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            content: list[Any] = json.loads(self._cipher.decrypt(nonce, rest, _CONTEXT))
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise TokenInvalid(
                "This token is not one of this server's; sign in with the credential again."
            ) from error
        credential, device, generation, expire_us = content
        return Bearer(credential, device, generation, from_us(expire_us))


def _user(unit: Unit, bearer: Bearer, now: datetime) -> User:
    credential = unit.credentials.find(*names.CREDENTIAL.parse(bearer.credential))
    if (
        credential is None
        or not credential.takes(bearer.generation, now)
        or credential.device(bearer.device) is None
    ):
        raise revoked(bearer.credential)
    user = unit.accounts.user(credential.account, credential.user)
    if user is None:
        raise revoked(bearer.credential)
    return user


def _signed_in(bearer: Bearer, user: User) -> SignedIn:
    # A member, whatever the user is: it opens the cloud session, and manages nothing.
    caller = Caller(
        user.name,
        user.login,
        user.account_name,
        Role.MEMBER,
        f"{bearer.credential}/{bearer.device}",
        scopes=_RIGHTS,
        credential=bearer.credential,
        device=bearer.device,
    )
    return SignedIn(caller, user, bearer.expire_time)


def _late() -> CredentialsInvalid:
    return CredentialsInvalid(
        "The challenge is not one of this server's, is older than a minute, or was answered before; "
        "ask for another one."
    )
