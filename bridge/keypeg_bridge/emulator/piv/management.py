"""The management key: who proves it may change the card (SP 800-73-4 part 2, section 3.2.4, cases 1 and 2).

Promises: a challenge or witness serves one answer, and a wrong one ends what was proved. The key's algorithm is the only
one answered to; triple DES has two numbers in SP 800-78.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final

from keypeg_bridge.emulator.piv.refusal import Refused, need
from keypeg_bridge.emulator.piv.session import Session
from keypeg_bridge.emulator.piv.waiting import with_touch
from keypeg_bridge.emulator.piv_crypto import TRIPLE_DES, encrypt_block
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command, Status
from keypeg_bridge.wire.conversation import Pending

_TRIPLE_DES_TOO: Final = 0x00
_WITHOUT_TOUCH: Final = 0xFF
_WITH_TOUCH: Final = 0xFE


def authenticate(session: Session, algorithm: int, fields: dict[int, bytes]) -> bytes | Pending:
    """GENERAL AUTHENTICATE with the management key: external, or mutual."""
    chosen = TRIPLE_DES if algorithm == _TRIPLE_DES_TOO else algorithm
    need(chosen == session.state.management_algorithm, Status.WRONG_P1P2)
    block = piv.MANAGEMENT_SIZES[chosen][1]
    challenge, session.challenge = session.challenge, None
    witness, session.witness = session.witness, None
    match fields:
        case {piv.TAG_CHALLENGE: b"", **rest} if not rest:
            session.challenge = session.random(block)
            return _dynamic(piv.TAG_CHALLENGE, session.challenge)
        case {piv.TAG_WITNESS: b"", **rest} if not rest:
            session.witness = session.random(block)
            return _dynamic(piv.TAG_WITNESS, _encrypt(session, session.witness))
        case {piv.TAG_RESPONSE: answer, **rest} if not rest:
            expected = None if challenge is None else _encrypt(session, challenge)
            return _accept(session, answer, expected, b"")
        case {piv.TAG_WITNESS: answer, piv.TAG_CHALLENGE: asked, **rest} if _only_asks(rest):
            need(len(asked) == block)
            proof = _dynamic(piv.TAG_RESPONSE, _encrypt(session, asked))
            return _accept(session, answer, witness, proof)
    raise Refused(Status.WRONG_DATA)


def _only_asks(rest: dict[int, bytes]) -> bool:
    """Some hosts name the element that they want back."""
    return rest in ({}, {piv.TAG_RESPONSE: b""})


def _accept(
    session: Session, answer: bytes, expected: bytes | None, proof: bytes
) -> bytes | Pending:
    session.managed = False
    if expected is None or not hmac.compare_digest(answer, expected):
        raise Refused(Status.SECURITY_NOT_SATISFIED)

    def allow() -> bytes:
        session.managed = True
        return proof

    touch = piv.TOUCH_ALWAYS if session.state.management_touch else piv.POLICY_NEVER
    return with_touch(session, touch, allow)


def change(session: Session, command: Command) -> bytes:
    """INS FF: a new management key, and whether it wants a touch."""
    session.need_management()
    allowed = command.p1 == 0xFF and command.p2 in (_WITHOUT_TOUCH, _WITH_TOUCH)
    need(allowed, Status.WRONG_P1P2)
    need(bool(command.data) and command.data[0] in piv.MANAGEMENT_SIZES)
    algorithm = command.data[0]
    key = tlv.unwrap(command.data[1:], piv.SLOT_MANAGEMENT)
    need(len(key) == piv.MANAGEMENT_SIZES[algorithm][0])
    session.commit(
        replace(
            session.state,
            management_algorithm=algorithm,
            management_key=key,
            management_touch=command.p2 == _WITH_TOUCH,
        )
    )
    return b""


def _dynamic(tag: int, value: bytes) -> bytes:
    return tlv.encode(piv.TAG_DYNAMIC, tlv.encode(tag, value))


def _encrypt(session: Session, block: bytes) -> bytes:
    state = session.state
    return encrypt_block(state.management_algorithm, state.management_key, block)
