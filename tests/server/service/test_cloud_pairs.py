"""Every pair of commands on cloud sessions: one after the other, and both at the same instant.

`cloud_pairs/` is the table, a file for each start, which its first line shows: for each two commands, what is there
after the first and then the second, and after the second and then the first, with how each ended where it was refused
(`+` is what was not there at the start, `-` what was). Where both are the same it stands once. The table is what
people read and agree to. The model must say the same; the server must come to the very outcome of each order, and
when it is asked for both at once end in one of the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import pytest

from keypeg.errors import KeypegError
from keypeg_server.domain.account import AccountKind
from keypeg_server.rpc import authorization
from tests.server.service.cloud_commands import COMMANDS, OTHERS, SERVICES
from tests.server.service.cloud_sight import Sight
from tests.server.service.cloud_stage import OWNED, Stage
from tests.server.service.cloud_table import STARTS, TABLES, file_of, table, told
from tests.server.service.office import DAW, Office
from tests.server.snapshot import Snapshot

OPENINGS: Final = {"open a": "a", "open b": "b", "open b or keep": "b", "bea opens c": "c"}
SECOND: Final = timedelta(seconds=1)


class Row(NamedTuple):
    """Of the table; the last outcome is that of the second command before the first."""

    first: str
    second: str
    outcomes: tuple[str, ...]


def read(start: str) -> tuple[str, list[Row]]:
    """How it is at first, and the rows."""
    at_first, *lines = file_of(start).read_text().splitlines()
    cells = [line.split(" | ") for line in lines]
    return at_first, [Row(first, second, tuple(said)) for first, second, *said in cells]


@dataclass(frozen=True)
class Moment:
    """The world as it was, to be put back."""

    snapshot: Snapshot
    now: datetime

    @classmethod
    async def of(cls, stage: Stage) -> Moment:
        return cls(await Snapshot.take(stage.office.database), stage.office.clock.now)

    async def comes_back(self, stage: Stage) -> None:
        await self.snapshot.put_back(stage.office.database)
        stage.office.clock.now = self.now


@dataclass(frozen=True)
class Play:
    """A start on the server."""

    stage: Stage
    beginning: Moment
    before: set[str]

    @classmethod
    async def of(cls, office: Office, start: str) -> Play:
        for product in {*OWNED, "fx"} - {DAW.rpartition("/")[2]}:
            await office.product(product)
        kind = AccountKind.GROUP if STARTS[start].group else AccountKind.PERSONAL
        stage = await Stage.made(office, "home", kind)
        for name in STARTS[start].commands:
            office.clock.now += SECOND
            await COMMANDS[name].server(stage)
        office.clock.now += SECOND
        await stage.remember("daw")
        return cls(stage, await Moment.of(stage), (await Sight.of(stage)).facts())

    async def asked(self, name: str) -> str:
        """How a command ended; empty when it was done."""
        try:
            await COMMANDS[name].server(self.stage)
        except KeypegError as error:
            return f"{name} refused: {error.reason.name}"
        return ""

    async def seen(self, ended: Iterable[str]) -> str:
        sight = await Sight.of(self.stage)
        refused = [one for one in ended if one]
        return told(sight.clouds(), self.before, sight.facts(), [*refused, *sight.broken()])


def test_every_method_is_a_command_or_changes_no_cloud() -> None:
    services = {f"keypeg.v1.{name}Service" for name in SERVICES}
    paths = [path.split("/") for path in authorization.TABLE]
    there = {method for _, service, method in paths if service in services}
    commands = {one.method for one in COMMANDS.values()} - {""}
    assert commands | OTHERS == there
    assert not commands & OTHERS


@pytest.mark.parametrize("start", STARTS)
def test_the_table_is_what_the_model_says(start: str) -> None:
    assert file_of(start).read_text() == table(start), "see cloud_table.py"


def test_every_file_of_the_table_is_a_start() -> None:
    assert {one.name for one in TABLES.iterdir()} == {file_of(start).name for start in STARTS}


@pytest.mark.behaviour("CLOUD-2")
@pytest.mark.parametrize("start", [one for one in STARTS if not STARTS[one].group])
def test_who_opened_last_has_it(start: str) -> None:
    for first, second, outcomes in read(start)[1]:
        if first in OPENINGS and second in OPENINGS:
            for said, last in ((outcomes[0], second), (outcomes[-1], first)):
                had = said.startswith(f"{OPENINGS[last]} ")
                assert had != (f"{last} refused: CLOUD_SESSION_ELSEWHERE" in said)


async def both_at_once(office: Office, start: str, *, least: int) -> None:
    """Of the rows with so many outcomes or more; now the one is heard first, now the other."""
    at_first, rows = read(start)
    play = await Play.of(office, start)
    assert await play.seen([]) == at_first
    wrong = []
    for number, (first, second, outcomes) in enumerate(rows):
        if len(outcomes) >= least:
            await play.beginning.comes_back(play.stage)
            both = (first, second) if number % 2 else (second, first)
            found = await play.seen(await asyncio.gather(*map(play.asked, both)))
            if found not in outcomes:
                wrong.append(f"{first} | {second} | {found}")
    assert not wrong


@pytest.mark.behaviour("CLOUD-2")
@pytest.mark.behaviour("CLOUD-8")
@pytest.mark.behaviour("LIC-3")
@pytest.mark.parametrize("start", STARTS)
async def test_of_two_commands_at_once_one_comes_first(office: Office, start: str) -> None:
    await both_at_once(office, start, least=2)


@pytest.mark.long
@pytest.mark.parametrize("start", STARTS)
async def test_any_two_commands_at_once_end_as_if_one_came_first(
    office: Office, start: str
) -> None:
    await both_at_once(office, start, least=1)


@pytest.mark.long
@pytest.mark.parametrize("start", STARTS)
async def test_each_order_of_two_commands_has_its_outcome(office: Office, start: str) -> None:
    wanted = {}
    for first, second, outcomes in read(start)[1]:
        wanted[second, first], wanted[first, second] = outcomes[-1], outcomes[0]
    play = await Play.of(office, start)
    wrong = []
    for first in COMMANDS:
        await play.beginning.comes_back(play.stage)
        ended = await play.asked(first)
        after = await Moment.of(play.stage)
        for second in COMMANDS:
            await after.comes_back(play.stage)
            found = await play.seen([ended, await play.asked(second)])
            if found != wanted[first, second]:
                wrong.append(f"{first}, {second}: {found}, not {wanted[first, second]}")
    assert not wrong
