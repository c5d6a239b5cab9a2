"""ID tokens that are believed, and forged ones that are not: a table."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey

from keypeg.errors import ProviderRefused
from keypeg_server.domain import id_token
from keypeg_server.domain.id_token import Expected, Proven
from keypeg_server.oidc import signatures
from keypeg_server.oidc.signatures import ALGORITHMS, KeyUnknown
from tests.server.oidc.provider import (
    AT,
    CLIENT,
    ISSUER,
    KINDS,
    NONCE,
    NOW,
    claims,
    key,
    key_set,
    made_up,
    signed,
)

EXPECTED = Expected("work", ISSUER, CLIENT, NONCE)
KEYS = key_set("ES256")


def believed(token: str, keys: dict[str, Any] = KEYS, expected: Expected = EXPECTED) -> Proven:
    return id_token.check(signatures.verified("work", token, keys, ALGORITHMS), expected, NOW)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "Ed25519"])
def test_a_token_of_the_provider_says_who_it_is(algorithm: str) -> None:
    token = signed(claims(amr=["pwd", "mfa", 7]), algorithm)
    assert believed(token, key_set(algorithm)) == Proven("248289761001", frozenset({"pwd", "mfa"}))


@pytest.mark.parametrize(
    "said",
    [
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "other"], "azp": CLIENT},
        {"azp": CLIENT},
        {"iat": AT + 119},
        {"exp": AT - 119},
        {"iat": AT - 600},
        {"nbf": AT},
        {"iat": float(AT)},
    ],
    ids=str,
)
def test_what_is_in_order_is_believed(said: dict[str, Any]) -> None:
    assert believed(signed(claims(**said))).subject == "248289761001"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"iss": "https://id.example/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"aud": "other"}, "another client (aud)"),
        ({"aud": None}, "another client (aud)"),
        ({"aud": []}, "another client (aud)"),
        ({"aud": {CLIENT: 1}}, "another client (aud)"),
        ({"aud": [CLIENT, "other"]}, "several clients"),
        ({"azp": "other"}, "given to another client"),
        ({"azp": ""}, "given to another client"),
        ({"aud": [CLIENT, "other"], "azp": "other"}, "given to another client"),
        ({"nonce": None}, "another sign-in"),
        ({"nonce": "of-another"}, "another sign-in"),
        ({"nonce": [NONCE]}, "another sign-in"),
        ({"nonce": "\ud800"}, "another sign-in"),
        ({"exp": AT - 121}, "run out"),
        ({"exp": None}, "does not say a time (exp)"),
        ({"exp": "never"}, "does not say a time (exp)"),
        ({"exp": True}, "does not say a time (exp)"),
        ({"exp": float("nan")}, "does not say a time (exp)"),
        ({"exp": float("inf")}, "does not say a time (exp)"),
        ({"exp": 10**320}, "does not say a time (exp)"),
        ({"iat": None}, "does not say a time (iat)"),
        ({"iat": -(10**320)}, "does not say a time (iat)"),
        ({"iat": AT + 121}, "of the future"),
        ({"iat": AT - 721, "exp": AT + 10**9}, "is old"),
        ({"nbf": AT + 121}, "holds later"),
        ({"nbf": "x"}, "does not say a time (nbf)"),
        ({"sub": None}, "names nobody"),
        ({"sub": ""}, "names nobody"),
        ({"sub": 7}, "names nobody"),
        ({"sub": "x" * 256}, "names nobody"),
        ({"sub": "a\nb"}, "can be written"),
    ],
    ids=str,
)
def test_a_signed_token_that_says_something_else_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ProviderRefused) as refused:
        believed(signed(claims(**said)))
    assert why in refused.value.sentence


RSA_KEY = key(*KINDS["RS256"], "one")
assert isinstance(RSA_KEY, RSAKey)
PUBLIC_PEM = RSA_KEY.as_pem(private=False)
EMBEDDED = ECKey.generate_key("P-256", private=True)
FORGED: dict[str, tuple[str, dict[str, Any]]] = {
    "none": (made_up(claims(), {"alg": "none"}), KEYS),
    "none with a key": (made_up(claims(), {"alg": "none", "kid": "one"}), KEYS),
    "None": (made_up(claims(), {"alg": "None"}), KEYS),
    "no algorithm": (made_up(claims(), {"kid": "one"}), KEYS),
    "a number": (made_up(claims(), {"alg": 256}), KEYS),
    "a list": (made_up(claims(), {"alg": ["ES256"]}), KEYS),
    "the public key as a secret": (
        made_up(claims(), {"alg": "HS256", "kid": "one"}, PUBLIC_PEM),
        key_set("RS256"),
    ),
    "a secret that is shown": (
        signed(claims(), "HS256"),
        {"keys": [key("oct", 256, "one").as_dict()]},
    ),
    "a key in the header": (
        made_up(claims(), {"alg": "ES256", "jwk": EMBEDDED.as_dict(private=False)}),
        KEYS,
    ),
    "another key of that name": (signed(claims()), key_set("ES256", name="two", kid="one")),
    "a key for another algorithm": (signed(claims(), "RS256"), key_set("RS256", alg="PS256")),
    "a key to encrypt with": (signed(claims()), key_set("ES256", use="enc")),
    "a key of another curve": (made_up(claims(), {"alg": "ES256", "kid": "one"}), key_set("ES384")),
    "crit": (made_up(claims(), {"alg": "ES256", "kid": "one", "crit": ["x"], "x": 1}), KEYS),
    "no signature": (signed(claims()).rpartition(".")[0] + ".", KEYS),
    "other claims": (
        ".".join(
            [
                signed(claims()).split(".")[0],
                *made_up(claims(sub="7"), {}).split(".")[1:2],
                signed(claims()).split(".")[2],
            ]
        ),
        KEYS,
    ),
    "no keys": (signed(claims()), {"keys": []}),
    "keys that are none": (signed(claims()), {"keys": ["x", {"kty": "EC"}, {"kty": "?"}]}),
    "no list of keys": (signed(claims()), {"keys": {"one": 1}}),
    "no claims": (signed({}, "ES256"), KEYS),
    "too long": (signed(claims(x="y" * 20_000)), KEYS),
    "no token": ("x", KEYS),
    "nothing": ("", KEYS),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused(name: str) -> None:
    token, keys = FORGED[name]
    with pytest.raises((ProviderRefused, KeyUnknown)):
        believed(token, keys)


def test_a_short_key_of_the_provider_is_not_used() -> None:
    from joserfc import jws

    short = key("RSA", 1024, "one")
    token = jws.serialize_compact({"alg": "RS256", "kid": "one"}, "{}", short)
    with pytest.raises(KeyUnknown):
        believed(token, {"keys": [short.as_dict(private=False)]})


def test_a_key_of_the_provider_that_takes_long_to_verify_with_is_not_used() -> None:
    token, keys = signed(claims(), "RS256"), key_set("RS256")
    shown = keys["keys"][0]
    modulus = base64.urlsafe_b64decode(shown["n"] + "==")
    odd = modulus[:-1] + b"\1"  # an exponent nearly as long as the modulus
    slow = {**shown, "e": base64.urlsafe_b64encode(odd[1:]).rstrip(b"=").decode()}
    with pytest.raises(KeyUnknown):
        believed(token, {"keys": [slow]})


def test_a_way_to_sign_that_the_provider_does_not_announce_is_refused() -> None:
    with pytest.raises(ProviderRefused, match="alg"):
        signatures.verified("work", signed(claims()), KEYS, {"RS256"})


def test_without_a_redirect_there_is_no_nonce() -> None:
    typed = Expected("work", ISSUER, CLIENT, None)
    assert believed(signed(claims(nonce=None)), KEYS, typed).subject == "248289761001"


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_refused(token: str, other: str) -> None:
    for one in (token, f"{token}.{other}.", f"{token}.{other}.{token}"):
        with pytest.raises((ProviderRefused, KeyUnknown)):
            believed(one)
