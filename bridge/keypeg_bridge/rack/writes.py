"""Writing to keys: one write at a time for each key, from its challenge to its end.

Promises: the steps of a write follow the table below; a write ends by its time whether its caller lives or not, and with
its end the key's authorization ends too; what was written is read back before anyone is told. The bridge only relays: the
management key is the server's, and its answers come from the caller. Proofs of sessions go on between the steps.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

import structlog

from keypeg.errors import (
    AlreadyExists,
    KeyBusy,
    KeyFaulty,
    KeypegError,
    KeyUnsuitable,
    NotFound,
    ProtocolViolation,
)
from keypeg.possession import enrollment_challenge
from keypeg.v1 import document_pb2
from keypeg.v1.key_contents_pb2 import Receipt
from keypeg_bridge.rack import writing
from keypeg_bridge.rack.memory import Memory
from keypeg_bridge.rack.ports import OpenKey, Time
from keypeg_bridge.rack.rack import Rack
from keypeg_bridge.rack.reading import Reading, read_key
from keypeg_bridge.rack.record import KeyRecord
from keypeg_bridge.rack.shelf import KeyChange
from keypeg_bridge.rack.states import State
from keypeg_bridge.rack.write_steps import STEPS, Begun, Deed, Step, Write

T = TypeVar("T")

VALID_FOR: Final = timedelta(seconds=30)
"""The life of a write: time enough for two calls to a server, short enough that a dead caller blocks nobody for long."""
STEP_LIMIT: Final = 20.0
"""Seconds for one step on the key: making a private key takes the slowest cards several."""
_LOG = structlog.get_logger(__name__)


class Writes:
    """The writes of all keys."""

    def __init__(
        self,
        rack: Rack,
        time: Time,
        *,
        valid_for: timedelta = VALID_FOR,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
        memory: Memory | None = None,
    ) -> None:
        self._rack = rack
        self._time = time
        self._memory = memory or Memory()
        self._valid_for = valid_for
        self._new_id = new_id
        self._writes: dict[str, Write] = {}
        rack.listen(self._heard)

    async def begin(self, key: str) -> Begun:
        """Take a key for one caller. Raises KeyBusy, KeyUnsuitable, and what Rack.run raises."""
        self._rack.key(key)
        for other in self._writes.values():
            if other.key == key:
                raise self._busy(other)
        write = self._new(key)
        try:
            begun = await self._on_key(write, writing.begin)
        except BaseException:
            self._end(write)
            raise
        reading, challenge = begun
        record = self._rack.key(key)
        if record.reading is None or record.reading.identity != reading.identity:
            write.key = ""  # the name that goes is not this write's any more
            write.key = self._rack.rewritten(key, reading).name
        card_id = reading.identity.card_id
        if card_id is None:
            self._end(write)
            raise KeyUnsuitable(
                f"The key {key} has no card id and takes none. Use another key.",
                capability="card_id",
            )
        return Begun(
            write.id,
            card_id,
            reading.capabilities.management_algorithm,
            challenge,
            reading.identity.factory_key,
            self._valid_for,
        )

    async def enroll(
        self,
        id: str,
        response: bytes,
        new_management_key: bytes,
        new_management_algorithm: str,
        account: str,
        nonce: bytes,
    ) -> tuple[KeyRecord, bytes]:
        """Let the key make its private key; the record, and its signature that it has it, for one account."""
        async with self._within(id) as write:
            await self._authorize(write, response)
            record = self._rack.key(write.key)
            if record.reading is not None and writing.own_licenses(record.reading):
                raise AlreadyExists(
                    f"The key {write.key} is enrolled and carries licenses, which a new private key"
                    " would make useless. Deactivate them first.",
                    name=write.key,
                )

            def work(key: OpenKey) -> tuple[Reading, bytes]:
                if new_management_key:
                    key.set_management_key(new_management_algorithm, new_management_key)
                key.generate_identity_key()
                reading = read_key(key)
                card_id = reading.identity.card_id
                if card_id is None:
                    raise KeyFaulty(f"The key {write.key} has lost its card id.")
                return reading, key.prove(enrollment_challenge(card_id.hex(), account, nonce))

            reading, signature = await self._on_key(write, work)
            write.step = STEPS[write.step, Deed.CHANGE]
            record = self._rack.rewritten(write.key, reading)
            write.key = record.name
            _LOG.info("key enrolled", key=record.name)
            return record, signature

    async def put(
        self,
        id: str,
        response: bytes,
        license: document_pb2.Envelope | None,
        delegation: document_pb2.Envelope,
        contents: document_pb2.Envelope | None = None,
    ) -> KeyRecord:
        """Put a license on the key with the contents that name it, or contents alone; its record."""
        async with self._within(id) as write:
            new, signed_under = writing.parsed(license, delegation)
            before = self._rack.key(write.key).reading
            if before is not None:
                least = self._memory.least
                named = writing.check_contents(before, write.key, contents, signed_under, least)
                writing.check_for(before, write.key, new, named)
            await self._authorize(write, response)
            reading = await self._on_key(
                write, lambda key: writing.put(key, new, signed_under, contents)
            )
            write.step = STEPS[write.step, Deed.CHANGE]
            record = self._rack.rewritten(write.key, reading)
            written = new.document.activation if new else None
            _LOG.info("key written", key=record.name, activation=written)
            return record

    async def remove(
        self,
        id: str,
        response: bytes,
        receipt: Receipt,
        delegation: document_pb2.Envelope,
        contents: document_pb2.Envelope,
    ) -> tuple[KeyRecord, document_pb2.Envelope]:
        """Remove a license that the contents do not name; the record, and the key's receipt.

        `receipt` says which, and the nonce; the rest of it is filled in here.
        """
        async with self._within(id) as write:
            signed_under = writing.parsed_delegation(delegation)
            before = self._rack.key(write.key).reading
            if before is not None:
                least = self._memory.least
                named = writing.check_contents(before, write.key, contents, signed_under, least)
                writing.fill_in(receipt, named)
            receipt.receipt_time.FromDatetime(self._time.wall())
            await self._authorize(write, response)
            reading, signed = await self._on_key(
                write, lambda key: writing.remove(key, receipt, signed_under, contents)
            )
            write.step = STEPS[write.step, Deed.CHANGE]
            record = self._rack.rewritten(write.key, reading)
            _LOG.info("license removed", key=record.name, activation=receipt.activation)
            return record, signed

    async def end(self, id: str) -> None:
        """End a write; one that has ended already is no error."""
        write = self._writes.get(id)
        if write is None:
            return
        async with write.lock:
            await self._close(write)

    def _new(self, key: str) -> Write:
        seconds = self._valid_for.total_seconds()
        name = self._new_id()
        timer = self._time.call_later(seconds, lambda: self._run_out(name))
        write = Write(name, key, self._time.monotonic() + seconds, timer, asyncio.Lock())
        self._writes[name] = write
        return write

    @asynccontextmanager
    async def _within(self, id: str) -> AsyncIterator[Write]:
        """A write that is under way, for one step alone."""
        write = self._find(id)
        async with write.lock:
            self._find(id)  # it may have ended while we waited
            yield write

    def _find(self, id: str) -> Write:
        write = self._writes.get(id)
        if write is None or write.step is Step.ENDED:
            raise NotFound(
                "This write is not known here, or its time has run out. Begin a new one."
            )
        return write

    def _busy(self, other: Write) -> KeyBusy:
        left = timedelta(seconds=max(0.1, other.deadline - self._time.monotonic()))
        return KeyBusy(
            f"Another program writes to {other.key}. Try again when it has ended, in"
            f" {left.total_seconds():.0f} s at the latest.",
            retry_after=left,
            key=other.key,
        )

    async def _authorize(self, write: Write, response: bytes) -> None:
        """Give the key the server's answer, once in a write."""
        if write.step is Step.AUTHORIZED and not response:
            return
        if (write.step, Deed.AUTHORIZE) not in STEPS:
            raise ProtocolViolation(
                "This write has been authorized already. Leave the response out, or begin a new"
                " write.",
                step=write.step.value,
            )
        try:
            await self._on_key(write, lambda key: key.finish_authorization(response))
        except KeypegError:
            write.step = STEPS[write.step, Deed.REFUSED]
            self._end(write)
            raise
        write.step = STEPS[write.step, Deed.AUTHORIZE]

    async def _on_key(self, write: Write, work: Callable[[OpenKey], T]) -> T:
        return await self._rack.run(write.key, f"write {write.id}", work, STEP_LIMIT)

    async def _close(self, write: Write) -> None:
        if write.step is Step.ENDED:
            return
        write.step = STEPS[write.step, Deed.END]
        try:
            await self._on_key(write, lambda key: key.end_authorization())
        except KeypegError as error:  # gone or faulty: its authorization has ended with it
            _LOG.info("write ended without its key", key=write.key, reason=error.reason.name)
        finally:
            self._end(write)

    def _run_out(self, id: str) -> None:
        write = self._writes.get(id)
        if write is not None:
            _LOG.warning("write ran out of time", key=write.key, step=write.step.value)
            task = asyncio.ensure_future(self.end(id))
            task.add_done_callback(_outcome)

    def _heard(self, change: KeyChange) -> None:
        """An authorization does not outlive its key's presence, so neither does a write."""
        if change.record.state is not State.PRESENT:
            for write in [one for one in self._writes.values() if one.key == change.record.name]:
                self._end(write)

    def _end(self, write: Write) -> None:
        write.step = Step.ENDED
        write.timer.cancel()
        self._writes.pop(write.id, None)


def _outcome(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _LOG.error("write could not be ended", exc_info=task.exception())
