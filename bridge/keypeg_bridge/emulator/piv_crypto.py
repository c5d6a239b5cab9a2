"""One block under a management key, as a card computes it: shared by the applets that have such a key."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TRIPLE_DES: Final = 0x03


def encrypt_block(algorithm: int, key: bytes, block: bytes) -> bytes:
    """The block, encrypted with triple DES or AES."""
    chosen = TripleDES(key) if algorithm == TRIPLE_DES else algorithms.AES(key)
    encryptor = Cipher(chosen, modes.ECB()).encryptor()  # noqa: S305 - one block, as PIV defines it
    return encryptor.update(block) + encryptor.finalize()
