"""Reading the log: exports that anyone can verify.

Promises: an export begins where the log begins, holds every record and head in order, and ends with a head
signed for it; it is read in short steps. What is written meanwhile is not in it.

Leaves to others: who may read (rpc/authorization.py), the disk (storage/log_store.py), the form (keypeg.log).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from keypeg.errors import Busy
from keypeg.log import Begin, Head, Record
from keypeg.v1 import log_pb2
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.log_pb2 import LogHead
from keypeg_server.service.ports import Clock

PART: Final = 500  # records read and sent at once: some 200 KiB


@dataclass(frozen=True)
class Snapshot:
    """A log, as far as it went at some moment."""

    log: str
    sequence: int
    hash: bytes
    removed_sequence: int  # records up to here are gone
    removed_hash: bytes


class LogStore(Protocol):
    """Logs on disk."""

    async def logs(self, parent: str) -> list[Snapshot]:
        """The logs of an account or publisher, as they are now."""
        ...

    async def part(
        self, log: str, after: int, through: int
    ) -> tuple[list[Record], list[tuple[int, bytes]]]:
        """Records and heads with their numbers, from `after` (without it) to `through`."""
        ...


class LogSigner(Protocol):
    """Signs heads."""

    @property
    def log_publisher(self) -> str: ...
    def sign_log(self, head: LogHead) -> Envelope: ...
    def delegation(self, publisher: str) -> Envelope: ...


class Reports:
    """See the contract's ReportService."""

    def __init__(self, store: LogStore, signer: LogSigner, clock: Clock) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock

    async def export(self, parent: str) -> AsyncIterator[Begin | Head | list[Record]]:
        """All logs of an account or publisher, one after the other."""
        keys = self._signer.delegation(self._signer.log_publisher).SerializeToString()
        for log in await self._store.logs(parent):
            yield Begin(log.log, log.removed_sequence, log.removed_hash, keys)
            at = log.removed_sequence
            while at < log.sequence:
                through = min(at + PART, log.sequence)
                records, heads = await self._store.part(log.log, at, through)
                for number, envelope in heads:
                    before = [one for one in records if one.sequence <= number]
                    if before:
                        yield before
                    records = records[len(before) :]
                    yield Head(envelope)
                if records:
                    yield records
                if not records and not heads:
                    raise Busy(
                        "Records of the log were removed while it was exported; export it again.",
                        retry_after=timedelta(seconds=1),
                    )
                at = through
            head = LogHead(
                log=log.log,
                sequence=log.sequence,
                hash=log.hash,
                occasion=log_pb2.LOG_OCCASION_EXPORT,
            )
            head.issue_time.FromDatetime(self._clock.wall())
            yield Head(self._signer.sign_log(head).SerializeToString())
