"""Events from records of the log: every kind, what is not known, and what a member may see."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.v1.pool_event_pb2 import PoolEventKind
from keypeg_server.domain import record
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.decision import PutLease
from keypeg_server.domain.lease import Holder, Lease
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_event import Kind, PoolEvent, mark_of, of_record, seen_by
from keypeg_server.rpc.event_encode import event

ACCOUNT = "accounts/acme"
ADA = f"{ACCOUNT}/users/ada"
POOL = Pool(
    "p1", account=ACCOUNT, product="cad", activation="a", capacity=1, feature_capacity={"mesh": 2}
)
HOLDER = Holder("s1", ADA, "device-1", "atlas", "cad", 4711, "10.0.0.7")
LEASE = Lease("l1", "p1", HOLDER, 2, (("mesh", 1),), 9, 500, 60, overdraft=True)


def caller(user: str, role: Role = Role.MEMBER, account: str | None = ACCOUNT) -> Caller:
    return Caller(user, user.rpartition("/")[2], account, role, "t")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"event": "granted"}, Kind.ACQUIRED),
        ({"event": "granted", "asked": 5}, Kind.SERVED),
        ({"event": "released", "how": "closed"}, Kind.RELEASED),
        ({"event": "released", "how": "deadline"}, Kind.EXPIRED),
        ({"event": "released", "how": "recalled"}, Kind.RELEASED),
        ({"event": "granted", "borrowed_until": 5}, Kind.ACQUIRED),
        ({"event": "released", "how": "returned"}, Kind.RELEASED),
        ({"event": "borrowed", "borrow": "b1"}, Kind.BORROWED),
        ({"event": "borrow_renewed", "borrow": "b1"}, Kind.BORROWED),
        ({"event": "borrow_returned", "borrow": "b1"}, Kind.RETURNED),
        ({"event": "borrow_ended", "borrow": "b1"}, Kind.RETURNED),
        ({"event": "borrow_written_off", "borrow": "b1"}, Kind.WRITTEN_OFF),
        ({"event": "freed"}, Kind.RECALLED),
        ({"event": "queued"}, Kind.QUEUED),
        ({"event": "left"}, Kind.LEFT),
        ({"event": "denied"}, Kind.REFUSED),
        ({"event": "denied_more"}, Kind.REFUSED),
        ({"event": "pool_rules", "rules": {"linger": 5}}, Kind.RULES_CHANGED),
        ({"event": "pool_created"}, Kind.CREATED),
        ({"event": "pool_deleted"}, Kind.DELETED),
        ({"event": "of_a_later_version", "units": "many"}, None),
        ({"event": "of_a_later_version"}, Kind.OTHER),
    ],
)
def test_each_record_of_a_pool_is_an_event(said: dict[str, object], kind: Kind | None) -> None:
    found = of_record(json.dumps({**said, "time": 7, "pool": "p1"}))
    assert (None if found is None else found.kind) == kind


def test_a_record_of_no_pool_is_none() -> None:
    assert of_record('{"event":"user_created","time":7}') is None
    assert of_record("[]") is None
    assert of_record("{") is None


def test_the_kinds_are_those_of_the_contract() -> None:
    prefix = "POOL_EVENT_KIND_"
    wanted = {name.removeprefix(prefix): number for name, number in PoolEventKind.items()}
    wanted["OTHER"] = wanted.pop("UNSPECIFIED")
    assert {kind.name: kind.value for kind in Kind} == wanted


def test_what_was_recorded_is_shown_with_names() -> None:
    (entry,) = record.of_changes(POOL, [PutLease(LEASE, None)], 1_000_000)
    assert mark_of("p1") in entry.body.encode()
    found = of_record(entry.body, 42)
    assert found is not None
    shown = event(found)
    assert (shown.sequence, shown.time.seconds, shown.record) == (42, 1, "granted")
    assert (shown.pool, shown.resource) == ("pools/p1", "pools/p1/leases/l1")
    assert (shown.user, shown.device, shown.host_name) == (ADA, "device-1", "atlas")
    assert (shown.app, shown.process_id, shown.address) == ("cad", 4711, "10.0.0.7")
    assert (shown.session, shown.units, shown.fencing_number) == ("sessions/s1", 2, 9)
    assert shown.overdraft
    assert [(one.feature, one.units) for one in shown.features] == [("mesh", 1)]


def test_a_borrow_is_shown_by_its_own_name() -> None:
    found = of_record('{"event":"borrowed","time":7,"pool":"p1","borrow":"b1","until":9000000}')
    assert found is not None
    shown = event(found)
    assert (shown.resource, shown.until_time.seconds) == ("pools/p1/borrows/b1", 9)


EVENT = PoolEvent(
    1, 2, Kind.RECALLED, "freed", "p1",
    user=ADA, device="d", host="h", app="cad", process=7, address="10.0.0.7", session="s1",
    by=f"{ACCOUNT}/users/boss", reason="Needed.", units=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("asker", "hidden"),
    [
        (caller("accounts/acme/users/boss", Role.ADMIN), set()),
        (caller("publishers/acme/users/eve", Role.PUBLISHER, None), set()),
        (caller(ADA), {"by"}),
        (
            caller("accounts/acme/users/tom"),
            {"by", "user", "device", "host", "process", "address", "session", "reason"},
        ),
    ],
)
def test_a_member_sees_who_where_it_is_itself(asker: Caller, hidden: set[str]) -> None:
    seen = seen_by(EVENT, ACCOUNT, asker)
    assert {
        name for name in PoolEvent.__slots__ if not getattr(seen, name) and getattr(EVENT, name)
    } == hidden


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.REFUSED])
def test_what_was_written_about_somebody_is_not_for_others(kind: Kind) -> None:
    seen = seen_by(replace(EVENT, kind=kind), ACCOUNT, caller("accounts/acme/users/tom"))
    assert not seen.reason
    refused = replace(EVENT, kind=Kind.REFUSED, reason="REASON_POOL_EXHAUSTED")
    assert seen_by(refused, ACCOUNT, caller("accounts/acme/users/tom")).reason


@given(
    st.binary() | st.text() | st.dictionaries(st.text(), st.integers() | st.text()).map(json.dumps)
)
def test_anything_can_stand_in_a_log(body: bytes | str) -> None:
    found = of_record(body)
    assert found is None or found.pool
