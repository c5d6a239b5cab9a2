"""Reading the log: exports that anyone can verify, and what-if on recorded demand.

Promises: an export begins where the log begins, holds every record and head in order, and ends with a head
signed for it; it is read in short steps. What is written meanwhile is not in it. A replay runs in a process of its
own, one at a time, so that no seat waits for it.

Leaves to others: who may read (rpc/authorization.py), the disk (storage/log_store.py), the form (keypeg.log).
"""

from __future__ import annotations

import asyncio
import base64
import pickle
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from keypeg import usage
from keypeg.errors import Busy, Internal, LimitExceeded, NotFound
from keypeg.log import Begin, Head, Record
from keypeg.v1 import log_pb2
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.log_pb2 import LogHead
from keypeg_server.domain import replay
from keypeg_server.domain.pool_rules import PLAIN, PoolRules
from keypeg_server.domain.replay import Outcome
from keypeg_server.service.ports import Clock

PART_BYTES: Final = 500_000  # of records sent at once; a receiver takes 4 MiB
REPLAY_RECORDS: Final = 1_000_000  # of one simulation: a gigabyte of memory, and half a minute
_ASIDE: Final = "from keypeg_server.service import reports; reports.serve_aside()"


@dataclass(frozen=True)
class Snapshot:
    """A log, as far as it went at some moment."""

    log: str
    sequence: int
    hash: bytes
    removed_sequence: int  # records up to here are gone
    removed_hash: bytes


@dataclass(frozen=True)
class Simulated:
    """What was, and what would have been; times in microseconds since 1970."""

    begin_us: int
    end_us: int
    recorded: Outcome
    simulated: tuple[Outcome, ...]


class LogStore(Protocol):
    """Logs on disk."""

    async def logs(self, parent: str) -> list[Snapshot]:
        """The logs of an account or publisher, as they are now."""
        ...

    async def part(
        self, log: str, after: int, through: int
    ) -> tuple[list[Record], list[tuple[int, bytes]]]:
        """Some records after one that ended a commit, up to another, and the heads among them with their numbers.

        None when there are none.
        """
        ...


class LogSigner(Protocol):
    """Signs heads."""

    @property
    def log_publisher(self) -> str: ...
    def sign_log(self, head: LogHead) -> Envelope: ...
    def delegation(self, publisher: str) -> Envelope: ...


