"""Who may write to a key: the management key of each key, and the answer to a key's challenge.

Promises: pure functions of their arguments; no I/O. The issuing server calls them, as it alone has the master key; the
bridge relays challenge and answer (docs/protocols.md, "Authorization"). A management key protects what is written to a
key, never what a key signs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MASTER_KEY_BYTES: Final = 32  # at least
CARD_ID_BYTES: Final = 16
_INFO: Final = b"keypeg management key v1\x00"

# Of every new PIV card, as triple DES and as AES-192: public knowledge, replaced at enrollment.
DEFAULT_MANAGEMENT_KEY: Final = bytes.fromhex("010203040506070801020304050607080102030405060708")


class ManagementAlgorithm(IntEnum):
    """Algorithms of a management key, numbered as in NIST SP 800-78."""

    TRIPLE_DES = 0x03
    AES_128 = 0x08
    AES_192 = 0x0A
    AES_256 = 0x0C

    @property
    def key_bytes(self) -> int:
        """The length of a key."""
        return _SIZES[self][0]

    @property
    def block_bytes(self) -> int:
        """The length of a challenge, and of its answer."""
        return _SIZES[self][1]


_SIZES: Final = {
    ManagementAlgorithm.TRIPLE_DES: (24, 8),
    ManagementAlgorithm.AES_128: (16, 16),
    ManagementAlgorithm.AES_192: (24, 16),
    ManagementAlgorithm.AES_256: (32, 16),
}
assert set(_SIZES) == set(ManagementAlgorithm)

# What enrollment sets on a key, where the key takes it.
DIVERSIFIED_ALGORITHM: Final = ManagementAlgorithm.AES_256


def diversify(
    master: bytes, card_id: bytes, algorithm: ManagementAlgorithm = DIVERSIFIED_ALGORITHM
) -> bytes:
    """The management key of one card (HKDF-SHA256 over the master key; RFC 5869), of the algorithm's length.

    `card_id` is the card's 16-byte GUID. The same arguments always give the same key.
    """
    if len(master) < MASTER_KEY_BYTES:
        raise ValueError(f"a master key has at least {MASTER_KEY_BYTES} bytes")
    if len(card_id) != CARD_ID_BYTES:
        raise ValueError(f"a card id has {CARD_ID_BYTES} bytes, not {len(card_id)}")
    info = _INFO + bytes((algorithm,)) + card_id
    return HKDF(hashes.SHA256(), algorithm.key_bytes, salt=None, info=info).derive(master)


def respond(algorithm: ManagementAlgorithm, key: bytes, challenge: bytes) -> bytes:
    """What the holder of `key` answers to a key's challenge: the challenge as one encrypted block."""
    algorithm = ManagementAlgorithm(algorithm)
    if len(key) != algorithm.key_bytes:
        raise ValueError(f"a {algorithm.name} key has {algorithm.key_bytes} bytes")
    if len(challenge) != algorithm.block_bytes:
        raise ValueError(
            f"a {algorithm.name} challenge has {algorithm.block_bytes} bytes, not {len(challenge)}"
        )
    cipher = TripleDES(key) if algorithm is ManagementAlgorithm.TRIPLE_DES else algorithms.AES(key)
    encryptor = Cipher(cipher, modes.ECB()).encryptor()  # noqa: S305 - one block, as PIV defines it
    return encryptor.update(challenge) + encryptor.finalize()
