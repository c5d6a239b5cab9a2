"""Counters of smartkeys over all sessions of an app: an honest key is never refused, whatever comes late."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import KeyProofInvalid, KeyRolledBack
from keypeg.key_counters import KEYS, KeyCounters
from keypeg.session_guard import Guard, Pinned
from keypeg.sessionkey import KeyShare
from keypeg.v1 import proof_pb2, session_pb2
from tests.client import proof_cases as cases


class Numbered:
    """Randomness that only counts."""

    def __init__(self) -> None:
        self._numbers = count()

    def nonce(self) -> bytes:
        return cases.fixed(f"nonce {next(self._numbers)}")

    def key_share(self) -> KeyShare:
        raise AssertionError("a bridge gets no key share")

    def request_id(self) -> str:
        raise AssertionError("a bridge gives no seats")

    def jitter(self) -> float:
        return 0.0


def guard(counters: KeyCounters) -> Guard:
    """One session of the app."""
    root, device = cases.ROOT.public_key.key, "laptop-1"
    pinned = Pinned(cases.PRODUCT, device, root, cases.PUBLISHER, counters=counters)
    return Guard(pinned, to_bridge=True, randomness=Numbered())


def signed(nonce: bytes, counter: int) -> proof_pb2.Proof:
    """What the key answers."""
    made = cases.parts("key")
    cases.counting(counter)(made)
    made.key_nonce = nonce
    return made.made()[0]


def opened(nonce: bytes, counter: int) -> session_pb2.Opened:
    frame = session_pb2.Opened(session=cases.SESSION, proof=signed(nonce, counter))
    frame.valid_for.FromTimedelta(timedelta(seconds=30))
    return frame


def renewed(sequence: int, nonce: bytes, counter: int) -> session_pb2.Renewed:
    frame = session_pb2.Renewed(sequence=sequence, proof=signed(nonce, counter))
    frame.valid_for.FromTimedelta(timedelta(seconds=30))
    return frame


def test_a_renewal_that_counts_less_is_refused() -> None:
    session = guard(KeyCounters())
    session.opened(opened(session.opening()[0], 100), cases.NOW)
    nonce, _ = session.renewing(2, proof=True)
    session.renewed(renewed(2, nonce, 101), cases.NOW)
    for number, told in enumerate((101, 100, 1), start=3):
        nonce, _ = session.renewing(number, proof=True)
        with pytest.raises(KeyRolledBack):
            session.renewed(renewed(number, nonce, told), cases.NOW)


@pytest.mark.behaviour("KEY-7")
def test_a_copy_is_refused_in_another_session_of_the_app() -> None:
    counters = KeyCounters()
    first = guard(counters)
    first.opened(opened(first.opening()[0], 100), cases.NOW)
    second = guard(counters)
    with pytest.raises(KeyRolledBack):
        second.opened(opened(second.opening()[0], 60), cases.NOW)
    other_app = guard(KeyCounters())
    other_app.opened(opened(other_app.opening()[0], 60), cases.NOW)


def test_answers_that_come_in_another_order_are_no_fall() -> None:
    counters = KeyCounters()
    first, second = guard(counters), guard(counters)
    nonce, later = first.opening()[0], second.opening()[0]
    second.opened(opened(later, 102), cases.NOW)
    first.opened(opened(nonce, 101), cases.NOW)
    assert set(counters.known().values()) == {102}


def test_what_is_refused_is_not_remembered() -> None:
    counters = KeyCounters()
    session = guard(counters)
    other_nonce = opened(cases.fixed("nonce of another"), 70)
    session.opening()
    with pytest.raises(KeyProofInvalid):
        session.opened(other_nonce, cases.NOW)
    assert counters.known() == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2**64 - 1))))
def test_the_highest_of_each_key_is_known(told: list[tuple[str, int]]) -> None:
    counters = KeyCounters()
    for key, number in told:
        counters.saw(key, number)
    assert counters.known() == {k: max(n for one, n in told if one == k) for k, _ in told}


def test_memory_is_bounded() -> None:
    counters = KeyCounters()
    for number in range(KEYS + 10):
        counters.saw(f"key {number}", 1)
    assert len(counters.known()) == KEYS
    assert f"key {KEYS + 9}" in counters.known()
