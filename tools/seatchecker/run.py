"""A run: servers, their clients, the faults of a seed, and what all of them recorded.

Promises: everything that it does to anybody is in its own journal; every process that it starts ends with it; it
takes little longer than the faults last plus the longest bound of the server.

Leaves to others: which faults (plan), what they do (playing), clients (cast), servers (adapter), the verdict (judge).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keypeg import clock
from lab.processes import Lab
from seatchecker.adapter import Adapter
from seatchecker.cast import Cast
from seatchecker.disk import NoCompiler, library
from seatchecker.history import History
from seatchecker.judge import judge
from seatchecker.namespaces import Namespaces, inside
from seatchecker.plan import KINDS, plan
from seatchecker.playing import Player
from seatchecker.record import Faults, Observer
from seatchecker.schedule import Schedule
from seatchecker.ways import Direct, Networked, Proxied, Relayed, Way

JUDGE_PAUSE: Final = 1.0  # seconds between two verdicts while the run goes on
READY_TIME: Final = 30.0  # seconds for all clients to have started
TELL_PAUSE: Final = 5.0  # seconds between two lines of progress


@dataclass(frozen=True)
class Options:
    """What a run is like."""

    seed: int
    seconds: float
    clients: int = 12
    unary: int = 3  # of the clients
    seats: int = 3
    kinds: tuple[str, ...] = tuple(KINDS)
    stretch: float = 1.0  # faults last so many times as long as usual
    stop_at_first: bool = False  # end the run as soon as a rule is broken
    progress: Callable[[str], None] = field(default=lambda _: None, repr=False)


def not_possible() -> list[str]:
    """What this computer can not do to a run: sentences, for its head."""
    found: list[str] = []
    try:
        library()
    except NoCompiler as why:
        found.append(f"the disk is not slowed: {why}")
    if not inside():
        found.append("networks are cut by a proxy only: the run is not in a network of its own")
    return found


def run(adapter: Adapter, options: Options, folder: Path) -> History:
    """Everything that was recorded; journals and logs are left in the folder."""
    with Lab(folder) as lab:
        try:
            checked = _Run(adapter, options, lab)
        except BaseException:
            adapter.close()
            raise
        try:
            checked.begin()
            if checked.disturb():
                checked.settle()
        finally:
            checked.close()
        return checked.history()


class _Run:
    def __init__(self, adapter: Adapter, options: Options, lab: Lab) -> None:
        self._adapter = adapter
        self._options = options
        self._lab = lab
        self._networks = Namespaces() if inside() else None
        adapter.set_up(lab, options.seats, self._networks)
        self._ways = self._make_ways()
        self._schedule = Schedule()
        self._faults = Faults(lab.folder)
        self._observer = Observer(adapter.listed)
        self._cast = Cast(
            adapter, lab.folder, options.seed, self._ways, self._schedule, self._faults
        )
        self._player = Player(adapter, self._cast, self._schedule, self._faults)
        self._tick = threading.Event()

    def _make_ways(self) -> dict[str, Way]:
        addresses = self._adapter.addresses()
        ways: dict[str, Way] = {"proxied": Proxied(addresses)}
        if relay := self._adapter.relay(self._options.seed):
            ways["relayed"] = Relayed(relay)
        if self._networks is not None:
            ways["networked"] = Networked(addresses, self._networks)
        return {**ways, "direct": Direct(addresses)}

    def begin(self) -> None:
        """Start the clients and wait until each has begun."""
        unary = self._options.unary if "unary" in self._adapter.kinds else 0
        ways = tuple(self._ways)
        for number in range(self._options.clients):
            kind = "unary" if number < unary else "stream"
            self._cast.add(f"c{number + 1}", kind, ways[number % len(ways)])
        until = clock.monotonic() + READY_TIME
        while clock.monotonic() < until and not self._cast.ready:
            self._tick.wait(0.05)
        self._observer.start()

    def disturb(self) -> bool:
        """Play the faults; False when a rule was broken and that was to be the end."""
        options = self._options
        targets = {
            **{way: self._cast.on(way) for way in self._ways},
            "client": self._cast.on(*self._ways),
            "server": self._adapter.servers,
            **self._adapter.targets(),
        }
        faults = plan(
            *(options.seed, options.seconds, targets, self._adapter.grant, options.kinds),
            stretch=options.stretch,
        )
        begun = clock.monotonic()
        for fault in faults:
            self._schedule.at(begun + fault.at, lambda fault=fault: self._player.play(fault))  # type: ignore[misc]
        tell_at = judge_at = begun
        while (now := clock.monotonic()) < begun + options.seconds:
            if now >= tell_at:
                self._progress(now - begun)
                tell_at += TELL_PAUSE
            if options.stop_at_first and now >= judge_at:
                if not judge(self.history(now)).passed:
                    return False
                judge_at = clock.monotonic() + JUDGE_PAUSE
            self._cast.watch()
            if not self._schedule.step():
                self._tick.wait(0.02)
        return True

    def settle(self) -> None:
        """Let everything go on, end the clients, and wait for every seat to be free."""
        self._cast.ending = True
        self._schedule.hurry()  # what was stopped goes on; nothing new begins
        self._player.settle()
        self._options.progress("the faults are over; ending the clients")
        self._tick.wait(min(2.0, self._adapter.grant / 2))
        self._cast.end()
        limits = self._adapter.limits
        ended = clock.monotonic()
        until = ended + max(limits.bounds.values()) + limits.slack + 1.0
        self._observer.await_look()
        while clock.monotonic() < until and self._observer.held:
            self._observer.await_look()
        left = f"{held} seats still held" if (held := self._observer.held) else "all seats free"
        self._options.progress(f"{left} {clock.monotonic() - ended:.1f} s later")

    def close(self) -> None:
        """Stop looking; the lab ends the processes."""
        self._cast.close()
        self._player.close()
        self._observer.close()
        for way in self._ways.values():
            way.close()
        self._adapter.close()
        if self._networks is not None:
            self._networks.close()
        self._observer.save(self._lab.folder / "snapshots.jsonl")
        self._faults.close()

    def history(self, until: float = math.inf) -> History:
        """What was recorded; up to a moment that has passed, when the run still goes on.

        What a client does that frees a seat, it writes down before it does it; so whatever followed from that
        before `until` is there together with it.
        """
        entries = self._cast.entries(until)
        faults, snapshots = self._faults.all(), self._observer.all()
        return History(self._adapter.limits, entries, faults, snapshots, until)

    def _progress(self, seconds: float) -> None:
        self._options.progress(
            f"{seconds:5.0f} s: {len(self._faults)} faults so far, "
            f"{self._observer.held} of {self._options.seats} seats held"
        )
