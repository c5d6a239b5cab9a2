"""Fills the database of a server that does not run: leases that are held, and a past.

    python filling.py --data DIR --pool ID --leases 100000 --past 1000000

Promises: what it writes is what the server would have written for as many acquires and releases in batches of
full size: rows of leases, answers of requests that are still kept, records in the account's log, chained and
sealed. It goes through the storage layer alone, ten times faster than through the API. A past lease is a grant
and a release in the log, and an answered request.

Leaves to others: serving it (growth.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from keypeg.ids import id_text, uuid7
from keypeg_server.clock import to_us
from keypeg_server.domain import record
from keypeg_server.domain.decision import Change, DropLease, PutLease
from keypeg_server.domain.lease import Holder, Lease
from keypeg_server.domain.pool import Pool
from keypeg_server.opened import Opened
from keypeg_server.service.commits import StoredPool
from keypeg_server.settings import Settings
from keypeg_server.signing_keys import SigningKeys
from keypeg_server.storage import pool_store, requests
from keypeg_server.storage.log_writer import LogWriter

BATCH: Final = 128  # decisions of one commit, as with 128 busy callers
STEP: Final = 64  # batches in one transaction of the filling
USERS: Final = 1_000
PAST_GAP_US: Final = 10_000  # between past acquires: a million of them took three hours
VALID_FOR_US: Final = 3_600_000_000

Answer = tuple[str, str, bytes, bytes, int]  # a row of requests.record
Batch = tuple[list[Change], list[Answer]]


class Filler:
    """Makes leases of one pool."""

    def __init__(self, stored: StoredPool, now_us: int) -> None:
        self.now_us = now_us
        self.pool = Pool(
            stored.id,
            account=stored.account,
            product=stored.product,
            activation=stored.activation,
            capacity=stored.seat_count,
            feature_capacity=stored.features,
            fencing_number=stored.fencing_number,
            queue_limit=1,
            rules=stored.rules,
        )
        self._fencing = stored.fencing_number

    def lease(self, number: int, time_us: int) -> Lease:
        """A lease that was taken then, of one of a thousand users."""
        self._fencing += 1
        id = id_text(uuid7(time_us, os.urandom(8)))
        user = f"{self.pool.account}/users/u{number % USERS}"
        device = f"device-filled-{number}"
        holder = Holder(id, user, device, f"filled-{number}", "app", 1_000, "127.0.0.1")
        return Lease(
            id=id_text(uuid7(time_us, os.urandom(8))),
            pool=self.pool.id,
            holder=holder,
            units=1,
            features=(),
            fencing_number=self._fencing,
            acquire_time_us=time_us,
            valid_for_us=VALID_FOR_US,
            subject=self.pool.rules.subject(holder),
        )

    def past(self, count: int) -> Iterator[Batch]:
        """Batches of what was taken and given back."""
        begin = self.now_us - count * PAST_GAP_US
        numbers = iter(range(count))
        while batch := list(islice(numbers, BATCH)):
            leases = [self.lease(number, begin + number * PAST_GAP_US) for number in batch]
            changes: list[Change] = [PutLease(lease, None) for lease in leases]
            changes += [DropLease(lease) for lease in leases]
            yield changes, [self._request(lease) for lease in leases]

    def held(self, count: int) -> Iterator[Batch]:
        """Batches of what is still held."""
        numbers = iter(range(count))
        while batch := list(islice(numbers, BATCH)):
            leases = [self.lease(number, self.now_us) for number in batch]
            yield (
                [PutLease(lease, None) for lease in leases],
                [self._request(one) for one in leases],
            )

    def _request(self, lease: Lease) -> Answer:
        id = str(uuid7(lease.acquire_time_us, os.urandom(8)))
        expires = lease.acquire_time_us + requests.KEPT_US
        result = f"{lease.pool} {lease.id}".encode()
        return (lease.holder.session, id, requests.digest_of(id.encode()), result, expires)


def _step(
    connection: Connection, *, filler: Filler, log: LogWriter, batches: Sequence[Batch]
) -> None:
    """Put some batches on disk, in one transaction; each is a block of the log, as the committer makes them."""
    for changes, answers in batches:
        put = [one for one in changes if isinstance(one, PutLease)]
        gone = [one for one in changes if isinstance(one, DropLease)]
        pool_store.write(connection, changes)
        requests.record(connection, answers)
        now_us = put[-1].lease.acquire_time_us
        log.append(connection, record.of_changes(filler.pool, put, now_us))
        log.committed()
        if gone:
            log.append(connection, record.of_changes(filler.pool, gone, now_us))
            log.committed()


async def fill(data: Path, pool: str, leases: int, past: int) -> None:
    """Do it."""
    opened = await Opened.open(data, Settings())
    try:
        secrets = opened.secrets()
        signing = await SigningKeys(opened).load()
        log = LogWriter(signing.sign_log, secrets.release_key)
        (stored,) = await pool_store.SqlPoolStore(opened.database).load(pool)
        filler = Filler(stored, to_us(opened.clock.wall()))
        for batches in (filler.past(past), filler.held(leases)):
            while step := list(islice(batches, STEP)):
                opened.database.migrate(partial(_step, filler=filler, log=log, batches=step))
    finally:
        opened.close()


def main() -> None:
    """Fill what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pool", required=True, help="its id")
    parser.add_argument("--leases", type=int, default=0)
    parser.add_argument("--past", type=int, default=0)
    given = parser.parse_args()
    asyncio.run(fill(given.data, given.pool, given.leases, given.past))
    print(json.dumps({"event": "filled"}), flush=True)


if __name__ == "__main__":
    main()
