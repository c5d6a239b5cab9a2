"""The smartkey in a keypeg-emukey process that dies by SIGKILL: no number that anybody saw is ever given again."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from keypeg.clock import monotonic
from keypeg.management import DEFAULT_MANAGEMENT_KEY, respond
from keypeg.possession import Counted, check_possession
from keypeg.v1.document_pb2 import KEY_ALGORITHM_SMARTKEY_P256, PublicKey
from keypeg_bridge.emulator import state
from keypeg_bridge.keys.driver import KeyDriver
from keypeg_bridge.keys.opening import Drivers, open_driver
from keypeg_bridge.keys.smartkey_counters import SmartkeyCounters
from keypeg_bridge.transport.backends import make_backend
from keypeg_bridge.transport.errors import TransportError
from tests.bridge.emukey import Emukey, running

CHALLENGE = hashlib.sha256(b"a challenge").digest()
ROUNDS = 3
SECONDS = 10.0


def opened(key: Emukey, counters: SmartkeyCounters) -> KeyDriver:
    """The key, through a backend of its own, as after a restart of the bridge."""
    backend = make_backend(key.backend, monotonic)
    [device], problems = backend.devices()
    assert problems == []
    return open_driver(backend, device, Drivers(monotonic, None, ("smartkey",), counters))


def counter_of(point: bytes, signature: bytes) -> int:
    named = PublicKey(algorithm=KEY_ALGORITHM_SMARTKEY_P256, key=point)
    found = check_possession(named, CHALLENGE, signature)
    assert isinstance(found, Counted)
    return found.counter


@pytest.mark.behaviour("KEY-7")
def test_a_killed_key_never_counts_back(tmp_path: Path) -> None:
    counters = SmartkeyCounters(tmp_path / "smartkeys")
    with running(tmp_path, "--seed", "killed") as key:
        driver = opened(key, counters)
        asked = driver.begin_authorization()
        driver.finish_authorization(
            respond(asked.algorithm, DEFAULT_MANAGEMENT_KEY, asked.challenge)
        )
        point = driver.generate_identity_key()
        driver.write(1, b"a license")
        for _ in range(ROUNDS):
            told: list[int] = []
            busy = threading.Event()

            def work(
                driver: KeyDriver = driver, told: list[int] = told, busy: threading.Event = busy
            ) -> None:
                try:
                    while True:
                        told.append(counter_of(point, driver.prove(CHALLENGE).value))
                        if len(told) == 5:
                            busy.set()
                except TransportError:
                    pass

            worker = threading.Thread(target=work)
            worker.start()
            assert busy.wait(SECONDS)
            key.kill()  # in the middle of some signature
            worker.join(SECONDS)
            assert not worker.is_alive()
            driver.close()
            assert told == list(range(told[0], told[0] + len(told)))
            kept = state.from_json(key.state.read_text()).smartkey
            assert told[-1] <= kept.counter <= told[-1] + 1  # at most the answer that did not leave
            assert kept.slots == {1: b"a license"}

            key.start()
            driver = opened(key, counters)
            assert driver.identity().public_key == point
            assert counter_of(point, driver.prove(CHALLENGE).value) == kept.counter + 1
            assert driver.signals() == ()
        driver.close()


def test_the_same_seed_makes_the_same_smartkey(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        with running(tmp_path, "--seed", "7", name=name) as key:
            made.append(state.from_json(key.state.read_text()).smartkey)
    assert made[0] == made[1]
    assert any(made[0].card_id)


def test_a_key_from_before_smartkeys_gets_one(tmp_path: Path) -> None:
    with running(tmp_path, "--seed", "7") as key:
        text = key.state.read_text()
    before = state.from_json(text)
    start, rest = text.split('"smartkey":', 1)
    older = start + rest[rest.index('"fido":') :]
    assert "smartkey" not in older
    assert state.from_json(older) == before
