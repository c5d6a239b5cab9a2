"""The log on real databases: the chain over batches and restarts, what does not commit, what is removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from keypeg import log, log_verification
from keypeg.document import DELEGATION_TYPE, Ed25519Signer, seal
from keypeg.v1 import document_pb2
from keypeg.v1.document_pb2 import Delegation, Envelope
from keypeg.v1.log_pb2 import LOG_OCCASION_STOP, LogHead
from keypeg_server.clock import to_us
from keypeg_server.domain.record import Entry, about
from keypeg_server.service.reports import Reports
from keypeg_server.storage import log_store
from keypeg_server.storage.log_store import Keeping, SqlLogStore
from keypeg_server.storage.log_writer import HEAD_RECORDS, LogWriter, log_name
from tests.server.databases import Place

ACME, UMBRA = "accounts/acme", "accounts/umbra"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROOT, KEY = Ed25519Signer(bytes(range(32))), Ed25519Signer(bytes(range(1, 33)))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def wall(self) -> datetime:
        return self.now

    def wall_us(self) -> int:
        return to_us(self.wall())

    def served_us(self) -> int:
        return round(self.monotonic() * 1e6)

    def monotonic(self) -> float:
        return 0.0

    @property
    def us(self) -> int:
        return int(self.now.timestamp()) * 1_000_000


class Signer:
    """Signs under a delegation, as service/signing.py does."""

    log_publisher = "acme"

    def sign_log(self, head: LogHead) -> Envelope:
        head.publisher = "publishers/acme"
        return log.sign_head(head, KEY)

    def delegation(self, publisher: str) -> Envelope:
        made = Delegation(publisher="publishers/acme", generation=1)
        key = made.keys.add(public_key=KEY.public_key, purposes=[document_pb2.PURPOSE_LOG])
        key.not_before_time.FromDatetime(NOW - timedelta(days=1))
        key.not_after_time.FromDatetime(NOW + timedelta(days=1_000))
        made.issue_time.FromDatetime(NOW)
        return seal(made, DELEGATION_TYPE, ROOT)


class Desk:
    """A log writer on a database, which can be restarted."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.clock = Clock()
        self.signer = Signer()
        self.start()

    def start(self, secret: bytes = b"s" * 32) -> None:
        self.database = self.place.make()
        self.log = LogWriter(self.signer.sign_log, secret)
        self.reports = Reports(SqlLogStore(self.database), self.signer, self.clock)

    async def restart(self, secret: bytes = b"s" * 32) -> list[str]:
        self.database.close()
        self.start(secret)
        return await log_store.check(self.database, self.log, self.clock)

    async def write(self, *entries: Entry, fail: bool = False) -> None:
        def run(connection: Connection) -> None:
            self.log.append(connection, entries)
            if fail:
                raise ValueError("the disk is full")

        await asyncio.wrap_future(self.database.submit(run, committed=self.log.committed))

    async def change(self, statement: str) -> None:
        def run(connection: Connection) -> None:
            connection.execute(text(statement))

        await asyncio.wrap_future(self.database.submit(run))

    def entries(self, *numbers: int, parent: str = ACME) -> list[Entry]:
        return [about(parent, "tried", self.clock.us + number, n=number) for number in numbers]

    async def lines(self, parent: str = ACME) -> list[bytes]:
        out = [log.FIRST_LINE]
        async for part in self.reports.export(parent):
            if isinstance(part, log.Begin):
                out.append(log.begin_line(part.log, part.sequence, part.hash, part.delegation))
            elif isinstance(part, log.Head):
                out.append(log.head_line(part.envelope))
            else:
                out += [log.record_line(one.sequence, one.hash, one.body) for one in part]
        return out

    async def verdict(self, parent: str = ACME) -> log_verification.Verdict:
        return log_verification.verify(await self.lines(parent), root=ROOT.public_key.key)

    async def said(self, parent: str = ACME) -> list[int]:
        lines = await self.lines(parent)
        return [json.loads(one.body).get("n", -1) for one in log.records(lines)]


@pytest.fixture
async def desk(place: Place) -> AsyncIterator[Desk]:
    made = Desk(place)
    yield made
    made.database.close()


async def test_records_are_chained_in_the_order_of_their_commits_for_each_account(desk: Desk):
    await desk.write(*desk.entries(1, 2), *desk.entries(3, parent=UMBRA), *desk.entries(4))
    await desk.write(*desk.entries(5))
    assert await desk.said() == [1, 2, 4, 5]
    assert await desk.said(UMBRA) == [3]
    verdict = await desk.verdict()
    assert verdict.ok
    assert verdict.logs[0].log == log_name(ACME)


async def test_the_chain_goes_on_after_a_restart(desk: Desk):
    await desk.write(*desk.entries(1, 2))
    assert await desk.restart() == []
    await desk.write(*desk.entries(3))
    assert await desk.said() == [1, 2, 3]
    assert (await desk.verdict()).ok


async def test_the_chain_goes_on_over_servers_that_take_the_account_in_turns(desk: Desk):
    """Each remembers where the log stood when it had it; the date of one is hours behind."""
    other = LogWriter(desk.signer.sign_log, b"s" * 32)
    for turn in range(4):
        desk.log, other = other, desk.log
        desk.clock.now += timedelta(hours=-3 if turn % 2 else 4)
        desk.log.forget([ACME])
        assert await log_store.check(desk.database, desk.log, desk.clock, parents=[ACME]) == []
        await desk.write(*desk.entries(turn * 2))
        await desk.write(*desk.entries(turn * 2 + 1))
    await log_store.sign_heads(desk.database, desk.log, desk.clock, LOG_OCCASION_STOP)
    assert await desk.said() == list(range(8))
    assert (await desk.verdict()).ok


