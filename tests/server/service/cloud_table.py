"""The table of what every two commands come to, from every start, as the model says it.

Promises: `table` is a file of `cloud_pairs/`, whole. Run as a program, this writes them anew, to be read before they are
believed:

    .venv/bin/python -m tests.server.service.cloud_table

Leaves to others: the commands (cloud_commands.py), and whether the server agrees (test_cloud_pairs.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.server.service.cloud_commands import COMMANDS
from tests.server.service.cloud_world import World

TABLES: Final = Path(__file__).with_name("cloud_pairs")


class Start(NamedTuple):
    """What was done before."""

    commands: tuple[str, ...] = ()
    group: bool = False


STARTS: Final[Mapping[str, Start]] = {
    "closed automatic": Start(),
    "open automatic": Start(("open a",)),
    "closed managed": Start(("open a", "managed", "add eq", "remove daw", "close on a")),
    "open managed": Start(("open a", "managed")),
    "group open": Start(("open a", "bea opens c"), group=True),
    "group suspended": Start(("open a", "bea opens c", "suspend ann's"), group=True),
}


def begun(start: str) -> World:
    """The model as it is at a start; commands come at one instant from then on."""
    world = World(group=STARTS[start].group)
    for name in STARTS[start].commands:
        ended = COMMANDS[name].model(world)
        assert ended == "ok", f"{name}: {ended}"
    world.remember("daw")
    world.time, world.pace = world.time + 1, 0
    return world


def told(
    clouds: Iterable[str], before: Collection[str], after: Collection[str], others: Iterable[str]
) -> str:
    """As one line: the clouds, what else is otherwise than it was, and other things to be said."""
    come = [f"+{one}" for one in sorted(set(after) - set(before))]
    gone = [f"-{one}" for one in sorted(set(before) - set(after))]
    return "; ".join([", ".join(clouds), *come, *gone, *sorted(others)])


def outcome(start: str, *commands: str) -> str:
    """Of commands one after the other."""
    world = begun(start)
    before = world.facts()
    ended = [(name, COMMANDS[name].model(world)) for name in commands]
    refused = [f"{name} refused: {how}" for name, how in ended if how != "ok"]
    return told(world.clouds(), before, world.facts(), refused)


def pairs() -> Iterator[tuple[str, str]]:
    return itertools.combinations_with_replacement(COMMANDS, 2)


def row(start: str, first: str, second: str) -> str:
    """With one outcome, where both orders have the same."""
    there = (outcome(start, first, second), outcome(start, second, first))
    return " | ".join([first, second, *dict.fromkeys(there)])


def table(start: str) -> str:
    """All rows of a start, below how it is at first."""
    lines = [outcome(start), *(row(start, *pair) for pair in pairs())]
    return "".join(f"{line}\n" for line in lines)


def file_of(start: str) -> Path:
    return TABLES / f"{start.replace(' ', '_')}.txt"


if __name__ == "__main__":
    for name in STARTS:
        file_of(name).write_text(table(name))
