"""Which faults are active on which key: they begin, are listed, end by their time, by their count, or when cleared.

Promises: whatever a fault changed is as it was when it ends; the same seed and the same faults in the same order do the
same harm; one fault of a kind is active on a key at a time, a new one taking its place, but for faults on answers and
copies, which add up. All that happened is in `history`, bounded. Time comes from `clock` and `at`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from keypeg_bridge.emulator import faults_memory
from keypeg_bridge.emulator.emulated_key import EmulatedKey
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.faults import KINDS, Fault
from keypeg_bridge.emulator.faults_line import LINE_KINDS, Hit, Side
from keypeg_bridge.emulator.key_set import KeySet
from keypeg_bridge.emulator.state import KeyState

MAX_ACTIVE: Final = 256  # faults at once: a laboratory has a few a key
MAX_HISTORY: Final = 2_000  # lines kept
START: Final = "start"  # the snapshot that every key has
_ADD_UP: Final = LINE_KINDS - {"pin"} | {"clone"}
_OUT: Final = frozenset({"unplug", "flap"})

Undo = Callable[[], None]


class Timer(Protocol):
    """Something to be called at a time."""

    def cancel(self) -> object:
        """Be not called."""
        ...


At = Callable[[float, Callable[[], None]], Timer]


@dataclass(eq=False, slots=True)
class Active:
    """One fault that has begun and not ended."""

    number: int
    fault: Fault
    key: str
    begun: float
    undo: Undo
    hit: Hit | None = None
    timer: Timer | None = None

    def to_json(self) -> dict[str, Any]:
        """As lists show it; `hits` is how many answers it has hit."""
        hits = {} if self.hit is None else {"hits": self.hit.done}
        return {"number": self.number, **self.fault.to_json(), "key": self.key, **hits}


class Board:
    """All faults of one process."""

    def __init__(self, keys: KeySet, clock: Callable[[], float], at: At, seed: str) -> None:
        self._keys = keys
        self._clock = clock
        self._at = at
        self._seed = seed
        self._numbers = 0
        self._draws = 0  # since the seed was given
        self._active: list[Active] = []
        self._start = clock()
        self._snapshots: dict[tuple[str, str], KeyState] = {
            (key.name, START): key.state for key in keys
        }
        self.history: deque[dict[str, Any]] = deque(maxlen=MAX_HISTORY)
        self._begin: dict[str, Callable[[Active, EmulatedKey], None]] = {
            "unplug": self._unplug,
            "plug": self._plug,
            "flap": self._flap,
            "full": self._full,
            "worn": self._worn,
            "clone": self._clone,
            "snapshot": self._snapshot,
            "rollback": self._rollback,
            "pin": self._pin,
            **dict.fromkeys(LINE_KINDS - {"pin"}, self._harm),
        }
        assert set(self._begin) == set(KINDS)

    @property
    def active(self) -> tuple[Active, ...]:
        """The faults that last, the oldest first."""
        return tuple(self._active)

    def reseed(self, seed: str) -> None:
        """What is drawn from now on comes from this seed."""
        self._seed, self._draws = seed, 0

    def _drawing(self) -> str:
        """The seed of what is drawn next."""
        self._draws += 1
        return f"{self._seed}/{self._draws}"

    def inject(self, fault: Fault) -> Active:
        """Begin a fault; `EmulatorError` when there is no such key, or it cannot be done now."""
        key = self._keys.find(fault.key)
        if len(self._active) >= MAX_ACTIVE:
            raise EmulatorError(f"{MAX_ACTIVE} faults are active already. Clear some.")
        self._make_room(fault.kind, key)
        self._numbers += 1
        active = Active(self._numbers, fault, key.name, self._clock(), _nothing)
        self._begin[fault.kind](active, key)
        self._note("began", active)
        if KINDS[fault.kind].lasts and not (active.hit and active.hit.spent):
            self._active.append(active)
            seconds = fault.number("seconds")
            if seconds is not None and active.timer is None:
                active.timer = self._at(active.begun + seconds, partial(self._end, active))
        return active

    def _make_room(self, kind: str, key: EmulatedKey) -> None:
        """End what a new fault takes the place of; a key that is out does not come back in between."""
        kinds = _OUT if kind in _OUT else frozenset() if kind in _ADD_UP else frozenset({kind})
        for older in [one for one in self._active if self._is(one, key, kinds)]:
            if kind in _OUT:
                older.undo = _nothing
            self._end(older)

    def clear(self, number: int | None = None, key: str | None = None) -> list[Active]:
        """End one fault, those of a key, or all; what was ended, the youngest first."""
        chosen = [
            one
            for one in reversed(self._active)
            if number in (None, one.number) and key in (None, one.key)
        ]
        if number is not None and not chosen:
            raise EmulatorError(f"No fault {number} is active. The list of faults has the numbers.")
        for one in chosen:
            self._end(one)
        return chosen

    def refused(self, fault: dict[str, Any], sentence: str) -> None:
        """Note a fault of a script that could not begin."""
        self.history.append({"at": self._elapsed(), "did": "refused", **fault, "error": sentence})

    def _end(self, active: Active) -> None:
        if active not in self._active:
            return
        self._active.remove(active)
        if active.timer is not None:
            active.timer.cancel()
        active.undo()
        self._note("ended", active)

    def _note(self, did: str, active: Active) -> None:
        self.history.append({"at": self._elapsed(), "did": did, **active.to_json()})

    def _elapsed(self) -> float:
        return round(self._clock() - self._start, 3)

    @staticmethod
    def _is(active: Active, key: EmulatedKey, kinds: frozenset[str]) -> bool:
        return active.key == key.name and active.fault.kind in kinds

    # What each kind does

    def _unplug(self, active: Active, key: EmulatedKey) -> None:
        key.port.unplug()
        active.undo = key.port.plug

    def _plug(self, active: Active, key: EmulatedKey) -> None:
        for out in [one for one in self._active if self._is(one, key, _OUT)]:
            self._end(out)
        key.port.plug()

    def _flap(self, active: Active, key: EmulatedKey) -> None:
        out, pause = active.fault.number("seconds") or 0, active.fault.number("pause") or 0
        times = active.fault.whole("count") or 1

        def leave(left: int) -> None:
            key.port.unplug()
            active.timer = self._at(self._clock() + out, partial(come, left))

        def come(left: int) -> None:
            key.port.plug()
            following = partial(leave, left - 1) if left > 1 else partial(self._end, active)
            active.timer = self._at(self._clock() + pause, following)

        active.undo = key.port.plug
        leave(times)

    def _harm(self, active: Active, key: EmulatedKey) -> None:
        where = active.fault.values.get("interface", "both")
        lines = [key.line(side) for side in Side if where in ("both", side.value)]
        draw = random.Random(self._drawing())  # noqa: S311 - repeatable on purpose
        hit = active.hit = Hit(active.fault, draw, lambda _: self._end(active))

        def undo() -> None:
            for line in lines:
                line.remove(hit)

        active.undo = undo
        for line in lines:
            line.add(hit)

    def _full(self, active: Active, key: EmulatedKey) -> None:
        room = active.fault.whole("bytes") or 0
        key.wear.limit = faults_memory.stored_bytes(key.state) + room

        def undo() -> None:
            key.wear.limit = None

        active.undo = undo

    def _worn(self, active: Active, key: EmulatedKey) -> None:
        if active.fault.text("mode") == "end":
            key.wear.ended = True
        else:
            key.stick()

        def undo() -> None:
            key.wear.ended = False
            key.unstick()

        active.undo = undo

    def _clone(self, active: Active, key: EmulatedKey) -> None:
        state = key.state
        if active.fault.text("mode") == "forged":
            state = faults_memory.forged(state, self._drawing())
        made = self._keys.copy(key, state, active.fault.text("name") or None)
        self._snapshots[made.name, START] = state
        swap = bool(active.fault.values.get("swap"))
        if swap:
            key.port.unplug()
        made.port.plug()

        def undo() -> None:
            self._forget(made.name)
            self._keys.discard(made)
            if swap:
                key.port.plug()

        active.undo = undo

    def _forget(self, name: str) -> None:
        for one in [one for one in self._active if one.key == name]:
            self._end(one)
        self._snapshots = {at: state for at, state in self._snapshots.items() if at[0] != name}

    def _snapshot(self, active: Active, key: EmulatedKey) -> None:
        self._snapshots[key.name, active.fault.text("name")] = key.state

    def _rollback(self, active: Active, key: EmulatedKey) -> None:
        name = active.fault.text("to")
        old = self._snapshots.get((key.name, name))
        if old is None:
            has = ", ".join(to for of, to in self._snapshots if of == key.name)
            raise EmulatorError(f"There is no snapshot {name!r} of {key.name}. There are {has}.")
        newest = key.state
        if active.fault.text("mode") == "objects":
            old = faults_memory.with_objects_of(newest, old)
        _exchange(key, old)
        active.undo = partial(_exchange, key, newest)

    def _pin(self, active: Active, key: EmulatedKey) -> None:
        mode, before = active.fault.text("mode"), key.state
        if mode == "wanted":
            self._harm(active, key)
            return
        if mode == "blocked":
            key.change(faults_memory.with_blocked_pin(before))
        else:
            key.change(faults_memory.with_other_pin(before, self._drawing()))
        active.undo = lambda: key.change(faults_memory.with_pin_of(key.state, before))


def _exchange(key: EmulatedKey, state: KeyState) -> None:
    """Other contents, written while the key is out."""
    plugged = key.port.plugged
    key.port.unplug()
    key.change(state)
    if plugged:
        key.port.plug()


def _nothing() -> None:
    """To undo."""