async def test_what_does_not_commit_leaves_no_trace(desk: Desk):
    await desk.write(*desk.entries(1))
    with pytest.raises(ValueError, match="full"):
        await desk.write(*desk.entries(2), *desk.entries(7, parent=UMBRA), fail=True)
    await desk.write(*desk.entries(3))
    await desk.write(*desk.entries(8, parent=UMBRA))
    assert await desk.said() == [1, 3]
    assert await desk.said(UMBRA) == [8]
    assert (await desk.verdict()).ok
    assert (await desk.verdict(UMBRA)).ok


async def test_heads_are_signed_for_every_thousand_records_and_for_the_rest_when_asked(desk: Desk):
    await desk.write(*desk.entries(*range(HEAD_RECORDS + 10)))
    await desk.write(*desk.entries(*range(5)))
    verdict = await desk.verdict()
    assert verdict.ok
    assert verdict.logs[0].head_count == 2  # one, and that of the export
    assert await log_store.sign_heads(desk.database, desk.log, desk.clock, log_store.STOP) == 1
    assert await log_store.sign_heads(desk.database, desk.log, desk.clock, log_store.STOP) == 0
    await desk.write(*desk.entries(9))
    verdict = await desk.verdict()
    assert verdict.ok
    assert verdict.logs[0].head_count == 3


async def test_an_export_reads_on_over_many_parts(desk: Desk):
    for _ in range(3):
        await desk.write(*desk.entries(*range(777)))
        await log_store.sign_heads(desk.database, desk.log, desk.clock, log_store.PERIOD)
    verdict = await desk.verdict()
    assert verdict.ok
    assert verdict.logs[0].record_count == 3 * 777


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE log_block SET body = \'{"event":"tried"}\' WHERE sequence = 4',
        "DELETE FROM log_block WHERE sequence = 4",
        "DELETE FROM log_block WHERE sequence = 6",
        "UPDATE log_block SET hash = (SELECT removed_hash FROM log) WHERE sequence = 6",
        "UPDATE log SET sequence = 5, hash = (SELECT hash FROM log_block WHERE sequence = 5)",
    ],
)
@pytest.mark.parametrize("signed", [0, 3])
async def test_a_change_while_no_server_ran_is_found_at_the_start(
    desk: Desk, statement: str, signed: int
):
    await desk.write(*desk.entries(1, 2, 3))
    if signed:
        await log_store.sign_heads(desk.database, desk.log, desk.clock, log_store.PERIOD)
    for number in (4, 5, 6):
        await desk.write(*desk.entries(number))
    await desk.change(statement)
    assert await desk.restart() == [log_name(ACME)]
    await desk.write(*desk.entries(7))
    kinds = {one.kind for one in (await desk.verdict()).findings}
    assert "reported" in kinds
    # The log goes on, and says so for ever.
    assert await desk.restart() == []
    assert "reported" in {one.kind for one in (await desk.verdict()).findings}


async def test_who_has_another_secret_can_not_seal(desk: Desk):
    await desk.write(*desk.entries(1))
    assert await desk.restart(secret=b"o" * 32) == [log_name(ACME)]


async def test_a_log_that_is_cut_below_its_head_stays_evident(desk: Desk):
    for number in (1, 2, 3):
        await desk.write(*desk.entries(number))
    await log_store.sign_heads(desk.database, desk.log, desk.clock, log_store.PERIOD)
    await desk.change("DELETE FROM log_block WHERE sequence = 3")
    await desk.change(
        "UPDATE log SET sequence = 2, hash = (SELECT hash FROM log_block WHERE sequence = 2)"
    )
    assert await desk.restart() == [log_name(ACME)]
    for number in range(4, 8):
        await desk.write(*desk.entries(number))
        await log_store.sign_heads(desk.database, desk.log, desk.clock, log_store.PERIOD)
    assert not (await desk.verdict()).ok


async def test_old_records_go_up_to_a_head_and_the_log_says_so(desk: Desk):
    keeping = Keeping(timedelta(days=30), 1_000_000)
    await desk.write(*desk.entries(1, 2, 3))
    await log_store.sign_heads(desk.database, desk.log, desk.clock, log_store.PERIOD)
    await desk.write(*desk.entries(4))
    desk.clock.now += timedelta(days=20)
    await desk.write(*desk.entries(5))
    await log_store.sign_heads(desk.database, desk.log, desk.clock, log_store.PERIOD)
    assert await log_store.remove_old(desk.database, desk.log, desk.clock, keeping) == 0
    desk.clock.now += timedelta(days=20)
    assert await log_store.remove_old(desk.database, desk.log, desk.clock, keeping) == 3
    assert await desk.said() == [4, 5, -1]  # 4 is old, but no head stands between it and 5
    verdict = await desk.verdict()
    assert verdict.ok, verdict.findings
    assert verdict.logs[0].begins_after == 3
    assert await desk.restart() == []
    await desk.write(*desk.entries(6))
    assert (await desk.verdict()).ok


async def test_no_log_has_more_records_than_the_limit(desk: Desk):
    for number in range(12):
        await desk.write(*desk.entries(number))
        await log_store.sign_heads(desk.database, desk.log, desk.clock, log_store.PERIOD)
    keeping = Keeping(timedelta(days=30), 10)
    assert await log_store.remove_old(desk.database, desk.log, desk.clock, keeping) == 2
    assert await desk.said() == [*range(2, 12), -1]
    assert (await desk.verdict()).ok
