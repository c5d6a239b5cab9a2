"""The rack with its threads, on fake keys: what one key or bus does never reaches another."""

from __future__ import annotations

import asyncio
import threading

import pytest

from keypeg.errors import Busy, KeyBusy, KeyFaulty, KeyUnplugged, NotFound
from keypeg_bridge.rack.fair_queue import PER_CALLER
from keypeg_bridge.rack.plugs import SETTLE
from keypeg_bridge.rack.ports import OpenKey, Seen
from keypeg_bridge.rack.rack import PROVE_LIMIT
from keypeg_bridge.rack.states import Happening, State
from tests.bridge.fakes import FakeKey, FakeSource, faulty
from tests.bridge.publisher import Publisher
from tests.bridge.rack.conftest import Bench, OpenBench

CHALLENGE = b"c" * 32


async def arrived(bench: Bench) -> str:
    change = await bench.watch.next(lambda one: one.happening is Happening.ARRIVED)
    return change.record.name


async def test_keys_that_are_there_at_the_start_are_known_after_the_first_look(
    open_bench: OpenBench,
) -> None:
    bus = FakeSource()
    bus.plug(FakeKey(1))
    bus.plug(FakeKey(2))
    async with open_bench(bus) as bench:
        assert await bench.rack.first_look(10)
        assert [one.state for one in bench.rack.records()] == [State.PRESENT, State.PRESENT]


async def test_a_key_comes_goes_and_comes_back_under_the_same_name(open_bench: OpenBench) -> None:
    bus, key = FakeSource(), FakeKey()
    key.carry(Publisher())
    async with open_bench(bus) as bench:
        place = bus.plug(key)
        name = await arrived(bench)
        bus.pull(place)
        left = await bench.watch.next(lambda one: one.happening is Happening.DEPARTED)
        assert left.record.name == name
        with pytest.raises(KeyUnplugged):
            await bench.rack.prove(name, "a", CHALLENGE)
        bus.plug(key)
        assert await arrived(bench) == name
        assert await bench.rack.prove(name, "a", CHALLENGE)


@pytest.mark.behaviour("KEY-7")
async def test_what_makes_a_key_suspicious_is_announced_with_the_proof_that_showed_it(
    open_bench: OpenBench,
) -> None:
    bus, key = FakeSource(), FakeKey()
    async with open_bench(bus) as bench:
        bus.plug(key)
        name = await arrived(bench)
        key.suspicions = ("its counter fell",)
        assert await bench.rack.prove(name, "a", CHALLENGE)
        change = await bench.watch.next(lambda one: one.happening is Happening.REWRITTEN)
        assert change.record.state is State.PRESENT
        assert change.record.fault == "its counter fell."
        assert await bench.rack.prove(name, "a", CHALLENGE)
        assert bench.watch.changes[-1] is change


async def test_a_departure_that_nobody_reports_is_seen_at_the_next_look(
    open_bench: OpenBench,
) -> None:
    bus = FakeSource()
    async with open_bench(bus) as bench:
        place = bus.plug(FakeKey())
        await arrived(bench)
        bus.pull(place, silently=True)
        await bench.watch.next(lambda one: one.happening is Happening.DEPARTED)


async def test_a_key_that_leaves_in_the_middle_of_its_work_fails_all_who_wait_for_it(
    open_bench: OpenBench,
) -> None:
    bus, key = FakeSource(), FakeKey()
    async with open_bench(bus) as bench:
        place = bus.plug(key)
        name = await arrived(bench)
        key.stall = threading.Event()
        waiting = [
            asyncio.ensure_future(bench.rack.prove(name, f"a{number}", CHALLENGE))
            for number in range(3)
        ]
        assert await asyncio.to_thread(key.stalled.wait, 10)
        bus.pull(place)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in results] == [KeyUnplugged] * 3


@pytest.mark.behaviour("KEY-12")
async def test_a_stalled_key_never_slows_another_and_recovers(open_bench: OpenBench) -> None:
    bus, slow, quick = FakeSource(), FakeKey(1), FakeKey(2)
    async with open_bench(bus) as bench:
        bus.plug(slow)
        slow_name = await arrived(bench)
        bus.plug(quick)
        quick_name = await arrived(bench)
        slow.stall = threading.Event()
        stuck = asyncio.ensure_future(bench.rack.prove(slow_name, "a", CHALLENGE))
        assert await asyncio.to_thread(slow.stalled.wait, 10)
        for _ in range(20):
            assert await bench.rack.prove(quick_name, "b", CHALLENGE)
        await turns()
        bench.time.advance(PROVE_LIMIT)
        with pytest.raises(KeyFaulty, match="did not answer"):
            await stuck
        assert bench.rack.key(slow_name).state is State.FAULTY
        with pytest.raises(KeyFaulty):
            await bench.rack.prove(slow_name, "a", CHALLENGE)
        release, slow.stall = slow.stall, None
        release.set()
        assert await arrived(bench) == slow_name
        assert await bench.rack.prove(slow_name, "a", CHALLENGE)


