"""A provider of ID tokens in memory: its keys, its tokens, and forged ones.

Promises: keys are made once a run; what a token says and how it is signed is the test's to choose.

Leaves to others: a real provider in a process of its own (lab/oidc.py).
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

ISSUER: Final = "https://id.example"
CLIENT: Final = "keypeg"
NONCE: Final = "nonce-of-this-sign-in"
NOW: Final = datetime(2026, 11, 1, 9, tzinfo=UTC)
AT: Final = int(NOW.timestamp())
KINDS: Final = {
    "RS256": ("RSA", 2048),
    "PS256": ("RSA", 2048),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "Ed25519": ("OKP", "Ed25519"),
    "HS256": ("oct", 256),
}


@cache
def key(kind: str, size: int | str, name: str) -> Key:
    """A key pair, the same for the whole run."""
    classes: dict[str, Any] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey, "oct": OctKey}
    made: Key = classes[kind].generate_key(size, {"kid": name}, private=True)
    return made


def claims(**others: Any) -> dict[str, Any]:
    """What a right token says; None leaves a claim out."""
    right = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "248289761001",
        "nonce": NONCE,
        "iat": AT - 1,
        "exp": AT + 300,
    }
    return {name: value for name, value in {**right, **others}.items() if value is not None}


def signed(
    said: Mapping[str, Any], algorithm: str = "ES256", name: str = "one", **header: Any
) -> str:
    """A token of these claims."""
    own = key(*KINDS[algorithm], name)
    head = {"alg": algorithm, "kid": name, **header}
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jws.serialize_compact(head, json.dumps(dict(said)), own, registry=registry)


def made_up(said: Mapping[str, Any], header: Mapping[str, Any], secret: bytes = b"") -> str:
    """A token that no library would make: with any header, unsigned or with a MAC under `secret`."""
    head, body = (_text(json.dumps(dict(part)).encode()) for part in (header, said))
    mac = hmac.digest(secret, f"{head}.{body}".encode(), "sha256") if secret else b""
    return f"{head}.{body}.{_text(mac)}"


def key_set(*algorithms: str, name: str = "one", **others: Any) -> dict[str, Any]:
    """What the provider shows of its keys."""
    shown = [key(*KINDS[one], name).as_dict(private=False) for one in algorithms]
    return {"keys": [{**one, **others} for one in shown]}


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
