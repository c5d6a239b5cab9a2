"""What the emulated authenticator promises beyond the form of requests: tokens, tries, order, counters, listings, resets."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.emulator.fido.core import (
    MAX_RESIDENTS,
    POWER_UP_SECONDS,
    STATEFUL_SECONDS,
    TOKEN_SECONDS,
    TOKEN_UNUSED_SECONDS,
)
from keypeg_bridge.emulator.fido.state import FidoState, from_json, to_json
from keypeg_bridge.wire import cbor, ctap
from keypeg_bridge.wire.ctap import Command, Flag, Permission, Status
from tests.bridge.emulator.authenticator_host import (
    ES256,
    HASH,
    RP,
    Key,
    asserting,
    counter,
    credential_id,
    making,
)

S = Status
RESIDENT = {"p7": {"rk": True}}


def make(key: Key, **changes: Any) -> bytes:
    """A new credential's id."""
    status, body = key.call(Command.MAKE_CREDENTIAL, making(**changes))
    assert status is S.OK, status
    return credential_id(body)


def assertion(key: Key, identifier: bytes | None = None, **changes: Any) -> tuple[Status, Any]:
    allowed = None if identifier is None else [{"id": identifier, "type": "public-key"}]
    return key.call(Command.GET_ASSERTION, asserting(p3=allowed, **changes))


def test_signatures_are_by_the_credential_that_was_made() -> None:
    key = Key()
    for offered in (ES256, {"type": "public-key", "alg": ctap.EDDSA}):
        _, made = key.call(Command.MAKE_CREDENTIAL, making(p4=[offered]))
        data, identifier = made[2], credential_id(made)
        public = cbor.decode(data[55 + len(identifier) :])
        _, body = assertion(key, identifier)
        signed = body[2] + HASH
        if public[3] == ctap.EDDSA:
            ed25519.Ed25519PublicKey.from_public_bytes(public[-2]).verify(body[3], signed)
        else:
            point = ec.EllipticCurvePublicKey.from_encoded_point(
                ec.SECP256R1(), b"\x04" + public[-2] + public[-3]
            )
            point.verify(body[3], signed, ec.ECDSA(hashes.SHA256()))


def test_the_first_algorithm_that_both_know_is_taken() -> None:
    unknown, eddsa = {"type": "public-key", "alg": -257}, {"type": "public-key", "alg": -8}
    _, made = Key().call(Command.MAKE_CREDENTIAL, making(p4=[unknown, eddsa, ES256]))
    assert cbor.decode(made[2][55 + 65 :])[3] == ctap.EDDSA


def test_the_same_seed_gives_the_same_key() -> None:
    made = [Key(seed=seed).call(1, making())[1] for seed in ("a", "a", "b")]
    assert made[0][2] == made[1][2] != made[2][2]
    assert made[0][3]["x5c"] == made[1][3]["x5c"] != made[2][3]["x5c"]
    certificate = x509.load_der_x509_certificate(made[0][3]["x5c"][0])
    assert "of no worth" in certificate.issuer.rfc4514_string()


def test_attestation_is_by_the_certificate_or_by_the_credential() -> None:
    key = Key(profile="standard")
    _, made = key.call(1, making())
    public = cbor.decode(made[2][55 + 65 :])
    point = b"\x04" + public[-2] + public[-3]
    assert "x5c" not in made[3]
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point).verify(
        made[3]["sig"], made[2] + HASH, ec.ECDSA(hashes.SHA256())
    )


@pytest.mark.behaviour("KEY-9")
def test_a_silent_assertion_needs_no_touch_and_says_so() -> None:
    key = Key()
    identifier = make(key)
    key.hid.finger.policy = type(key.hid.finger.policy).NEVER
    status, body = assertion(key, identifier, p5={"up": False})
    assert (status, body[2][32]) == (S.OK, 0)
    assert 4 not in body


def test_counters_grow_with_every_signature_and_are_stored_before_the_answer() -> None:
    key = Key()
    identifier = make(key)
    seen = [counter(assertion(key, identifier, p5={"up": up})[1][2]) for up in (True, False, True)]
    assert seen == [2, 3, 4]
    assert key.saved[-1].counter == 4
    again = Key(state=key.saved[-1])
    assert counter(assertion(again, identifier)[1][2]) == 5


