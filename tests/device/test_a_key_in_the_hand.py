"""What the drivers promise, on the key that was asked for: looked at without changing it, and enrolled where that is allowed."""

from __future__ import annotations

import hashlib
import os
import statistics

import pytest

from keypeg.clock import monotonic
from keypeg.management import DEFAULT_MANAGEMENT_KEY, respond
from keypeg.possession import check_possession
from keypeg.v1.document_pb2 import PublicKey
from keypeg_bridge.keys.driver import KeyDriver
from tests.device.conftest import Note, RealKey

PROOFS = 20


def challenge() -> bytes:
    return hashlib.sha256(os.urandom(32)).digest()


def prove(driver: KeyDriver) -> float:
    """One proof, checked; the seconds that it took."""
    identity = driver.identity()
    assert identity.public_key is not None
    assert identity.key_algorithm is not None
    asked = challenge()
    begun = monotonic()
    signature = driver.prove(asked)
    took = monotonic() - begun
    named = PublicKey(algorithm=identity.key_algorithm, key=identity.public_key)  # type: ignore[arg-type] # its number
    check_possession(named, asked, signature.value)
    return took


def authorize(driver: KeyDriver) -> None:
    """With the key that its maker gave it."""
    asked = driver.begin_authorization()
    known = DEFAULT_MANAGEMENT_KEY[: asked.algorithm.key_bytes]
    driver.finish_authorization(respond(asked.algorithm, known, asked.challenge))


def test_it_says_who_it_is_and_what_it_can(driver: KeyDriver, tell: Note) -> None:
    identity, able = driver.identity(), driver.probe()
    tell(f"{identity.model}, serial {identity.serial}, emulated: {identity.emulated}")
    for name in able.__dataclass_fields__:
        tell(f"{name}: {getattr(able, name)}")
    assert able.slots >= 2
    assert identity.public_key is not None or not able.enrolled
    assert driver.identity() == identity, "it says the same each time"


def test_it_can_be_opened_again_and_again(real_key: RealKey) -> None:
    for _ in range(3):
        opened = real_key.open()
        try:
            opened.probe()
        finally:
            opened.close()


def test_an_enrolled_key_proves_itself(driver: KeyDriver, tell: Note) -> None:
    if not driver.probe().enrolled:
        pytest.skip("NOT RUN: the key is not enrolled; --device-erase enrolls it")
    times = [prove(driver) for _ in range(PROOFS)]
    tell(
        f"a proof: median {statistics.median(times) * 1000:.1f} ms, longest {max(times) * 1000:.1f} ms"
    )


@pytest.mark.usefixtures("may_erase")
def test_it_is_enrolled_proves_itself_and_keeps_what_is_written(
    real_key: RealKey, driver: KeyDriver, tell: Note
) -> None:
    authorize(driver)
    tell("now it may want a touch")
    card_id = driver.ensure_card_id()
    made = driver.generate_identity_key()
    assert driver.identity().public_key == made
    document = os.urandom(600)
    driver.write(1, document)
    assert driver.read(1) == document
    driver.end_authorization()
    assert driver.probe().silent is True, "apps cannot use a key that wants a touch for each proof"
    times = [prove(driver) for _ in range(PROOFS)]
    tell(
        f"a proof: median {statistics.median(times) * 1000:.1f} ms, longest {max(times) * 1000:.1f} ms"
    )
    driver.close()
    again = real_key.open()
    try:
        assert again.identity().public_key == made
        assert again.identity().card_id == card_id
        assert again.read(1) == document
        authorize(again)
        again.write(1, b"")
        assert again.read(1) in (None, b"")
    finally:
        again.close()
