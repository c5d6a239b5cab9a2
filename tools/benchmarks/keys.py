"""What keys cost: the wire, a proof, an unplugging, many keys with many apps, and doing nothing.

Promises: everything over USB/IP on loopback, keys and bridge as programs of their own; proofs and raw echoes of 64 bytes turn about on the
same wire; one key with one app that is never behind itself is measured beside sixteen keys with sixty-four, and those again
while one of the keys hangs.

Leaves to others: the programs (key_bench.py), the apps (key_apps.py).
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.key_apps import all_paced, apps
from benchmarks.key_bench import PIV, KeyBench, Keys
from benchmarks.loads import LoadError
from benchmarks.report import Found, Goal, markdown
from benchmarks.rounds import DISTURBED
from benchmarks.suite import Given
from keypeg_bridge.keys.driver import KeyDriver
from keypeg_bridge.keys.opening import open_driver
from keypeg_bridge.transport.ports import HidPipe
from keypeg_bridge.wire import ctaphid, ctaphid_host
from lab.processes import Program

ECHOES: Final = 500  # a round
PROOFS: Final = 50
PAYLOAD: Final = 57  # bytes, which fill one report of 64
UNPLUGS: Final = 100
MANY: Final = (16, 64)  # keys, apps
INTERVAL: Final = 0.5  # seconds between renewals of one app: 20 times as often as by default
SINGLE_INTERVAL: Final = (
    1 / 16
)  # of the one that is alone: often enough for a p99, with no renewal behind another
HANGING_SECONDS: Final = 2.0  # less than a key's time for a proof
IDLE_KEYS: Final = 8
IDLE_SECONDS: Final = 20.0


def keys(given: Given) -> Found:
    """Measure it."""
    with given.lab("keys") as lab:
        bench = KeyBench(lab, given.cores)
        try:
            return _measured(given, bench)
        finally:
            bench.close()


def _measured(given: Given, bench: KeyBench) -> Found:
    given.say("proofs beside raw echoes")
    one = bench.keys("one", 1)
    wire = _wire(given, one)
    given.say("unplugging")
    unplugs = 5 if given.quick else UNPLUGS
    heard, back = asyncio.run(_unplugging(bench, one, unplugs))
    key_count, app_count = (4, 8) if given.quick else MANY
    given.say(f"{key_count} keys with {app_count} apps")
    many = asyncio.run(_many(given, bench, one, key_count, app_count))
    given.say("doing nothing")
    idle = _idle(bench, 2.0 if given.quick else IDLE_SECONDS)

    ratio = many["many"]["p99_ms"] / many["single"]["p99_ms"]
    lines = markdown(
        [
            ("", "p50 ms", "p99 ms", ""),
            _row("raw echo of 64 bytes", wire["echo"], f"{ECHOES} a round"),
            _row("PIV proof", wire["proof"], f"{wire['proof_in_echoes']:.1f} echoes; {PROOFS} of them {wire['proofs_ms']:.0f} ms"),
            _row("renewal, 1 key, 1 app", many["single"], f"{1 / SINGLE_INTERVAL:.0f} a second"),
            _row(f"renewal, {key_count} keys, {app_count} apps", many["many"], f"{many['rate']:.0f} a second; p99 {ratio:.2f} of the single one's"),
            _row("the same while one key hangs", many["hanging"], "of the apps on the other keys"),
            _row("from unplugging to the app's frame", heard, f"{unplugs} times"),
            _row("from plugging in to the app's frame", back, "found by polling every 200 ms, and read"),
        ]
    )  # fmt: skip
    lines += [
        "",
        f"Other work meanwhile: {wire['other_cores']:.2f} cores beside echoes and proofs, {many['other_cores']:.2f} beside"
        " renewals.",
        f"An idle bridge with {IDLE_KEYS} keys: {idle['core_percent']:.2f} % of a core, {idle['pss_mib']:.1f} MiB of its"
        f" own and its part of shared pages, {idle['rss_mib']:.1f} MiB resident, {idle['threads']} threads.",
    ]
    goals = (
        Goal(f"{PROOFS} PIV proofs, ms in all", 1_000, round(wire["proofs_ms"], 1), at_most=True),
        Goal("a proof, in raw echoes", 6, round(wire["proof_in_echoes"], 2), at_most=True),
        Goal(f"{ECHOES} raw echoes, p99 ms", 1, round(wire["echo"]["p99_ms"], 3), at_most=True),
        Goal("unplugging to the app's frame, p99 ms", 250, round(heard["p99_ms"], 1), at_most=True),
        Goal(f"{key_count} keys, {app_count} apps: p99 over the single one's", 4, round(ratio, 2), at_most=True),
        Goal(f"idle with {IDLE_KEYS} keys, % of a core", 1, round(idle["core_percent"], 2), at_most=True),
        Goal(f"idle with {IDLE_KEYS} keys, MiB resident", 80, round(idle["rss_mib"], 1), at_most=True),
    )  # fmt: skip
    data = {"wire": wire, "unplugged": heard, "back": back, "many": many, "idle": idle}
    return Found("Keys", tuple(lines), data, goals)


class Others:
    """What everyone else on the machine did meanwhile, in cores."""

    def __init__(self, *programs: Program) -> None:
        self._pids = [program.pid for program in programs]
        self._before = machine.read(self._pids, ())

    def cores(self) -> float:
        """Since it was made."""
        now, then = machine.read(self._pids, ()), self._before
        ours = now.server - then.server + now.own - then.own
        return max(0.0, (now.all - then.all - ours) / (now.moment - then.moment))


def _wire(given: Given, key: Keys) -> dict[str, Any]:
    """Echoes and proofs turn about; medians of the rounds, each the quietest of its tries."""
    wire, (device,) = key.open()
    rounds: list[tuple[float, list[float], list[float]]] = []
    for _ in range(given.plan.rounds):
        tried: list[tuple[float, list[float], list[float]]] = []
        while len(tried) < given.plan.tries and not (tried and tried[-1][0] < DISTURBED):
            others = Others(key.program)
            pipe = wire.open_hid(device.handle)
            try:
                echoed = _echoes(pipe)
            finally:
                pipe.close()
            driver = open_driver(wire, device, PIV)
            try:
                proved = _proofs(driver)
            finally:
                driver.close()
            tried.append((others.cores(), echoed, proved))
        rounds.append(min(tried, key=lambda one: one[0]))
    other, echoes, proofs = zip(*rounds, strict=True)
    ratios = [
        statistics.median(proved) / statistics.median(echoed)
        for echoed, proved in zip(echoes, proofs, strict=True)
    ]
    return {
        "echo": _of_rounds(echoes),
        "proof": _of_rounds(proofs),
        "proofs_ms": statistics.median(sum(one) for one in proofs) * 1e3,
        "proof_in_echoes": statistics.median(ratios),
        "other_cores": statistics.median(other),
    }


def _echoes(pipe: HidPipe) -> list[float]:
    """PINGs that fill one report each way."""
    link = ctaphid_host.HostLink()

    def ask(packets: Sequence[bytes]) -> ctaphid_host.HostEvent:
        for packet in packets:
            pipe.write(packet, 1.0)
        while (event := link.receive(pipe.read(1.0))) is None:
            pass
        return event

    ask(link.open(bytes(ctaphid.NONCE_BYTES)))

    def ping(number: int) -> None:
        payload = bytes([number % 256]) * PAYLOAD
        event = ask(link.request(ctaphid.Command.PING, payload))
        if not isinstance(event, ctaphid_host.Answer) or event.payload != payload:
            raise LoadError(f"an echo came back as {event}")

    return _timed(ping, ECHOES)


def _proofs(driver: KeyDriver) -> list[float]:
    """Signatures of the key."""
    return _timed(lambda number: driver.prove(bytes([number % 256]) * 32), PROOFS)


def _timed(deed: Callable[[int], object], count: int) -> list[float]:
    """The seconds of each, after a few that are not counted."""
    for number in range(5):
        deed(number)
    took = []
    for number in range(count):
        begun = time.perf_counter()
        deed(number)
        took.append(time.perf_counter() - begun)
    return took


async def _unplugging(
    bench: KeyBench, key: Keys, count: int
) -> tuple[dict[str, float], dict[str, float]]:
    """From the command to the frame, out and in."""
    bridge, target = bench.bridge("unplugged", [key])
    heard: list[float] = []
    back: list[float] = []
    async with apps(target, bench.publisher, key.products) as (app,):
        for _ in range(count):
            for command, frame, took in (("unplug", "missing", heard), ("plug", "changed", back)):
                begun = time.perf_counter()
                waiting = asyncio.ensure_future(app.expect(frame))
                await asyncio.to_thread(key.command, command)
                await waiting
                took.append(time.perf_counter() - begun)
            await app.renew()
            await asyncio.sleep(0.02)
    bridge.stop()
    return _of(heard), _of(back)


async def _many(
    given: Given, bench: KeyBench, one: Keys, key_count: int, app_count: int
) -> dict[str, Any]:
    """One key with one app beside many keys with many apps; the same number of renewals a second."""
    several = bench.keys("many", key_count)
    bridge, target = bench.bridge("shared", [one, several])
    products = [several.products[number % key_count] for number in range(app_count)]
    seconds = max(1.0, given.plan.seconds * 2)
    rounds: list[tuple[float, list[float], list[float]]] = []
    async with (
        apps(target, bench.publisher, one.products) as single,
        apps(target, bench.publisher, products) as many,
    ):
        await all_paced(many, INTERVAL, 1.0)
        for _ in range(given.plan.rounds):
            tried: list[tuple[float, list[float], list[float]]] = []
            while len(tried) < given.plan.tries and not (tried and tried[-1][0] < DISTURBED):
                others = Others(one.program, several.program, bridge)
                alone = await all_paced(single, SINGLE_INTERVAL, seconds)
                together = await all_paced(many, INTERVAL, seconds)
                tried.append((others.cores(), alone, together))
            rounds.append(min(tried, key=lambda each: each[0]))
        unharmed = [app for app in many if app.product != several.products[0]]
        hung = [app for app in many if app.product == several.products[0]]
        several.command("fault", fault="stall", key="key-1")
        stuck = [asyncio.ensure_future(app.renew()) for app in hung]
        hanging = await all_paced(unharmed, INTERVAL, HANGING_SECONDS)
        refused = await asyncio.gather(*stuck, return_exceptions=True)
        if not all(isinstance(one, LoadError) for one in refused):
            raise LoadError(f"the key that should hang answered: {refused}")
    bridge.stop()
    other, singles, manies = zip(*rounds, strict=True)
    return {
        "rate": app_count / INTERVAL,
        "single": _of_rounds(singles),
        "many": _of_rounds(manies),
        "other_cores": statistics.median(other),
        "hanging": _of(hanging),
    }


def _idle(bench: KeyBench, seconds: float) -> dict[str, float]:
    """A bridge that nobody asks anything."""
    eight = bench.keys("idle", IDLE_KEYS)
    bridge, _ = bench.bridge("waiting", [eight])
    time.sleep(2)
    before, begun = machine.process_seconds(bridge.pid), time.perf_counter()
    time.sleep(seconds)
    used = machine.process_seconds(bridge.pid) - before
    elapsed = time.perf_counter() - begun
    status = Path(f"/proc/{bridge.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    found = {
        "core_percent": used / elapsed * 100,
        "pss_mib": machine.memory_kib(bridge.pid) / 1024,
        "rss_mib": int(fields["VmRSS"].split()[0]) / 1024,
        "threads": int(fields["Threads"]),
    }
    bridge.stop()
    return found


def _of(took: Sequence[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {
        "count": len(ordered),
        "p50_ms": statistics.median(ordered) * 1e3,
        "p99_ms": ordered[math.ceil(0.99 * len(ordered)) - 1] * 1e3,
        "most_ms": ordered[-1] * 1e3,
    }


def _of_rounds(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """The medians of the rounds' own numbers."""
    each = [_of(one) for one in rounds]
    return {name: statistics.median(one[name] for one in each) for name in each[0]}


def _row(name: str, of: dict[str, float], note: str) -> tuple[str, ...]:
    return (name, f"{of['p50_ms']:.3f}", f"{of['p99_ms']:.3f}", note)
