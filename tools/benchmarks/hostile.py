"""Honest users beside callers who mean harm: their p99 in quiet and under each attack, and the server's memory.

Promises: the server has the limits and the password costs that it has by default; honest users come at a steady pace (an
open loop: latencies count from when a request was due) on connections of their own, and every answer of theirs is checked:
one that fails is an error and no number. Quiet and all attacks take turns within each round, and the quiet that an
attack is compared with is that of its round.

Leaves to others: the attacks (attacks.py), that each is refused as it should be (tests/system/test_hostile.py).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import machine
from benchmarks.loads import Load, Sample
from benchmarks.report import Found, Goal, markdown
from benchmarks.rounds import Plan
from benchmarks.stage import Stage
from benchmarks.suite import Given
from lab.processes import Event, Program
from lab.world import MEMBER

ATTACKS: Final = {
    "half-open": "half-open connections",
    "slow-readers": "streams that do not read",
    "header-bombs": "headers of 256 KB",
    "message-bombs": "messages of 8 MB",
    "sign-ins": "sign-ins with guessed passwords",
    "streams": "streams of one user, without end",
    "calls": "calls with forged tokens",
}
QUIET: Final = "quiet"
KINDS: Final = {"call": "seat-unary", "renewal": "renew"}
CALLERS: Final = 32
CONNECTIONS: Final = 4
PACE: Final = 300.0  # a second, of each kind; a tenth of what the server could
LEAST_SECONDS: Final = 2.0  # of a round: its p99 is the sixth longest of six hundred
QUICK_HALF_OPEN: Final = 200
OPEN_SECONDS: Final = 60.0
SETTLED: Final = 0.05  # of a core
SETTLED_LOOKS: Final = 4  # one after another: connections end in crowds, with pauses
SETTLING_SECONDS: Final = 10.0
TIMES: Final = 2.0
BOUND_MIB: Final = 600.0  # 10,000 half-open connections are 220 MiB of it
ATTACKS_PROGRAM: Final = Path(__file__).resolve().parent / "attacks.py"
THIEF: Final = "thief@bench.example"
SETTINGS: Final = """
[sessions]
seat_grant = "3600s"
[logs]
level = "info"
[tokens]
access = "7d"
"""


@dataclass
class Scene:
    """What was found in quiet, or under one attack."""

    samples: dict[str, list[Sample]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    memory_mib: list[float] = field(default_factory=list)  # when it was at its height
    tally: Counter[str] = field(default_factory=Counter)  # what came of the tries
    at_once: int = 0
    seconds: float = 0.0

    def p99(self, kind: str) -> float:
        """The median of the rounds' p99, in milliseconds."""
        return statistics.median(sample.p99_ms for sample in self.samples[kind])

    @property
    def core(self) -> float:
        """How much of its core the server was busy."""
        return statistics.median(
            sample.server_cores for found in self.samples.values() for sample in found
        )

    def over(self, quiet: Scene, kind: str) -> float:
        """How many times the p99 of the quiet of the same round, in the median."""
        pairs = zip(self.samples[kind], quiet.samples[kind], strict=True)
        return round(statistics.median(mine.p99_ms / its.p99_ms for mine, its in pairs), 2)


def hostile(given: Given) -> Found:
    """Measure it."""
    given.needs_cpp("A steady pace beside attacks")
    plan = given.plan if given.quick else _long_enough(given.plan)
    scenes = {name: Scene() for name in (QUIET, *ATTACKS)}
    with given.stage(settings=SETTINGS) as stage:
        stage.world.add_users(stage.account, {THIEF: MEMBER})
        attackers = {name: _attacker(given, stage, name) for name in ATTACKS}
        loads = {
            kind: stage.load(work, CALLERS, connections=CONNECTIONS) for kind, work in KINDS.items()
        }
        _play(given, stage, loads, None, Scene(), plan)  # warms up
        before = _memory(stage)
        order = list(scenes)
        for number in range(plan.rounds):
            given.say(f"round {number + 1} of {plan.rounds}: {len(order)} scenes")
            for name in order:
                _play(given, stage, loads, attackers.get(name), scenes[name], plan)
            order = order[1:] + order[:1]
        _settle(stage)
        after = _memory(stage)
        for load in loads.values():
            load.close()
        for attacker in attackers.values():
            attacker.stop()
    return _found(scenes, before, after)


def _long_enough(plan: Plan) -> Plan:
    return replace(plan, seconds=max(plan.seconds, LEAST_SECONDS))


