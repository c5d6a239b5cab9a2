"""PIN and PUK of the emulated card: tries, changes, unblocking, and what is no PIN."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.emulator.piv.state import PivState
from keypeg_bridge.wire import piv
from keypeg_bridge.wire.apdu import Status
from tests.bridge.emulator.card_host import PIN, PUK, WRONG, CardHost

NEW = b"654321\xff\xff"
OTHER_PUK = b"87654321"
BOTH = ["token", "standard"]


@pytest.fixture(params=BOTH)
def host(request: pytest.FixtureRequest) -> CardHost:
    return CardHost(str(request.param))


def block(host: CardHost, ins: int, reference: int, data: bytes) -> list[int]:
    return [host.status(ins, 0, reference, data) for _ in range(4)]


def test_a_pin_is_asked_for_verified_and_forgotten(host: CardHost) -> None:
    assert host.status(piv.INS_VERIFY, 0, 0x80) == 0x63C3
    assert host.verify() == Status.OK
    assert host.status(piv.INS_VERIFY, 0, 0x80) == Status.OK
    assert host.status(piv.INS_VERIFY, 0xFF, 0x80) == Status.OK
    assert host.status(piv.INS_VERIFY, 0, 0x80) == 0x63C3


def test_a_wrong_pin_ends_what_the_right_one_allowed(host: CardHost) -> None:
    host.verify()
    assert host.verify(WRONG) == 0x63C2
    assert host.status(piv.INS_VERIFY, 0, 0x80) == 0x63C2


def test_a_blocked_pin_stays_blocked_until_the_puk_comes(host: CardHost) -> None:
    assert block(host, piv.INS_VERIFY, 0x80, WRONG) == [0x63C2, 0x63C1, 0x6983, 0x6983]
    assert host.verify() == 0x6983
    assert host.status(piv.INS_VERIFY, 0, 0x80) == 0x63C0
    assert host.status(piv.INS_CHANGE_REFERENCE, 0, 0x80, PIN + NEW) == 0x6983
    assert host.status(piv.INS_RESET_RETRY, 0, 0x80, OTHER_PUK + NEW) == 0x63C2
    assert host.status(piv.INS_RESET_RETRY, 0, 0x80, PUK + NEW) == Status.OK
    assert (host.verify(PIN), host.verify(NEW)) == (0x63C2, Status.OK)


def test_a_blocked_puk_is_the_end(host: CardHost) -> None:
    answers = block(host, piv.INS_RESET_RETRY, 0x80, OTHER_PUK + NEW)
    assert answers == [0x63C2, 0x63C1, 0x6983, 0x6983]
    assert host.status(piv.INS_RESET_RETRY, 0, 0x80, PUK + NEW) == 0x6983
    assert host.status(piv.INS_CHANGE_REFERENCE, 0, 0x81, PUK + OTHER_PUK) == 0x6983
    assert host.verify() == Status.OK


def test_pin_and_puk_are_changed_by_who_knows_them(host: CardHost) -> None:
    assert host.status(piv.INS_CHANGE_REFERENCE, 0, 0x80, WRONG + NEW) == 0x63C2
    assert host.status(piv.INS_CHANGE_REFERENCE, 0, 0x80, PIN + NEW) == Status.OK
    assert (host.verify(PIN), host.verify(NEW)) == (0x63C2, Status.OK)
    assert host.status(piv.INS_CHANGE_REFERENCE, 0, 0x81, PUK + OTHER_PUK) == Status.OK
    assert host.status(piv.INS_RESET_RETRY, 0, 0x80, PUK + PIN) == 0x63C2
    assert host.status(piv.INS_RESET_RETRY, 0, 0x80, OTHER_PUK + PIN) == Status.OK


REFUSALS = [
    (piv.INS_VERIFY, 0x01, 0x80, PIN, 0x6A86),
    (piv.INS_VERIFY, 0x00, 0x00, PIN, 0x6A88),  # the PIN of the whole system
    (piv.INS_VERIFY, 0x00, 0x81, PUK, 0x6A88),
    (piv.INS_VERIFY, 0x00, 0x96, PIN, 0x6A88),  # a finger
    (piv.INS_VERIFY, 0xFF, 0x80, PIN, 0x6A80),
    (piv.INS_VERIFY, 0x00, 0x80, b"123456", 0x6A80),
    (piv.INS_VERIFY, 0x00, 0x80, PIN + b"\xff", 0x6A80),
    (piv.INS_CHANGE_REFERENCE, 0x01, 0x80, PIN + NEW, 0x6A86),
    (piv.INS_CHANGE_REFERENCE, 0x00, 0x00, PIN + NEW, 0x6A88),
    (piv.INS_CHANGE_REFERENCE, 0x00, 0x80, PIN, 0x6A80),
    (piv.INS_CHANGE_REFERENCE, 0x00, 0x80, PIN + NEW + b"\xff", 0x6A80),
    (piv.INS_CHANGE_REFERENCE, 0x00, 0x80, PIN + b"12345\xff\xff\xff", 0x6A80),
    (piv.INS_CHANGE_REFERENCE, 0x00, 0x80, PIN + b"1234\xff56\xff", 0x6A80),
    (piv.INS_RESET_RETRY, 0x01, 0x80, PUK + NEW, 0x6A86),
    (piv.INS_RESET_RETRY, 0x00, 0x81, PUK + NEW, 0x6A88),
    (piv.INS_RESET_RETRY, 0x00, 0x80, PUK, 0x6A80),
    (piv.INS_RESET_RETRY, 0x00, 0x80, PUK + b"\xff" * 8, 0x6A80),
]


@pytest.mark.parametrize(("ins", "p1", "p2", "data", "status"), REFUSALS)
def test_what_is_no_pin_costs_no_try(
    host: CardHost, ins: int, p1: int, p2: int, data: bytes, status: int
) -> None:
    assert host.status(ins, p1, p2, data) == status
    assert (host.state.pin.tries, host.state.puk.tries) == (3, 3)
    assert (host.state.pin.value, host.state.puk.value) == (PIN, PUK)


def test_the_standard_has_pins_of_digits_and_puks_of_anything() -> None:
    token, standard = CardHost("token"), CardHost("standard")
    letters, odd = b"abcdef\xff\xff", b"\x00\xff\x01\x02\x03\x04\x05\x06"
    for host, pin, puk in ((token, 0x9000, 0x6A80), (standard, 0x6A80, 0x9000)):
        assert host.status(piv.INS_CHANGE_REFERENCE, 0, 0x80, PIN + letters) == pin
        assert host.status(piv.INS_CHANGE_REFERENCE, 0, 0x81, PUK + odd) == puk
    # Tokens count what can be no PIN as a wrong one: tools block them with it.
    assert (token.verify(b"\xff" * 8), standard.verify(b"\xff" * 8)) == (0x63C2, 0x6A80)


def test_a_try_is_on_disk_before_the_value_is_compared(host: CardHost) -> None:
    host.verify()
    assert [state.pin.tries for state in host.saved] == [2, 3]

    def fail(state: PivState) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    host.applet.session.save = fail
    assert host.verify() == Status.MEMORY_FAILURE
    assert host.status(piv.INS_VERIFY, 0, 0x80) == 0x63C3  # not verified, though it was right


def test_the_number_of_tries_is_set_under_both_secrets() -> None:
    host = CardHost()
    host.status(piv.INS_CHANGE_REFERENCE, 0, 0x80, PIN + NEW)
    assert host.status(piv.INS_SET_RETRIES, 5, 200) == Status.SECURITY_NOT_SATISFIED
    host.manage()
    assert host.status(piv.INS_SET_RETRIES, 5, 200) == Status.SECURITY_NOT_SATISFIED
    host.verify(NEW)
    assert host.status(piv.INS_SET_RETRIES, 0, 5) == Status.WRONG_P1P2
    assert host.status(piv.INS_SET_RETRIES, 5, 200, b"x") == Status.WRONG_LENGTH
    assert host.status(piv.INS_SET_RETRIES, 5, 200) == Status.OK
    assert host.verify(NEW) == 0x63C4
    assert host.verify(PIN) == Status.OK
    assert (
        host.status(piv.INS_RESET_RETRY, 0, 0x80, OTHER_PUK + NEW) == 0x63CF
    )  # 199, and one digit
    assert host.state.puk.tries == 199


@given(st.lists(st.sampled_from([PIN, WRONG, NEW]), max_size=12), st.sampled_from(BOTH))
def test_tries_are_counted_as_a_card_counts_them(pins: list[bytes], profile: str) -> None:
    host, left = CardHost(profile), 3
    for pin in pins:
        if left == 0:
            expected = 0x6983
        elif pin == PIN:
            expected, left = 0x9000, 3
        else:
            left -= 1
            expected = 0x63C0 | left if left else 0x6983
        assert host.verify(pin) == expected
        assert host.state.pin.tries == left
