"""The seats of one session: what was asked for, what is held, and what must be said again after a break.

Promises: pure: frames' contents in, frames and news out. A request keeps its request id until it is answered,
so that a repeat is the same request; only a new session gets new ids. What nobody wants any more is given
back, also when it comes late.

Leaves to others: verification (session_guard), sequence numbers and sending (session_machine).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from keypeg import events
from keypeg.errors import KeypegError, LeaseExpired
from keypeg.instants import instant, span
from keypeg.seat import Lease, Place, SeatRecord, SeatStage, SeatStep, Wish, next_stage
from keypeg.v1 import product_pb2, seat_pb2, session_pb2


@dataclass(frozen=True)
class News:
    """What came of a step: frames to send (without sequence), events, and seats that changed."""

    acquires: tuple[str, ...] = ()  # keys of seats to ask for
    releases: tuple[str, ...] = ()  # names of leases and places to release
    events: tuple[events.Event, ...] = ()
    changed: tuple[str, ...] = ()  # keys

    def __add__(self, other: News) -> News:
        return News(
            self.acquires + other.acquires,
            self.releases + other.releases,
            self.events + other.events,
            self.changed + other.changed,
        )


@dataclass
class _Entry:
    record: SeatRecord
    above: Mapping[str, int] = field(default_factory=dict)  # fencing numbers when it was asked for
    held_since: int = 0  # the last sequence that was sent before it was held


class Ledger:
    """All seats that are not over, by a key that stays the same for the life of the seat."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._unanswered: set[str] = set()  # keys asked again after a break
        self._lost: dict[str, Lease] = {}  # at the last resume; why may still be told
        self._strangers: set[str] = (
            set()
        )  # leases and places that the server has and nobody here wants

    def record(self, key: str) -> SeatRecord | None:
        """What is known of a seat; None once it is over and was told."""
        entry = self._entries.get(key)
        return entry.record if entry else None

    @property
    def held(self) -> tuple[SeatRecord, ...]:
        """The seats that are held and wanted."""
        return tuple(e.record for e in self._entries.values() if e.record.stage is SeatStage.HELD)

    @property
    def is_empty(self) -> bool:
        """True when nothing is held, waited for or being given back."""
        return not self._entries

    def ask(self, key: str, request_id: str, wish: Wish, fencing: Mapping[str, int]) -> News:
        """A new seat is wanted."""
        assert key not in self._entries
        self._entries[key] = _Entry(SeatRecord(request_id, wish), fencing)
        return News(acquires=(key,))

    def acquire_frame(self, key: str) -> session_pb2.Acquire:
        """The frame that asks for a seat, without its sequence."""
        record = self._entries[key].record
        return session_pb2.Acquire(
            request_id=record.request_id,
            pool=record.wish.pool,
            units=record.wish.units,
            features=[
                product_pb2.FeatureUnits(feature=name, units=units)
                for name, units in record.wish.features.items()
            ],
            wait=record.wish.wait,
            priority=record.wish.priority,
        )

    def above(self, request_id: str, pool: str) -> int:
        """The fencing number that a new seat of the pool must be above."""
        key = self._key_of(request_id)
        return self._entries[key].above.get(pool, 0) if key else 0

    def queued(self, request_id: str, place: seat_pb2.QueuePlace) -> News:
        """The server says: wait."""
        key = self._key_of(request_id)
        if key is None:
            return News(releases=(place.name,))
        if self._entries[key].record.stage is SeatStage.HELD:
            return News()  # overtaken by the seat itself
        place_now = _place(place)
        record = self._step(key, SeatStep.QUEUE, place=place_now)
        self._is_ours(place.name)
        answered = self._answered(key)
        if record.stage is SeatStage.LEAVING:
            return News(releases=(place.name,)) + answered
        return News(events=(events.Queued(request_id, place_now),), changed=(key,)) + answered

    def acquired(self, request_id: str, lease: seat_pb2.Lease, sequence: int) -> News:
        """The server gives a seat; `sequence`: the last one that was sent."""
        key = self._key_of(request_id)
        if key is None:
            return News(releases=(lease.name,))
        before = self._entries[key].record
        held = _lease(lease)
        if before.lease is not None and before.lease.name != held.name:
            return News(releases=(held.name,))  # one request, one seat
        record = self._step(key, SeatStep.GRANT, lease=held, place=None)
        self._is_ours(held.name)
        answered = self._answered(key)
        if record.stage is SeatStage.LEAVING:
            return News(releases=(held.name,)) + answered
        if before.stage is SeatStage.HELD:
            return answered
        self._entries[key].held_since = sequence
        return News(events=(events.SeatAcquired(request_id, held),), changed=(key,)) + answered

    def refused(self, request_id: str, error: KeypegError) -> News:
        """The server says no to a request for a seat."""
        key = self._key_of(request_id)
        if key is None or self._entries[key].record.stage is SeatStage.HELD:
            return News()
        return self._end(key, SeatStep.REFUSE, error) + self._answered(key)

    def leave(self, key: str) -> News:
        """The app wants the seat no more."""
        if key not in self._entries:
            return News()
        again = self._entries[key].record.stage is SeatStage.LEAVING
        record = self._step(key, SeatStep.LEAVE)
        held = record.lease or record.place
        return News(releases=(held.name,) if held and not again else (), changed=(key,))

    def released(self, name: str, error: KeypegError | None = None) -> News:
        """The server has taken back a lease or place, or knows it no more (`error`)."""
        for key, entry in self._entries.items():
            record = entry.record
            if record.stage is not SeatStage.LEAVING:
                continue
            if record.lease is not None:
                if record.lease.name != name:
                    continue
                told = () if error else (events.SeatReleased(record.lease),)
                return self._end(key, SeatStep.RELEASE, None, *told)
            if record.place is not None and record.place.name == name:
                return self._end(key, SeatStep.RELEASE, None)
        return News()

    def recalled(self, frame: session_pb2.Recalled, error: KeypegError) -> News:
        """An administrator took a seat back; it is given back, so that others get it at once."""
        until = None
        if frame.HasField("hold_off_until_time"):
            until = instant(frame.hold_off_until_time)
        for key, entry in self._entries.items():
            lease = entry.record.lease
            if lease is not None and lease.name == frame.lease:
                # A seat that is given back anyway is; any other is acknowledged by that.
                leaving = entry.record.stage is SeatStage.LEAVING
                told = events.SeatRecalled(lease, error, until)
                ended = self._end(key, SeatStep.RECALL, error, told)
                return ended if leaving else ended + News(releases=(frame.lease,))
        lost = self._lost.pop(frame.lease, None)
        if lost is None:
            return News(releases=(frame.lease,))
        return News((), (frame.lease,), (events.SeatRecalled(lost, error, until),))

    def listed(self, leases: Iterable[str], sequence: int) -> News:
        """A signed grant that answers `sequence` lists what the session holds; the rest is lost.

        What it lists and nobody wants any more (a release was refused, say) is given back.
        """
        names = frozenset(leases)
        lost = self._lose(
            key
            for key, entry in self._entries.items()
            if entry.record.stage is SeatStage.HELD
            and entry.held_since < sequence
            and entry.record.lease is not None
            and entry.record.lease.name not in names
        )
        records = [entry.record for entry in self._entries.values()]
        if any(record.stage in (SeatStage.ASKED, SeatStage.QUEUED) for record in records):
            return lost  # it may be theirs
        known = {record.lease.name for record in records if record.lease is not None}
        if any(record.stage is SeatStage.LEAVING and record.lease is None for record in records):
            return lost  # what comes late is given back then
        return lost + News(releases=tuple(sorted(names - known)))

    def resumed(
        self, leases: Iterable[seat_pb2.Lease], places: Iterable[seat_pb2.QueuePlace]
    ) -> News:
        """The session went on on a new stream; says again what may have been lost with the old one."""
        held = {lease.name for lease in leases}
        waiting = {place.name: place for place in places}
        self._lost.clear()
        news = News()
        for key, entry in tuple(self._entries.items()):
            record = entry.record
            name = record.lease.name if record.lease else record.place.name if record.place else ""
            there = name in held or name in waiting
            held.discard(name)
            match record.stage:
                case SeatStage.ASKED:
                    news += News(acquires=(key,))
                    self._unanswered.add(key)
                case SeatStage.QUEUED if there:
                    news += self.queued(record.request_id, waiting.pop(name))
                case SeatStage.QUEUED:  # served, or dropped: the same request tells
                    news += News(acquires=(key,))
                    self._unanswered.add(key)
                case SeatStage.HELD if not there:
                    assert record.lease is not None
                    self._lost[name] = record.lease
                    news += self._lose((key,))
                case SeatStage.LEAVING if there:
                    waiting.pop(name, None)
                    news += News(releases=(name,))
                case SeatStage.LEAVING:
                    news += self._end(key, SeatStep.RELEASE, None)
        self._strangers = held | set(waiting)
        return news + self._release_strangers()

    def reopened(self, request_id: Callable[[], str], fencing: Mapping[str, int]) -> News:
        """A new session took the place of the old one: its seats are lost, requests are made anew."""
        news = News()
        self._strangers.clear()
        self._unanswered.clear()
        for key, entry in tuple(self._entries.items()):
            match entry.record.stage:
                case SeatStage.ASKED | SeatStage.QUEUED:
                    self._step(key, SeatStep.ASK_AGAIN, request_id=request_id(), place=None)
                    entry.above = fencing
                    news += News(acquires=(key,))
                case SeatStage.LEAVING:
                    news += self._end(key, SeatStep.RELEASE, None)
                case _:
                    news += self._lose((key,))
        return news

    def stopped(self, error: KeypegError | None) -> News:
        """The session is over, and with it every seat."""
        news = News()
        for key in tuple(self._entries):
            news += self._end(key, SeatStep.LOSE, error)
        return news

    def forget(self, key: str) -> None:
        """Drops a seat that has ended, once its owner knows."""
        entry = self._entries.get(key)
        if entry is not None and entry.record.stage is SeatStage.ENDED:
            del self._entries[key]

    def _lose(self, keys: Iterable[str]) -> News:
        news = News()
        for key in tuple(keys):
            lease = self._entries[key].record.lease
            assert lease is not None
            error = LeaseExpired(
                f"The seat {lease.name} is held no more: its session had run out at the server. "
                "Acquire a new one.",
                lease=lease.name,
            )
            news += self._end(key, SeatStep.LOSE, error, events.SeatLost(lease, error))
        return news

    def _end(
        self, key: str, step: SeatStep, error: KeypegError | None, *told: events.Event
    ) -> News:
        self._step(key, step, error=error)
        return News(events=told, changed=(key,))

    def _step(self, key: str, step: SeatStep, **changes: object) -> SeatRecord:
        entry = self._entries[key]
        stage = next_stage(entry.record.stage, step)
        entry.record = replace(entry.record, stage=stage, **changes)  # type: ignore[arg-type]  # by name
        return entry.record

    def _key_of(self, request_id: str) -> str | None:
        for key, entry in self._entries.items():
            if entry.record.request_id == request_id and entry.record.stage is not SeatStage.ENDED:
                return key
        return None

    def _answered(self, key: str) -> News:
        self._unanswered.discard(key)
        return self._release_strangers()

    def _is_ours(self, name: str) -> None:
        """A place and the lease that it becomes have one id: the break may have shown either, and the answer the other."""
        self._strangers = {one for one in self._strangers if _id(one) != _id(name)}

    def _release_strangers(self) -> News:
        if self._unanswered or not self._strangers:
            return News()
        strangers, self._strangers = sorted(self._strangers), set()
        return News(releases=tuple(strangers))


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _lease(lease: seat_pb2.Lease) -> Lease:
    return Lease(
        name=lease.name,
        units=lease.units,
        fencing_number=lease.fencing_number,
        features={one.feature: one.units for one in lease.features},
    )


def _place(place: seat_pb2.QueuePlace) -> Place:
    return Place(
        name=place.name,
        position=place.position,
        waiting_count=place.waiting_count,
        estimated_wait=span(place.estimated_wait) if place.HasField("estimated_wait") else None,
        explanation=place.explanation.sentence,
    )
