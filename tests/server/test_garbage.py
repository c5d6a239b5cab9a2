"""When the process looks for garbage."""

from __future__ import annotations

import ctypes
import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from keypeg_server import garbage as garbage_module
from keypeg_server.garbage import (
    BLOCKS,
    BLOCKS_GROWTH,
    GROWTH,
    GROWTH_BYTES,
    REST,
    Garbage,
    resident,
    returner,
)


class Knot:
    """Holds itself."""

    def __init__(self) -> None:
        self.me = self


class Memory:
    def __init__(self) -> None:
        self.bytes = 100 << 20

    def __call__(self) -> int:
        return self.bytes


def more_things() -> list[Knot]:
    """So many that they may be why memory has grown."""
    kept = sys.getallocatedblocks()
    return [Knot() for _ in range(2 * BLOCKS + int(kept * (BLOCKS_GROWTH - 1.0)))]


@pytest.fixture
def memory() -> Iterator[Memory]:
    """What the process is told that it has; the collector is as it was, afterwards."""
    thresholds = gc.get_threshold()
    yield Memory()
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_is_new_is_found_at_once_and_what_lived_on_is_left_alone(memory: Memory) -> None:
    garbage = Garbage(memory)
    garbage.begin()
    short, long = Knot(), Knot()
    gone, stays = weakref.ref(short), weakref.ref(long)
    del short
    garbage.look()
    assert gone() is None
    del long
    for _ in range(3):
        garbage.look()
    assert stays() is not None  # it was there at the first look


def test_it_looks_less_often_while_nothing_is_found(memory: Memory) -> None:
    garbage = Garbage(memory)
    garbage.begin()

    def found(looks: int) -> int:
        """How many knots are found of one in each pause."""
        knots = []
        for _ in range(looks):
            knot = Knot()
            knots.append(weakref.ref(knot))
            del knot
            garbage.look()
        return sum(one() is None for one in knots)

    for _ in range(2 * REST):  # until it rests for as long as it ever does
        garbage.look()
    assert 1 <= found(REST) < REST  # and from then on it looks each time
    assert found(100) >= 99


def test_everything_is_looked_at_when_memory_has_grown(memory: Memory) -> None:
    garbage = Garbage(memory)
    garbage.begin()
    for _ in range(2):  # each time from where it was after the last look
        knot, things = Knot(), more_things()
        there = weakref.ref(knot)
        garbage.look()
        del knot
        memory.bytes = int(memory.bytes * GROWTH) + GROWTH_BYTES
        garbage.look()
        assert there() is not None
        memory.bytes += 1
        garbage.look()
        assert there() is None
        del things


def test_memory_that_python_does_not_keep_is_no_reason_to_look_at_everything(
    memory: Memory,
) -> None:
    garbage = Garbage(memory)
    garbage.begin()
    knot = Knot()
    there = weakref.ref(knot)
    garbage.look()
    del knot
    for _ in range(3):
        memory.bytes *= 2
        garbage.look()
        assert there() is not None
    things = more_things()
    garbage.look()
    assert there() is not None, "there are more things, and no more memory"
    memory.bytes *= 2
    garbage.look()
    assert there() is None
    del things


def test_the_memory_of_this_process_is_known() -> None:
    assert 10 << 20 < resident() < 10 << 30


async def test_what_was_freed_is_given_back_when_memory_has_grown(memory: Memory) -> None:
    given: list[int] = []
    garbage = Garbage(memory, lambda: given.append(memory.bytes))
    await garbage.tidy()
    del given[:]
    await garbage.tidy()
    assert given == []
    memory.bytes = int(memory.bytes * GROWTH) + GROWTH_BYTES + 1
    await garbage.tidy()
    assert given == [memory.bytes]
    await garbage.tidy()
    assert given == [memory.bytes], "once for each growth"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own call: Linux")
def test_the_system_gets_back_what_was_freed_between_what_is_still_used() -> None:
    """As it is after a flood: much was freed, but the last of it is still used, so that nothing goes by itself."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("this library of C keeps what is freed: use glibc")
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    pieces = [libc.malloc(16_384) for _ in range(4_096)]
    for piece in pieces:
        ctypes.memset(piece, 1, 16_384)
    for piece in pieces[:-1]:
        libc.free(piece)
    before = resident()
    returner()()
    assert before - resident() > 32 << 20
    libc.free(pieces[-1])


def test_so_many_more_things_are_looked_at_whatever_memory_says(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not come back whole, and grows in steps: each flood would leave more than the one before."""
    monkeypatch.setattr(garbage_module, "BLOCKS_MOST", 10_000)
    monkeypatch.setattr(garbage_module, "BLOCKS_MOST_GROWTH", 1.0)
    garbage = Garbage(memory)
    garbage.begin()
    knots = [Knot() for _ in range(6_000)]
    gone = weakref.ref(knots[0])
    garbage.look()  # they are left alone from now on
    knots.clear()
    garbage.look()
    assert gone() is not None
    more = [Knot() for _ in range(6_000)]  # too many, with those
    garbage.look()
    assert gone() is None
    assert len(more) == 6_000
