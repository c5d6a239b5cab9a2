"""Sessions by the cloud on copies of one computer: asking who shares it, and ending who does not.

Promises: sessions of one device of an account open and come back one after the other; each is compared with those that
are there before it is told that it may run, within a short time. Whoever is on another copy hears why it is over. Who
does not answer is hung up, and shows itself when it comes back.

Leaves to others: the rule (domain/copies.py), what a mark is (keypeg.device_mark), frames (conversation.py).
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from keypeg import names
from keypeg.device_mark import proof
from keypeg.errors import DeviceCopied, TimedOut
from keypeg.v1 import location_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.domain.copies import Answer, Device
from keypeg_server.service.ending import SessionEnding
from keypeg_server.service.ports import Entitlement
from keypeg_server.service.presence import Session, State

ANSWER_TIME: Final = 2.0  # seconds for an app to look for a file
NONCE_BYTES: Final = 32

_Key = tuple[str, str]  # location (the account's cloud, or that of a member of a group) and device


@dataclass
class _Asked:
    """One question that is out."""

    expected: bytes
    answer: asyncio.Future[Answer] = field(repr=False)


class Copies:
    """All sessions by the cloud of this server, by device."""

    def __init__(
        self,
        ending: SessionEnding,
        random: Callable[[int], bytes] = os.urandom,
        answer_time: float = ANSWER_TIME,
    ) -> None:
        self._ending = ending
        self._presence = ending.presence
        self._random = random
        self._answer_time = answer_time
        self._turns: dict[_Key, tuple[asyncio.Lock, int]] = {}  # and how many are in it or wait
        self._asked: dict[tuple[str, str], _Asked] = {}  # by session and mark

    @asynccontextmanager
    async def turn(self, entitlement: Entitlement, device: str) -> AsyncIterator[None]:
        """By the cloud, one at a time of a device; others go on at once."""
        if entitlement.location_kind != location_pb2.LOCATION_KIND_CLOUD:
            yield
            return
        key = (entitlement.location, device)
        lock, count = self._turns.get(key, (asyncio.Lock(), 0))
        self._turns[key] = lock, count + 1
        try:
            async with lock:
                yield
        finally:
            lock, count = self._turns.pop(key)
            if count > 1:
                self._turns[key] = lock, count - 1

    async def opens(
        self, id: str, entitlement: Entitlement, device: str, mark: session_pb2.DeviceMark
    ) -> None:
        """A new session is about to run: whoever runs on another copy of its computer ends. In its turn."""
        others = self._others(id, entitlement, device)
        if not others:
            return
        answers = await self._ask(others, mark)
        outcome = _device(others).opened(id, answers)
        for session in others:
            if session.id in outcome.ended:
                self._ending.end(session, copied(session.name, device))
        self._doubt(others, outcome.device)

    async def resumes(
        self, id: str, entitlement: Entitlement, device: str, mark: session_pb2.DeviceMark
    ) -> None:
        """A session comes back; DeviceCopied when another copy of its computer runs by now. In its turn."""
        others = self._others(id, entitlement, device)
        if not others:
            return
        answers = await self._ask(others, mark)
        outcome = _device(others).resumed(id, answers)
        self._doubt(others, outcome.device)
        if outcome.refused:
            raise copied(names.SESSION.build(id), device)

    def answered(self, session: Session, frame: session_pb2.DeviceProof) -> None:
        """An answer has come; one that was not asked for says nothing."""
        asked = self._asked.get((session.id, frame.mark))
        if asked is None or asked.answer.done():
            return
        right = hmac.compare_digest(asked.expected, frame.mac)
        asked.answer.set_result(Answer.SHARED if right else Answer.OTHER)

    def gone(self, session: Session) -> None:
        """The stream of a session has ended: it answers nothing any more."""
        for (id, _), asked in self._asked.items():
            if id == session.id and not asked.answer.done():
                asked.answer.set_result(Answer.SILENT)

    def _others(self, id: str, entitlement: Entitlement, device: str) -> list[Session]:
        """The sessions by the cloud of the same device that may go on."""
        if entitlement.location_kind != location_pb2.LOCATION_KIND_CLOUD:
            return []
        return [
            one
            for one in self._presence.of_account(entitlement.account)
            if one.id != id
            and one.state is State.LIVE
            and not one.doubted
            and one.device is not None
            and one.device.id == device
            and one.admitted.location == entitlement.location
        ]

    async def _ask(self, others: list[Session], mark: session_pb2.DeviceMark) -> dict[str, Answer]:
        """What each of them says of a mark."""
        if not mark.id:  # no file can be written there, and nothing be found
            return {one.id: Answer.OTHER for one in others}
        asked = {one.id: self._put(one, mark) for one in others}
        waiting = [one.answer for one in asked.values()]
        await asyncio.wait(waiting, timeout=self._answer_time)
        for id in asked:
            self._asked.pop((id, mark.id), None)
        return {
            id: one.answer.result() if one.answer.done() else Answer.SILENT
            for id, one in asked.items()
        }

    def _put(self, session: Session, mark: session_pb2.DeviceMark) -> _Asked:
        nonce = self._random(NONCE_BYTES)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        asked = _Asked(proof(mark.secret, session.name, nonce), answer)
        if session.link is None or session.link.outbox.ended:
            answer.set_result(Answer.SILENT)
            return asked
        self._asked[session.id, mark.id] = asked
        question = session_pb2.ProveDevice(mark=mark.id, nonce=nonce)
        session.link.outbox.push(HoldSessionResponse(prove_device=question))
        return asked

    def _doubt(self, others: list[Session], device: Device) -> None:
        for session in others:
            if not device.sessions.get(session.id, False):
                continue
            session.doubted = True
            if session.link is not None:
                session.link.outbox.end(
                    TimedOut(
                        f"{session.name} did not say in time whether it shares its computer with a new session; "
                        "connect again.",
                        session=session.name,
                    )
                )


def _device(sessions: list[Session]) -> Device:
    return Device({one.id: one.doubted for one in sessions})


def copied(session: str, device: str) -> DeviceCopied:
    """What an app hears on a copy of the computer that runs now."""
    return DeviceCopied(
        f"Another copy of this computer ({device}) runs by the account's cloud session now, and {session} is over; "
        "start the app here again to go on here instead.",
        session=session,
        device=device,
    )
