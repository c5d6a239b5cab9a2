"""keypeg-emukey as a security key, by a third party's client (python-fido2) over the USB/IP wire: what a lab's program sees."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fido2.attestation.packed import PackedAttestation
from fido2.ctap import CtapError
from fido2.ctap1 import ApduError, Ctap1
from fido2.ctap2.base import Ctap2
from fido2.ctap2.blob import LargeBlobs
from fido2.ctap2.credman import CredentialManagement
from fido2.ctap2.pin import ClientPin, PinProtocolV1, PinProtocolV2
from fido2.hid import CAPABILITY
from fido2.hid.base import parse_report_descriptor
from fido2.webauthn import PublicKeyCredentialUserEntity
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg_bridge.wire.ctaphid import BROADCAST, Command, fragment
from tests.bridge.emukey import Emukey, running
from tests.bridge.security_key import connected, plugged_in

RP = {"id": "keypeg.test", "name": "keypeg"}
USER = {"id": b"user", "name": "ann", "displayName": "Ann"}
HASH = hashlib.sha256(b"client data").digest()
ALGORITHMS: list[Mapping[str, Any]] = [{"type": "public-key", "alg": -7}]
PERMISSION = ClientPin.PERMISSION


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emukey]:
    """One process for all; plugging in is power-up, and `device` begins with a reset."""
    with running(tmp_path_factory.mktemp("fido")) as key:
        yield key


@pytest.fixture
def device(served: Emukey) -> Iterator[Any]:
    """python-fido2's device on a key as from the factory."""
    with plugged_in(served) as found:
        Ctap2(found).reset()
        yield found


def made(ctap: Ctap2, **more: Any) -> Any:
    return ctap.make_credential(HASH, RP, USER, ALGORITHMS, **more)


def descriptor(attested: Any) -> dict[str, Any]:
    identifier = attested.auth_data.credential_data.credential_id
    return {"type": "public-key", "id": identifier}


def refused(code: CtapError.ERR) -> Any:
    return pytest.raises(CtapError, match=code.name)


@pytest.mark.behaviour("KEY-10")
def test_the_report_descriptor_is_a_security_keys_to_a_third_party(served: Emukey) -> None:
    with connected(served) as connection:
        assert parse_report_descriptor(connection.descriptor(0x22)) == (64, 64)
        connection.send_by_control(fragment(BROADCAST, Command.INIT, bytes(8))[0])
        assert connection.read_packet()[4] == 0x86


@pytest.mark.behaviour("KEY-10")
def test_a_third_party_greets_it(device: Any) -> None:
    assert device.capabilities == CAPABILITY.CBOR | CAPABILITY.WINK
    assert device.ping(bytes(range(250)) * 30) == bytes(range(250)) * 30
    device.wink()
    device.lock(1)
    device.lock(0)
    info = Ctap2(device).info
    assert info.versions == ["U2F_V2", "FIDO_2_0", "FIDO_2_1_PRE", "FIDO_2_1"]
    assert str(info.aaguid) == "6b657970-6567-2d65-6d75-6c6174656421"


@pytest.mark.behaviour("KEY-9")
def test_a_third_party_registers_and_asserts_silently(device: Any) -> None:
    ctap = Ctap2(device)
    attested = made(ctap)
    verified = PackedAttestation().verify(attested.att_stmt, attested.auth_data, HASH)
    assert len(verified.trust_path) == 1
    public = attested.auth_data.credential_data.public_key
    counters = []
    for up in (True, False, False):
        answer = ctap.get_assertion(RP["id"], HASH, [descriptor(attested)], options={"up": up})
        answer.verify(HASH, public)
        assert answer.auth_data.is_user_present() is up
        counters.append(answer.auth_data.counter)
    assert counters == sorted(set(counters))
    with refused(CtapError.ERR.NO_CREDENTIALS):
        ctap.get_assertion("other.test", HASH, [descriptor(attested)])


def test_a_third_party_asks_for_one_account_after_another(device: Any) -> None:
    ctap = Ctap2(device)
    for name in (b"a", b"b", b"c"):
        ctap.make_credential(HASH, RP, {"id": name, "name": "x"}, ALGORITHMS, options={"rk": True})
    answers = ctap.get_assertions(RP["id"], HASH)
    assert [a.user["id"] for a in answers if a.user] == [b"c", b"b", b"a"]


@pytest.mark.parametrize("protocol", [PinProtocolV1, PinProtocolV2])
def test_a_third_party_sets_changes_and_locks_the_pin(device: Any, protocol: Any) -> None:
    ctap = Ctap2(device)
    pin = ClientPin(ctap, protocol())
    assert pin.get_pin_retries() == (8, False)
    pin.set_pin("1234")
    pin.change_pin("1234", "pässword")
    token = pin.get_pin_token("pässword", PERMISSION.MAKE_CREDENTIAL, RP["id"])
    mac = protocol().authenticate(token, HASH)
    attested = made(ctap, pin_uv_param=mac, pin_uv_protocol=protocol.VERSION)
    assert attested.auth_data.is_user_verified()
    for code in ("PIN_INVALID", "PIN_INVALID", "PIN_AUTH_BLOCKED", "PIN_AUTH_BLOCKED"):
        with refused(CtapError.ERR[code]):
            pin.get_pin_token("wrong")
    assert pin.get_pin_retries() == (5, True)