def test_a_key_that_counts_nothing_says_zero_and_wants_its_touch() -> None:
    key = Key(profile="standard")
    identifier = make(key)
    _, body = assertion(key, identifier, p5={"up": False})
    assert (body[2][32], counter(body[2])) == (Flag.USER_PRESENT, 0)


def test_credentials_open_on_their_key_and_for_their_party_only() -> None:
    key = Key()
    identifier = make(key)
    assert assertion(key, identifier, p1="other.test")[0] is S.NO_CREDENTIALS
    assert assertion(Key(seed="another"), identifier)[0] is S.NO_CREDENTIALS
    for at in range(len(identifier)):
        changed = bytearray(identifier)
        changed[at] ^= 1
        assert assertion(key, bytes(changed))[0] is S.NO_CREDENTIALS


def test_an_excluded_credential_is_told_apart() -> None:
    key = Key()
    mine = [{"id": make(key), "type": "public-key"}]
    assert key.call(1, making(p5=mine))[0] is S.CREDENTIAL_EXCLUDED
    assert key.call(1, making(p5=mine, p2={"id": "other.test"}))[0] is S.OK


# Resident credentials


def test_accounts_come_one_after_another_the_newest_first() -> None:
    key = Key()
    ids = [make(key, p3={"id": bytes((n,)), "name": f"user {n}"}, **RESIDENT) for n in range(3)]
    status, first = key.call(2, asserting())
    assert (status, first[5], first[1]["id"]) == (S.OK, 3, ids[2])
    assert first[4] == {"id": b"\x02"}  # no names without verification
    rest = [key.call(8)[1] for _ in range(2)]
    assert [body[1]["id"] for body in rest] == [ids[1], ids[0]]
    assert all(5 not in body for body in rest)
    assert key.call(8)[0] is S.NOT_ALLOWED


def test_a_listing_of_accounts_ends_by_time_and_by_other_commands() -> None:
    key = Key()
    for n in range(3):
        make(key, p3={"id": bytes((n,))}, **RESIDENT)
    key.call(2, asserting())
    key.call(4)
    assert key.call(8)[0] is S.NOT_ALLOWED
    key.call(2, asserting())
    key.now += STATEFUL_SECONDS - 1
    assert key.call(8)[0] is S.OK
    key.now += STATEFUL_SECONDS
    assert key.call(8)[0] is S.NOT_ALLOWED


def test_an_account_has_one_resident_credential_at_a_party() -> None:
    key = Key()
    old, new = make(key, **RESIDENT), make(key, **RESIDENT)
    assert len(key.core.state.residents) == 1
    assert assertion(key, old)[0] is S.NO_CREDENTIALS
    assert assertion(key)[1][1]["id"] == new


def test_a_full_key_says_so() -> None:
    key = Key()
    for n in range(MAX_RESIDENTS):
        make(key, p3={"id": bytes((n,))}, **RESIDENT)
    assert key.call(4)[1][20] == 0
    assert key.call(1, making(p3={"id": b"one more"}, **RESIDENT))[0] is S.KEY_STORE_FULL
    make(key, p3={"id": b"not resident"})
    make(key, p3={"id": b"\x00"}, **RESIDENT)  # in place of an older one


@pytest.mark.parametrize(
    ("level", "listed", "by_id"), [(1, True, True), (2, False, True), (3, False, False)]
)
def test_protected_credentials_want_verification(level: int, listed: bool, by_id: bool) -> None:
    key = Key()
    _, made = key.call(1, making(p6={"credProtect": level}, **RESIDENT))
    assert cbor.decode(made[2][55 + 65 + 77 :]) == {"credProtect": level}
    identifier = credential_id(made)
    assert (assertion(key)[0] is S.OK) == listed
    assert (assertion(key, identifier)[0] is S.OK) == by_id
    key.set_pin()
    token = key.token(Permission.GET_ASSERTION, RP)
    status, body = assertion(key, p6=token.sign(HASH), p7=2)
    assert (status, body[2][32]) == (S.OK, Flag.USER_PRESENT | Flag.USER_VERIFIED)


# The PIN


