"""The texts of tokens: what they say, and that this server has said it.

    kpa_ + base64url(audience 4 | sign-in 16 | end, microseconds 8 | tag 24)              an access token
    kpr_ + base64url(audience 4 | sign-in 16 | generation 4 | salt 16 | tag 24)           a refresh token

Promises: only a server with the same secret and audience makes or reads them; one for another audience is told from
one that was forged. Reading costs one HMAC, and nothing is kept of what was made. The prefixes let scanners for secrets
that were published by mistake find them.

Leaves to others: whether the sign-in is still there (tokens.py), and what a refresh token is good for (domain/sign_in.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from typing import Final

from keypeg.errors import TokenInvalid

ACCESS: Final = "kpa_"
REFRESH: Final = "kpr_"
SALT_BYTES: Final = 16
TAG_BYTES: Final = 24
_AUDIENCE_BYTES: Final = 4  # enough to name a wrong server; the key is the audience's own, too
_CONTEXT: Final = b"keypeg tokens v1"
_ACCESS: Final = struct.Struct(">4s16sq")
_REFRESH: Final = struct.Struct(">4s16sI16s")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What an access token says."""

    sign_in: str  # id
    expire_us: int


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What a refresh token says."""

    sign_in: str  # id
    generation: int
    salt: bytes = field(repr=False)


class TokenTexts:
    """Makes and reads the texts of tokens of one audience."""

    def __init__(self, secret: bytes, audience: str) -> None:
        self._audience: Final = hashlib.sha256(audience.encode()).digest()[:_AUDIENCE_BYTES]
        self._key: Final = hmac.digest(secret, _CONTEXT + b"\0" + audience.encode(), "sha256")

    def access(self, token: AccessToken) -> str:
        """The text of an access token; a secret."""
        body = _ACCESS.pack(self._audience, bytes.fromhex(token.sign_in), token.expire_us)
        return self._sealed(ACCESS, body)

    def read_access(self, text: str) -> AccessToken:
        """What an access token says; TokenInvalid when this server did not say it."""
        _, id, expire_us = _ACCESS.unpack(self._opened(ACCESS, text, _ACCESS.size))
        return AccessToken(id.hex(), expire_us)

    def refresh(self, token: RefreshToken) -> str:
        """The text of a refresh token; a secret."""
        id = bytes.fromhex(token.sign_in)
        return self._sealed(
            REFRESH, _REFRESH.pack(self._audience, id, token.generation, token.salt)
        )

    def read_refresh(self, text: str) -> RefreshToken:
        """What a refresh token says; TokenInvalid when this server did not say it."""
        _, id, generation, salt = _REFRESH.unpack(self._opened(REFRESH, text, _REFRESH.size))
        return RefreshToken(id.hex(), generation, salt)

    def next_salt(self, token: RefreshToken, request_id: str) -> bytes:
        """What the token after this one is made of: the same for the same request."""
        said = f"next\0{token.sign_in}\0{token.generation}\0{request_id.lower()}".encode()
        return hmac.digest(self._key, said + b"\0" + token.salt, "sha256")[:SALT_BYTES]

    def _sealed(self, prefix: str, body: bytes) -> str:
        whole = body + self._tag(prefix, body)
        return prefix + base64.urlsafe_b64encode(whole).rstrip(b"=").decode()

    def _opened(self, prefix: str, text: str, size: int) -> bytes:
        try:
            if not text.startswith(prefix):
                raise ValueError("another kind")
            encoded = text[len(prefix) :].encode("ascii")
            whole = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), b"-_", validate=True)
            if len(whole) != size + TAG_BYTES:
                raise ValueError("another size")
        except (binascii.Error, ValueError) as error:
            raise not_ours() from error
        body = whole[:size]
        if body[:_AUDIENCE_BYTES] != self._audience:
            raise TokenInvalid(
                "This token is for another server; sign in at this one.", why="other_audience"
            )
        if not hmac.compare_digest(whole[size:], self._tag(prefix, body)):
            raise not_ours()
        return body

    def _tag(self, prefix: str, body: bytes) -> bytes:
        return hmac.digest(self._key, prefix.encode() + body, "sha256")[:TAG_BYTES]


def not_ours() -> TokenInvalid:
    """The refusal of a text that this server did not make, or whose sign-in is gone."""
    return TokenInvalid("This sign-in is not known here, or was ended; sign in again.")