def test_a_third_party_gets_its_hmac_secret(device: Any) -> None:
    ctap = Ctap2(device)
    attested = made(ctap, extensions={"hmac-secret": True})
    assert attested.auth_data.extensions == {"hmac-secret": True}
    protocol = PinProtocolV2()
    agreement, shared = ClientPin(ctap, protocol)._get_shared_secret()
    secrets = []
    for salt in (bytes(32), bytes(32), bytes([1]) * 32):
        cipher = protocol.encrypt(shared, salt)
        asked = {1: agreement, 2: cipher, 3: protocol.authenticate(shared, cipher), 4: 2}
        answer = ctap.get_assertion(
            RP["id"], HASH, [descriptor(attested)], extensions={"hmac-secret": asked}
        )
        assert answer.auth_data.extensions is not None
        secrets.append(protocol.decrypt(shared, answer.auth_data.extensions["hmac-secret"]))
    assert secrets[0] == secrets[1] != secrets[2]


def test_a_third_party_keeps_large_blobs(device: Any) -> None:
    ctap = Ctap2(device)
    attested = made(ctap, options={"rk": True}, extensions={"largeBlobKey": True})
    blob_key = attested.large_blob_key
    pin = ClientPin(ctap)
    pin.set_pin("1234")
    token = pin.get_pin_token("1234", PERMISSION.LARGE_BLOB_WRITE)
    blobs = LargeBlobs(ctap, pin.protocol, token)
    content = bytes(hashlib.shake_128(b"content").digest(3_000))
    blobs.put_blob(blob_key, content)
    assert LargeBlobs(ctap).get_blob(blob_key) == content
    blobs.delete_blob(blob_key)
    assert LargeBlobs(ctap).read_blob_array() == []


def test_a_third_party_manages_credentials(device: Any) -> None:
    ctap = Ctap2(device)
    pin = ClientPin(ctap)
    for party, name in (("a.test", b"1"), ("a.test", b"2"), ("b.test", b"1")):
        user = {"id": name, "name": "x"}
        ctap.make_credential(HASH, {"id": party}, user, ALGORITHMS, options={"rk": True})
    pin.set_pin("1234")
    token = pin.get_pin_token("1234", PERMISSION.CREDENTIAL_MGMT)
    management = CredentialManagement(ctap, pin.protocol, token)
    assert management.get_metadata() == {1: 3, 2: 22}
    parties = {rp[3]["id"]: rp[4] for rp in management.enumerate_rps()}
    assert parties.keys() == {"a.test", "b.test"}
    first, second = management.enumerate_creds(parties["a.test"])
    management.update_user_info(first[7], PublicKeyCredentialUserEntity(id=b"1", name="new name"))
    management.delete_cred(second[7])
    (left,) = management.enumerate_creds(parties["a.test"])
    assert left[6] == {"id": b"1", "name": "new name"}
    management.delete_cred(left[7])
    assert management.enumerate_creds(parties["a.test"]) == []


def test_a_third_party_speaks_u2f(device: Any) -> None:
    u2f = Ctap1(device)
    assert u2f.get_version() == "U2F_V2"
    application = hashlib.sha256(b"https://keypeg.test").digest()
    registered = u2f.register(HASH, application)
    registered.verify(application, HASH)
    signed = u2f.authenticate(HASH, application, registered.key_handle)
    signed.verify(application, HASH, registered.public_key)
    with pytest.raises(ApduError) as told:
        u2f.authenticate(HASH, application, registered.key_handle, check_only=True)
    assert told.value.code == 0x6985


def test_a_touch_comes_by_the_control_socket_and_waiting_can_be_cancelled(tmp_path: Path) -> None:
    with running(tmp_path, "--touch", "command") as key, plugged_in(key) as device:
        ctap = Ctap2(device)
        seen: list[int] = []

        def touch(status: int) -> None:
            seen.append(status)
            assert key.status()["wants_touch"] is True
            key.touch()

        assert made(ctap, on_keepalive=touch).fmt == "packed"
        assert seen == [2]
        cancelled = threading.Event()
        with refused(CtapError.ERR.KEEPALIVE_CANCEL):
            ctap.selection(event=cancelled, on_keepalive=lambda _: cancelled.set())
        assert key.status()["wants_touch"] is False


@pytest.mark.behaviour("KEY-14")
def test_any_packets_leave_a_key_that_answers(served: Emukey) -> None:
    init = fragment(BROADCAST, Command.INIT, bytes(8))[0]

    with connected(served) as connection:

        @settings(max_examples=40, deadline=None)
        @given(st.lists(st.binary(min_size=64, max_size=64), max_size=5))
        def send(packets: list[bytes]) -> None:
            for packet in [*packets, init]:
                connection.write_packet(packet)
            while (answer := connection.read_packet())[:15] != init[:5] + b"\x00\x11" + bytes(8):
                assert len(answer) == 64

        send()
    with plugged_in(served) as device:
        assert device.ping(b"x") == b"x"


@pytest.mark.behaviour("KEY-10")
def test_the_counter_never_falls_over_a_killed_process(tmp_path: Path) -> None:
    with running(tmp_path, "--seed", "7") as key:
        counters: list[int] = []
        attested: Any = None
        for _ in range(3):
            with plugged_in(key) as device:
                ctap = Ctap2(device)
                attested = attested or made(ctap, options={"rk": True})
                for _ in range(3):
                    answer = ctap.get_assertion(RP["id"], HASH, options={"up": False})
                    answer.verify(HASH, attested.auth_data.credential_data.public_key)
                    counters.append(answer.auth_data.counter)
                key.kill()
            key.start()
        assert counters == sorted(set(counters))
