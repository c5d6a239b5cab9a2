"""Making a database that was copied from a backup fit to be served: nothing repeats, nothing goes backward.

Promises, in the one transaction of its caller:
- fencing numbers of every pool, generations of activations and of cloud sessions, and versions of what keys
  carry, go on above any that were given after the backup (domain/restored.py);
- no seat is given out before those who got one after the backup have stopped believing in it: a lease that
  nobody has takes all seats of every pool until its deadline, beside those that are held by the backup. So a
  pool holds more than it has for that time; a seat that is released meanwhile is not given on, for it may have
  been given on already. Who holds a seat by the backup keeps it, and has one full grant to come back, as after
  any restart;
- the wall clock goes on no earlier than at the backup;
- enrollment nonces that may have been used are gone, and tokens when that is asked for;
- table meta tells when it was restored, and from which backup.

Leaves to others: files (restoring.py). Answers kept for repeated requests stay: they fit what is restored;
a request that was answered after the backup is carried out again, for what it did is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, update
from sqlmodel import Session, select

from keypeg_server.domain import restored as rules
from keypeg_server.storage.tables import (
    AccountRow,
    ActivationRow,
    EnrollmentRow,
    MetaRow,
)
from keypeg_server.storage.tables_group import MemberCloudRow
from keypeg_server.storage.tables_key import KeyContentsRow
from keypeg_server.storage.tables_seat import LeaseRow, PoolRow
from keypeg_server.storage.tables_sign_in import SignInRow
from keypeg_server.storage.upkeep import HIGH_WATER

RESTORED: Final = "restored_time_us"
RESTORED_FROM: Final = "restored_backup_time_us"
_US: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class Restoration:
    """What is done to a database, beside what always is."""

    now_us: int  # no earlier than the backup
    backup_time_us: int
    holds_back_for: timedelta  # zero: seats are given at once
    new_id: Callable[[], str]  # ids that sort by time
    sign_out: bool  # all tokens end


def make_fit(connection: Connection, how: Restoration) -> int:
    """Do all of it; for how many pools seats are held back."""
    now_us = how.now_us
    _raise(connection, PoolRow, ("id",), "fencing_number", now_us)
    _raise(connection, ActivationRow, ("id",), "generation", now_us)
    _raise(connection, AccountRow, ("id",), "cloud_generation", now_us)
    _raise(connection, MemberCloudRow, ("account", "member"), "cloud_generation", now_us)
    _raise(connection, KeyContentsRow, ("account", "location", "publisher"), "version", now_us)
    with Session(bind=connection) as session:
        session.execute(delete(EnrollmentRow))
        if how.sign_out:
            session.execute(delete(SignInRow))
        _keep_highest(session, HIGH_WATER, now_us)
        session.merge(MetaRow(key=RESTORED, value=str(now_us)))
        session.merge(MetaRow(key=RESTORED_FROM, value=str(how.backup_time_us)))
        held_back = _hold_back(session, how) if how.holds_back_for else 0
        session.flush()
    return held_back


def _raise(
    connection: Connection, row: type[Any], keys: tuple[str, ...], column: str, now_us: int
) -> None:
    """Let a counter of every row of a table go on from a number that was never used."""
    table = row.__table__
    wanted = select(table.c[column], *(table.c[key] for key in keys))
    found = connection.execute(wanted).all()
    if found:
        change = (
            update(table)
            .where(*(table.c[key] == bindparam(f"of_{key}") for key in keys))
            .values({column: bindparam("number")})
        )
        connection.execute(
            change,
            [
                {"number": rules.raised(number, now_us)}
                | {f"of_{key}": value for key, value in zip(keys, of, strict=True)}
                for number, *of in found
            ],
        )


def _keep_highest(session: Session, key: str, value: int) -> None:
    row = session.get(MetaRow, key)
    if row is None:
        session.add(MetaRow(key=key, value=str(value)))
    else:
        row.value = str(max(int(row.value), value))


def _hold_back(session: Session, how: Restoration) -> int:
    """Let a lease that nobody has take all seats of each pool, above those that are held."""
    pools = session.exec(select(PoolRow)).all()
    for pool in pools:
        session.add(
            LeaseRow(
                id=how.new_id(),
                pool=pool.id,
                session="",
                user="",
                device="",
                host_name="",
                app=rules.APP,
                process_id=0,
                units=pool.seat_count,
                features=pool.features,
                fencing_number=pool.fencing_number,  # raised before, and given to no other
                acquire_time_us=how.now_us,
                valid_for_us=how.holds_back_for // _US,
            )
        )
    return len(pools)
