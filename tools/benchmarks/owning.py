"""Fills the database of a server that does not run: accounts, what they own, and where it is activated.

    python owning.py --data DIR --cloud PRODUCT --site PRODUCT --accounts 100000 --licenses 1000000

Promises: all of it is made by the server's own rules and storage, many in one transaction, with its records in each
account's log. Every account owns equally many licenses, but the first, LARGE, which owns as many as 1,000 of them; one
in ten has its cloud session open, with all that it owns in it; one in ten has a pool of seats.

Leaves to others: serving it (sizes.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import insert
from sqlmodel import Session

from keypeg import names
from keypeg_server.clock import to_us
from keypeg_server.domain import cloud_session
from keypeg_server.domain.account import Account
from keypeg_server.domain.cloud_session import Holder
from keypeg_server.domain.license import License, LicenseState, LicenseType
from keypeg_server.domain.location import SITE_ID, LocationKind
from keypeg_server.opened import Opened, new_ids
from keypeg_server.service.placing import Placing
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Unit
from keypeg_server.settings import Settings
from keypeg_server.signing_keys import SigningKeys
from keypeg_server.storage import log_store
from keypeg_server.storage.license_rows import as_row
from keypeg_server.storage.log_writer import LogWriter
from keypeg_server.storage.tables import LicenseRow
from keypeg_server.storage.unit import SqlUnit

BATCH: Final = 1_000  # accounts in one transaction
LARGE: Final = "size-0"
TIMES_LARGER: Final = 1_000
ONE_IN: Final = 10
SEATS: Final = 10


class Owner:
    """Makes accounts and what they own."""

    def __init__(
        self, opened: Opened, signing: Signing, log: LogWriter, cloud: str, site: str, licenses: int
    ) -> None:
        """`licenses`: of each account."""
        self._log = log
        self._now = opened.clock.wall()
        self._new_id = new_ids(opened.clock)
        self._placing = Placing(signing, self._new_id)
        self._cloud = cloud
        self._site = site
        self._licenses = licenses

    def accounts(self, session: Session, numbers: Iterable[int]) -> None:
        """The accounts of these numbers, in the transaction that the session is in."""
        unit = SqlUnit(session, to_us(self._now))
        for number in numbers:
            self._account(session, unit, number)
        session.flush()
        self._log.append(session.connection(), unit.entries)

    def _account(self, session: Session, unit: Unit, number: int) -> None:
        account = Account(f"size-{number}", f"Customer {number}", self._now)
        unit.accounts.add_account(account)
        count = self._licenses * (TIMES_LARGER if account.id == LARGE else 1)
        pooled = number % ONE_IN == 1
        owned = [self._license(unit, account, self._cloud, 0) for _ in range(count - pooled)]
        owned += [self._license(unit, account, self._site, SEATS) for _ in range(pooled)]
        session.execute(insert(LicenseRow), [as_row(license) for license in owned])
        if pooled:
            place = unit.places.location(account.id, SITE_ID)
            assert place is not None, "every account has its site"
            self._placing.activate(unit, owned[-1], place, self._now)
        if number % ONE_IN == 2:
            before = unit.places.cloud_session(account.id)
            holder = Holder(f"device-{number}", f"host-{number}")
            user = names.USER.build(account.id, "nobody")
            outcome = cloud_session.opened(before, holder, user, self._now, keep_elsewhere=False)
            self._placing.carry_out(unit, before, outcome, self._now)

    def _license(self, unit: Unit, account: Account, product: str, seats: int) -> License:
        """One that is recorded, and to be kept."""
        license = License(
            account=account.id,
            id=self._new_id(),
            product=product,
            type=LicenseType.PERPETUAL,
            state=LicenseState.ACTIVE,
            allowed_locations=frozenset({LocationKind.SITE if seats else LocationKind.CLOUD}),
            activation_count=1,
            seat_count=seats,
            features=(),
            deposit_time=self._now,
            expire_time=None,
            term_days=0,
            first_activate_time=None,
            maintenance_end_time=None,
            external_reference=f"order {account.id}",
        )
        owner = names.ACCOUNT.build(account.id)
        unit.record(
            owner,
            "license_created",
            license=license.name,
            product=product,
            seats=seats,
            activations=1,
        )
        return license


async def fill(data: Path, cloud: str, site: str, accounts: int, licenses: int) -> None:
    """Do it."""
    opened = await Opened.open(data, Settings())
    try:
        secrets = opened.secrets()
        signing = await SigningKeys(opened).load()
        log = LogWriter(signing.sign_log, secrets.release_key)
        each = licenses // (accounts + TIMES_LARGER - 1)
        owner = Owner(opened, signing, log, cloud, site, each)
        begun = time.monotonic()
        for first in range(0, accounts, BATCH):
            numbers = range(first, min(first + BATCH, accounts))
            await opened.database.write(partial(owner.accounts, numbers=numbers))
            log.committed()
            if first % (BATCH * 5) == 0:
                done = (
                    f"{numbers.stop:,} of {accounts:,} accounts, {time.monotonic() - begun:.0f} s"
                )
                sys.stderr.write(f"filling: {done}\n")
        await log_store.sign_heads(opened.database, log, opened.clock, log_store.STOP)
    finally:
        opened.close()


def main() -> None:
    """Fill what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cloud", required=True, help="a product (name) of the cloud")
    parser.add_argument("--site", required=True, help="a product (name) of sites")
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--licenses", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(fill(given.data, given.cloud, given.site, given.accounts, given.licenses))
    print(json.dumps({"event": "filled"}), flush=True)


if __name__ == "__main__":
    main()
