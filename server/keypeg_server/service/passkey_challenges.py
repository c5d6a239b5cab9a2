"""Challenges of passkeys: what the server need not remember, sealed and given away.

Promises: a challenge is random, of this server's making, and says what it is for; nothing is kept of it, so that asking
for many costs nothing. Any server of a database reads it. It is used once, and with it all of its user's before it.

Leaves to others: who is asked, and what for (passkeys.py, passkey_sign_ins.py).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import struct
from typing import Final

from keypeg.errors import CredentialsInvalid, FieldInvalid
from keypeg_server.domain.account import User
from keypeg_server.domain.passkey import Ceremony, Challenge, Passkey
from keypeg_server.service.passkey_checks import Refused
from keypeg_server.service.ports import Clock
from keypeg_server.service.sign_ins import parent_of
from keypeg_server.service.store import Unit

CHALLENGE_BYTES: Final = 64
_BODY: Final = struct.Struct(">B16sQ16s")  # ceremony, user, time, random
_TAG_BYTES: Final = CHALLENGE_BYTES - _BODY.size
_CONTEXT: Final = b"keypeg passkey challenge v1"
_ANYBODY: Final = bytes(16)
_LATE: Final = "This took too long, or was used before; begin again."
_LOG: Final = logging.getLogger(__name__)


def tag_of(user: User) -> bytes:
    """What names a user in a challenge."""
    return hashlib.sha256(user.name.encode()).digest()[:16]


class Challenges:
    """Makes and reads the challenges of one secret."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._clock = clock
        self._newest_us = 0
        self._key: Final = hmac.digest(secret, _CONTEXT, "sha256")

    def new(self, ceremony: Ceremony, user: User | None) -> bytes:
        """A challenge; `user` is None for anybody."""
        tag = _ANYBODY if user is None else tag_of(user)
        # Each is of a time of its own, also while the clock stands: the next one of a user has to be newer than the last.
        self._newest_us = max(self._newest_us + 1, self._clock.wall_us())
        body = _BODY.pack(ceremony, tag, self._newest_us, os.urandom(16))
        return body + self._tag(body)

    def holding(self, challenge: bytes, ceremonies: frozenset[Ceremony]) -> Challenge:
        """What it says; Refused when it is for none of these ceremonies, or its time is over."""
        said = self._read(challenge)
        if said is None or said.ceremony not in ceremonies:
            raise Refused("challenge of another server or ceremony")
        if not said.holds(self._clock.wall_us()):
            raise Refused("challenge is over, or was used", late=True)
        return said

    def _read(self, challenge: bytes) -> Challenge | None:
        """None when this server did not say it."""
        body, tag = challenge[: _BODY.size], challenge[_BODY.size :]
        if len(challenge) != CHALLENGE_BYTES or not hmac.compare_digest(tag, self._tag(body)):
            return None
        ceremony, user, issue_us, _ = _BODY.unpack(body)
        return Challenge(Ceremony(ceremony), user, issue_us)

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_TAG_BYTES]


def use_up(unit: Unit, user: User, said: Challenge) -> None:
    """Within a unit of work; Refused when it was."""
    if not unit.passkeys.use(user.id, said.issue_us):
        raise Refused("challenge is over, or was used", late=True)


def recorded(unit: Unit, passkey: Passkey, event: str, **said: int) -> None:
    """What became of a passkey, in the log of its user's account."""
    user = passkey.user
    unit.record(parent_of(user), event, user=user.name, passkey=passkey.id, **said)


def refused_sign_in(error: Refused) -> CredentialsInvalid:
    """What who signs in hears, whatever is wrong; that is for the server's log."""
    _LOG.info("passkey refused", extra={"why": str(error)})
    if error.late:
        return CredentialsInvalid(_LATE)
    return CredentialsInvalid(
        "This passkey is not known here, or what it answered is not right; begin again, or sign in otherwise."
    )


def refused_registration(error: Refused) -> FieldInvalid:
    """What who adds a passkey hears; they are signed in, and hear more."""
    _LOG.info("passkey not added", extra={"why": str(error)})
    if error.late:
        return FieldInvalid(_LATE, fields={"client_data_json": "is over, or was used"})
    return FieldInvalid(
        f"This passkey can not be added: {error}. Begin again, or use another security key.",
        fields={"attestation_object": str(error)},
    )
