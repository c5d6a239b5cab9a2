"""What has to be true of a server's database at every commit, and whether it is.

Promises: each check reads one snapshot (storage/snapshot.py) and gives one finding; none changes anything.
The invariants are those of domain/pool.py, domain/license.py and domain/cloud_session.py, told by the rows.

Leaves to others: secrets, keys and certificates (checking.py).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from google.protobuf.message import DecodeError
from sqlmodel import Session

from keypeg import names
from keypeg.v1.document_pb2 import Envelope, LicenseDocument
from keypeg_server.domain import restored
from keypeg_server.domain.cloud_licenses import arrange
from keypeg_server.domain.cloud_session import CloudMode, CloudSession, CloudState
from keypeg_server.domain.location import LocationKind, cloud_id
from keypeg_server.findings import Finding, bad, good, verdict_of
from keypeg_server.storage import snapshot
from keypeg_server.storage.license_store import SqlLicenses
from keypeg_server.storage.schema import HEAD
from keypeg_server.storage.snapshot import View

LAST: Final = "automatic cloud"  # the check that comes last, when none before keeps from it
RESTORE: Final = (
    "Stop the server, and restore a backup into a new directory with `keypegd restore`."
)
# Every lease whose number is known: a borrow has no row among the leases.
_GIVEN: Final = (
    "SELECT pool, fencing_number FROM lease UNION ALL SELECT pool, fencing_number FROM borrow"
)
REPORT: Final = "Keep a copy of the data directory, restore a backup, and report this: it is a fault of keypegd."


def findings(view: View, now: datetime) -> Iterator[Finding]:
    """All checks, those that the others depend on first; nothing more once one of those is bad."""
    found = snapshot.problems(view)
    if view.kind == "sqlite":
        yield verdict_of("database file", found, "integrity and references are whole", RESTORE)
    else:
        (server,) = view.execute("SHOW server_version").fetchone()
        yield good("database", f"PostgreSQL {server} answers")
    if found:
        return
    schema = snapshot.schema_of(view)
    if schema != HEAD:
        said = f"the schema is {schema or 'none'}, and this keypegd's is {HEAD}"
        yield bad(
            "schema", said, "Start this keypegd to bring it up to date, or use the newer one."
        )
        return
    yield good("schema", HEAD)
    for check in _CHECKS:
        yield check(view)
    yield _automatic(view, now)  # the last: it ends the snapshot


def _seats(view: View) -> Finding:
    """Nothing is held beyond what a pool has, but for what a restore holds back."""
    has = {
        id: (seats, _features(features))
        for id, seats, features in view.execute("SELECT id, seat_count, features FROM pool")
    }
    held: Counter[str] = Counter()
    features_held: defaultdict[str, Counter[str]] = defaultdict(Counter)
    leases = 0
    rows = view.execute(
        "SELECT pool, units, features FROM lease WHERE NOT (app = ? AND \"user\" = '' AND device = '')"
        " UNION ALL SELECT pool, units, features FROM borrow WHERE state = 'out'",
        (restored.APP,),
    )
    for pool, units, features in rows:
        leases += 1
        held[pool] += units
        if features:
            features_held[pool].update(_features(features))
    wrong = [
        f"{names.POOL.build(pool)} has {has[pool][0]} seats, and {units} are held"
        for pool, units in held.items()
        if units > has[pool][0]
    ]
    wrong += [
        f"{names.POOL.build(pool)} has {has[pool][1].get(feature, 0)} of {feature}, and {units} are held"
        for pool, counts in features_held.items()
        for feature, units in counts.items()
        if units > has[pool][1].get(feature, 0)
    ]
    (back,) = view.execute(
        "SELECT count(*) FROM lease WHERE app = ? AND \"user\" = '' AND device = ''",
        (restored.APP,),
    ).fetchone()
    said = f"{sum(held.values())} held in {leases} leases, of {len(has)} pools"
    if back:
        said += f"; {back} pools are held back after a restore"
    return verdict_of("seats", wrong, said, REPORT)


def _fencing(view: View) -> Finding:
    """Numbers only grow, and each is of one lease."""
    high = view.execute(
        f"SELECT given.pool, given.fencing_number, pool.fencing_number FROM ({_GIVEN}) given "  # noqa: S608 - a text of this module
        "JOIN pool ON pool.id = given.pool WHERE given.fencing_number > pool.fencing_number"
    ).fetchall()
    wrong = [
        f"a lease of {names.POOL.build(pool)} has number {number}, above the pool's {highest}"
        for pool, number, highest in high
    ]
    twice = view.execute(
        f"SELECT pool, fencing_number FROM ({_GIVEN}) given "  # noqa: S608 - as above
        "GROUP BY pool, fencing_number HAVING count(*) > 1"
    ).fetchall()
    wrong += [
        f"{names.POOL.build(pool)} gave number {number} to two leases" for pool, number in twice
    ]
    (highest,) = view.execute("SELECT max(fencing_number) FROM pool").fetchone()
    return verdict_of("fencing", wrong, f"the highest number given is {highest or 0}", REPORT)


def _queue(view: View) -> Finding:
    """Places are in one order, can be served, and are not served yet."""
    wrong = [
        f"two places of {names.POOL.build(pool)} have arrival {arrival} in priority {priority}"
        for pool, priority, arrival in view.execute(
            "SELECT pool, priority, arrival FROM place GROUP BY pool, priority, arrival "
            "HAVING count(*) > 1"
        )
    ]
    wrong += [
        f"a place of {names.POOL.build(pool)} waits for {units} of {seats} seats"
        for pool, units, seats in view.execute(
            "SELECT place.pool, place.units, pool.seat_count FROM place "
            "JOIN pool ON pool.id = place.pool WHERE place.units > pool.seat_count"
        )
    ]
    wrong += [
        f"{names.LEASE.build(pool, id)} waits, though it is held"
        for pool, id in view.execute(
            "SELECT place.pool, place.id FROM place JOIN lease ON lease.id = place.id"
        )
    ]
    (waiting,) = view.execute("SELECT count(*) FROM place").fetchone()
    return verdict_of("queue", wrong, f"{waiting} wait", REPORT)


def _activations(view: View) -> Finding:
    """Every activation has its license, at a location, and none is used more often than it was sold."""
    wrong = [
        f"{names.ACTIVATION.build(account, license, id)} is in another account than its license"
        for account, license, id in view.execute(
            "SELECT activation.account, activation.license, activation.id FROM activation "
            "LEFT JOIN license ON license.id = activation.license "
            "WHERE license.account IS DISTINCT FROM activation.account"
        )
    ]
    wrong += [
        f"{names.LICENSE.build(account, id)} has {most} activations, and {used} are used"
        for account, id, most, used in view.execute(
            "SELECT license.account, license.id, license.activation_count, count(*) FROM activation "
            "JOIN license ON license.id = activation.license GROUP BY license.id "
            "HAVING count(*) > license.activation_count"
        )
    ]
    (count,) = view.execute("SELECT count(*) FROM activation").fetchone()
    return verdict_of("activations", wrong, f"{count} activations", REPORT)


def _documents(view: View) -> Finding:
    """What was signed for an activation is about that activation."""
    wrong = []
    count = 0
    for account, license, id, location, document in view.execute(
        "SELECT account, license, id, location, document FROM activation"
    ):
        count += 1
        name = names.ACTIVATION.build(account, license, id)
        try:
            payload = Envelope.FromString(bytes(document)).payload
            signed = LicenseDocument.FromString(payload)
        except DecodeError:
            wrong.append(f"the document of {name} can not be read")
            continue
        place = names.LOCATION.build(account, location)
        if (signed.activation, signed.location) != (name, place):
            wrong.append(f"the document of {name} is of {signed.activation} at {signed.location}")
    return verdict_of("documents", wrong, f"{count} signed documents", REPORT)


def _pools(view: View) -> Finding:
    """Every pool is of an activation at a site, and every such activation has one."""
    sites = {
        names.ACTIVATION.build(account, license, id)
        for account, license, id in view.execute(
            "SELECT account, license, id FROM activation WHERE location_kind = ?",
            (int(LocationKind.SITE),),
        )
    }
    pools = dict(view.execute("SELECT id, activation FROM pool"))
    wrong = [
        f"{names.POOL.build(id)} is of {activation}, which is at no site"
        for id, activation in pools.items()
        if activation not in sites
    ]
    wrong += [f"{activation} has no pool" for activation in sites - set(pools.values())]
    return verdict_of("pools", wrong, f"{len(pools)} pools of {len(sites)} activations", REPORT)


def _cloud(view: View) -> Finding:
    """A cloud session that is open has its device and the time, a closed one has neither."""
    wrong = []
    count = opened = 0
    for account, member, state, device, since in view.execute(
        "SELECT id, '', cloud_state, cloud_device, cloud_open_time_us FROM account"
        " UNION ALL SELECT account, member, cloud_state, cloud_device, cloud_open_time_us FROM member_cloud"
    ):
        count += 1
        is_open = state == CloudState.OPEN
        opened += is_open
        if is_open != bool(device) or is_open != (since is not None):
            name = CloudSession(account, member=member).name
            wrong.append(f"{name} is {'open' if is_open else 'closed'}, with device {device!r}")
    return verdict_of("cloud sessions", wrong, f"{opened} open, of {count}", REPORT)


def _automatic(view: View, now: datetime) -> Finding:
    """While a cloud session is open in automatic mode, nothing that may live in the cloud stays free."""
    automatic = (int(CloudState.OPEN), int(CloudMode.AUTOMATIC))
    rows = view.execute(
        "SELECT id, '' FROM account WHERE cloud_state = ? AND cloud_mode = ?"
        " UNION ALL SELECT account, member FROM member_cloud WHERE cloud_state = ? AND cloud_mode = ?",
        automatic * 2,
    ).fetchall()
    wrong = []
    with Session(bind=view.engine()) as session:
        licenses = SqlLicenses(session)
        for account, member in rows:
            wanted = arrange(
                licenses.list_licenses(account),
                licenses.list_activations(account),
                now,
                cloud_id(member),
            )
            wrong += [f"{one.name} is free, and should be in the cloud" for one in wanted.activate]
    return verdict_of(
        LAST,
        wrong,
        f"nothing is free, beside {len(rows)} that are open",
        "Close that account's cloud session and open it again, and report this.",
    )


def _features(text: str) -> dict[str, int]:
    return dict(json.loads(text)) if text else {}


_CHECKS: Final[tuple[Callable[[View], Finding], ...]] = (
    _seats,
    _fencing,
    _queue,
    _activations,
    _documents,
    _pools,
    _cloud,
)
