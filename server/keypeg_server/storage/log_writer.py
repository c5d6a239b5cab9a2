"""Appending to the usage and audit log, in the transaction of what is recorded.

Promises: the order of records is the order of commits; every record is chained to the one before
(keypeg.log), and a head is signed at the latest every HEAD_RECORDS records. What does not commit leaves no
trace, in memory neither. A log that was changed while no server ran says so from then on.

Leaves to others: what records say (domain/record.py), reading them (log_store.py), transactions. Everything
here runs in the writer's thread, but `seal` and `sign`, which are pure.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, bindparam, delete, func, insert, select

from keypeg.log import chained, genesis
from keypeg.v1 import log_pb2
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.log_pb2 import LogHead, LogOccasion
from keypeg_server.domain import record
from keypeg_server.domain.record import Entry
from keypeg_server.storage.bulk import BulkInsert, BulkUpdate
from keypeg_server.storage.log_blocks import BLOCK_RECORDS, as_bytes, packed, unpacked
from keypeg_server.storage.tables_log import LogBlockRow, LogHeadRow, LogRow

_LOG: Final = logging.getLogger(__name__)

HEAD_RECORDS: Final = 1_000  # records between heads: 45 µs of signing for each thousand
LOGS_KNOWN: Final = 100_000  # logs whose last record is kept in memory: some 300 bytes each
NAME: Final = "main"  # of the one log of an account: one server writes it

_ROW: Final = LogRow.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it
_BLOCK: Final = LogBlockRow.__table__  # type: ignore[attr-defined]
_HEAD: Final = LogHeadRow.__table__  # type: ignore[attr-defined]
_PUT_BLOCKS: Final = BulkInsert(_BLOCK)
_FIND: Final = select(_ROW).where(_ROW.c.id == bindparam("id"))
_MOVE: Final = BulkUpdate(
    _ROW.c.id, _ROW.c.sequence, _ROW.c.hash, _ROW.c.seal, _ROW.c.head_sequence
)
_DROP_HEAD: Final = delete(_HEAD).where(  # there is one only when the log was cut and goes on
    _HEAD.c.log == bindparam("log"), _HEAD.c.sequence == bindparam("sequence")
)
_UNSIGNED: Final = select(_ROW).where(_ROW.c.sequence > _ROW.c.head_sequence)
_TAIL: Final = (
    select(_BLOCK)
    .where(_BLOCK.c.log == bindparam("log"), _BLOCK.c.sequence >= bindparam("begin"))
    .order_by(_BLOCK.c.sequence)
)
_LAST_BLOCK: Final = (
    select(func.max(_BLOCK.c.sequence))
    .where(_BLOCK.c.log == _ROW.c.id)
    .correlate(_ROW)
    .scalar_subquery()
)
_ENDS: Final[Any] = select(
    _ROW, _BLOCK.c.sequence.label("last_sequence"), _BLOCK.c.hash.label("last_hash")
).outerjoin(_BLOCK, and_(_BLOCK.c.log == _ROW.c.id, _BLOCK.c.sequence == _LAST_BLOCK))

Sign = Callable[[LogHead], Envelope]


class _Chain:
    """Where a log stands."""

    __slots__ = ("hash", "head", "log", "sequence")

    def __init__(self, log: str, sequence: int, hash: bytes, head: int) -> None:
        self.log = log
        self.sequence = sequence
        self.hash = hash
        self.head = head


def log_name(parent: str) -> str:
    """The log of an account or publisher (name)."""
    return f"{parent}/logs/{NAME}"


def _of(wanted: Select[Any], parents: Collection[str] | None) -> Select[Any]:
    return wanted if parents is None else wanted.where(_ROW.c.parent.in_(parents))


class LogWriter:
    """All logs of a database."""

    def __init__(self, sign: Sign, secret: bytes) -> None:
        """`secret` seals the last record of each log: who can write the file alone can not write the seal."""
        self._sign = sign
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"kp log seal").digest()
        self._chains: dict[str, _Chain] = {}  # by parent
        self._unsure = False  # what is in memory may not be on disk

    def append(self, connection: Connection, entries: Iterable[Entry]) -> list[int]:
        """Put records at the ends of their logs, in the transaction that the connection is in; their numbers."""
        if self._unsure or len(self._chains) > LOGS_KNOWN:
            self._chains.clear()
        self._unsure = True
        touched: dict[str, tuple[_Chain, list[bytes]]] = {}
        numbers: list[int] = []
        parent, time_us = "", 0
        for entry in entries:
            if not touched or entry.parent != parent:
                parent = entry.parent
                found = touched.get(parent)
                if found is None:
                    found = touched[parent] = (self._chain(connection, parent), [])
                chain, bodies = found
            body = entry.body.encode()
            chain.hash = chained(chain.hash, body)
            chain.sequence += 1
            numbers.append(chain.sequence)
            bodies.append(body)
            time_us = entry.time_us
            if len(bodies) == BLOCK_RECORDS:
                self._put_block(connection, chain, bodies, time_us)
                bodies.clear()
        if not touched:
            return numbers
        for chain, bodies in touched.values():
            if bodies:
                self._put_block(connection, chain, bodies, time_us)
            if chain.sequence - chain.head >= HEAD_RECORDS:
                self._put_head(connection, chain, time_us, log_pb2.LOG_OCCASION_PERIOD)
        self._move(connection, [chain for chain, _ in touched.values()])
        return numbers

    def committed(self) -> None:
        """The transaction of the last `append` is on disk; without this, the disk is asked next time."""
        self._unsure = False

    def forget(self, parents: Iterable[str]) -> None:
        """Ask the disk again where the logs of these are: another server wrote them, or will. From any thread."""
        for parent in parents:
            self._chains.pop(parent, None)

    def sign_heads(
        self,
        connection: Connection,
        time_us: int,
        occasion: LogOccasion.ValueType,
        parents: Collection[str] | None = None,
    ) -> int:
        """Sign for all records (of these parents) that no head covers; how many logs. In a transaction."""
        chains = [
            _Chain(row.id, row.sequence, as_bytes(row.hash), row.head_sequence)
            for row in connection.execute(_of(_UNSIGNED, parents))
        ]
        for chain in chains:
            self._put_head(connection, chain, time_us, occasion)
        if chains:
            self._unsure = True
            self._move(connection, chains)
        return len(chains)

    def head(
        self,
        log: str,
        sequence: int,
        hash: bytes,
        time_us: int,
        occasion: LogOccasion.ValueType,
    ) -> bytes:
        """A signed head."""
        head = LogHead(log=log, sequence=sequence, hash=hash, occasion=occasion)
        head.issue_time.FromMicroseconds(time_us)
        return self._sign(head).SerializeToString()

    def check(
        self, connection: Connection, time_us: int, parents: Collection[str] | None = None
    ) -> list[str]:
        """Look whether logs (of these parents) were changed while no server ran; says in them what is wrong.

        Then a head is signed for all that had none, so that it is looked at once.
        """
        wrong: dict[str, str] = {}
        of: dict[str, str] = {}
        for row in connection.execute(_of(_ENDS, parents)).all():
            why = self._wrong(connection, row)
            if why:
                wrong[row.id], of[row.id] = why, row.parent
        for log, why in wrong.items():
            _LOG.error("log was changed", extra={"log": log, "why": why})
            self._start_again(connection, log)
            self.append(connection, [record.about(of[log], "log_broken", time_us, why=why)])
        self.sign_heads(connection, time_us, log_pb2.LOG_OCCASION_START, parents)
        return list(wrong)

    def _wrong(self, connection: Connection, row: Any) -> str:
        """What is wrong with the records since the last head; empty when nothing is."""
        if not hmac.compare_digest(
            self._seal(row.id, row.sequence, as_bytes(row.hash)), as_bytes(row.seal)
        ):
            return "The seal of its last record is not this server's."
        if row.sequence == row.removed_sequence:
            return ""
        if row.head_sequence == row.sequence == row.last_sequence and as_bytes(
            row.last_hash
        ) == as_bytes(row.hash):
            return ""  # signed to its end
        # From the block that the last head covers to its end, or from the first that is kept.
        at, hash = row.removed_sequence, as_bytes(row.removed_hash)
        begin = row.head_sequence
        for block in connection.execute(_TAIL, {"log": row.id, "begin": max(begin, at + 1)}):
            if begin > row.removed_sequence and block.sequence == begin:
                at, hash = begin, as_bytes(block.hash)
                continue
            if block.first_sequence != at + 1:
                return f"Record {at + 1} is missing."
            for body in unpacked(as_bytes(block.body)):
                hash = chained(hash, body)
                at += 1
            if at != block.sequence or hash != as_bytes(block.hash):
                return f"A record from {block.first_sequence} to {block.sequence} was changed."
        if at != row.sequence:
            return f"It ends at record {at}, and went to {row.sequence}."
        return "" if hash == as_bytes(row.hash) else f"Record {at} was changed."

    def _start_again(self, connection: Connection, log: str) -> None:
        """Go on after the last record that is there."""
        last = connection.execute(
            select(_BLOCK.c.sequence, _BLOCK.c.hash)
            .where(_BLOCK.c.log == log)
            .order_by(_BLOCK.c.sequence.desc())
            .limit(1)
        ).one_or_none()
        row = connection.execute(_FIND, {"id": log}).one()
        sequence = last.sequence if last else row.removed_sequence
        hash = as_bytes(last.hash) if last else as_bytes(row.removed_hash)
        self._move(connection, [_Chain(log, sequence, hash, min(row.head_sequence, sequence))])
        self._chains.clear()

    def _chain(self, connection: Connection, parent: str) -> _Chain:
        chain = self._chains.get(parent)
        if chain is not None:
            return chain
        log = log_name(parent)
        row = connection.execute(_FIND, {"id": log}).one_or_none()
        if row is None:
            begin = genesis(log)
            connection.execute(
                insert(_ROW),
                {
                    "id": log,
                    "parent": parent,
                    "sequence": 0,
                    "hash": begin,
                    "seal": self._seal(log, 0, begin),
                    "head_sequence": 0,
                    "removed_sequence": 0,
                    "removed_hash": begin,
                },
            )
            chain = _Chain(log, 0, begin, 0)
        else:
            chain = _Chain(log, row.sequence, as_bytes(row.hash), row.head_sequence)
        self._chains[parent] = chain
        return chain

    def _put_block(
        self, connection: Connection, chain: _Chain, bodies: list[bytes], time_us: int
    ) -> None:
        first = chain.sequence - len(bodies) + 1
        row = (chain.log, chain.sequence, first, time_us, chain.hash, packed(bodies))
        _PUT_BLOCKS.run(connection, [row])

    def _put_head(
        self,
        connection: Connection,
        chain: _Chain,
        time_us: int,
        occasion: LogOccasion.ValueType,
    ) -> None:
        envelope = self.head(chain.log, chain.sequence, chain.hash, time_us, occasion)
        connection.execute(_DROP_HEAD, {"log": chain.log, "sequence": chain.sequence})
        connection.execute(
            insert(_HEAD), {"log": chain.log, "sequence": chain.sequence, "envelope": envelope}
        )
        chain.head = chain.sequence

    def _move(self, connection: Connection, chains: Iterable[_Chain]) -> None:
        rows = [
            (
                chain.sequence,
                chain.hash,
                self._seal(chain.log, chain.sequence, chain.hash),
                chain.head,
                chain.log,
            )
            for chain in chains
        ]
        _MOVE.run(connection, rows)

    def _seal(self, log: str, sequence: int, hash: bytes) -> bytes:
        sealed = b"%s %d %s" % (log.encode(), sequence, hash)
        return hashlib.blake2b(sealed, digest_size=16, key=self._key).digest()