def _attacker(given: Given, stage: Stage, name: str) -> Program:
    world = stage.world
    arguments = {
        "target": world.address,
        "ca": str(world.ca_file),
        "attack": name,
        "product": stage.place.product,
        "count": str(QUICK_HALF_OPEN) if given.quick else "",
    }
    with machine.pinned(stage.cores.load):
        program = stage.lab.start(
            f"attack-{name}",
            [
                sys.executable,
                str(ATTACKS_PROGRAM),
                *(
                    text
                    for key, value in arguments.items()
                    if value
                    for text in (f"--{key}", value)
                ),
            ],
            env={"KEYPEG_TOKEN": world.token(THIEF)},
        )
    program.expect("ready")
    return program


def _tell(program: Program, command: str, answer: str) -> Event:
    position = len(program.events)
    assert program.popen.stdin
    program.popen.stdin.write(f"{command}\n".encode())
    program.popen.stdin.flush()
    return program.expect(answer, after=position, timeout=OPEN_SECONDS)


def _play(
    given: Given,
    stage: Stage,
    loads: dict[str, Load],
    attacker: Program | None,
    scene: Scene,
    plan: Plan,
) -> None:
    """One round of one scene."""
    _settle(stage)
    begun = time.monotonic()
    if attacker is not None:
        scene.at_once = _tell(attacker, "begin", "under way")["at_once"]
    for kind, load in loads.items():
        scene.samples[kind].append(load.run(plan.seconds, plan.warm, PACE))
    scene.memory_mib.append(_memory(stage))
    if attacker is not None:
        scene.tally.update(_tell(attacker, "rest", "rested")["tally"])
    scene.seconds += time.monotonic() - begun


def _settle(stage: Stage) -> None:
    """Wait until the server has done what was left to do."""
    (pid,) = stage.server.pids
    ends = time.monotonic() + SETTLING_SECONDS
    settled = 0
    while settled < SETTLED_LOOKS and time.monotonic() < ends:
        before, moment = machine.process_seconds(pid), time.monotonic()
        time.sleep(0.2)
        busy = (machine.process_seconds(pid) - before) / (time.monotonic() - moment)
        settled = settled + 1 if busy < SETTLED else 0


def _memory(stage: Stage) -> float:
    """MiB of the server, and of the process in which it checks passwords."""
    (pid,) = stage.server.pids
    pids = (pid, *(child.pid for child in psutil.Process(pid).children()))
    return round(sum(map(machine.memory_kib, pids)) / 1024, 1)


def _found(scenes: dict[str, Scene], before: float, after: float) -> Found:
    quiet = scenes[QUIET]
    rows: list[tuple[str, ...]] = [
        (
            "",
            "at once",
            "call p99 ms",
            "times quiet",
            "renewal p99 ms",
            "times quiet",
            "core",
            "MiB",
            "came of it",
        )
    ]
    over: dict[str, dict[str, float]] = {}
    for name, scene in scenes.items():
        over[name] = {kind: scene.over(quiet, kind) for kind in KINDS}
        cells = [
            cell
            for kind in KINDS
            for cell in (
                f"{scene.p99(kind):.2f}",
                "" if name == QUIET else f"{over[name][kind]:.2f}",
            )
        ]
        came = ", ".join(f"{count:,} {what}" for what, count in scene.tally.most_common(4))
        title = ATTACKS.get(name, name)
        at_once = f"{scene.at_once:,}" if scene.at_once else ""
        rows.append(
            (title, at_once, *cells, f"{scene.core:.0%}", f"{max(scene.memory_mib):.0f}", came)
        )
    highest = max(max(scene.memory_mib) for scene in scenes.values())
    lines = (
        *markdown(rows),
        "",
        f"Honest users: {CALLERS} callers and {CALLERS} sessions, {PACE:.0f} calls and renewals a second each in turn. "
        f"keypegd had {before:.0f} MiB before, {highest:.0f} at most, {after:.0f} after.",
    )
    data: dict[str, Any] = {
        "scenes": {name: _scene_json(scene) for name, scene in scenes.items()},
        "times_quiet": over,
        "memory_mib": {"before": before, "highest": highest, "after": after},
    }
    goals = [
        Goal(f"p99 of a {kind} beside {title} / in quiet", TIMES, over[name][kind], at_most=True)
        for name, title in ATTACKS.items()
        for kind in KINDS
    ]
    goals.append(Goal("MiB of keypegd under any attack", BOUND_MIB, highest, at_most=True))
    return Found("Honest users beside hostile ones", lines, data, tuple(goals))


def _scene_json(scene: Scene) -> dict[str, Any]:
    return {
        "at_once": scene.at_once,
        "seconds": round(scene.seconds, 1),
        "memory_mib": scene.memory_mib,
        "came_of_it": dict(scene.tally),
        "server_cores": scene.core,
        "p99_ms": {kind: scene.p99(kind) for kind in KINDS},
        "rounds": {kind: [vars(one) for one in found] for kind, found in scene.samples.items()},
    }
