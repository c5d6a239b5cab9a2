"""A session by a seat that was borrowed for this computer: no server, its units, until its end.

Promises: the borrow is verified against the pinned root when the session opens, when a seat is taken, and every
CHECK_TIME; one that has ended, or was given back, stops the app. Its end is judged by the wall clock, never
before the latest time that was seen here: setting the clock back does not lengthen it. All programs of this
computer together hold no more units than were borrowed.

Leaves to others: the disk (borrow_shelf), what a document is worth (proof), borrowing and giving back (cli).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from keypeg import events
from keypeg import proof as proofs
from keypeg.borrow_memory import Memory
from keypeg.borrow_place import Kept
from keypeg.borrow_shelf import Shelf
from keypeg.borrow_use import Use
from keypeg.clock import Clock
from keypeg.errors import (
    DocumentOtherProduct,
    FeatureUnknown,
    KeypegError,
    LicenseMissing,
    PoolExhausted,
    PoolTooSmall,
)
from keypeg.event_hub import EventHub
from keypeg.offline_session import LocalDriver
from keypeg.proof import Expectation, Verified
from keypeg.seat import Lease, SeatRecord, SeatStage, SeatStep, Wish, next_stage
from keypeg.session_frames import Moment
from keypeg.session_guard import NONCE_BYTES, Pinned, Randomness
from keypeg.session_state import State
from keypeg.timers import TimerHandle, call_at, now_of
from keypeg.v1 import proof_pb2

CHECK_TIME: Final = (
    10.0  # s between verifications: so soon a borrow that was given back stops the app
)
REMEMBER_TIME: Final = 60.0  # s between notes of how late it is
ASK_AGAIN_TIME: Final = 0.5  # s between looks whether another program has closed

ReadParts = Callable[[], Mapping[str, str]]


def find(shelf: Shelf, pinned: Pinned, read_parts: ReadParts, wall: datetime) -> Kept:
    """The borrow of this computer that opens the product for the longest; else an error says why not."""
    refusals: list[KeypegError] = []
    found: list[tuple[datetime, Kept]] = []
    for kept in shelf.kept(refusals):
        try:
            verified = verify(shelf, kept, pinned, read_parts, wall)
        except KeypegError as error:
            refusals.append(error)
        else:
            assert verified.license_expire_time is not None
            found.append((verified.license_expire_time, kept))
    if found:
        return max(found, key=lambda one: one[0])[1]
    near = [error for error in refusals if not isinstance(error, DocumentOtherProduct)]
    if near or refusals:
        raise (near or refusals)[0]
    raise LicenseMissing(f"No seat of {pinned.product} is borrowed here.", product=pinned.product)


def proof_of(memory: Memory, kept: Kept) -> proof_pb2.BorrowProof:
    """What a borrow is believed by here: its documents, and the newest delegation that is known."""
    publisher = kept.document.publisher
    delegation = memory.believed(publisher, kept.proof.delegation)
    license_, borrow = kept.proof.license, kept.proof.borrow
    return proof_pb2.BorrowProof(delegation=delegation, license=license_, borrow=borrow)


def verify(
    shelf: Shelf, kept: Kept, pinned: Pinned, read_parts: ReadParts, wall: datetime
) -> Verified:
    """What the borrow allows here at this time; the error of the check that failed."""
    memory = shelf.memory()
    proof = proof_of(memory, kept)
    parts = read_parts() if kept.document.HasField("fingerprint") else None
    return proofs.verify(
        proof_pb2.Proof(borrow=proof),
        Expectation(
            publisher_root=pinned.root,
            publisher=pinned.publisher,
            product=pinned.product,
            session="",
            device=pinned.device,
            nonce=bytes(NONCE_BYTES),  # nobody is asked
            client_key_share=b"",
            server_key_share=b"",
            now=memory.now(wall),
            fingerprint=parts,
            release=pinned.release,
            seen=memory.seen,
            return_key=kept.return_key,
        ),
    )


class BorrowDriver(LocalDriver):
    """Keeps the session of one borrow going, and hands out its units."""

    def __init__(
        self,
        shelf: Shelf,
        kept: Kept,
        pinned: Pinned,
        read_parts: ReadParts,
        clock: Clock,
        hub: EventHub,
        randomness: Randomness,
    ) -> None:
        super().__init__(pinned.product, clock, hub)
        self._shelf = shelf
        self._kept = kept
        self._pinned = pinned
        self._read_parts = read_parts
        self._randomness = randomness
        self._begun: Moment | None = None
        self._remembered = float("-inf")
        self._seats: dict[str, _Seat] = {}
        self._keys = 0

    def acquire(self, wish: Wish, changed: Callable[[SeatRecord], None]) -> str:
        """Takes units of the borrow; refused at once, or tried again while the app waits."""
        refusal = self.view.error
        if refusal is not None:
            raise refusal
        self._keys += 1
        key = f"seat-{self._keys}"
        self._seats[key] = _Seat(SeatRecord(self._randomness.request_id(), wish), changed)
        self._try(key)
        return key

    def leave(self, key: str) -> None:
        """Gives the units back."""
        seat = self._seats.get(key)
        if seat is None:
            return
        lease = seat.record.lease
        self._step(key, SeatStep.LEAVE)
        self._end(key, SeatStep.RELEASE, None)
        if lease is not None:
            self._hub.publish(events.SeatReleased(lease))

    def _verify(self) -> Verified:
        self._kept = self._shelf.again(self._kept)
        moment = now_of(self._clock, self._begun)
        now = self._shelf.memory().now(moment.wall)
        if self._begun is None:
            self._begun = Moment(moment.monotonic, now)
        verified = verify(self._shelf, self._kept, self._pinned, self._read_parts, now)
        if moment.monotonic - self._remembered >= REMEMBER_TIME:
            self._remember(verified, moment.monotonic, now)
        self.view = replace(
            self.view,
            borrowed_until=verified.license_expire_time,
            pools=(self._kept.pool,),
        )
        return verified

    def _remember(self, verified: Verified, monotonic: float, now: datetime) -> None:
        assert verified.license is not None
        self._remembered = monotonic
        delegation = verified.delegation
        generations = {
            delegation.publisher: delegation.generation,
            verified.activation: verified.license.generation,
        }
        shown = proof_of(self._shelf.memory(), self._kept).delegation
        delegations = {delegation.publisher: shown.SerializeToString()}
        self._shelf.used(now, generations, delegations)

    def _running(self, verified: Verified) -> events.Running:
        return replace(super()._running(verified), borrowed_until=verified.license_expire_time)

    def _pause(self, verified: Verified) -> float:
        return min(CHECK_TIME, verified.valid_for.total_seconds())

    # Seats.

    def _try(self, key: str) -> None:
        seat = self._seats.get(key)
        if seat is None or seat.record.stage is not SeatStage.ASKED:
            return
        wish = seat.record.wish
        try:
            self._check_wish(wish)
            self._verify()
            seat.use = self._shelf.use(self._kept, wish.units, wish.features)
        except PoolExhausted as error:
            if not wish.wait:
                self._end(key, SeatStep.REFUSE, error)
                return
            when = self._clock.monotonic() + ASK_AGAIN_TIME
            seat.timer = call_at(self._clock, when, lambda: self._try(key))
        except KeypegError as error:
            self._end(key, SeatStep.REFUSE, error)
        else:
            signed = self._kept.document.lease
            lease = Lease(signed.lease, wish.units, signed.fencing_number, wish.features)
            self._step(key, SeatStep.GRANT, lease=lease)
            self._hub.publish(events.SeatAcquired(seat.record.request_id, lease))

    def _check_wish(self, wish: Wish) -> None:
        """What this borrow can never give."""
        lease, name = self._kept.document.lease, self._kept.name
        if wish.pool and wish.pool != self._kept.pool:
            raise LicenseMissing(
                f"This computer has borrowed from {self._kept.pool}, not from {wish.pool}; connect to the "
                "server for a seat of that pool.",
                pool=wish.pool,
            )
        there = {one.feature: one.units for one in lease.features}
        for feature, units in wish.features.items():
            if feature not in there:
                raise FeatureUnknown(
                    f"{feature!r} was not borrowed with {name}; borrow it, or connect to the server.",
                    feature=feature,
                )
            _check_units(f"units of {feature}", units, there[feature], name)
        _check_units("units", wish.units, lease.units, name)

    def _step(self, key: str, step: SeatStep, **changes: object) -> None:
        seat = self._seats[key]
        stage = next_stage(seat.record.stage, step)
        seat.record = replace(seat.record, stage=stage, **changes)  # type: ignore[arg-type]  # by name
        if stage is SeatStage.ENDED:
            del self._seats[key]
            seat.end()
        held = any(one.record.stage is SeatStage.HELD for one in self._seats.values())
        self.view = replace(self.view, holds_seat=held)
        seat.changed(seat.record)

    def _end(self, key: str, step: SeatStep, error: KeypegError | None) -> None:
        self._step(key, step, error=error)

    def _stop(self, error: KeypegError | None) -> None:
        if self.view.state is not State.STOPPED and self._begun is not None:
            with contextlib.suppress(KeypegError):  # a disk that is full or gone
                self._shelf.used(now_of(self._clock, self._begun).wall, {})
        for key, seat in tuple(self._seats.items()):
            lease = seat.record.lease
            self._end(key, SeatStep.LOSE, error)
            if lease is not None and error is not None:
                self._hub.publish(events.SeatLost(lease, error))
            elif lease is not None:
                self._hub.publish(events.SeatReleased(lease))
        super()._stop(error)


class _Seat:
    """One seat that is held or waited for."""

    def __init__(self, record: SeatRecord, changed: Callable[[SeatRecord], None]) -> None:
        self.record = record
        self.changed = changed
        self.use: Use | None = None
        self.timer: TimerHandle | None = None

    def end(self) -> None:
        """Gives back what it uses."""
        if self.timer is not None:
            self.timer.cancel()
        if self.use is not None:
            self.use.end()


def _check_units(what: str, wanted: int, there: int, name: str) -> None:
    if wanted > there:
        raise PoolTooSmall(
            f"{there} {what} were borrowed with {name}, and {wanted} are asked for; borrow more, or connect "
            "to the server.",
            units=str(wanted),
            seat_count=str(there),
        )
