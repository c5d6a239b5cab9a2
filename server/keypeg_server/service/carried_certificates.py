"""Tokens with which one server carries to another the call of a bridge or site, whose certificate only the first has seen.

Promises: only servers that have the same secrets can make one; it is good for a minute, and opens what the certificate
opens that it names, for as long as that is not revoked. Clients never have one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.errors import TokenExpired, TokenInvalid
from keypeg_server.clock import from_us, to_us
from keypeg_server.service.client_certificates import ClientCertificates
from keypeg_server.service.ports import Clock
from keypeg_server.service.tokens import SignedIn

PREFIX: Final = "kpx_"
VALID_FOR: Final = timedelta(minutes=1)  # a carried call is waited for no longer
_CONTEXT: Final = b"keypeg carried certificate v1"
_TEXT: Final = re.compile(r"kpx_([a-z0-9-]+)\.([a-z0-9-]+)\.(\d{1,18})\.([0-9a-f]{64})", re.ASCII)


class CarriedCertificates:
    """Makes such tokens, and recognizes them (authenticators.py)."""

    def __init__(self, certificates: ClientCertificates, clock: Clock, secret: bytes) -> None:
        self._certificates = certificates
        self._clock = clock
        self._key: Final = hmac.digest(secret, _CONTEXT, "sha256")

    def text(self, signed_in: SignedIn) -> str:
        """For a call of a moment ago."""
        account, id = names.CERTIFICATE.parse(signed_in.caller.certificate)
        ends = min(signed_in.expire_time, self._clock.wall() + VALID_FOR)
        said = f"{account}.{id}.{to_us(ends)}"
        return f"{PREFIX}{said}.{self._mac(said)}"

    def known(self, text: str) -> SignedIn | None:
        """Nobody is: each call is looked up."""
        return None

    async def authenticate(self, text: str) -> SignedIn:
        """Who called there; TokenInvalid or TokenExpired when nobody may have."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise _invalid()
        account, id, ends, mac = found.groups()
        if not hmac.compare_digest(mac, self._mac(f"{account}.{id}.{ends}")):
            raise _invalid()
        if self._clock.wall() >= from_us(int(ends)):
            raise TokenExpired("This call was carried for too long; call again.")
        name = names.CERTIFICATE.build(account, id)
        return await self._certificates.of_name(name, from_us(int(ends)))

    def forget_all(self) -> None:
        """Nothing is remembered."""

    def _mac(self, said: str) -> str:
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()


def _invalid() -> TokenInvalid:
    return TokenInvalid("This token is not one of this server's; sign in.")
