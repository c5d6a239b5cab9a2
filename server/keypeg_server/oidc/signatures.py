"""Whether an ID token was signed by its provider: JSON Web Signature, RFC 7515.

Promises: no I/O. Signatures are those of public keys alone, from a closed list: never `none`, never a shared secret. A
key is used for its own kind of signature, and is long enough. `KeyUnknown` says that the provider may have new keys.

Leaves to others: getting the keys (client.py), what the token says (domain/id_token.py).
"""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Collection, Mapping
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from keypeg_server.domain.id_token import refused

RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES: Final[Mapping[str, str]] = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
EDWARDS: Final = ("EdDSA", "Ed25519")
ALGORITHMS: Final = frozenset({*RSA, *CURVES, *EDWARDS})
TOKEN_SIZE: Final = 16_384  # characters; those of today's providers have up to 4,000
RSA_BITS: Final = (2_048, 8_192)  # at least and at most; longer ones take a while
EXPONENT_SIZE: Final = (
    6  # characters: 32 bits; 65,537 nearly everywhere, and each bit more takes its time
)
KEYS_LIMIT: Final = 64  # of a provider, looked at
_KINDS: Final[Mapping[str, type[RSAKey | ECKey | OKPKey]]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}


class KeyUnknown(Exception):
    """None of the keys is the one that the token names."""


def verified(
    provider: str, token: str, keys: Mapping[str, Any], allowed: Collection[str]
) -> dict[str, Any]:
    """The claims of a token that one of these keys (a JWK set) has signed by an allowed algorithm; ProviderRefused."""
    if len(token) > TOKEN_SIZE or not token.isascii():
        raise refused(provider, "is too long")
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, RecursionError) as error:
        raise refused(provider, "can not be read") from error
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS.intersection(allowed):
        raise refused(provider, "is signed in a way that is not accepted (alg)")
    if "crit" in header:
        raise refused(provider, "asks for more than is understood (crit)")
    found = _suitable(keys, algorithm, key_id)
    if not found:
        raise KeyUnknown
    for key in found:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # EdDSA is called Ed25519 by now
                registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
                signed = jws.deserialize_compact(token.encode(), key, registry=registry)
        except (JoseError, ValueError):
            continue
        return _claims(provider, signed.payload)
    raise refused(provider, "is not signed by the provider")


def _suitable(keys: Mapping[str, Any], algorithm: str, key_id: Any) -> list[Key]:
    """The keys that may have made a signature: the one that is named, or all where none is."""
    listed = keys.get("keys")
    found = []
    for raw in listed[:KEYS_LIMIT] if isinstance(listed, list) else []:
        if not isinstance(raw, dict) or (key_id is not None and raw.get("kid") != key_id):
            continue
        if raw.get("use", "sig") == "sig" and raw.get("alg", algorithm) == algorithm:
            key = _key(raw, algorithm)
            if key is not None:
                found.append(key)
    return found


def _key(raw: dict[str, Any], algorithm: str) -> Key | None:
    """A public key, where it is one for this algorithm."""
    kind = _KINDS.get(str(raw.get("kty")))
    if kind is None or (kind is RSAKey and not _is_quick(raw.get("n"), raw.get("e"))):
        return None
    try:
        public = kind.import_key(
            {name: raw[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in raw}
        )
        if isinstance(public, RSAKey):
            right = algorithm in RSA
        elif isinstance(public, ECKey):
            right = CURVES.get(algorithm) == raw.get("crv")
        else:
            right = algorithm in EDWARDS and raw.get("crv") == "Ed25519"
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return public if right else None


def _is_quick(modulus: object, exponent: object) -> bool:
    """Whether the modulus of an RSA key, in base64url, is neither short nor endless, and its exponent not long."""
    if not isinstance(modulus, str) or len(modulus) > RSA_BITS[1]:
        return False
    if not isinstance(exponent, str) or len(exponent) > EXPONENT_SIZE:
        return False
    try:
        number = int.from_bytes(base64.urlsafe_b64decode(modulus + "=="), "big")
    except ValueError:
        return False
    return RSA_BITS[0] <= number.bit_length() <= RSA_BITS[1]


def _claims(provider: str, payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise refused(provider, "can not be read") from error
    if not isinstance(claims, dict):
        raise refused(provider, "can not be read")
    return claims