@pytest.mark.parametrize("version", [1, 2])
def test_a_pin_is_set_changed_and_presented(version: int) -> None:
    key = Key()
    assert key.set_pin("1234", version) is S.OK
    assert key.call(4)[1][4]["clientPin"] is True
    assert key.set_pin("5678", version) is S.PIN_AUTH_INVALID  # it is set
    platform = key.platform(version)
    new = platform.encrypt(b"5678".ljust(64, b"\x00"))
    old = platform.encrypt(hashlib.sha256(b"1234").digest()[:16])
    asked = {1: version, 2: 4, 3: platform.public, 5: new, 6: old}
    assert key.call(6, asked | {4: platform.mac(new)})[0] is S.PIN_AUTH_INVALID
    assert key.call(6, asked | {4: platform.mac(new + old)})[0] is S.OK
    assert key.platform(version).ask_token("1234")[0] is S.PIN_INVALID
    assert key.platform(version).ask_token("5678")[0] is S.OK


@pytest.mark.parametrize("version", [1, 2])
def test_wrong_pins_block_until_replugged_and_at_last_for_good(version: int) -> None:
    key = Key()
    key.set_pin()
    statuses: list[Status] = []
    for _ in range(3):
        statuses += [key.platform(version).ask_token("0000")[0] for _ in range(4)]
        assert key.call(6, {2: 1})[1][4] is (key.core.boot_tries == 0)
        key.replug()
    invalid, powered, blocked = S.PIN_INVALID, S.PIN_AUTH_BLOCKED, S.PIN_BLOCKED
    assert statuses == [
        invalid, invalid, powered, powered,
        invalid, invalid, powered, powered,
        invalid, blocked, blocked, blocked,
    ]  # fmt: skip
    assert key.platform(version).ask_token("1234")[0] is blocked
    assert key.call(6, {2: 1})[1][3] == 0
    assert key.saved[-1].pin_tries == 0
    assert key.call(7)[0] is S.OK
    assert key.call(6, {2: 1})[1][3] == 8


def test_a_try_is_stored_before_the_pin_is_compared() -> None:
    key = Key()
    key.set_pin()
    key.platform().ask_token("1234")
    assert [state.pin_tries for state in key.saved[-2:]] == [7, 8]


def test_a_wrong_pin_makes_the_shared_secret_void() -> None:
    key = Key()
    key.set_pin()
    platform = key.platform()
    assert platform.ask_token("0000")[0] is S.PIN_INVALID
    assert platform.ask_token("1234")[0] is S.PIN_INVALID
    assert key.platform().ask_token("1234")[0] is S.OK


def test_verified_credentials_say_so_and_a_wrong_mac_makes_none() -> None:
    key = Key()
    key.set_pin()
    assert key.call(1, making(**RESIDENT))[0] is S.PUAT_REQUIRED
    assert key.call(1, making(p8=b"", p9=2))[0] is S.PIN_INVALID
    make(key)  # allowed by makeCredUvNotRqd
    token = key.token(Permission.MAKE_CREDENTIAL, RP)
    wrong = token.sign(bytes(32))
    assert key.call(1, making(p8=wrong, p9=2, **RESIDENT))[0] is S.PIN_AUTH_INVALID
    status, made = key.call(1, making(p8=token.sign(HASH), p9=2, **RESIDENT))
    assert status is S.OK
    assert made[2][32] & Flag.USER_VERIFIED


TOKENS = {
    "the other protocol": (Permission.GET_ASSERTION, RP, 1),
    "another party": (Permission.GET_ASSERTION, "other.test", 2),
    "another permission": (Permission.MAKE_CREDENTIAL, RP, 2),
}


@pytest.mark.parametrize(("permission", "rp", "version"), TOKENS.values(), ids=TOKENS)
def test_tokens_are_good_for_what_they_were_given(
    permission: Permission, rp: str, version: int
) -> None:
    key = Key()
    identifier = make(key)
    key.set_pin()
    token = key.token(permission, rp)
    mac = token.sign(HASH)[: 16 if version == 1 else 32]
    assert assertion(key, identifier, p6=mac, p7=version)[0] is S.PIN_AUTH_INVALID


