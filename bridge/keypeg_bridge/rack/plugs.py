"""Which keys are plugged in, put together from what the ways to keys show: one token, one plug, however many ways show it.

Promises: pure: looks and the time come in, the plugs of the moment come out. Two things that different ways show are one key
when they are plugged in at the same spot, or, where a way cannot tell the spot, when they have the same serial number and
nothing else has it. A plug keeps its place for as long as any way shows it. Opening is `sides`, and threads are the rack's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from keypeg_bridge.rack.ports import Look, Place, Seen

SETTLE: Final = 0.3
"""Seconds until a key that several ways may show is opened: longer than the time between two looks, so that all have looked
and the first to see it does not decide how it is used."""
PATIENCE: Final = 2.0
"""Seconds that other ways leave a key to one that claims its sides: a card service takes about one to power a card."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a key, or some sides of it, can be reached."""

    source: str
    seen: Seen

    @property
    def place(self) -> Place:
        """Names it."""
        return Place(self.source, self.seen.bus_id)


@dataclass(frozen=True, slots=True)
class Plug:
    """Something plugged in."""

    place: Place
    """Of the way that showed it first."""
    since: float
    """When that was, on the monotonic clock."""
    ways: tuple[Way, ...]
    """In the order of preference."""

    @property
    def sides(self) -> frozenset[str]:
        """The drivers that can be tried."""
        return frozenset(side for way in self.ways for side in way.seen.sides)


@dataclass(slots=True)
class _Shown:
    """What one source shows."""

    look: Look = field(default_factory=lambda: Look(()))
    left: dict[str, int] = field(default_factory=dict)
    """What has left, by a report quicker than any look: to be passed over in looks that began before."""


class Plugs:
    """What is plugged in now."""

    def __init__(
        self, sources: Sequence[str], *, settle: float = SETTLE, patience: float = PATIENCE
    ) -> None:
        self._order = {name: number for number, name in enumerate(sources)}
        self._settle = settle
        self._patience = patience
        self._shown = {name: _Shown() for name in sources}
        self._plugs: dict[Place, Plug] = {}
        self.departures = 0
        """Grows with each departure; whoever looks reads it before."""

    def all(self) -> tuple[Plug, ...]:
        """What is plugged in, opened or not."""
        return tuple(self._plugs.values())

    def get(self, place: Place) -> Plug | None:
        """The plug at a place."""
        return self._plugs.get(place)

    def looked(self, source: str, look: Look, departures: int, now: float) -> None:
        """Take what a source shows, in a look that began after that many departures."""
        shown = self._shown[source]
        shown.left = {i: n for i, n in shown.left.items() if n > departures}
        shown.look = replace(look, seen=[s for s in look.seen if s.bus_id not in shown.left])
        self._join(now)

    def left(self, place: Place, now: float) -> None:
        """A key was reported as unplugged; what ways still show of it is out of date."""
        plug = self._plugs.get(place)
        if plug is None:
            return
        self.departures += 1
        for way in plug.ways:
            shown = self._shown[way.source]
            shown.left[way.seen.bus_id] = self.departures
            shown.look = replace(
                shown.look, seen=[s for s in shown.look.seen if s.bus_id != way.seen.bus_id]
            )
        self._join(now)

    def is_ripe(self, plug: Plug, now: float) -> bool:
        """Whether it can be opened: all ways that may show it have had their time."""
        return now >= self.ripe_at(plug)

    def ripe_at(self, plug: Plug) -> float:
        """When that is, on the monotonic clock."""
        if len(self._shown) < 2 or not any(w.seen.spot or w.seen.alike for w in plug.ways):
            return plug.since  # no other way can show it
        own = {way.source for way in plug.ways}
        claimed = any(
            name not in own and shown.look.claims & plug.sides
            for name, shown in self._shown.items()
        )
        return plug.since + (self._patience if claimed else self._settle)

    def _join(self, now: float) -> None:
        """Put together what is shown; known plugs keep their ways as far as these are shown still."""
        shown = {way.place: way for name in self._order for way in self._ways(name)}
        plugs: dict[Place, Plug] = {}
        for plug in self._plugs.values():
            ways = tuple(shown.pop(way.place) for way in plug.ways if way.place in shown)
            if ways:
                plugs[plug.place] = replace(plug, ways=ways)
        for way in shown.values():
            same = self._same(way, plugs.values())
            if same is None:
                place = way.place
                while place in plugs:  # of a key that other ways show still
                    place = replace(place, bus_id=f"{place.bus_id}+")
                plugs[place] = Plug(place, now, (way,))
            else:
                ways = tuple(sorted((*same.ways, way), key=lambda one: self._order[one.source]))
                plugs[same.place] = replace(same, ways=ways)
        self._plugs = plugs

    def _ways(self, source: str) -> Iterable[Way]:
        """What a source shows, less the sides that another one holds."""
        others = [one.look for name, one in self._shown.items() if name != source]
        for seen in self._shown[source].look.seen:
            held = {side for look in others if seen.spot in look.held for side in look.claims}
            sides = tuple(side for side in seen.sides if side not in held)
            if sides or not seen.sides:
                yield Way(source, replace(seen, sides=sides))

    def _same(self, way: Way, plugs: Iterable[Plug]) -> Plug | None:
        others = [p for p in plugs if all(one.source != way.source for one in p.ways)]
        spot = way.seen.spot
        if spot:
            for plug in others:
                if any(one.seen.spot == spot for one in plug.ways):
                    return plug
        alike = [p for p in others if any(_alike(one.seen, way.seen) for one in p.ways)]
        return alike[0] if len(alike) == 1 and self._is_only(way) else None

    def _is_only(self, way: Way) -> bool:
        """Whether its source shows nothing else with its serial number."""
        seen = self._shown[way.source].look.seen
        return sum(one.alike == way.seen.alike for one in seen) == 1


def _alike(one: Seen, other: Seen) -> bool:
    return bool(one.alike) and one.alike == other.alike and not (one.spot and other.spot)
