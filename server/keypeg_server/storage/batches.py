"""What of a batch of operations goes to disk: changes, records of the log, results of requests.

Promises: all of a batch is written in the order of its decisions, in the transaction that is given; what it was
unsure of is looked up in the same one.

Leaves to others: when, and what follows (committer.py), rows (pool_store.py), the log (log_writer.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from keypeg.errors import KeypegError
from keypeg_server.domain.decision import Change
from keypeg_server.domain.record import Entry
from keypeg_server.service.commits import Operation
from keypeg_server.storage import pool_store, requests
from keypeg_server.storage.log_writer import LogWriter

Recorded = tuple[bytes, bytes]  # digest and result
Key = tuple[str, str]  # caller and request id
Believed = dict[str, int | None]  # under which epochs homes were this server's when it was asked
Found = dict[Key, Recorded]  # what is on record of the requests that were looked up


class Item:
    """An operation between its decision and its answer."""

    __slots__ = (
        "believed",
        "changes",
        "entries",
        "error",
        "numbers",
        "operation",
        "recorded",
        "result",
        "unsure",
    )

    def __init__(self, operation: Operation, believed: Believed) -> None:
        self.operation = operation
        self.believed = believed
        self.changes: Sequence[Change] = ()
        self.entries: Sequence[Entry] = ()  # of the log
        self.numbers: Sequence[int] = ()  # of the entries there, once they are written
        self.error: KeypegError | None = None  # refused already; told in its turn
        self.recorded: bytes | None = None  # was answered with this before
        self.result: bytes | None = None  # to be recorded with its request
        self.unsure = False  # refused, unless its request was answered before this server started

    @property
    def needs_disk(self) -> bool:
        """Whether there is something to write, or to look up."""
        return bool(self.changes or self.entries) or self.result is not None or self.unsure


def write(
    connection: Connection, batch: list[Item], expire_time_us: int, log: LogWriter | None
) -> Found:
    """Write a batch, and look up what it is unsure of; in a transaction."""
    rows = []
    unsure = []
    changes: list[Change] = []
    entries: list[Entry] = []
    for item in batch:
        changes.extend(item.changes)
        entries.extend(item.entries)
        request = item.operation.request
        if request is None:
            continue
        if item.result is not None:
            rows.append((request.caller, request.id, request.digest, item.result, expire_time_us))
        elif item.unsure:
            unsure.append((request.caller, request.id))
    if rows:
        requests.record(connection, rows)
    if changes:
        pool_store.write(connection, changes)
    if log is not None and entries:
        numbers = log.append(connection, entries)
        at = 0
        for item in batch:
            if item.entries:
                item.numbers = numbers[at : at + len(item.entries)]
                at += len(item.entries)
    return requests.recorded(connection, unsure) if unsure else {}


def keys(batch: list[Item]) -> list[Key]:
    """The requests whose answers a batch records."""
    made = (item.operation.request for item in batch if item.result is not None)
    return [(request.caller, request.id) for request in made if request is not None]


def believed(batch: list[Item]) -> Believed:
    """Whom a batch writes for, under which epochs; of two of one home the older, which then is found to be lost."""
    found: Believed = {}
    for item in batch:
        if item.needs_disk:
            for parent, epoch in item.believed.items():
                if epoch is None or (found.get(parent, epoch) or 0) >= epoch:
                    found[parent] = epoch
    return found