def test_a_token_serves_one_touch_and_is_bound_by_its_first_use() -> None:
    key = Key()
    identifier = make(key)
    key.set_pin()
    platform = key.platform()
    platform.take_token(platform.ask_token("1234")[1])  # without permissions: not bound
    mac = platform.sign(HASH)
    for _ in range(2):  # silent ones do not use it up
        assert assertion(key, identifier, p5={"up": False}, p6=mac, p7=2)[0] is S.OK
    other = key.call(2, asserting(p1="other.test", p6=mac, p7=2))
    assert other[0] is S.PIN_AUTH_INVALID
    assert assertion(key, identifier, p6=mac, p7=2)[0] is S.OK
    assert assertion(key, identifier, p6=mac, p7=2)[0] is S.PIN_AUTH_INVALID


def test_tokens_run_out() -> None:
    key = Key()
    identifier = make(key)
    key.set_pin()

    def silent(mac: bytes) -> Status:
        return assertion(key, identifier, p5={"up": False}, p6=mac, p7=2)[0]

    mac = key.token(Permission.GET_ASSERTION, RP).sign(HASH)
    key.now += TOKEN_UNUSED_SECONDS
    assert silent(mac) is S.PIN_AUTH_INVALID
    mac = key.token(Permission.GET_ASSERTION, RP).sign(HASH)
    assert silent(mac) is S.OK
    key.now += TOKEN_SECONDS - 1
    assert silent(mac) is S.OK
    key.now += 1
    assert silent(mac) is S.PIN_AUTH_INVALID


# hmac-secret, large blobs, credential management, reset


@pytest.mark.parametrize("version", [1, 2])
def test_hmac_secret_depends_on_salt_credential_and_verification(version: int) -> None:
    key = Key()
    ids = [make(key, p6={"hmac-secret": True}) for _ in range(2)]
    plain = make(key)
    key.set_pin()

    def secrets(identifier: bytes, salts: bytes, *, verified: bool = False) -> bytes:
        mac = key.token(Permission.GET_ASSERTION, RP).sign(HASH) if verified else None
        platform = key.platform(version)
        cipher = platform.encrypt(salts)
        asked: dict[int, Any] = {1: platform.public, 2: cipher, 3: platform.mac(cipher)}
        asked |= {4: version} if version > 1 else {}
        more = {} if mac is None else {"p6": mac, "p7": 2}
        status, body = assertion(key, identifier, p4={"hmac-secret": asked}, **more)
        assert status is S.OK
        data = body[2]
        if not data[32] & Flag.EXTENSIONS:
            return b""
        return platform.decrypt(cbor.decode(data[37:])["hmac-secret"]) or b""

    one, two = bytes(32), bytes([1]) * 32
    both = secrets(ids[0], one + two)
    assert both == secrets(ids[0], one) + secrets(ids[0], two)
    assert (
        len({both[:32], both[32:], secrets(ids[1], one), secrets(ids[0], one, verified=True)}) == 4
    )
    assert secrets(plain, one) == b""


def test_large_blobs_are_written_in_pieces_and_replace_the_old_ones_whole() -> None:
    key = Key()
    body = cbor.encode([bytes(1_500)] * 2)
    whole = body + hashlib.sha256(body).digest()[:16]
    before = key.core.state.blobs
    assert key.call(12, {2: whole[:1_000], 3: 0, 4: len(whole)})[0] is S.OK
    assert key.call(12, {1: 100, 3: 0})[1][1] == before
    assert key.call(12, {2: whole[1_500:], 3: 1_500})[0] is S.INVALID_SEQ
    assert key.call(12, {2: whole[1_000:2_000], 3: 1_000})[0] is S.OK
    assert key.call(12, {2: whole[2_000:], 3: 2_000})[0] is S.OK
    assert key.saved[-1].blobs == whole
    pieces = [key.call(12, {1: 1_900, 3: at})[1][1] for at in (0, 1_900)]
    assert b"".join(pieces) == whole


def test_large_blobs_want_the_pin_once_there_is_one() -> None:
    key = Key()
    key.set_pin()
    whole = b"\x80" + hashlib.sha256(b"\x80").digest()[:16]
    asked: dict[int, Any] = {2: whole, 3: 0, 4: 17}
    assert key.call(12, asked)[0] is S.PUAT_REQUIRED
    token = key.token(Permission.LARGE_BLOB_WRITE)
    message = b"\xff" * 32 + b"\x0c\x00" + bytes(4) + hashlib.sha256(whole).digest()
    assert key.call(12, asked | {5: token.sign(b"other"), 6: 2})[0] is S.PIN_AUTH_INVALID
    assert key.call(12, asked | {5: token.sign(message), 6: 2})[0] is S.OK