@pytest.mark.behaviour("KEY-12")
async def test_callers_of_one_key_are_served_in_turn(open_bench: OpenBench) -> None:
    bus, key = FakeSource(), FakeKey()
    async with open_bench(bus) as bench:
        bus.plug(key)
        name = await arrived(bench)
        gate = threading.Event()
        order: list[str] = []

        def hold(_: OpenKey) -> None:
            gate.wait(10)

        def note(caller: str):
            return lambda _key: order.append(caller)

        holding = asyncio.ensure_future(bench.rack.run(name, "first", hold, 10))
        await turns()
        rest = [
            asyncio.ensure_future(bench.rack.run(name, caller, note(caller), 10))
            for caller in ("greedy", "greedy", "greedy", "modest", "late")
        ]
        await turns()
        gate.set()
        await asyncio.gather(holding, *rest)
        assert order == ["greedy", "modest", "late", "greedy", "greedy"]


async def test_what_waits_too_long_or_is_too_much_is_refused(open_bench: OpenBench) -> None:
    bus, key = FakeSource(), FakeKey()
    async with open_bench(bus) as bench:
        bus.plug(key)
        name = await arrived(bench)
        gate, begun = threading.Event(), threading.Event()

        def hold(_: OpenKey) -> bool:
            begun.set()
            return gate.wait(10)

        holding = asyncio.ensure_future(bench.rack.run(name, "first", hold, 100))
        assert await asyncio.to_thread(begun.wait, 10)
        await turns()
        waiting = [
            asyncio.ensure_future(bench.rack.prove(name, "greedy", CHALLENGE))
            for _ in range(PER_CALLER)
        ]
        await turns()
        with pytest.raises(Busy):
            await bench.rack.prove(name, "greedy", CHALLENGE)
        bench.time.advance(5)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(one) for one in results} == {KeyBusy}
        gate.set()
        await holding


async def test_a_broken_bus_hides_no_other_and_is_listed_until_it_works(
    open_bench: OpenBench,
) -> None:
    broken, bus = FakeSource("broken"), FakeSource("bus")
    broken.problem = RuntimeError("a bug")
    async with open_bench(broken, bus) as bench:
        bus.plug(FakeKey(1))
        await arrived(bench)
        await until(bench, lambda: any("broken" in one for one in bench.rack.problems()))
        broken.problem = OSError("no permission")
        broken.plugged["b-1"] = FakeKey(2)
        await until(bench, lambda: bench.rack.problems() == ("no permission",))
        broken.problem = None
        await arrived(bench)
        assert bench.rack.problems() == ()


async def test_a_bus_that_cannot_be_looked_at_says_nothing_about_its_keys(
    open_bench: OpenBench,
) -> None:
    bus = FakeSource()
    async with open_bench(bus) as bench:
        bus.plug(FakeKey())
        name = await arrived(bench)
        bus.problem = OSError("busy")
        await until(bench, lambda: bench.rack.problems() == ("busy",))
        assert bench.rack.key(name).state is State.PRESENT


@pytest.mark.parametrize("error", [faulty(), RuntimeError("a bug")], ids=["fault", "bug"])
async def test_a_key_that_fails_is_faulty_and_is_tried_again(
    open_bench: OpenBench, error: Exception
) -> None:
    bus, key = FakeSource(), FakeKey()
    async with open_bench(bus) as bench:
        bus.plug(key)
        name = await arrived(bench)
        key.fault = error
        with pytest.raises(KeyFaulty):
            await bench.rack.prove(name, "a", CHALLENGE)
        failed = await bench.watch.next(lambda one: one.happening is Happening.FAILED)
        assert failed.record.name == name
        assert failed.record.fault
        key.fault = None
        assert await arrived(bench) == name


async def test_a_key_that_never_can_be_read_is_listed_as_faulty(open_bench: OpenBench) -> None:
    bus, key = FakeSource(), FakeKey()
    key.fault = faulty("It answers nonsense.")
    async with open_bench(bus) as bench:
        place = bus.plug(key)
        change = await bench.watch.next(lambda one: one.happening is Happening.FAILED)
        assert change.record.fault == "It answers nonsense."
        assert change.record.reading is None
        bus.pull(place)
        await bench.watch.next(lambda one: one.record.state is State.GONE)
        assert bench.rack.records() == ()


async def test_a_name_that_was_never_seen_is_not_found(open_bench: OpenBench) -> None:
    async with open_bench(FakeSource()) as bench:
        with pytest.raises(NotFound):
            await bench.rack.prove("keys/none", "a", CHALLENGE)


