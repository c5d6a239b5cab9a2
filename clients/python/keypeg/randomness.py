"""Randomness of the operating system, for nonces, keys and ids.

Promises: nonces and key shares are unpredictable; jitter is only spread out.

Leaves to others: what it is used for (session_machine).
"""

from __future__ import annotations

import random
import secrets
import uuid

from keypeg.session_guard import NONCE_BYTES
from keypeg.sessionkey import KeyShare


class SystemRandomness:
    """The `Randomness` of real sessions."""

    def nonce(self) -> bytes:
        """32 random bytes."""
        return secrets.token_bytes(NONCE_BYTES)

    def key_share(self) -> KeyShare:
        """A new half of an agreement."""
        return KeyShare.generate()

    def request_id(self) -> str:
        """A new UUID."""
        return str(uuid.uuid4())

    def jitter(self) -> float:
        """From 0 to 1."""
        return random.random()  # noqa: S311 (spreads load, guards nothing)
