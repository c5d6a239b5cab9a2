"""What keeps a user signed in, as it is in a file.

    {"token": "kpa_...", "until": 1790000000.0, "refresh_token": "kpr_...", "request_id": ""}

Promises: pure; what can not be read is as if there was nothing. A file of before there were refresh tokens holds a
token alone; one of tokens that are elsewhere says where. No token shows in a repr.

Leaves to others: the file (token_keeping), and what the tokens are used for (sign_in).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

IN_KEYRING: Final = b'{"kept_in": "keyring"}\n'
"""The file of tokens that are in the system's keyring."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of one sign-in; empty when nobody is signed in."""

    token: str = field(repr=False)
    until: float = 0.0  # on this computer's wall clock, seconds since 1970; 0: it is not known
    refresh_token: str = field(default="", repr=False)
    request_id: str = ""  # of a refresh that was begun, and whose answer did not come


def read(data: bytes) -> Tokens:
    """The tokens in a file, or in an entry of a keyring."""
    try:
        text = data.decode("ascii").strip()
        if not text.startswith("{"):
            return Tokens(text)
        found = json.loads(text)
        return Tokens(
            str(found["token"]),
            float(found.get("until", 0)),
            str(found.get("refresh_token", "")),
            str(found.get("request_id", "")),
        )
    except (KeyError, TypeError, ValueError):
        return Tokens("")


def written(tokens: Tokens) -> bytes:
    """The file of tokens."""
    if not tokens.refresh_token:
        return tokens.token.encode()
    return json.dumps(asdict(tokens)).encode()