async def test_a_token_that_two_ways_show_is_one_key(open_bench: OpenBench) -> None:
    cards, security_keys = FakeSource("cards"), FakeSource("security keys")
    async with open_bench(cards, security_keys) as bench:
        card, security_key = FakeKey(1, enrolled=False), FakeKey(2)
        cards.seen["1"] = Seen("1", ("piv",), "usb 1-7")
        security_keys.seen["2"] = Seen("2", ("fido2",), "usb 1-7")
        cards.plugged["1"], security_keys.plugged["2"] = card, security_key
        await until(bench, lambda: looks(cards, security_keys) > 2)
        assert bench.rack.records() == (), "all ways are given their time first"
        bench.time.advance(SETTLE)
        name = await arrived(bench)
        assert await bench.rack.prove(name, "a", CHALLENGE)
        assert security_key.proofs == [CHALLENGE], "the side that is enrolled serves"
        assert card.events == ["open", "close"]
        assert len(bench.rack.records()) == 1
        cards.pull("1")
        security_keys.pull("2")
        await bench.watch.next(lambda one: one.happening is Happening.DEPARTED)
        await until(bench, lambda: looks(cards, security_keys) > 2)
        assert [one.happening for one in bench.watch.changes].count(Happening.DEPARTED) == 1


async def test_a_better_way_that_comes_later_is_changed_to_unnoticed(
    open_bench: OpenBench,
) -> None:
    service, usb = FakeSource("service"), FakeSource("usb")
    async with open_bench(service, usb) as bench:
        same = FakeKey()
        usb.seen["1"], service.seen["2"] = (Seen(one, ("piv",), "usb 1-7") for one in "12")
        usb.plugged["1"] = same
        await until(bench, lambda: looks(service, usb) > 2)
        bench.time.advance(SETTLE)
        name = await arrived(bench)
        service.plugged["2"] = same
        changed = await bench.watch.next(lambda one: one.happening is Happening.REWRITTEN)
        assert changed.record.name == name
        assert same.events == ["open", "close", "open"]
        assert await bench.rack.prove(name, "a", CHALLENGE)


async def test_a_draining_rack_serves_those_who_are_there_and_takes_nobody_new(
    open_bench: OpenBench,
) -> None:
    bus = FakeSource()
    async with open_bench(bus) as bench:
        bus.plug(FakeKey(1))
        name = await arrived(bench)
        broken = FakeKey(2)
        broken.fault = faulty()
        bus.plug(broken)
        await bench.watch.next(lambda one: one.happening is Happening.FAILED)
        bench.rack.drain()
        states = {one.name: one.state for one in bench.rack.records()}
        assert states == {name: State.DRAINING}, "what was faulty is let go of at once"
        assert await bench.rack.prove(name, "a", CHALLENGE)
        bus.plug(FakeKey(3))
        await turns()
        assert len(bench.rack.records()) == 1
        await bench.rack.stop()
        assert bench.watch.changes[-1].record.state is State.STOPPED
        assert bench.rack.records() == ()
        with pytest.raises(KeyUnplugged):
            await bench.rack.prove(name, "a", CHALLENGE)


async def test_a_key_that_is_pulled_while_the_bridge_ends_is_gone(open_bench: OpenBench) -> None:
    bus = FakeSource()
    async with open_bench(bus) as bench:
        key = FakeKey()
        key.carry(Publisher())
        place = bus.plug(key)
        await arrived(bench)
        bench.rack.drain()
        bus.pull(place)
        left = await bench.watch.next(lambda one: one.happening is Happening.DEPARTED)
        assert left.record.state is State.GONE


async def test_stopping_fails_those_who_wait_and_lets_go_of_the_keys(
    open_bench: OpenBench,
) -> None:
    bus, key = FakeSource(), FakeKey()
    async with open_bench(bus) as bench:
        bus.plug(key)
        name = await arrived(bench)
        gate = threading.Event()
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def hold(_key: OpenKey) -> bool:
            loop.call_soon_threadsafe(begun.set)
            return gate.wait(10)

        holding = asyncio.ensure_future(bench.rack.run(name, "first", hold, 100))
        async with asyncio.timeout(10):
            await begun.wait()
        waiting = asyncio.ensure_future(bench.rack.prove(name, "b", CHALLENGE))
        await turns()
        loop.call_later(0.05, gate.set)
        await bench.rack.stop()
        with pytest.raises(KeyUnplugged):
            await waiting
        assert await holding
        assert key.events[-1] == "close"


async def turns(count: int = 20) -> None:
    """Let the event loop and the threads that feed it take what they have."""
    for _ in range(count):
        await asyncio.to_thread(lambda: None)


def looks(*sources: FakeSource) -> int:
    """How often each was looked at, since this was asked first."""
    for source in sources:
        source.asked = source.asked or source.looks
    return min(source.looks - source.asked for source in sources)


async def until(bench: Bench, condition) -> None:
    """Wait for what is not announced: it shows after one of the next looks."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.to_thread(lambda: None)
