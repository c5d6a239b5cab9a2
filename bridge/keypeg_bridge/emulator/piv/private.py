"""Commands on private keys: GENERATE, GENERAL AUTHENTICATE, and the extensions that import and move them.

Promises: a key's own rules on PIN and touch hold for every use; a new key is on disk before its public half is given out.
Long computations and touches are answered later (`waiting.py`).
"""

from __future__ import annotations

from typing import Final

from keypeg_bridge.emulator.piv import keys, management
from keypeg_bridge.emulator.piv.keys import StoredKey
from keypeg_bridge.emulator.piv.refusal import Refused, need
from keypeg_bridge.emulator.piv.session import Session
from keypeg_bridge.emulator.piv.state import default_pin_policy
from keypeg_bridge.emulator.piv.waiting import Computing, with_touch
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command, Status
from keypeg_bridge.wire.conversation import Pending

_POLICIES: Final = frozenset({piv.TAG_PIN_POLICY, piv.TAG_TOUCH_POLICY})
_DELETE: Final = 0xFF  # where a key is moved that nobody wants


def generate(session: Session, command: Command) -> bytes | Pending:
    """INS 47."""
    session.need_management()
    allowed = session.profile.slots | _attestation_slot(session)
    need(command.p1 == 0 and command.p2 in allowed, Status.WRONG_P1P2)
    fields = _unique(tlv.unwrap(command.data, piv.TAG_GENERATE))
    algorithm = _number(fields.pop(piv.TAG_ALGORITHM, b""))
    need(algorithm in session.profile.algorithms)
    parameter = fields.pop(piv.TAG_PARAMETER, None)
    if parameter is not None:  # the public exponent of RSA
        need(algorithm in keys.RSA_BITS)
        need(int.from_bytes(parameter, "big") == keys.RSA_EXPONENT)
    slot = command.p2
    pin_policy, touch_policy = _policies(session, slot, fields)

    def keep(pkcs8: bytes) -> bytes:
        made = StoredKey(algorithm, pkcs8, pin_policy, touch_policy)
        session.commit(session.state.with_private_key(slot, made))
        return tlv.encode(piv.TAG_PUBLIC_KEY, keys.public_template(made))

    if algorithm in keys.RSA_BITS:
        return Computing(lambda: keys.generate(algorithm), keep)
    return keep(keys.generate(algorithm))


def import_key(session: Session, command: Command) -> bytes:
    """INS FE: a private key from outside, P1 its algorithm, P2 its slot."""
    session.need_management()
    need(command.p2 in session.profile.slots | _attestation_slot(session), Status.WRONG_P1P2)
    need(command.p1 in session.profile.algorithms, Status.WRONG_P1P2)
    fields = _unique(command.data)
    policies = {tag: fields.pop(tag) for tag in _POLICIES & set(fields)}
    pin_policy, touch_policy = _policies(session, command.p2, policies)
    pkcs8 = keys.imported(command.p1, fields)
    made = StoredKey(command.p1, pkcs8, pin_policy, touch_policy, generated=False)
    session.commit(session.state.with_private_key(command.p2, made))
    return b""


def move(session: Session, command: Command) -> bytes:
    """INS F6: from slot P2 to slot P1, or away."""
    session.need_management()
    allowed = session.profile.slots | _attestation_slot(session)
    need(command.p2 in allowed, Status.WRONG_P1P2)
    found = session.state.private_keys.get(command.p2)
    need(found is not None, Status.REFERENCE_NOT_FOUND)
    state = session.state.with_private_key(command.p2, None)
    if command.p1 != _DELETE:
        need(command.p1 in session.profile.slots and command.p1 != command.p2, Status.WRONG_P1P2)
        need(command.p1 not in state.private_keys, Status.WRONG_P1P2)
        state = state.with_private_key(command.p1, found)
    session.commit(state)
    return b""


def authenticate(session: Session, command: Command) -> bytes | Pending:
    """INS 87: with the management key, or with a private key."""
    fields = _unique(tlv.unwrap(command.data, piv.TAG_DYNAMIC))
    if command.p2 == piv.SLOT_MANAGEMENT:
        return management.authenticate(session, command.p1, fields)
    need(command.p2 in session.profile.slots | set(piv.RETIRED_SLOTS), Status.WRONG_P1P2)
    stored = session.state.private_keys.get(command.p2)
    if stored is None:
        raise Refused(Status.REFERENCE_NOT_FOUND)
    need(command.p1 == stored.algorithm, Status.WRONG_P1P2)
    need(fields.pop(piv.TAG_RESPONSE, None) == b"" and len(fields) == 1)
    ((tag, data),) = fields.items()
    need(tag in (piv.TAG_CHALLENGE, piv.TAG_EXPONENTIATION))
    session.use_pin(stored.pin_policy)
    use = keys.sign if tag == piv.TAG_CHALLENGE else keys.agree

    def work() -> bytes:
        return tlv.encode(piv.TAG_DYNAMIC, tlv.encode(piv.TAG_RESPONSE, use(stored, data)))

    return with_touch(session, stored.touch_policy, work)


def _attestation_slot(session: Session) -> set[int]:
    return {piv.SLOT_ATTESTATION} if session.profile.vendor_commands else set()


def _unique(data: bytes) -> dict[int, bytes]:
    """Elements by tag; none of them twice."""
    elements = tlv.parse(data)
    fields = {e.tag: e.value for e in elements}
    need(len(fields) == len(elements))
    return fields


def _number(value: bytes) -> int:
    need(len(value) == 1)
    return value[0]


def _policies(session: Session, slot: int, fields: dict[int, bytes]) -> tuple[int, int]:
    """The rules of a new key: of PIN and of touch. Only the extension lets a host choose them."""
    need(not fields or (session.profile.vendor_commands and set(fields) <= _POLICIES))
    pin = _number(fields.get(piv.TAG_PIN_POLICY, bytes((piv.POLICY_DEFAULT,))))
    touch = _number(fields.get(piv.TAG_TOUCH_POLICY, bytes((piv.POLICY_DEFAULT,))))
    need(pin <= piv.PIN_ALWAYS and touch <= piv.TOUCH_CACHED)
    return pin or default_pin_policy(slot), touch or piv.POLICY_NEVER
