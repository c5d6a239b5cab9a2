"""What an emulated card computes with its private keys: making, importing, signing, decrypting and agreeing.

Promises: pure functions of a `StoredKey`, by the algorithm numbers of SP 800-78 and of the vendor extension; input that a
card must refuse raises `Refused` with the status word for it. RSA is the bare operation, as PIV has the padding done by
the host. Private keys are kept as PKCS #8, and are in no repr.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from keypeg_bridge.emulator.piv.refusal import Refused, need
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Status

RSA_EXPONENT: Final = 65_537
RSA_BITS: Final = {
    piv.ALGORITHM_RSA1024: 1_024,
    piv.ALGORITHM_RSA2048: 2_048,
    piv.ALGORITHM_RSA3072: 3_072,
    piv.ALGORITHM_RSA4096: 4_096,
}
CURVES: Final[dict[int, tuple[ec.EllipticCurve, hashes.HashAlgorithm, int]]] = {
    piv.ALGORITHM_P256: (ec.SECP256R1(), hashes.SHA256(), 32),
    piv.ALGORITHM_P384: (ec.SECP384R1(), hashes.SHA384(), 48),
}
ALGORITHMS: Final = frozenset({*RSA_BITS, *CURVES, piv.ALGORITHM_ED25519, piv.ALGORITHM_X25519})
MAX_MESSAGE: Final = 4_096  # bytes that Ed25519 signs in one command
_IMPORTED_SCALAR: Final = {  # the one element of an import that is no RSA key
    piv.ALGORITHM_P256: 0x06,
    piv.ALGORITHM_P384: 0x06,
    piv.ALGORITHM_ED25519: 0x07,
    piv.ALGORITHM_X25519: 0x08,
}
_SCALAR_BYTES: Final = 32  # of Ed25519 and X25519


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One private key and its rules."""

    algorithm: int
    pkcs8: bytes
    pin_policy: int
    touch_policy: int = piv.POLICY_NEVER
    generated: bool = True

    def __repr__(self) -> str:
        return f"StoredKey(algorithm={self.algorithm:#04x})"


def generate(algorithm: int) -> bytes:
    """A new private key, PKCS #8. RSA takes its time."""
    if algorithm in RSA_BITS:
        return _pack(rsa.generate_private_key(RSA_EXPONENT, RSA_BITS[algorithm]))
    if algorithm in CURVES:
        return _pack(ec.generate_private_key(CURVES[algorithm][0]))
    if algorithm == piv.ALGORITHM_ED25519:
        return _pack(ed25519.Ed25519PrivateKey.generate())
    return _pack(x25519.X25519PrivateKey.generate())


def imported(algorithm: int, fields: dict[int, bytes]) -> bytes:
    """The private key in the elements of an import command, PKCS #8."""
    wanted = {1, 2, 3, 4, 5} if algorithm in RSA_BITS else {_IMPORTED_SCALAR[algorithm]}
    need(set(fields) == wanted)
    try:
        if algorithm in RSA_BITS:
            return _pack(_import_rsa(RSA_BITS[algorithm], fields))
        (scalar,) = fields.values()
        if algorithm in CURVES:
            curve, _, size = CURVES[algorithm]
            need(len(scalar) == size)
            return _pack(ec.derive_private_key(int.from_bytes(scalar, "big"), curve))
        need(len(scalar) == _SCALAR_BYTES)
        if algorithm == piv.ALGORITHM_ED25519:
            return _pack(ed25519.Ed25519PrivateKey.from_private_bytes(scalar))
        return _pack(x25519.X25519PrivateKey.from_private_bytes(scalar))
    except ValueError:
        raise Refused(Status.WRONG_DATA) from None


def _import_rsa(bits: int, fields: dict[int, bytes]) -> rsa.RSAPrivateKey:
    """From p, q, d mod p-1, d mod q-1 and the inverse of q; the exponent is 65537."""
    need(all(0 < len(value) <= bits // 16 for value in fields.values()))
    p, q, dp, dq, inverse = (int.from_bytes(fields[tag], "big") for tag in range(1, 6))
    need(p > 2 and q > 2 and (p * q).bit_length() == bits)
    d = pow(RSA_EXPONENT, -1, (p - 1) * (q - 1))
    need((d % (p - 1), d % (q - 1), pow(q, -1, p)) == (dp, dq, inverse))
    public = rsa.RSAPublicNumbers(RSA_EXPONENT, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, dp, dq, inverse, public).private_key()


def public_template(stored: StoredKey) -> bytes:
    """The public key as GENERATE answers it, without the outer 7F49."""
    public = public_key(stored)
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return tlv.encode(
            piv.TAG_RSA_MODULUS, numbers.n.to_bytes(public.key_size // 8, "big")
        ) + tlv.encode(piv.TAG_RSA_EXPONENT, numbers.e.to_bytes(3, "big"))
    if isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
    else:
        point = public.public_bytes_raw()
    return tlv.encode(piv.TAG_EC_POINT, point)


def public_key(
    stored: StoredKey,
) -> (
    rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey
):
    """The public half."""
    found: Any = _load(stored.pkcs8).public_key()
    return found  # type: ignore[no-any-return]


def private_key(stored: StoredKey) -> object:
    """The key itself, for those who know its kind."""
    key: object = _load(stored.pkcs8)
    return key


def sign(stored: StoredKey, data: bytes) -> bytes:
    """What the card answers to element 81: a signature, or with RSA the private operation."""
    key = _load(stored.pkcs8)
    if stored.algorithm in RSA_BITS:
        return _rsa(key, data)
    signature: bytes
    if stored.algorithm in CURVES:
        _, hashed, size = CURVES[stored.algorithm]
        need(0 < len(data) <= size)  # a shorter digest is the same number
        signature = key.sign(data.rjust(size, b"\x00"), ec.ECDSA(Prehashed(hashed)))
    else:
        need(stored.algorithm == piv.ALGORITHM_ED25519 and len(data) <= MAX_MESSAGE)
        signature = key.sign(data)
    return signature


def agree(stored: StoredKey, point: bytes) -> bytes:
    """The shared secret with the other side's public key, from element 85."""
    key = _load(stored.pkcs8)
    shared: bytes
    try:
        if stored.algorithm in CURVES:
            curve, _, size = CURVES[stored.algorithm]
            need(len(point) == 2 * size + 1 and point[0] == 4)
            shared = key.exchange(
                ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
            )
        else:
            need(stored.algorithm == piv.ALGORITHM_X25519 and len(point) == _SCALAR_BYTES)
            shared = key.exchange(x25519.X25519PublicKey.from_public_bytes(point))
    except ValueError:  # no point of the curve, or one that gives away nothing
        raise Refused(Status.WRONG_DATA) from None
    return shared


def _rsa(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    """data^d mod n, by the Chinese remainder theorem."""
    numbers = key.private_numbers()
    size = key.key_size // 8
    value = int.from_bytes(data, "big")
    need(len(data) == size and value < numbers.public_numbers.n)
    low = pow(value % numbers.p, numbers.dmp1, numbers.p)
    high = pow(value % numbers.q, numbers.dmq1, numbers.q)
    quotient = (low - high) * numbers.iqmp % numbers.p
    return (high + quotient * numbers.q).to_bytes(size, "big")


@lru_cache(maxsize=64)
def _load(pkcs8: bytes) -> Any:
    # Checking an RSA key takes longer than using it; it was checked when it was made.
    return serialization.load_der_private_key(
        pkcs8, password=None, unsafe_skip_rsa_key_validation=True
    )


def _pack(key: Any) -> bytes:
    encode: Callable[..., bytes] = key.private_bytes
    return encode(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
