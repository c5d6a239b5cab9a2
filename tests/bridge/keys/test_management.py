"""Management keys: published vectors for the answers, fixed vectors for the diversification, and that both ends agree."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from keypeg.management import (
    DEFAULT_MANAGEMENT_KEY,
    ManagementAlgorithm,
    diversify,
    respond,
)
from keypeg_bridge.emulator.piv import state
from keypeg_bridge.wire import piv

MASTER = bytes(range(32))
CARD = bytes(range(16))


@pytest.mark.parametrize(
    ("algorithm", "key", "challenge", "answer"),
    [
        # FIPS 197, appendix C
        (0x08, "000102030405060708090a0b0c0d0e0f",
         "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
        (0x0A, "000102030405060708090a0b0c0d0e0f1011121314151617",
         "00112233445566778899aabbccddeeff", "dda97ca4864cdfe06eaf70a0ec0d7191"),
        (0x0C, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
         "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089"),
        # NIST SP 800-67, appendix B.1: its first block
        (0x03, "0123456789abcdef23456789abcdef01456789abcdef0123",
         "5468652071756663", "a826fd8ce53b855f"),
    ],
    ids=["AES-128", "AES-192", "AES-256", "triple DES"],
)  # fmt: skip
def test_answers_follow_the_published_vectors(
    algorithm: int, key: str, challenge: str, answer: str
) -> None:
    got = respond(ManagementAlgorithm(algorithm), bytes.fromhex(key), bytes.fromhex(challenge))
    assert got.hex() == answer


def hkdf(master: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-256 and no salt, written out a second time."""
    key = hmac.digest(bytes(32), master, hashlib.sha256)
    block = hmac.digest(key, info + b"\x01", hashlib.sha256)
    assert length <= 32
    return block[:length]


@pytest.mark.parametrize("algorithm", ManagementAlgorithm)
def test_diversification_is_the_documented_hkdf(algorithm: ManagementAlgorithm) -> None:
    info = b"keypeg management key v1\x00" + bytes((algorithm,)) + CARD
    assert diversify(MASTER, CARD, algorithm) == hkdf(MASTER, info, algorithm.key_bytes)


def test_each_card_and_master_gives_another_key() -> None:
    keys = {
        diversify(MASTER, CARD),
        diversify(MASTER, bytes(16)),
        diversify(bytes(32), CARD),
    }
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="master"):
        diversify(bytes(16), CARD)
    with pytest.raises(ValueError, match="card id"):
        diversify(MASTER, b"short")
    with pytest.raises(ValueError, match="key has"):
        respond(ManagementAlgorithm.AES_256, bytes(24), bytes(16))
    with pytest.raises(ValueError, match="challenge has"):
        respond(ManagementAlgorithm.AES_256, bytes(32), bytes(8))


def test_both_ends_have_the_same_numbers() -> None:
    sizes = {int(a): (a.key_bytes, a.block_bytes) for a in ManagementAlgorithm}
    assert sizes == piv.MANAGEMENT_SIZES
    assert state.DEFAULT_MANAGEMENT_KEY == DEFAULT_MANAGEMENT_KEY
