"""Secrets in text that say what they are: a prefix that secret scanners find, 32 random bytes, and a check.

Promises: `PREFIX_` and 49 characters of [0-9A-Za-z], the last six a CRC-32 of what is before them: what was cut or
mistyped, or only looks like one, is told from them without looking anywhere. Kept is only the SHA-256.

Leaves to others: what they open.
"""

from __future__ import annotations

import hashlib
import os
import string
import zlib
from typing import Final

API_KEY: Final = "kpk"
INVITATION: Final = "kpi"
SECRET_BYTES: Final = 32
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BODY, _CHECK = 43, 6  # digits of 256 and of 32 bits


def new(prefix: str) -> str:
    """A new one."""
    body = _in_digits(int.from_bytes(os.urandom(SECRET_BYTES), "big"), _BODY)
    return f"{prefix}_{body}{_check(prefix, body)}"


def is_one(prefix: str, text: str) -> bool:
    """Whether a text is well-formed; it may open nothing all the same."""
    start = f"{prefix}_"
    body, check = text[len(start) : -_CHECK], text[-_CHECK:]
    whole = len(text) == len(start) + _BODY + _CHECK and text.startswith(start)
    return whole and text.isascii() and _check(prefix, body) == check


def digest(text: str) -> bytes:
    """What is kept of it."""
    return hashlib.sha256(text.encode()).digest()


def _check(prefix: str, body: str) -> str:
    return _in_digits(zlib.crc32(f"{prefix}_{body}".encode()), _CHECK)


def _in_digits(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
