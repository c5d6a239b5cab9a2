"""The PIV driver against cards that are not as they should be: silent, lying, odd, or asking for a PIN."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, respond
from keypeg.v1 import document_pb2
from keypeg_bridge.keys import certificate, piv_identity
from keypeg_bridge.keys.errors import (
    AuthorizationFailed,
    KeyDriverError,
    KeyMissing,
    MalformedReply,
    NotSupported,
    StorageFull,
)
from keypeg_bridge.keys.piv import PivDriver
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command
from tests.bridge.cards import DirectKey

OK = b"\x90\x00"


class ScriptedPipe:
    """Answers by instruction; bytes stand for always, a list for one after the other."""

    gone = False
    extended = False

    def __init__(self, **answers: bytes | list[bytes]) -> None:
        self._answers = {int(name[1:], 16): answer for name, answer in answers.items()}
        self.sent: list[Command] = []

    def exchange(self, apdu: bytes, timeout: float) -> bytes:
        command = Command.decode(apdu)
        self.sent.append(command)
        answer = self._answers.get(command.ins, b"\x6d\x00")
        return answer.pop(0) if isinstance(answer, list) else answer

    def restart(self) -> None:
        """Nothing changes."""

    def close(self) -> None:
        """Nothing to let go of."""


def driver(**answers: bytes | list[bytes]) -> PivDriver:
    return PivDriver(ScriptedPipe(**{"xA4": OK, **answers}))


def authorize(driver: PivDriver) -> None:
    """With the management key of a new card."""
    asked = driver.begin_authorization()
    default = DEFAULT_MANAGEMENT_KEY[: asked.algorithm.key_bytes]
    driver.finish_authorization(respond(asked.algorithm, default, asked.challenge))


@pytest.mark.parametrize(
    ("wanted", "card", "algorithm"),
    [
        (["P-384", "P-256"], "token", document_pb2.KEY_ALGORITHM_ECDSA_P384),
        (["Ed25519", "P-256"], "token", document_pb2.KEY_ALGORITHM_ED25519),
        (["Ed25519", "P-256"], "standard", document_pb2.KEY_ALGORITHM_ECDSA_P256),
        (["RSA-2048"], "rsa", document_pb2.KEY_ALGORITHM_RSA_2048),
    ],
)
def test_a_new_identity_key_is_of_the_first_wanted_kind_that_the_card_knows(
    wanted: list[str], card: str, algorithm: int
) -> None:
    key = DirectKey(card)
    driver = PivDriver(key.pipe(), kinds=piv_identity.kinds_named(wanted))
    authorize(driver)
    driver.generate_identity_key()
    assert driver.identity().key_algorithm == algorithm
    # Which kinds are wanted says nothing of keys that are there.
    assert PivDriver(key.pipe()).identity().key_algorithm == algorithm
    assert PivDriver(key.pipe(), kinds=(piv_identity.RSA2048,)).probe().silent is True


def test_a_card_that_knows_no_wanted_kind_is_refused_with_the_setting() -> None:
    key = DirectKey("p384")
    driver = PivDriver(key.pipe(), kinds=piv_identity.kinds_named(["P-256", "Ed25519"]))
    authorize(driver)
    with pytest.raises(NotSupported, match=r"P-256, Ed25519.*keys\.piv_algorithms"):
        driver.generate_identity_key()


@pytest.mark.parametrize(("names", "said"), [([], "none is named"), (["P-521"], "no 'P-521'")])
def test_kinds_that_do_not_exist_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        piv_identity.kinds_named(names)


def test_the_applet_is_selected_by_its_full_name() -> None:
    pipe = ScriptedPipe(xA4=OK)
    PivDriver(pipe)
    assert pipe.sent[0].data == bytes.fromhex("a000000308000010000100")


def test_a_card_without_the_applet_is_not_supported() -> None:
    with pytest.raises(NotSupported) as refused:
        PivDriver(ScriptedPipe(xA4=b"\x6a\x82"))
    assert refused.value.status_word == 0x6A82
    assert "not found" in str(refused.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0x6982, NotSupported),
        (0x6983, NotSupported),
        (0x6A88, KeyMissing),
        (0x6A80, KeyMissing),
        (0x6F00, KeyDriverError),
        (0x1234, KeyDriverError),
    ],
)
def test_refused_signatures_say_why(status: int, error: type[KeyDriverError]) -> None:
    with pytest.raises(error) as refused:
        driver(x87=status.to_bytes(2, "big")).prove(bytes(32))
    assert type(refused.value) is error
    assert refused.value.status_word == status
    assert f"{status:04X}" in str(refused.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0x6982, AuthorizationFailed),
        (0x6A84, StorageFull),
        (0x6581, StorageFull),
        (0x6700, StorageFull),
        (0x6D00, NotSupported),
        (0x6A86, NotSupported),
        (0x6985, KeyDriverError),
    ],
)
def test_refused_writes_say_why(status: int, error: type[KeyDriverError]) -> None:
    with pytest.raises(error) as refused:
        driver(xDB=status.to_bytes(2, "big")).write(1, b"data")
    assert type(refused.value) is error
    assert refused.value.status_word == status


def test_a_write_that_does_not_stick_is_noticed() -> None:
    with pytest.raises(MalformedReply, match="Slot 1"):
        driver(xDB=OK, xCB=b"\x6a\x82").write(1, b"data")


def dynamic(tag: int, value: bytes) -> bytes:
    return tlv.encode(piv.TAG_DYNAMIC, tlv.encode(tag, value)) + OK


def test_algorithms_are_tried_in_order_where_the_card_does_not_tell() -> None:
    no = b"\x6a\x86"
    card = driver(x87=[no, no, dynamic(0x81, bytes(16)), dynamic(0x81, bytes(16))])
    assert card.begin_authorization().algorithm is ManagementAlgorithm.AES_256


def test_a_card_with_no_known_management_key_cannot_be_written() -> None:
    card = driver(x87=b"\x6a\x86", xCB=b"\x6a\x82")
    assert any("nothing can be written" in sentence for sentence in card.probe().missing)
    with pytest.raises(NotSupported):
        card.begin_authorization()


def test_a_challenge_of_the_wrong_length_is_malformed() -> None:
    with pytest.raises(MalformedReply):
        driver(x87=dynamic(0x81, bytes(5))).begin_authorization()


def test_an_answer_of_the_wrong_length_is_not_even_sent() -> None:
    card = driver(x87=dynamic(0x81, bytes(8)))
    card.begin_authorization()
    with pytest.raises(AuthorizationFailed, match="8 bytes"):
        card.finish_authorization(bytes(16))


def enrolled(key: DirectKey) -> PivDriver:
    card = PivDriver(key.pipe())
    asked = card.begin_authorization()
    card.finish_authorization(respond(asked.algorithm, DEFAULT_MANAGEMENT_KEY, asked.challenge))
    card.generate_identity_key()
    return card


def test_a_card_that_wants_a_pin_says_so_when_probed() -> None:
    key = DirectKey()
    card = enrolled(key)
    whole = key.card.transmit

    def asks_for_pin(apdu: bytes) -> bytes:
        return b"\x69\x82" if apdu[1] == piv.INS_AUTHENTICATE and apdu[3] == 0x9E else whole(apdu)

    key.card.transmit = asks_for_pin  # type: ignore[method-assign]
    capabilities = card.probe()
    assert capabilities.silent is False
    assert any("PIN" in sentence for sentence in capabilities.missing)


def test_the_stored_certificate_holds_the_identity_key() -> None:
    key = DirectKey("standard")
    point = enrolled(key).identity().public_key
    stored = key.applet.state.objects[piv.OBJECT_CARD_AUTHENTICATION]
    found = certificate.identity_of(tlv.find(stored, 0x70) or b"")
    assert found is not None
    assert found.key == point
    assert PivDriver(key.pipe()).identity().public_key == point


def test_a_card_without_an_id_gets_one_under_authorization() -> None:
    key = DirectKey()
    key.applet.state = key.applet.state.with_object(piv.OBJECT_CHUID, b"")
    card = PivDriver(key.pipe(), random=lambda count: bytes(range(count)))
    assert card.identity().card_id is None
    with pytest.raises(AuthorizationFailed):
        card.ensure_card_id()
    asked = card.begin_authorization()
    card.finish_authorization(respond(asked.algorithm, DEFAULT_MANAGEMENT_KEY, asked.challenge))
    assert card.ensure_card_id() == bytes(range(16))
    assert card.identity().card_id == bytes(range(16))


def test_a_serial_number_is_only_for_people() -> None:
    key = DirectKey()
    assert PivDriver(key.pipe(), serial="from USB").identity().serial == "from USB"
    assert PivDriver(key.pipe()).identity().serial == f"{key.serial:010d}"
    assert PivDriver(DirectKey("standard").pipe()).identity().serial is None


@pytest.mark.behaviour("KEY-14")
@given(st.lists(st.binary(max_size=80) | st.binary(max_size=80).map(lambda b: b + OK), max_size=12))
def test_any_answers_end_in_a_value_or_a_clear_error(answers: list[bytes]) -> None:
    class Noise:
        gone = False
        extended = False

        def restart(self) -> None:
            """Nothing changes."""

        def exchange(self, apdu: bytes, timeout: float) -> bytes:
            return answers.pop(0) if answers else b"\x6f\x00"

        def close(self) -> None:
            """Nothing to let go of."""

    try:
        card = PivDriver(Noise())
        card.probe()
        card.identity()
        card.read(3)
        card.prove(bytes(32))
        card.begin_authorization()
        card.generate_identity_key()
    except KeyDriverError:
        return


@given(st.binary(max_size=200))
def test_any_bytes_are_a_certificate_or_not(raw: bytes) -> None:
    assert certificate.identity_of(raw) is None
    assert not certificate.is_p256_point(raw)
