"""What security keys and their clients can say wrong: tables of answers that are refused, with nothing else around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from fido2 import cbor

from keypeg_server.domain import passkey as rules
from keypeg_server.service.passkey_checks import Answer, PasskeyChecks, Refused
from tests.server.service.soft_passkey import NAME, PRESENT, Said, SoftPasskey

Change = Callable[[Answer], Answer]
OTHER = "https://evil.example.net"
WRONG_SAID = {
    "another origin": Said(origin=OTHER),
    "an origin that only begins alike": Said(origin=f"https://{NAME}.evil.example.net"),
    "an origin without TLS": Said(origin=f"http://{NAME}:7400"),
    "no origin": Said(origin=""),
    "in a frame of another origin": Said(more={"crossOrigin": True}),
    "another relying party": Said(relying_party="evil.example.net"),
    "nobody there": Said(flags=0x04),
    "user not verified": Said(flags=PRESENT),
    "another ceremony": Said(kind="webauthn.create"),
    "another challenge": Said(more={"challenge": "AAAA"}),
    "a challenge that is no text": Said(more={"challenge": 7}),
}
WRONG_ANSWERS: dict[str, Change] = {
    "a signature of other bytes": lambda one: replace(
        one, signature=one.signature[:-1] + bytes([one.signature[-1] ^ 1])
    ),
    "an empty signature": lambda one: replace(one, signature=b""),
    "changed data": lambda one: replace(
        one, authenticator_data=one.authenticator_data[:-1] + b"\xff"
    ),
    "short data": lambda one: replace(one, authenticator_data=one.authenticator_data[:30]),
    "no JSON": lambda one: replace(one, client_data_json=b"\xff{"),
    "JSON that is no object": lambda one: replace(one, client_data_json=b"[1]"),
    "JSON without its parts": lambda one: replace(one, client_data_json=b"{}"),
    "JSON nested without end": lambda one: replace(one, client_data_json=b"[" * 2_000),
}


CHECKS = PasskeyChecks(NAME)
CHALLENGE = bytes(range(64))


@pytest.mark.parametrize("algorithm", [-7, -8])
@pytest.mark.parametrize(
    "origin", [f"https://{NAME}", f"https://{NAME}:7400", f"https://eu.{NAME}:1"]
)
def test_what_is_right_is_taken(algorithm: int, origin: str) -> None:
    key, said = SoftPasskey(algorithm), Said(origin=origin)
    client_data, attestation = key.make(CHALLENGE, b"anna", said)
    assert CHECKS.challenge_in(client_data) == CHALLENGE
    made = CHECKS.made(CHALLENGE, client_data, attestation)
    assert (made.credential_id, made.sign_count) == (key.id, 1)
    answer = key.answer(CHALLENGE, said)
    assert CHECKS.verify(CHALLENGE, answer, made.public_key, verified=True) == 2


def known(key: SoftPasskey) -> bytes:
    """Its public key, as it is kept."""
    return CHECKS.made(CHALLENGE, *key.make(CHALLENGE, b"anna")).public_key


@pytest.mark.parametrize("said", WRONG_SAID.values(), ids=WRONG_SAID)
def test_what_is_said_wrong_is_refused(said: Said) -> None:
    key = SoftPasskey()
    with pytest.raises(Refused):
        CHECKS.verify(CHALLENGE, key.answer(CHALLENGE, said), known(key), verified=True)


@pytest.mark.parametrize("change", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_what_is_answered_wrong_is_refused(change: Change) -> None:
    key = SoftPasskey()
    with pytest.raises(Refused):
        CHECKS.verify(CHALLENGE, change(key.answer(CHALLENGE)), known(key), verified=True)


def test_another_key_is_refused() -> None:
    with pytest.raises(Refused, match="signature"):
        CHECKS.verify(
            CHALLENGE, SoftPasskey().answer(CHALLENGE), known(SoftPasskey()), verified=True
        )


def test_a_touch_is_enough_where_nobody_has_to_be_verified() -> None:
    key = SoftPasskey()
    answer = key.answer(CHALLENGE, Said(flags=PRESENT))
    assert CHECKS.verify(CHALLENGE, answer, known(key), verified=False) == 2


@pytest.mark.parametrize(
    "said",
    [
        *(said for name, said in WRONG_SAID.items() if "ceremony" not in name),
        Said(kind="webauthn.get"),
    ],
)
def test_a_registration_that_is_said_wrong_is_refused(said: Said) -> None:
    with pytest.raises(Refused):
        CHECKS.made(CHALLENGE, *SoftPasskey().make(CHALLENGE, b"anna", said))


@pytest.mark.parametrize("algorithm", [-257, -37, -35])
def test_other_algorithms_are_refused(algorithm: int) -> None:
    with pytest.raises(Refused, match="algorithm"):
        CHECKS.made(CHALLENGE, *SoftPasskey(algorithm).make(CHALLENGE, b"anna"))


HUGE = cbor.encode(
    {"fmt": "none", "attStmt": {}, "authData": 1 << 40}
)  # bytes, if a number were one


@pytest.mark.parametrize(
    "made", [b"", b"\xa0", b"\x80", b"\xff" * 40, b"\xa1\x63fmt\x64none", HUGE]
)
def test_an_attestation_that_cannot_be_read_is_refused(made: bytes) -> None:
    client_data, _ = SoftPasskey().make(CHALLENGE, b"anna")
    with pytest.raises(Refused):
        CHECKS.made(CHALLENGE, client_data, made)


def test_an_assertion_is_no_registration() -> None:
    key = SoftPasskey()
    answer = key.answer(CHALLENGE)
    with pytest.raises(Refused):
        CHECKS.made(CHALLENGE, answer.client_data_json, answer.authenticator_data)


@pytest.mark.parametrize(
    ("kept", "told", "copied"),
    [(0, 0, False), (0, 1, False), (1, 2, False), (2, 2, True), (2, 1, True), (2, 0, True)],
)
def test_counters(kept: int, told: int, copied: bool) -> None:
    assert rules.is_copied(kept, told) is copied
