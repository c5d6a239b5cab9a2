"""Opening a key that may have several sides and be reached in several ways: one driver, one way.

Promises: the side that is enrolled is taken, the first in the chosen order if several are; when none is, the first that
answers. A way that fails does not hide another way to the same side. Nothing else stays open. Blocks for as long as the key
takes; runs on the key's own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keypeg.errors import KeypegError, KeyUnplugged, KeyUnsuitable
from keypeg_bridge.rack.plugs import Way
from keypeg_bridge.rack.ports import KeySource, OpenKey


@dataclass(frozen=True, slots=True)
class Side:
    """One driver over one way."""

    driver: str
    way: Way


@dataclass(frozen=True, slots=True)
class Opened:
    """A key, and how it was reached."""

    key: OpenKey
    side: Side


def candidates(ways: Sequence[Way], order: Sequence[str]) -> list[Side]:
    """What can be tried, the best first."""
    return [Side(driver, way) for driver in order for way in ways if driver in way.seen.sides]


class Opener:
    """Opens the keys of all sources."""

    def __init__(self, sources: Mapping[str, KeySource], order: Sequence[str] = ()) -> None:
        self._sources = sources
        self._order = order

    def improved(self, before: Sequence[Way], now: Sequence[Way], used: Side) -> bool:
        """Whether a way has come that would have been tried before the one in use."""
        sides = candidates(now, self._order_of(now))
        if used not in sides:
            return False
        known = {way.place for way in before}
        return any(side.way.place not in known for side in sides[: sides.index(used)])

    def open(self, ways: Sequence[Way], gone: Callable[[], None]) -> Opened:
        """Open the best side. Raises what its failure was; KeyUnplugged when nothing is there any more."""
        errors: list[KeypegError] = []
        first: Opened | None = None
        order = self._order_of(ways)
        for number, driver in enumerate(order):
            opened = self._open(driver, ways, gone, errors)
            if opened is None:
                continue
            if number + 1 == len(order) and first is None:
                return opened  # no other side to compare it with
            enrolled = _is_enrolled(opened, errors)
            if enrolled:
                return opened
            opened.key.close()
            if enrolled is False:
                first = first or opened
        if first is not None:
            again = self._open(first.side.driver, [first.side.way], gone, errors)
            if again is not None:
                return again
        raise _worst(errors)

    def _open(
        self,
        driver: str,
        ways: Sequence[Way],
        gone: Callable[[], None],
        errors: list[KeypegError],
    ) -> Opened | None:
        """One side, over the first way that works."""
        for way in ways:
            if driver not in way.seen.sides:
                continue
            try:
                key = self._sources[way.source].open(way.seen.bus_id, driver, gone)
            except KeyUnsuitable as error:
                errors.append(error)
                return None  # the key has no such side, whatever the way
            except KeypegError as error:
                errors.append(error)
                continue
            return Opened(key, Side(driver, way))
        return None

    def _order_of(self, ways: Sequence[Way]) -> list[str]:
        """The sides that can be tried: those of the chosen order first."""
        known = [driver for driver in self._order if any(driver in w.seen.sides for w in ways)]
        rest = [driver for way in ways for driver in way.seen.sides if driver not in known]
        return known + list(dict.fromkeys(rest))


def _is_enrolled(opened: Opened, errors: list[KeypegError]) -> bool | None:
    """None when it does not answer as it should."""
    try:
        return opened.key.identity().public_key is not None
    except KeypegError as error:
        errors.append(error)
        return None
    except BaseException:
        opened.key.close()
        raise


def _worst(errors: Sequence[KeypegError]) -> KeypegError:
    """What to tell: a side that is there and failed, before one that is not there."""
    for error in errors:
        if not isinstance(error, KeyUnsuitable | KeyUnplugged):
            return error
    return errors[-1] if errors else KeyUnplugged("The key was unplugged. Plug it in again.")
