"""What a session's mark is, and how finding it is shown (docs/formats.md, "Device marks").

Promises: pure; the secret shows in no repr.

Leaves to others: the files (device_marks), when to ask and what follows (the server).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

_DOMAIN: Final = b"keypeg device proof v1\0"


@dataclass(frozen=True)
class Mark:
    """The file of one session."""

    id: str
    secret: bytes = field(repr=False)


def proof(secret: bytes, session: str, nonce: bytes) -> bytes:
    """HMAC-SHA256 under the secret of the mark, for the session (name) that was asked."""
    name = session.encode()
    return hmac.digest(
        secret, _DOMAIN + len(name).to_bytes(4, "big") + name + nonce, hashlib.sha256
    )