def test_a_blob_key_is_the_same_each_time_it_is_asked_for() -> None:
    key = Key()
    _, made = key.call(1, making(p6={"largeBlobKey": True}, **RESIDENT))
    assert len(made[5]) == 32
    assert assertion(key, p4={"largeBlobKey": True})[1][7] == made[5]
    assert 7 not in assertion(key)[1]


def test_management_is_bound_to_the_party_of_its_token() -> None:
    key = Key()
    identifier = make(key, **RESIDENT)
    key.set_pin()
    token = key.token(Permission.CREDENTIAL_MANAGEMENT, "other.test")

    def managed(command: int, inner: dict[int, Any] | None) -> Status:
        message = bytes((command,)) + (b"" if inner is None else cbor.encode(inner))
        asked = {1: command, 2: inner, 3: 2, 4: token.sign(message)}
        return key.call(10, {k: v for k, v in asked.items() if v is not None})[0]

    named = {2: {"id": identifier, "type": "public-key"}}
    cases = {1: None, 2: None, 4: {1: hashlib.sha256(RP.encode()).digest()}, 6: named}
    for command, inner in cases.items():
        assert managed(command, inner) is S.PIN_AUTH_INVALID
    assert len(key.core.state.residents) == 1


def test_a_reset_takes_everything_but_the_counter() -> None:
    key = Key()
    resident, other = make(key, **RESIDENT), make(key)
    key.set_pin()
    assert key.call(7)[0] is S.OK
    assert key.core.state == FidoState(generation=1, counter=2)
    for identifier in (resident, other):
        assert assertion(key, identifier)[0] is S.NO_CREDENTIALS
    assert make(key) not in (resident, other)
    assert key.saved[-1].counter == 3


def test_a_reset_is_allowed_soon_after_power_up_only() -> None:
    key = Key()
    identifier = make(key)
    key.now += POWER_UP_SECONDS + 0.1
    assert key.call(7)[0] is S.NOT_ALLOWED
    assert assertion(key, identifier)[0] is S.OK
    key.replug()
    assert key.call(7)[0] is S.OK


def test_selection_is_a_touch() -> None:
    assert Key().call(11) == (S.OK, None)


STATES = st.builds(
    lambda g, c, pin, tries, blobs: FidoState(g, c, pin, tries, (), blobs),
    st.integers(0, 9), st.integers(0, 2**40), st.none() | st.binary(min_size=16, max_size=16),
    st.integers(0, 8), st.binary(max_size=50),
)  # fmt: skip


@given(STATES)
def test_contents_read_back(state: FidoState) -> None:
    key = Key()
    make(key, p3={"id": b"u", "name": "ann"}, **RESIDENT)
    whole = replace(state, residents=key.core.state.residents)
    assert from_json(to_json(whole)) == whole


@pytest.mark.parametrize("change", [{"counter": -1}, {"generation": -1}, {"residents": [{}]}])
def test_contents_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        from_json(to_json(FidoState()) | change)


@pytest.mark.behaviour("KEY-14")
@given(st.binary(max_size=60) | st.builds(
    lambda command, parameters: bytes((command,)) + cbor.encode(parameters),
    st.sampled_from([1, 2, 6, 10, 12]),
    st.dictionaries(
        st.integers(1, 10),
        st.integers(-2, 40) | st.binary(max_size=40) | st.text(max_size=4) | st.booleans()
        | st.just(HASH) | st.just({"id": RP}) | st.just({"id": b"u"}) | st.just([ES256])
        | st.dictionaries(st.integers(-3, 4), st.integers(0, 4), max_size=3),
    ),
))  # fmt: skip
def test_any_request_ends_in_a_status_that_the_specification_names(request: bytes) -> None:
    key = Key()
    if request:
        answer = key.raw(request)
        assert Status(answer[0]) is not Status.OTHER
        assert len(answer) == 1 or cbor.decode(answer[1:]) is not None
    assert key.call(Command.GET_INFO)[0] is S.OK
