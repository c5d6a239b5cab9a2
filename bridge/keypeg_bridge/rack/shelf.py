"""The rules of the rack: which keys there are and what becomes of them, as they come, fail, leave and come back.

Promises: pure but for its own memory: what happened and the time come in, changes and the next deadline come out; every
change of state goes through the table in `states`. Threads, timers and the log are the rack's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from keypeg_bridge.rack.ports import Place
from keypeg_bridge.rack.reading import Reading
from keypeg_bridge.rack.record import Absence, KeyRecord, Namer
from keypeg_bridge.rack.states import Happening, State, after

FLAP_WINDOW: Final = timedelta(minutes=1)
FLAP_COUNT: Final = 5
"""Absences within the window from which a key counts as flapping: more than a person plugs in a minute."""
GONE_KEPT: Final = 64
"""Keys that are remembered after they went, for those who ask by name."""
PAST: Final = frozenset({State.GONE, State.STOPPED})
"""The states of keys that do not count any more."""
FAULT_LENGTH: Final = 500
"""Characters; a key full of garbage has much to say."""


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What happened to one key."""

    before: State
    happening: Happening
    record: KeyRecord


class Shelf:
    """The keys of this computer."""

    def __init__(self, namer: Namer) -> None:
        self._namer = namer
        self._records: dict[str, KeyRecord] = {}
        self._by_place: dict[Place, str] = {}

    def listed(self) -> tuple[KeyRecord, ...]:
        """The keys that are there or may come back, in the order in which they came."""
        return tuple(one for one in self._records.values() if one.state not in PAST)

    def find(self, name: str) -> KeyRecord | None:
        """A key by its name; one that has gone is remembered for a while."""
        return self._records.get(name)

    def at(self, place: Place) -> KeyRecord | None:
        """The key at a place."""
        name = self._by_place.get(place)
        return None if name is None else self._records[name]

    def arrived(
        self, place: Place, reading: Reading, now: float, wall: datetime
    ) -> list[KeyChange]:
        """A key was opened and read: a new one, or one that comes back or recovers."""
        name = self._namer.of_key(reading.identity, place)
        other = self._records.get(name)
        if other is not None and other.place not in (None, place):
            return self._double(place, other, reading, now, wall)
        changes = self._forget_other_at(place, name, now)
        before = self._known(name, place, wall)
        absences = self._recent(before, now)
        if before.absent_since is not None:
            start = max(before.absent_since, now - FLAP_WINDOW.total_seconds())
            absences = (*absences, Absence(start, now))
        record = replace(
            before,
            place=place,
            reading=reading,
            absent_since=None,
            spent=timedelta(),
            absences=absences,
        )
        return [*changes, self._put(before.state, Happening.ARRIVED, self._judged(record))]

    def failed(self, place: Place, sentence: str, now: float, wall: datetime) -> list[KeyChange]:
        """A key cannot be opened or read, or does not answer as it should."""
        name = self._by_place.get(place) or self._namer.of_place(place)
        before = self._known(name, place, wall)
        return [self._fail(before, place, sentence, now)]

    def rewritten(self, name: str, reading: Reading, now: float) -> list[KeyChange]:
        """A key's contents were changed through this bridge. By its first own id it gets another name."""
        before = self._records.get(name)
        if before is None or before.place is None or before.state is not State.PRESENT:
            return []
        record = replace(before, reading=reading)
        renamed = self._namer.of_key(reading.identity, before.place)
        known = self._records.get(renamed)
        if renamed == name or (known is not None and known.state is not State.GONE):
            return [self._put(before.state, Happening.REWRITTEN, self._judged(record))]
        changes = self._leave(replace(before, reading=None), now)
        fresh = replace(record, name=renamed, state=State.GONE)
        return [*changes, self._put(State.GONE, Happening.ARRIVED, self._judged(fresh))]

    def departed(self, place: Place, now: float) -> list[KeyChange]:
        """A key was unplugged."""
        record = self.at(place)
        return [] if record is None else self._leave(record, now)

    def expire(self, now: float) -> list[KeyChange]:
        """What follows from the time alone."""
        changes: list[KeyChange] = []
        for record in list(self._records.values()):
            if record.state is State.MISSING and self._deadline(record) <= now:
                changes.append(self._put(State.MISSING, Happening.GRACE_OVER, record))
            elif record.state is State.PRESENT and record.absences:
                judged = self._judged(replace(record, absences=self._recent(record, now)))
                if judged.fault != record.fault:
                    changes.append(self._put(State.PRESENT, Happening.REWRITTEN, judged))
                else:
                    self._records[record.name] = judged
        return changes

    def drained(self) -> list[KeyChange]:
        """The bridge has begun to end: keys that are there stay a moment, for those who use them."""
        return [
            self._put(
                one.state,
                Happening.DRAINED,
                one if one.state is State.PRESENT else replace(one, place=None),
            )
            for one in self.listed()
        ]

    def released(self, now: float) -> list[KeyChange]:
        """The bridge has let go of all keys."""
        return [
            self._put(one.state, Happening.RELEASED, replace(one, place=None, absent_since=now))
            for one in self.listed()
        ]

    def next_deadline(self) -> float | None:
        """When to call `expire` next, on the monotonic clock."""
        due = [
            self._deadline(record)
            if record.state is State.MISSING
            else record.absences[0].end + FLAP_WINDOW.total_seconds()
            for record in self._records.values()
            if record.state is State.MISSING or (record.state is State.PRESENT and record.absences)
        ]
        return min(due, default=None)

    def _known(self, name: str, place: Place, wall: datetime) -> KeyRecord:
        """The record of a name; a new one, or one that had gone, stands at the end."""
        known = self._records.get(name)
        if known is not None and known.state is not State.GONE:
            return known
        fresh = KeyRecord(name, State.GONE, place, wall)
        if known is not None:
            del self._records[name]
            fresh = replace(fresh, absences=known.absences, absent_since=known.absent_since)
        return fresh

    def _double(
        self, place: Place, other: KeyRecord, reading: Reading, now: float, wall: datetime
    ) -> list[KeyChange]:
        sentence = (
            f"Another plugged-in key, {other.name}, has the same card id: one of them is a copy."
            " Unplug both, and plug in the one that the licenses were activated to."
        )
        name = self._namer.of_double(other.name, place)
        changes = self._forget_other_at(place, name, now)
        before = replace(self._known(name, place, wall), reading=replace(reading, licenses=()))
        return [*changes, self._fail(before, place, sentence, now)]

    def _fail(self, before: KeyRecord, place: Place | None, sentence: str, now: float) -> KeyChange:
        since = now if before.absent_since is None else before.absent_since
        if before.state is State.PRESENT:
            before = self._with_spent(before, now)
        if before.state is State.DRAINING:
            place = None
        record = replace(before, place=place, fault=_cut(sentence), absent_since=since)
        return self._put(before.state, Happening.FAILED, record)

    def _forget_other_at(self, place: Place, name: str, now: float) -> list[KeyChange]:
        """A place has one key: what was taken for another one there has gone."""
        known = self._by_place.get(place)
        if known is None or known == name:
            return []
        return self._leave(replace(self._records[known], reading=None), now)

    def _leave(self, record: KeyRecord, now: float) -> list[KeyChange]:
        if record.state is State.PRESENT:
            record = self._with_spent(record, now)
        record = replace(record, place=None, absent_since=now)
        changes = [self._put(record.state, Happening.DEPARTED, record)]
        missing = changes[0].record
        if missing.state is State.MISSING and self._deadline(missing) <= now:
            changes.append(self._put(State.MISSING, Happening.GRACE_OVER, missing))
        return changes

    def _with_spent(self, record: KeyRecord, now: float) -> KeyRecord:
        """A key that comes and goes all the time gets one grace for all its absences, not one each."""
        absences = self._recent(record, now)
        spent = sum(one.end - one.start for one in absences) if len(absences) >= FLAP_COUNT else 0
        return replace(record, absences=absences, spent=timedelta(seconds=spent))

    def _deadline(self, record: KeyRecord) -> float:
        grace = max(timedelta(), record.unplug_grace - record.spent)
        return (record.absent_since or 0.0) + grace.total_seconds()

    def _recent(self, record: KeyRecord, now: float) -> tuple[Absence, ...]:
        start = now - FLAP_WINDOW.total_seconds()
        return tuple(one for one in record.absences if one.end > start)

    def _judged(self, record: KeyRecord) -> KeyRecord:
        """With what is wrong, if anything, with a key that answers."""
        read = record.reading
        faults = (
            [*_sentences(read.signals), *_missing(read), *_sentences(read.notes)] if read else []
        )
        if len(record.absences) >= FLAP_COUNT:
            faults.insert(
                0,
                f"It came and went {len(record.absences)} times within a minute;"
                " check the plug, the cable and the hub.",
            )
        return replace(record, fault=_cut(" ".join(faults)))

    def _put(self, before: State, happening: Happening, record: KeyRecord) -> KeyChange:
        record = replace(record, state=after(before, happening))
        for place in [p for p, name in self._by_place.items() if name == record.name]:
            del self._by_place[place]
        if record.place is not None:
            self._by_place[record.place] = record.name
        self._records[record.name] = record
        gone = [one.name for one in self._records.values() if one.state is State.GONE]
        for name in gone[: max(0, len(gone) - GONE_KEPT)]:
            del self._records[name]
        return KeyChange(before, happening, record)


def _sentences(clauses: tuple[str, ...]) -> list[str]:
    return [f"{clause}." for clause in clauses]


def _missing(reading: Reading) -> tuple[str, ...]:
    """What a key lacks is said while it can still be another one that is enrolled."""
    return reading.capabilities.missing if reading.identity.public_key is None else ()


def _cut(text: str) -> str:
    return text if len(text) <= FAULT_LENGTH else text[: FAULT_LENGTH - 3] + "..."
