"""Randomness of the operating system, for nonces, keys and ids.

Promises: nonces and key shares are unpredictable; jitter is only spread out.

Leaves to others: what it is used for (session_machine).
"""

from __future__ import annotations

import random
import secrets

from keypeg import clock, ids
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
        """A new UUID; it grows with time, so that a server keeps those of the same moment side by side."""
        now_us = int(clock.wall().timestamp() * 1_000_000)
        return str(ids.uuid7(now_us, secrets.token_bytes(ids.RANDOM_BYTES)))

    def jitter(self) -> float:
        """From 0 to 1."""
        return random.random()  # noqa: S311 (spreads load, guards nothing)