class Reports:
    """See the contract's ReportService."""

    def __init__(
        self,
        store: LogStore,
        signer: LogSigner,
        clock: Clock,
        rules: Callable[[str], PoolRules | None] = lambda _: None,
    ) -> None:
        """`rules` gives those that a pool (id) has now."""
        self._store = store
        self._rules = rules
        self._signer = signer
        self._clock = clock
        self._simulating = asyncio.Lock()

    async def simulate(
        self,
        parent: str,
        pool: str,
        seat_counts: Sequence[int],
        begin_us: int = 0,
        end_us: int | None = None,
        rules: PoolRules | None = None,
    ) -> Simulated:
        """The recorded demand of a pool (id) of an account, by other numbers of seats, or other rules."""
        if self._simulating.locked():
            raise Busy(
                "Another simulation runs on this server; try again when it has ended.",
                retry_after=timedelta(seconds=5),
            )
        async with self._simulating:
            bodies = await self._bodies(parent, pool)
            if rules is None:
                rules = self._rules(pool) or PLAIN
            found = await _aside(bodies, pool, tuple(seat_counts), begin_us, end_us, rules)
        if found is None:
            raise NotFound(
                f"Nothing is recorded of pools/{pool} in {parent} for this time; list its pools.",
                resource=f"pools/{pool}",
            )
        return found

    async def _bodies(self, parent: str, pool: str) -> list[bytes]:
        mark = f'"pool":"{pool}"'.encode()
        bodies: list[bytes] = []
        for log in await self._store.logs(parent):
            at = log.removed_sequence
            while at < log.sequence:
                records, _ = await self._store.part(log.log, at, log.sequence)
                if not records:
                    raise _removed()
                at = records[-1].sequence
                bodies += [one.body for one in records if mark in one.body]
                if len(bodies) > REPLAY_RECORDS:
                    raise LimitExceeded(
                        f"More than {REPLAY_RECORDS} records tell of pools/{pool}, which is the limit of a "
                        "simulation; keep fewer (audit.keep).",
                        limit="simulation.records",
                        value=str(REPLAY_RECORDS),
                    )
        return bodies

    async def export(self, parent: str) -> AsyncIterator[Begin | Head | list[Record]]:
        """All logs of an account or publisher, one after the other."""
        keys = self._signer.delegation(self._signer.log_publisher).SerializeToString()
        logs = await self._store.logs(parent)
        if not logs:
            raise NotFound(f"Nothing is recorded of {parent}; check its name.", resource=parent)
        for log in logs:
            yield Begin(log.log, log.removed_sequence, log.removed_hash, keys)
            at = log.removed_sequence
            while at < log.sequence:
                records, heads = await self._store.part(log.log, at, log.sequence)
                if not records:
                    raise _removed()
                at = records[-1].sequence
                for number, envelope in heads:
                    before = [one for one in records if one.sequence <= number]
                    for some in _parts(before):
                        yield some
                    records = records[len(before) :]
                    yield Head(envelope)
                for some in _parts(records):
                    yield some
            head = LogHead(
                log=log.log,
                sequence=log.sequence,
                hash=log.hash,
                occasion=log_pb2.LOG_OCCASION_EXPORT,
            )
            head.issue_time.FromDatetime(self._clock.wall())
            yield Head(self._signer.sign_log(head).SerializeToString())


def _parts(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Records in messages of a bearable size."""
    part: list[Record] = []
    size = 0
    for record in records:
        part.append(record)
        size += len(record.body)
        if size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _removed() -> Busy:
    return Busy(
        "Records of the log were removed while it was read; try again.",
        retry_after=timedelta(seconds=1),
    )


async def _aside(bodies: Sequence[bytes], *arguments: Any) -> Simulated | None:
    """`simulated` in a process of its own, which ends with whoever waits for it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _ASIDE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    header = base64.b64encode(pickle.dumps(arguments))
    try:
        answer, _ = await process.communicate(b"\n".join([header, *bodies]))
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise Internal("The simulation failed; the server's operator finds why in its log.")
    found: Simulated | None = pickle.loads(answer)  # noqa: S301 - of our own process
    return found


def serve_aside() -> None:
    """What that process does: arguments and records on its standard input, the outcome on its output."""
    header, *bodies = sys.stdin.buffer.read().split(b"\n")
    pool, seat_counts, begin_us, end_us, rules = pickle.loads(base64.b64decode(header))  # noqa: S301
    found = simulated(bodies, pool, seat_counts, begin_us, end_us, rules)
    sys.stdout.buffer.write(pickle.dumps(found))


def simulated(
    bodies: Sequence[bytes],
    pool: str,
    seat_counts: Sequence[int],
    begin_us: int = 0,
    end_us: int | None = None,
    rules: PoolRules = PLAIN,
) -> Simulated | None:
    """Read records and replay them; None when they tell nothing of the pool in that time."""
    history = usage.read(bodies)
    if end_us is not None:
        history.end_us = min(history.end_us, end_us)
    history.begin_us = max(history.begin_us, begin_us)
    history.demands = [one for one in history.demands if begin_us <= one.asked_us <= history.end_us]
    if not history.demands:
        return None
    was = replay.recorded(history, pool)
    return Simulated(
        history.begin_us,
        history.end_us,
        was,
        tuple(
            replay.replay(history, pool, seats, rules)
            for seats in seat_counts or (was.seat_count or was.peak_units,)
        ),
    )
