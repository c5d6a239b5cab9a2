"""One-time codes by time (RFC 6238): SHA-1, 6 digits, 30 s, as every authenticator has them; and recovery codes.

Promises: pure; time is an argument. A code fits for its own step and one on either side, for clocks that differ and
people who type slowly; which step it was is told, so that a code is used once.

Leaves to others: keeping secrets and used steps (service/second_factors.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from typing import Final
from urllib.parse import quote

STEP: Final = 30  # seconds; RFC 6238, 5.2
DIGITS: Final = 6
SECRET_BYTES: Final = 20  # RFC 4226, 4: at least 16, 20 recommended
DRIFT: Final = 1  # steps on either side
RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10  # 80 bits each: 16 letters


def step_of(now: datetime) -> int:
    """The step that a moment is in."""
    return int(now.timestamp()) // STEP


def code(secret: bytes, step: int) -> str:
    """The code of a step (RFC 4226, 5.3)."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = mac[-1] & 0xF
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def matching_step(secret: bytes, text: str, now: datetime, last_step: int) -> int | None:
    """The step of a code that fits now and is newer than the last one; None when none does."""
    typed = text.replace(" ", "").encode()
    found = None
    for step in range(step_of(now) - DRIFT, step_of(now) + DRIFT + 1):
        fits = hmac.compare_digest(code(secret, step).encode(), typed)
        if fits and step > last_step:
            found = step
    return found


def uri(secret: bytes, issuer: str, login: str) -> str:
    """What an authenticator reads, mostly from a picture."""
    shown = base64.b32encode(secret).decode().rstrip("=")
    label = f"{quote(issuer, safe='')}:{quote(login, safe='')}"
    return f"otpauth://totp/{label}?secret={shown}&issuer={quote(issuer, safe='')}"


def recovery_code(random: bytes) -> str:
    """A recovery code as people read it: four groups of four."""
    text = base64.b32encode(random).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, 16, 4))


def recovery_digest(user: str, text: str) -> bytes:
    """What is kept of a user's (id) recovery code; hyphens, spaces and case do not matter."""
    plain = text.replace("-", "").replace(" ", "").lower()
    return hashlib.sha256(f"{user}\0{plain}".encode()).digest()
