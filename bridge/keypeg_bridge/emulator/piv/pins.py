"""PIN and PUK: VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER (SP 800-73-4 part 2, section 3.2), and their tries.

Promises: a try is spent on disk before anything is compared, so that pulling the key wins nothing; data of another length
than a PIN's costs no try (6A80); a blocked reference answers 6983.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final

from keypeg_bridge.emulator.piv.refusal import Refused, need
from keypeg_bridge.emulator.piv.session import Session
from keypeg_bridge.emulator.piv.state import DEFAULT_PIN, DEFAULT_PUK, PivState, Secret
from keypeg_bridge.wire import piv
from keypeg_bridge.wire.apdu import Command, Status

PAD: Final = 0xFF
LEAST: Final = 6  # characters of a PIN
_DIGITS: Final = frozenset(b"0123456789")
_MOST_TOLD: Final = 15  # 63CX has one hexadecimal digit


def verify(session: Session, command: Command) -> bytes:
    """INS 20."""
    need(command.p1 in (0x00, 0xFF), Status.WRONG_P1P2)
    need(command.p2 == piv.REFERENCE_PIN, Status.REFERENCE_NOT_FOUND)
    if command.p1 == 0xFF:
        need(not command.data)
        session.pin_verified = session.pin_fresh = False
        return b""
    if not command.data:
        if session.pin_verified:
            return b""
        raise Refused(_told(session.state.pin.tries))
    pin = session.state.pin
    need(pin.tries > 0, Status.AUTH_METHOD_BLOCKED)
    _check_given(session, command.p2, command.data)
    session.pin_verified = session.pin_fresh = False
    _compare(session, piv.REFERENCE_PIN, command.data)
    session.pin_verified = session.pin_fresh = True
    return b""


def change(session: Session, command: Command) -> bytes:
    """INS 24: the present value, then the new one."""
    need(command.p1 == 0, Status.WRONG_P1P2)
    need(command.p2 in (piv.REFERENCE_PIN, piv.REFERENCE_PUK), Status.REFERENCE_NOT_FOUND)
    is_pin = command.p2 == piv.REFERENCE_PIN
    need(_secret(session.state, command.p2).tries > 0, Status.AUTH_METHOD_BLOCKED)
    old, new = _halves(command.data)
    check_new = _check_pin if is_pin else _check_puk
    _check_given(session, command.p2, old)
    if not session.profile.vendor_commands:
        check_new(session, new)
    verified = session.pin_verified
    if is_pin:
        session.pin_verified = session.pin_fresh = False
    _compare(session, command.p2, old)
    check_new(session, new)
    found = _secret(session.state, command.p2)
    session.commit(_with(session.state, command.p2, replace(found, value=new)))
    if is_pin:
        session.pin_verified = verified
    return b""


def unblock(session: Session, command: Command) -> bytes:
    """INS 2C: the PUK, then the new PIN."""
    need(command.p1 == 0, Status.WRONG_P1P2)
    need(command.p2 == piv.REFERENCE_PIN, Status.REFERENCE_NOT_FOUND)
    need(session.state.puk.tries > 0, Status.AUTH_METHOD_BLOCKED)
    puk, new = _halves(command.data)
    _check_given(session, piv.REFERENCE_PUK, puk)
    if not session.profile.vendor_commands:
        _check_pin(session, new)
    session.pin_verified = session.pin_fresh = False
    _compare(session, piv.REFERENCE_PUK, puk)
    _check_pin(session, new)
    limit = session.state.pin.limit
    session.commit(replace(session.state, pin=Secret(new, limit, limit)))
    return b""


def set_retries(session: Session, command: Command) -> bytes:
    """INS FA: how often PIN (P1) and PUK (P2) may be wrong; both become those of a new card."""
    session.need_management()
    need(session.pin_verified, Status.SECURITY_NOT_SATISFIED)
    need(command.p1 > 0 and command.p2 > 0, Status.WRONG_P1P2)
    need(not command.data, Status.WRONG_LENGTH)
    session.commit(
        replace(
            session.state,
            pin=Secret(DEFAULT_PIN, command.p1, command.p1),
            puk=Secret(DEFAULT_PUK, command.p2, command.p2),
        )
    )
    return b""


def _compare(session: Session, reference: int, value: bytes) -> None:
    """Spend a try, and give it and the earlier ones back for the right value."""
    found = _secret(session.state, reference)
    spent = replace(found, tries=found.tries - 1)
    session.commit(_with(session.state, reference, spent))
    if not hmac.compare_digest(value, found.value):
        raise Refused(_told(spent.tries) if spent.tries else Status.AUTH_METHOD_BLOCKED)
    session.commit(_with(session.state, reference, replace(found, tries=found.limit)))


def _secret(state: PivState, reference: int) -> Secret:
    return state.pin if reference == piv.REFERENCE_PIN else state.puk


def _with(state: PivState, reference: int, secret: Secret) -> PivState:
    if reference == piv.REFERENCE_PIN:
        return replace(state, pin=secret)
    return replace(state, puk=secret)


def _halves(data: bytes) -> tuple[bytes, bytes]:
    need(len(data) == 2 * piv.PIN_BYTES)
    return data[: piv.PIN_BYTES], data[piv.PIN_BYTES :]


def _told(tries: int) -> int:
    return 0x63C0 | min(tries, _MOST_TOLD)


def _check_given(session: Session, reference: int, value: bytes) -> None:
    """What is compared. Tokens count whatever has the length, and look at a new value after it, as tools that block them
    on purpose expect; by the standard, what can be no PIN may cost no try.
    """
    if session.profile.vendor_commands:
        need(len(value) == piv.PIN_BYTES)
    else:
        (_check_pin if reference == piv.REFERENCE_PIN else _check_puk)(session, value)


def _check_pin(session: Session, value: bytes) -> None:
    """Six to eight characters and the padding; the standard allows digits only."""
    need(len(value) == piv.PIN_BYTES)
    characters = value.rstrip(bytes((PAD,)))
    need(len(characters) >= LEAST and PAD not in characters)
    if not session.profile.vendor_commands:
        need(set(characters) <= _DIGITS)


def _check_puk(session: Session, value: bytes) -> None:
    """As a PIN; the standard has any eight bytes."""
    if session.profile.vendor_commands:
        _check_pin(session, value)
    need(len(value) == piv.PIN_BYTES)
