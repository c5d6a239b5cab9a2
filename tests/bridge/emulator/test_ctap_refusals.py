"""Every malformed CTAP request gets the status that the specification names: one table a command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from keypeg_bridge.emulator.fido.blobs import CAPACITY, MAX_PIECE
from keypeg_bridge.emulator.fido.core import MAX_LIST, MAX_MESSAGE
from keypeg_bridge.wire import cbor
from keypeg_bridge.wire.ctap import Command, Permission, Status
from tests.bridge.emulator.authenticator_host import (
    ES256,
    RP,
    Key,
    asserting,
    credential_id,
    making,
)

S = Status
ID = {"id": b"x", "type": "public-key"}

RAW = {
    "an unknown command": ("03", S.INVALID_COMMAND),
    "bio enrollment, which is not offered": ("09a0", S.INVALID_COMMAND),
    "configuration, which is not offered": ("0da0", S.INVALID_COMMAND),
    "a vendor's command": ("40", S.INVALID_COMMAND),
    "getInfo with parameters": ("04a0", S.INVALID_LENGTH),
    "reset with parameters": ("07a0", S.INVALID_LENGTH),
    "next assertion with parameters": ("08a0", S.INVALID_LENGTH),
    "selection with parameters": ("0ba0", S.INVALID_LENGTH),
    "no parameters": ("01", S.INVALID_CBOR),
    "parameters cut short": ("01a1", S.INVALID_CBOR),
    "an indefinite map": ("01bfff", S.INVALID_CBOR),
    "keys out of order": ("02a202f501f5", S.INVALID_CBOR),
    "a repeated key": ("02a201f501f5", S.INVALID_CBOR),
    "a number not in its shortest form": ("02a1180140", S.INVALID_CBOR),
    "bytes left over": ("02a000", S.INVALID_CBOR),
    "five levels": ("02a10181818181" "01", S.INVALID_CBOR),
    "a list instead of a map": ("0180", S.CBOR_UNEXPECTED_TYPE),
    "a number instead of a map": ("0201", S.CBOR_UNEXPECTED_TYPE),
    "an empty map": ("01a0", S.MISSING_PARAMETER),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "status"), RAW.values(), ids=RAW)
def test_malformed_requests(raw: str, status: Status) -> None:
    key = Key()
    assert key.raw(bytes.fromhex(raw)) == bytes((status,))
    assert key.call(Command.GET_INFO)[0] is S.OK


def test_a_request_longer_than_told_is_too_large() -> None:
    key = Key()
    assert key.call(Command.GET_INFO)[1][5] == MAX_MESSAGE
    padding = MAX_MESSAGE - len(cbor.encode({0: bytes(300)})) + 300
    assert key.call(1, {0: bytes(padding)})[0] is S.REQUEST_TOO_LARGE
    assert key.call(1, {0: bytes(padding - 1)})[0] is S.MISSING_PARAMETER


MAKING: dict[str, tuple[dict[str, Any], Status]] = {
    "no client data hash": ({"p1": None}, S.MISSING_PARAMETER),
    "no relying party": ({"p2": None}, S.MISSING_PARAMETER),
    "no user": ({"p3": None}, S.MISSING_PARAMETER),
    "no algorithms": ({"p4": None}, S.MISSING_PARAMETER),
    "a hash as text": ({"p1": "x" * 32}, S.CBOR_UNEXPECTED_TYPE),
    "a hash of 31 bytes": ({"p1": bytes(31)}, S.INVALID_LENGTH),
    "a relying party without id": ({"p2": {"name": "x"}}, S.MISSING_PARAMETER),
    "a relying party with an id of bytes": ({"p2": {"id": b"x"}}, S.CBOR_UNEXPECTED_TYPE),
    "a relying party's name as bytes": ({"p2": {"id": RP, "name": b"x"}}, S.CBOR_UNEXPECTED_TYPE),
    "a user without id": ({"p3": {"name": "x"}}, S.MISSING_PARAMETER),
    "a user with an id of text": ({"p3": {"id": "x"}}, S.CBOR_UNEXPECTED_TYPE),
    "a user with an empty id": ({"p3": {"id": b""}}, S.INVALID_LENGTH),
    "a user with an id of 65 bytes": ({"p3": {"id": bytes(65)}}, S.INVALID_LENGTH),
    "a user's name as a number": ({"p3": {"id": b"x", "name": 5}}, S.CBOR_UNEXPECTED_TYPE),
    "algorithms in a map": ({"p4": {}}, S.CBOR_UNEXPECTED_TYPE),
    "no algorithm at all": ({"p4": []}, S.UNSUPPORTED_ALGORITHM),
    "an algorithm that is not had": (
        {"p4": [{"type": "public-key", "alg": -257}]},
        S.UNSUPPORTED_ALGORITHM,
    ),
    "an algorithm of an unknown type": (
        {"p4": [{"type": "secret", "alg": -7}]},
        S.UNSUPPORTED_ALGORITHM,
    ),
    "an algorithm without number": ({"p4": [{"type": "public-key"}]}, S.MISSING_PARAMETER),
    "an algorithm as text": ({"p4": ["ES256"]}, S.CBOR_UNEXPECTED_TYPE),
    "a broken algorithm after a good one": ({"p4": [ES256, {}]}, S.MISSING_PARAMETER),
    "an excluded credential without type": ({"p5": [{"id": b"x"}]}, S.MISSING_PARAMETER),
    "an excluded credential as bytes": ({"p5": [b"x"]}, S.CBOR_UNEXPECTED_TYPE),
    "too many excluded": ({"p5": [ID] * (MAX_LIST + 1)}, S.LIMIT_EXCEEDED),
    "extensions in a list": ({"p6": []}, S.CBOR_UNEXPECTED_TYPE),
    "hmac-secret that is a number": ({"p6": {"hmac-secret": 1}}, S.CBOR_UNEXPECTED_TYPE),
    "a protection of zero": ({"p6": {"credProtect": 0}}, S.INVALID_OPTION),
    "a protection of four": ({"p6": {"credProtect": 4}}, S.INVALID_OPTION),
    "a protection that is true": ({"p6": {"credProtect": True}}, S.CBOR_UNEXPECTED_TYPE),
    "a blob key without residence": ({"p6": {"largeBlobKey": True}}, S.INVALID_OPTION),
    "a blob key that is refused": (
        {"p6": {"largeBlobKey": False}, "p7": {"rk": True}},
        S.INVALID_OPTION,
    ),
    "options in a list": ({"p7": []}, S.CBOR_UNEXPECTED_TYPE),
    "an option that is a number": ({"p7": {"rk": 1}}, S.CBOR_UNEXPECTED_TYPE),
    "no user presence": ({"p7": {"up": False}}, S.INVALID_OPTION),
    "user verification without a PIN": ({"p7": {"uv": True}}, S.INVALID_OPTION),
    "an empty MAC, and no PIN": ({"p8": b"", "p9": 2}, S.PIN_NOT_SET),
    "a MAC without protocol": ({"p8": bytes(32)}, S.MISSING_PARAMETER),
    "a MAC of an unknown protocol": ({"p8": bytes(32), "p9": 3}, S.INVALID_PARAMETER),
    "a MAC that is wrong": ({"p8": bytes(32), "p9": 2}, S.PIN_AUTH_INVALID),
    "a MAC as text": ({"p8": "x", "p9": 2}, S.CBOR_UNEXPECTED_TYPE),
    "enterprise attestation": ({"p10": 1}, S.INVALID_PARAMETER),
}


@pytest.mark.parametrize(("changes", "status"), MAKING.values(), ids=MAKING)
def test_malformed_make_credential(changes: dict[str, Any], status: Status) -> None:
    key = Key()
    assert key.call(Command.MAKE_CREDENTIAL, making(**changes))[0] is status
    assert key.saved == []


def test_a_well_formed_make_credential_is_answered() -> None:
    more = {"p5": [ID], "p6": {"other": 1}, "p7": {"rk": False, "up": True, "else": True}, "p99": 1}
    assert Key().call(Command.MAKE_CREDENTIAL, making(**more))[0] is S.OK


COSE = {1: 2, 3: -25, -1: 1, -2: bytes(32), -3: bytes(32)}
SALT: dict[int, Any] = {1: COSE, 2: bytes(32), 3: bytes(16)}

ASSERTING: dict[str, tuple[dict[str, Any], Status]] = {
    "no relying party": ({"p1": None}, S.MISSING_PARAMETER),
    "a relying party of bytes": ({"p1": b"x"}, S.CBOR_UNEXPECTED_TYPE),
    "no client data hash": ({"p2": None}, S.MISSING_PARAMETER),
    "a hash of 33 bytes": ({"p2": bytes(33)}, S.INVALID_LENGTH),
    "an allowed credential without id": ({"p3": [{"type": "public-key"}]}, S.MISSING_PARAMETER),
    "allowed credentials in a map": ({"p3": {}}, S.CBOR_UNEXPECTED_TYPE),
    "too many allowed": ({"p3": [ID] * (MAX_LIST + 1)}, S.LIMIT_EXCEEDED),
    "residence asked for": ({"p5": {"rk": False}}, S.UNSUPPORTED_OPTION),
    "user verification without a PIN": ({"p5": {"uv": True}}, S.INVALID_OPTION),
    "an empty MAC, and no PIN": ({"p6": b"", "p7": 2}, S.PIN_NOT_SET),
    "a MAC without protocol": ({"p6": bytes(32)}, S.MISSING_PARAMETER),
    "a MAC that is wrong": ({"p6": bytes(32), "p7": 1}, S.PIN_AUTH_INVALID),
    "nobody's credential": ({"p3": [ID]}, S.NO_CREDENTIALS),
    "a blob key that is refused": ({"p4": {"largeBlobKey": False}}, S.INVALID_OPTION),
    "a blob key that is a number": ({"p4": {"largeBlobKey": 1}}, S.CBOR_UNEXPECTED_TYPE),
    "another relying party": ({"p1": "other.test"}, S.NO_CREDENTIALS),
    "hmac-secret that is true": ({"p4": {"hmac-secret": True}}, S.CBOR_UNEXPECTED_TYPE),
    "hmac-secret without salt": ({"p4": {"hmac-secret": {1: COSE, 3: b""}}}, S.MISSING_PARAMETER),
    "hmac-secret without key": ({"p4": {"hmac-secret": {2: b"", 3: b""}}}, S.MISSING_PARAMETER),
    "hmac-secret without a touch": (
        {"p4": {"hmac-secret": SALT}, "p5": {"up": False}},
        S.UNSUPPORTED_OPTION,
    ),
    "hmac-secret with a point off the curve": ({"p4": {"hmac-secret": SALT}}, S.INVALID_PARAMETER),
    "hmac-secret with an unknown protocol": (
        {"p4": {"hmac-secret": SALT | {4: 9}}},
        S.INVALID_PARAMETER,
    ),
}


@pytest.mark.parametrize(("changes", "status"), ASSERTING.values(), ids=ASSERTING)
def test_malformed_get_assertion(changes: dict[str, Any], status: Status) -> None:
    key = Key()
    made = key.call(Command.MAKE_CREDENTIAL, making(p7={"rk": True}))[1]
    before = key.core.state
    assert key.call(Command.GET_ASSERTION, asserting(**changes))[0] is status
    assert key.core.state == before
    allowed = [{"id": credential_id(made), "type": "public-key"}]
    assert key.call(Command.GET_ASSERTION, asserting(p3=allowed))[0] is S.OK


def test_the_salts_of_hmac_secret_are_checked() -> None:
    key = Key()
    key.call(Command.MAKE_CREDENTIAL, making(p6={"hmac-secret": True}, p7={"rk": True}))
    platform = key.platform()
    for size, right, status in ((32, False, S.PIN_AUTH_INVALID), (48, True, S.INVALID_LENGTH)):
        cipher = platform.encrypt(bytes(size))
        mac = platform.mac(cipher) if right else bytes(32)
        salt = {1: platform.public, 2: cipher, 3: mac, 4: 2}
        assert key.call(2, asserting(p4={"hmac-secret": salt}))[0] is status


PIN: dict[str, tuple[dict[int, Any], Status]] = {
    "no subcommand": ({1: 2}, S.MISSING_PARAMETER),
    "an unknown subcommand": ({1: 2, 2: 8}, S.INVALID_SUBCOMMAND),
    "a token by built-in verification": ({1: 2, 2: 6}, S.INVALID_SUBCOMMAND),
    "tries of built-in verification": ({1: 2, 2: 7}, S.INVALID_SUBCOMMAND),
    "a subcommand as text": ({1: 2, 2: "1"}, S.CBOR_UNEXPECTED_TYPE),
    "key agreement without protocol": ({2: 2}, S.MISSING_PARAMETER),
    "key agreement by an unknown protocol": ({1: 3, 2: 2}, S.INVALID_PARAMETER),
    "a new PIN without key": ({1: 2, 2: 3, 4: b"", 5: b""}, S.MISSING_PARAMETER),
    "a new PIN without MAC": ({1: 2, 2: 3, 3: COSE, 5: b""}, S.MISSING_PARAMETER),
    "a new PIN without PIN": ({1: 2, 2: 3, 3: COSE, 4: b""}, S.MISSING_PARAMETER),
    "a key off the curve": ({1: 2, 2: 3, 3: COSE, 4: b"", 5: b""}, S.INVALID_PARAMETER),
    "a key of another type": (
        {1: 2, 2: 3, 3: COSE | {1: 1}, 4: b"", 5: b""},
        S.INVALID_PARAMETER,
    ),
    "a key with something else in it": (
        {1: 2, 2: 3, 3: COSE | {5: 1}, 4: b"", 5: b""},
        S.INVALID_PARAMETER,
    ),
    "a key as bytes": ({1: 2, 2: 3, 3: b"", 4: b"", 5: b""}, S.CBOR_UNEXPECTED_TYPE),
    "a changed PIN without old one": ({1: 2, 2: 4, 3: COSE, 4: b"", 5: b""}, S.MISSING_PARAMETER),
    "a changed PIN before the first": (
        {1: 2, 2: 4, 3: COSE, 4: b"", 5: b"", 6: b""},
        S.PIN_NOT_SET,
    ),
    "a token without PIN": ({1: 2, 2: 5, 3: COSE}, S.MISSING_PARAMETER),
    "a token before the first PIN": ({1: 2, 2: 5, 3: COSE, 6: b""}, S.PIN_NOT_SET),
    "an old token with permissions": (
        {1: 2, 2: 5, 3: COSE, 6: b"", 9: 1},
        S.INVALID_PARAMETER,
    ),
    "an old token with a relying party": (
        {1: 2, 2: 5, 3: COSE, 6: b"", 10: RP},
        S.INVALID_PARAMETER,
    ),
    "a token without permissions": ({1: 2, 2: 9, 3: COSE, 6: b""}, S.MISSING_PARAMETER),
    "a token for nothing": ({1: 2, 2: 9, 3: COSE, 6: b"", 9: 0}, S.INVALID_PARAMETER),
    "a token for fingerprints": (
        {1: 2, 2: 9, 3: COSE, 6: b"", 9: 8},
        S.UNAUTHORIZED_PERMISSION,
    ),
    "a token for credentials of nobody": ({1: 2, 2: 9, 3: COSE, 6: b"", 9: 1}, S.MISSING_PARAMETER),
}


@pytest.mark.parametrize(("parameters", "status"), PIN.values(), ids=PIN)
def test_malformed_client_pin(parameters: dict[int, Any], status: Status) -> None:
    key = Key()
    assert key.call(Command.CLIENT_PIN, parameters)[0] is status
    assert key.saved == []


NEW_PINS = {
    "three characters": (b"123".ljust(64, b"\x00"), S.PIN_POLICY_VIOLATION),
    "three characters in nine bytes": ("€€€".encode().ljust(64, b"\x00"), S.PIN_POLICY_VIOLATION),
    "64 bytes": (b"1" * 64, S.PIN_POLICY_VIOLATION),
    "no UTF-8": (b"\xff\xfe\xfd\xfc".ljust(64, b"\x00"), S.PIN_POLICY_VIOLATION),
    "padded to 48": (b"1234".ljust(48, b"\x00"), S.INVALID_PARAMETER),
    "padded to 80": (b"1234".ljust(80, b"\x00"), S.INVALID_PARAMETER),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("padded", "status"), NEW_PINS.values(), ids=NEW_PINS)
def test_pins_that_are_not_taken(padded: bytes, status: Status, version: int) -> None:
    key = Key()
    platform = key.platform(version)
    cipher = platform.encrypt(padded)
    mac = platform.mac(cipher)
    asked = {1: version, 2: 3, 3: platform.public, 4: mac, 5: cipher}
    assert key.call(6, asked)[0] is status
    assert key.call(6, asked | {4: bytes(len(mac))})[0] is S.PIN_AUTH_INVALID
    assert key.core.state.pin_hash is None


MANAGING: dict[str, tuple[dict[int, Any], Status]] = {
    "no subcommand": ({}, S.MISSING_PARAMETER),
    "an unknown subcommand": ({1: 8}, S.INVALID_SUBCOMMAND),
    "no MAC": ({1: 1}, S.PUAT_REQUIRED),
    "a MAC without protocol": ({1: 1, 4: bytes(32)}, S.MISSING_PARAMETER),
    "a MAC of an unknown protocol": ({1: 1, 3: 5, 4: bytes(32)}, S.INVALID_PARAMETER),
    "a MAC that is wrong": ({1: 1, 3: 2, 4: bytes(32)}, S.PIN_AUTH_INVALID),
    "a next party without the first": ({1: 3}, S.NOT_ALLOWED),
    "a next credential without the first": ({1: 5}, S.NOT_ALLOWED),
    "parameters in a list": ({1: 4, 2: [], 3: 2, 4: b""}, S.CBOR_UNEXPECTED_TYPE),
}


@pytest.mark.parametrize("command", [0x0A, 0x41], ids=["management", "preview"])
@pytest.mark.parametrize(("parameters", "status"), MANAGING.values(), ids=MANAGING)
def test_malformed_credential_management(
    parameters: dict[int, Any], status: Status, command: int
) -> None:
    assert Key().call(command, parameters)[0] is status


SIGNED: dict[str, tuple[int, dict[int, Any], Status]] = {
    "a listing without a party": (4, {}, S.MISSING_PARAMETER),
    "a listing of a short hash": (4, {1: bytes(31)}, S.INVALID_LENGTH),
    "a listing of nobody": (4, {1: bytes(32)}, S.NO_CREDENTIALS),
    "deleting nothing": (6, {}, S.MISSING_PARAMETER),
    "deleting what is not there": (6, {2: ID}, S.NO_CREDENTIALS),
    "renaming what is not there": (7, {2: ID, 3: {"id": b"user"}}, S.NO_CREDENTIALS),
}


@pytest.mark.parametrize("number", [0x0A, 0x41], ids=["management", "preview"])
@pytest.mark.parametrize(("command", "inner", "status"), SIGNED.values(), ids=SIGNED)
def test_credential_management_with_the_right_mac(
    command: int, inner: dict[int, Any], status: Status, number: int
) -> None:
    key = Key()
    key.set_pin()
    token = key.token(Permission.CREDENTIAL_MANAGEMENT)
    mac = token.sign(bytes((command,)) + cbor.encode(inner))
    assert key.call(number, {1: command, 2: inner, 3: 2, 4: mac})[0] is status


GOOD = b"\x80" + hashlib.sha256(b"\x80").digest()[:16]
BLOBS: dict[str, tuple[dict[int, Any], Status]] = {
    "no offset": ({1: 5}, S.INVALID_PARAMETER),
    "neither get nor set": ({3: 0}, S.INVALID_PARAMETER),
    "get and set": ({1: 5, 2: b"x", 3: 0}, S.INVALID_PARAMETER),
    "get with a length": ({1: 5, 3: 0, 4: 20}, S.INVALID_PARAMETER),
    "get with a MAC": ({1: 5, 3: 0, 5: b"x"}, S.INVALID_PARAMETER),
    "get of too much": ({1: MAX_PIECE + 1, 3: 0}, S.INVALID_LENGTH),
    "get beyond the end": ({1: 5, 3: 18}, S.INVALID_PARAMETER),
    "get of text": ({1: "5", 3: 0}, S.CBOR_UNEXPECTED_TYPE),
    "a negative offset": ({1: 5, 3: -1}, S.INVALID_PARAMETER),
    "set without length": ({2: GOOD, 3: 0}, S.INVALID_PARAMETER),
    "set of too little": ({2: b"x", 3: 0, 4: 16}, S.INVALID_PARAMETER),
    "set of too much": ({2: GOOD, 3: 0, 4: CAPACITY + 1}, S.LARGE_BLOB_STORAGE_FULL),
    "set of a piece too long": ({2: bytes(MAX_PIECE + 1), 3: 0, 4: 3_000}, S.INVALID_LENGTH),
    "set of more than the length": ({2: bytes(20), 3: 0, 4: 18}, S.INVALID_PARAMETER),
    "set of a middle without beginning": ({2: b"x", 3: 5}, S.INVALID_SEQ),
    "set of a middle with length": ({2: b"x", 3: 5, 4: 20}, S.INVALID_PARAMETER),
    "set with a wrong check": ({2: bytes(17), 3: 0, 4: 17}, S.INTEGRITY_FAILURE),
}


@pytest.mark.parametrize(("parameters", "status"), BLOBS.values(), ids=BLOBS)
def test_malformed_large_blobs(parameters: dict[int, Any], status: Status) -> None:
    key = Key()
    assert key.call(Command.LARGE_BLOBS, parameters)[0] is status
    assert key.call(Command.LARGE_BLOBS, {1: 64, 3: 0}) == (S.OK, {1: GOOD})


CHANGES: dict[str, Callable[[Key], Any]] = {
    "making": lambda key: key.call(1, making(p7={"rk": True}))[0],
    "setting a PIN": lambda key: key.set_pin(),
    "writing blobs": lambda key: key.call(12, {2: GOOD, 3: 0, 4: 17})[0],
    "resetting": lambda key: key.call(7)[0],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_cannot_be_stored_is_refused_and_changes_nothing(change: Callable[[Key], Any]) -> None:
    key = Key()
    key.disk_full = True
    before = key.core.state
    assert change(key) is S.OTHER
    assert key.core.state == before
    key.disk_full = False
    assert change(key) is S.OK
