"""What the rack expects of every open key: the fake of its tests, the PIV driver on emulated cards of all profiles, and
the smartkey driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from keypeg.errors import (
    KeyAuthorizationFailed,
    KeyNotEnrolled,
    KeyUnplugged,
)
from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, respond
from keypeg.possession import check_possession
from keypeg.v1 import document_pb2
from keypeg_bridge.emulator.piv.session import PROFILES
from keypeg_bridge.keys.piv import PivDriver
from keypeg_bridge.rack.ports import OpenKey, SlotMalformed
from keypeg_bridge.rack.sources import DriverKey
from keypeg_bridge.wire import piv, smartkey
from tests.bridge.cards import DirectKey
from tests.bridge.fakes import RESPONSE, FakeKey
from tests.bridge.smartkeys import DirectSmartkey

DIGEST = bytes(range(32))


@dataclass
class Bench:
    """A blank key, and what a test does to it from outside."""

    key: OpenKey
    answer: Callable[[bytes], bytes]
    spoil: Callable[[int], None]
    pull: Callable[[], None]
    driver: str = "piv"
    algorithm: int = document_pb2.KEY_ALGORITHM_ECDSA_P256

    def authorize(self) -> None:
        """As its server does."""
        self.key.finish_authorization(self.answer(self.key.begin_authorization()))


def fake() -> Bench:
    key = FakeKey(enrolled=False)

    def pull() -> None:
        key.fault = KeyUnplugged("gone")

    return Bench(key, lambda _: RESPONSE, key.malformed.add, pull)


def card(profile: str) -> Bench:
    direct = DirectKey(profile)
    algorithm = ManagementAlgorithm(PROFILES[profile].management_algorithm)

    def answer(challenge: bytes) -> bytes:
        return respond(algorithm, DEFAULT_MANAGEMENT_KEY[: algorithm.key_bytes], challenge)

    def spoil(slot: int) -> None:
        state = direct.applet.state
        direct.applet.state = state.with_object(piv.container(slot), b"\x70\x82\xff\xff")

    return Bench(DriverKey(PivDriver(direct.pipe())), answer, spoil, direct.unplug)


def smart() -> Bench:
    direct = DirectSmartkey()

    def answer(challenge: bytes) -> bytes:
        return respond(ManagementAlgorithm.AES_192, DEFAULT_MANAGEMENT_KEY, challenge)

    def spoil(slot: int) -> None:
        def harm(answer: bytes) -> bytes:
            is_read = direct.sent[-1][1:3] == bytes((smartkey.INS_READ, slot))
            return bytes(smartkey.MAX_READ + 1) + answer[-2:] if is_read else answer

        direct.harm = harm

    made = Bench(DriverKey(direct.open()), answer, spoil, direct.unplug)
    made.driver, made.algorithm = "smartkey", document_pb2.KEY_ALGORITHM_SMARTKEY_P256
    return made


SPECIAL: dict[str, Callable[[], Bench]] = {"fake": fake, "smartkey": smart}


@pytest.fixture(params=[*SPECIAL, *sorted(PROFILES)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = SPECIAL[request.param]() if request.param in SPECIAL else card(request.param)
    yield made
    made.key.close()
    made.key.close()


def test_a_blank_key_says_so(bench: Bench) -> None:
    found = bench.key.identity()
    assert found.driver == bench.driver
    assert found.emulated
    assert found.public_key is None
    assert found.factory_key
    assert found.card_id is not None
    assert len(found.card_id) == 16
    able = bench.key.probe()
    assert able.slot_count == 19
    assert able.management_algorithm in ("3des", "aes192")
    assert [bench.key.read(slot) for slot in range(20)] == [None] * 20
    with pytest.raises(KeyNotEnrolled):
        bench.key.prove(DIGEST)


def test_an_enrolled_key_signs_the_digest_itself(bench: Bench) -> None:
    bench.authorize()
    point = bench.key.generate_identity_key()
    assert bench.key.identity().public_key == point
    assert bench.key.probe().silent_proof
    public = document_pb2.PublicKey(algorithm=bench.algorithm, key=point)  # type: ignore[arg-type]
    check_possession(public, DIGEST, bench.key.prove(DIGEST))


def test_nothing_is_written_without_authorization(bench: Bench) -> None:
    with pytest.raises(KeyAuthorizationFailed):
        bench.key.write(1, b"data")
    with pytest.raises(KeyAuthorizationFailed):
        bench.key.generate_identity_key()
    challenge = bench.key.begin_authorization()
    with pytest.raises(KeyAuthorizationFailed):
        bench.key.finish_authorization(bytes(len(challenge)))
    with pytest.raises(KeyAuthorizationFailed):
        bench.key.write(1, b"data")
    assert bench.key.read(1) is None


def test_an_authorization_lasts_over_proofs_and_reads_until_it_is_ended(bench: Bench) -> None:
    bench.authorize()
    bench.key.generate_identity_key()
    for slot in (0, 1, 19):
        bench.key.prove(DIGEST)
        bench.key.write(slot, bytes([slot]) * 600)
        bench.key.identity()
        bench.key.probe()
        assert bench.key.read(slot) == bytes([slot]) * 600
    bench.key.end_authorization()
    with pytest.raises(KeyAuthorizationFailed):
        bench.key.write(2, b"data")
    assert bench.key.prove(DIGEST)


def test_a_slot_with_something_foreign_is_malformed_and_the_others_are_not(bench: Bench) -> None:
    bench.spoil(4)
    with pytest.raises(SlotMalformed):
        bench.key.read(4)
    assert bench.key.read(5) is None


def test_a_key_that_was_pulled_is_unplugged_whatever_is_asked(bench: Bench) -> None:
    bench.pull()
    for ask in (
        bench.key.identity,
        bench.key.probe,
        bench.key.begin_authorization,
        lambda: bench.key.prove(DIGEST),
        lambda: bench.key.read(1),
    ):
        with pytest.raises(KeyUnplugged):
            ask()
