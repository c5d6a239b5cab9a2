"""Seats taken offline, through the real service: their documents, their ends, and what others hear of them."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keypeg import borrowed, proof, usage
from keypeg.document import Ed25519Signer, ed25519_key
from keypeg.errors import (
    AlreadyExists,
    DelegationExpired,
    DocumentOtherDevice,
    KeypegError,
    LeaseExpired,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    PoolExhausted,
    PoolRule,
    SignerUnknown,
)
from keypeg.fingerprint import make
from keypeg.v1 import borrow_pb2, explanation_pb2, pool_rules_pb2, proof_pb2, session_pb2
from keypeg.v1 import borrow_service_pb2 as b
from keypeg.v1 import seat_service_pb2 as s
from keypeg_server.domain import pool_borrowing
from keypeg_server.domain.borrow import CLOCK_MARGIN
from keypeg_server.domain.pool_rules import Borrowing, Counting, Deny, Kind, Limit, PoolRules, Who
from keypeg_server.storage.log_blocks import unpacked
from tests.server.databases import open_in
from tests.server.sessions.world import ACCOUNT, NOW, PRODUCT, PUBLISHER, World

DAY = 86_400.0
WEEK_US = 7 * 24 * 3_600 * 1_000_000
KEY = Ed25519Signer(b"k" * 32)
OTHER_KEY = Ed25519Signer(b"o" * 32)
LENDING = PoolRules(borrowing=Borrowing(longest_us=WEEK_US), write_off=1)


async def pool(world: World, seats: int = 2, rules: PoolRules = LENDING, **features: int) -> str:
    name = await world.add_pool(seats, "p1", **features)
    await world.engine.set_rules(world.pool_of(name), rules, "", "boss")
    return name


def told(refused: KeypegError) -> explanation_pb2.Explanation:
    """Its explanation, which it must have."""
    assert refused.explanation is not None
    return refused.explanation


def request(**changed: Any) -> b.CreateBorrowRequest:
    made = b.CreateBorrowRequest(
        request_id=str(uuid.uuid4()),
        pool="pools/p1",
        device=session_pb2.Device(id="laptop-1", host_name="Ann's laptop"),
        app=session_pb2.App(name="cad"),
        return_key=ed25519_key(KEY.public_key.key),
    )
    made.duration.FromTimedelta(timedelta(days=2))
    for field, value in changed.items():
        if isinstance(value, timedelta):
            getattr(made, field).FromTimedelta(value)
        elif isinstance(value, (int, str)):
            setattr(made, field, value)
        else:
            getattr(made, field).CopyFrom(value)
    return made


def verified(world: World, found: proof_pb2.BorrowProof, **changed: Any) -> proof.Verified:
    expected = proof.Expectation(
        publisher_root=world.trust.root.public_key.key,
        publisher=PUBLISHER,
        product=PRODUCT,
        session="",
        device="laptop-1",
        nonce=bytes(32),
        client_key_share=b"",
        server_key_share=b"",
        now=world.clock.wall(),
        fingerprint=None,
        return_key=KEY.public_key.key,
    )
    return proof.verify(proof_pb2.Proof(borrow=found), replace(expected, **changed))


def statement(name: str, key: Ed25519Signer = KEY, device: str = "laptop-1") -> Any:
    return b.ReturnBorrowRequest(name=name, statement=borrowed.give_up(name, device, 1, NOW, key))


def free(world: World) -> int:
    there = world.pool_of("pools/p1")
    return there.capacity - there.held


async def log_of(world: World) -> list[dict[str, Any]]:
    rows = await world.database.read(
        lambda session: [
            row[0]
            for row in session.connection().exec_driver_sql(
                "SELECT body FROM log_block ORDER BY sequence"
            )
        ]
    )
    return [json.loads(body) for row in rows for body in unpacked(row)]


# Taking a seat offline


async def test_a_borrowed_seat_is_held_and_its_document_lets_that_computer_run(
    world: World,
) -> None:
    await pool(world, mesh=2)
    asked = request(units=2, fingerprint=make({"board": "SN-5512", "disk": "WD-12"}, b"s" * 16))
    asked.features.add(feature="mesh", units=1)
    made = await world.lending().CreateBorrow(asked)
    assert free(world) == 0
    assert made.borrow.state == borrow_pb2.BORROW_STATE_OUT
    assert made.borrow.expire_time.ToDatetime(NOW.tzinfo) == NOW + timedelta(days=2)
    assert made.borrow.free_time.ToDatetime(NOW.tzinfo) == NOW + timedelta(days=2) + CLOCK_MARGIN
    parts = {"board": "SN-5512", "disk": "WD-12"}
    found = verified(world, made.proof, fingerprint=parts)
    assert [(one.units, one.fencing_number) for one in found.leases] == [(2, 1)]
    assert found.features == ("mesh",)
    for wrong in (
        {"device": "laptop-2"},
        {"fingerprint": {"board": "SN-77", "disk": "WD-99"}},
        {"return_key": OTHER_KEY.public_key.key},
    ):
        with pytest.raises(DocumentOtherDevice):
            verified(world, made.proof, **{"fingerprint": parts, **wrong})


async def test_the_same_request_gives_the_same_document_also_after_a_restart(world: World) -> None:
    await pool(world)
    asked = request()
    first = await world.lending().CreateBorrow(asked)
    assert await world.lending().CreateBorrow(asked) == first
    await world.restart()
    assert await world.lending().CreateBorrow(asked) == first
    assert free(world) == 1


async def test_without_rules_nothing_is_lent(world: World) -> None:
    await world.add_pool(2)
    with pytest.raises(PoolRule) as refused:
        await world.lending().CreateBorrow(request())
    assert refused.value.metadata["rule"] == "borrow"
    assert told(refused.value).remedies[0].action == "change_rules"


@pytest.mark.parametrize(
    ("rules", "changed", "rule", "name"),
    [
        (LENDING, {"duration": timedelta(days=8)}, "borrow", "mia"),
        (
            replace(LENDING, borrowing=replace(LENDING.borrowing, most=1)),
            {"units": 2},
            "borrow_most",
            "mia",
        ),
        (
            replace(LENDING, borrowing=replace(LENDING.borrowing, floor=1)),
            {"units": 2},
            "borrow_floor",
            "mia",
        ),
        (
            replace(
                LENDING,
                borrowing=replace(
                    LENDING.borrowing, allowed=(Who(Kind.USER, f"{ACCOUNT}/users/mia"),)
                ),
            ),
            {},
            "borrow_allow",
            "tom",
        ),
        (
            replace(LENDING, limits=(Limit(Who(Kind.USER, "*"), 1),)),
            {"units": 2},
            "limit",
            "mia",
        ),
    ],
)
async def test_a_rule_that_forbids_it_is_named_and_nothing_is_taken(
    world: World, rules: PoolRules, changed: dict[str, Any], rule: str, name: str
) -> None:
    await pool(world, rules=rules)
    with pytest.raises(PoolRule) as refused:
        await world.lending(name).CreateBorrow(request(**changed))
    assert refused.value.metadata["rule"] == rule
    assert refused.value.explanation is not None
    assert free(world) == 2


async def test_an_overdraft_is_not_lent(world: World) -> None:
    await pool(world, 1, replace(LENDING, overdraft=1))
    app = world.app("tom", "device-b")
    await app.open()
    await app.acquire()
    with pytest.raises(PoolRule) as refused:
        await world.lending().CreateBorrow(request())
    assert refused.value.metadata["rule"] == "borrow_overdraft"
    await app.acquire()  # which the rules give to who is there
    with pytest.raises(PoolExhausted):
        await world.lending().CreateBorrow(request())


async def test_a_key_is_of_one_borrow(world: World) -> None:
    await pool(world)
    made = await world.lending().CreateBorrow(request())
    for who, resource in (("mia", made.borrow.name), ("tom", "pools/p1")):
        with pytest.raises(AlreadyExists) as refused:
            await world.lending(who).CreateBorrow(request())
        assert refused.value.metadata["resource"] == resource


async def test_a_document_does_not_outlive_the_license(world: World) -> None:
    await pool(world)
    world.licenses.ends_at = NOW + timedelta(hours=5)
    made = await world.lending().CreateBorrow(request())
    assert made.borrow.expire_time.ToDatetime(NOW.tzinfo) == NOW + timedelta(hours=5)


async def test_nor_the_delegation_of_what_signs_the_license(world: World) -> None:
    year = PoolRules(borrowing=Borrowing(longest_us=366 * 24 * 3_600 * 1_000_000))
    await pool(world, rules=year)
    made = await world.lending().CreateBorrow(request(duration=timedelta(days=366)))
    assert made.borrow.expire_time.ToDatetime(NOW.tzinfo) == NOW + timedelta(days=365)


async def test_nothing_is_lent_that_would_be_over_at_once(world: World) -> None:
    await pool(world)
    await world.pass_time(366 * DAY)  # the delegation has ended
    with pytest.raises(DelegationExpired):
        await world.lending().CreateBorrow(request())
    assert free(world) == 2


async def test_who_borrows_and_returns_again_and_again_stops_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_borrowing, "RECORDS_OF_USER_LIMIT", 2)
    await pool(world)
    for number in range(2):
        key = Ed25519Signer(bytes([number]) * 32)
        made = await world.lending().CreateBorrow(request(return_key=key.public_key))
        await world.lending().ReturnBorrow(statement(made.borrow.name, key))
    with pytest.raises(LimitExceeded) as refused:
        await world.lending().CreateBorrow(request())
    assert refused.value.metadata["limit"] == "pool.borrows_of_user"
    await world.lending("tom").CreateBorrow(request())


# What others hear


async def test_a_denial_says_until_when_seats_are_borrowed_and_by_whom(world: World) -> None:
    await pool(world, 1)
    made = await world.lending().CreateBorrow(request())
    acquire = s.AcquireSeatRequest(
        request_id=str(uuid.uuid4()),
        pool="pools/p1",
        device=session_pb2.Device(id="device-b", host_name="b"),
    )
    with pytest.raises(PoolExhausted) as refused:
        await world.seats("boss").AcquireSeat(acquire)
    why = told(refused.value)
    assert "Borrowed: 1 by accounts/acme/users/mia until 2026-11-23 12:00:00 UTC." in why.sentence
    assert why.holders[0].borrowed_until_time == made.borrow.expire_time
    assert why.earliest_time == made.borrow.free_time
    assert [(one.action, one.resource) for one in why.remedies] == [
        ("wait", "pools/p1"),
        ("return_borrow", made.borrow.name),
    ]
    acquire.request_id = str(uuid.uuid4())
    with pytest.raises(PoolExhausted) as unseen:
        await world.seats("tom").AcquireSeat(acquire)
    assert "mia" not in str(unseen.value.explanation)


async def test_a_borrowed_lease_is_listed_and_ends_by_no_other_way(world: World) -> None:
    await pool(world)
    made = await world.lending().CreateBorrow(request())
    (lease,) = (await world.seats().ListLeases(s.ListLeasesRequest(parent="pools/p1"))).leases
    assert lease.borrowed_until_time == made.borrow.expire_time
    assert lease.expire_time == made.borrow.free_time
    ways = (
        world.seats("boss").FreeSeat(
            s.FreeSeatRequest(name=lease.name, request_id=str(uuid.uuid4()), reason="mine")
        ),
        world.seats().ReleaseSeat(
            s.ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
        ),
        world.seats().RenewSeat(
            s.RenewSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
        ),
    )
    for way in ways:
        with pytest.raises(PoolRule) as refused:
            await way
        assert refused.value.metadata["rule"] == "borrowed"
        assert "write it off" in refused.value.sentence
    assert free(world) == 1


async def test_the_log_tells_the_whole_story(world: World) -> None:
    await pool(world)
    made = (await world.lending().CreateBorrow(request())).borrow
    renew = b.RenewBorrowRequest(name=made.name, request_id=str(uuid.uuid4()))
    renew.duration.FromTimedelta(timedelta(days=5))
    await world.lending().RenewBorrow(renew)
    await world.lending().ReturnBorrow(statement(made.name))
    await world.pass_time(6 * DAY)
    story = [(one["event"], one.get("how")) for one in await log_of(world)]
    assert story == [
        ("pool_rules", None),
        ("granted", None),
        ("borrowed", None),
        ("borrow_renewed", None),
        ("released", "returned"),
        ("borrow_returned", None),
        ("borrow_ended", None),
    ]


async def test_a_report_counts_a_borrowed_seat_as_used_until_it_is_back(world: World) -> None:
    await pool(world)
    made = (await world.lending().CreateBorrow(request())).borrow
    await world.pass_time(DAY)
    await world.lending().ReturnBorrow(statement(made.name))
    history = usage.read(json.dumps(one).encode() for one in await log_of(world))
    (use,) = history.uses
    assert use.end_us is not None
    assert (use.units, use.end_us - use.begin_us) == (1, int(DAY * 1e6))


# The end


async def test_a_seat_comes_back_by_itself_an_hour_after_its_document_ended(world: World) -> None:
    await pool(world, 1)
    made = await world.lending().CreateBorrow(request())
    await world.pass_time(2 * DAY + CLOCK_MARGIN.total_seconds() - 1)
    assert free(world) == 0
    await world.pass_time(2)
    assert free(world) == 1
    with pytest.raises(NotFound):
        await world.lending().GetBorrow(b.GetBorrowRequest(name=made.borrow.name))


async def test_who_waits_gets_the_seat_that_came_back(world: World) -> None:
    await pool(world, 1)
    await world.lending().CreateBorrow(request())
    app = world.app("tom", "device-b")
    await app.open()
    assert (await app.wait()).place.position == 1
    await world.pass_time(30)
    await app.renew()
    await world.pass_time(25)
    made = (await world.lending("boss").ListBorrows(b.ListBorrowsRequest(parent=ACCOUNT))).borrows
    await world.lending("tom").ReturnBorrow(statement(made[0].name))
    assert (await app.next("acquired")).lease.units == 1


async def test_a_restart_keeps_it_and_ends_it_in_its_time(world: World) -> None:
    await pool(world, 1)
    await world.lending().CreateBorrow(request())
    await world.restart()
    await world.pass_time(DAY)
    assert free(world) == 0
    await world.restart()
    await world.pass_time(DAY + CLOCK_MARGIN.total_seconds() - 1)
    assert free(world) == 0
    await world.pass_time(2)
    assert free(world) == 1


@pytest.mark.parametrize("hours", [-30, 1_000])
async def test_setting_the_wall_clock_frees_nothing_early(world: World, hours: int) -> None:
    await pool(world, 1)
    await world.lending().CreateBorrow(request())
    world.clock.stepped = hours * 3_600.0
    await world.pass_time(2 * DAY)
    assert free(world) == 0
    world.clock.stepped = 0.0
    await world.pass_time(CLOCK_MARGIN.total_seconds() + 1)
    await world.pass_time(700)  # a clock that was wrong is looked at again after ten minutes
    assert free(world) == 1


async def test_a_date_that_was_ahead_once_frees_nothing_after_a_restart(world: World) -> None:
    await pool(world, 1)
    await world.lending().CreateBorrow(request())
    world.clock.marked = 30 * DAY
    await world.restart()
    await world.pass_time(2 * DAY)
    assert free(world) == 0
    await world.pass_time(CLOCK_MARGIN.total_seconds() + 1)
    assert free(world) == 1


# Renewing and returning


async def test_renewing_gives_a_later_end_and_a_newer_document(world: World) -> None:
    await pool(world, 1)
    first = await world.lending().CreateBorrow(request())
    await world.pass_time(DAY)
    renew = b.RenewBorrowRequest(name=first.borrow.name, request_id=str(uuid.uuid4()))
    renew.duration.FromTimedelta(timedelta(days=3))
    second = await world.lending().RenewBorrow(renew)
    assert (second.borrow.serial, second.borrow.fencing_number) == (2, 1)
    assert second.borrow.expire_time.ToDatetime(NOW.tzinfo) == NOW + timedelta(days=4)
    assert await world.lending().RenewBorrow(renew) == second
    verified(world, second.proof, seen={first.borrow.name: 2})
    await world.restart()
    await world.pass_time(3 * DAY)
    assert free(world) == 0
    assert (await world.lending().RenewBorrow(renew)).proof == second.proof
    await world.pass_time(CLOCK_MARGIN.total_seconds() + 1)
    assert free(world) == 1


async def test_an_end_is_never_made_earlier(world: World) -> None:
    await pool(world)
    first = await world.lending().CreateBorrow(request())
    renew = b.RenewBorrowRequest(name=first.borrow.name, request_id=str(uuid.uuid4()))
    renew.duration.FromTimedelta(timedelta(hours=1))
    assert (await world.lending().RenewBorrow(renew)).proof == first.proof


async def test_after_its_end_a_borrow_is_not_renewed(world: World) -> None:
    await pool(world)
    made = (await world.lending().CreateBorrow(request())).borrow
    await world.pass_time(2 * DAY)
    renew = b.RenewBorrowRequest(name=made.name, request_id=str(uuid.uuid4()))
    renew.duration.FromTimedelta(timedelta(days=1))
    with pytest.raises(LeaseExpired):
        await world.lending().RenewBorrow(renew)


async def test_a_statement_handed_in_by_anyone_of_the_account_frees_the_seat_once(
    world: World,
) -> None:
    await pool(world, 1)
    made = (await world.lending().CreateBorrow(request())).borrow
    for who in ("tom", "mia", "boss"):
        back = (await world.lending(who).ReturnBorrow(statement(made.name))).borrow
        assert (back.state, back.state_by) == (
            borrow_pb2.BORROW_STATE_RETURNED,
            f"{ACCOUNT}/users/tom",
        )
    assert free(world) == 1
    await world.restart()
    await world.lending().ReturnBorrow(statement(made.name))
    assert free(world) == 1


async def test_only_the_statement_of_its_own_computer_gives_it_back(world: World) -> None:
    await pool(world, 1)
    made = (await world.lending().CreateBorrow(request())).borrow
    for wrong, error in (
        (statement(made.name, key=OTHER_KEY), SignerUnknown),
        (statement(made.name, device="laptop-2"), DocumentOtherDevice),
    ):
        with pytest.raises(error):
            await world.lending().ReturnBorrow(wrong)
    with pytest.raises(NotFound):
        await world.lending("eve").ReturnBorrow(statement(made.name))
    assert free(world) == 0


# Writing off


def lost(name: str, **changed: Any) -> b.WriteOffBorrowRequest:
    said = {"request_id": str(uuid.uuid4()), "reason": "the laptop was stolen", **changed}
    return b.WriteOffBorrowRequest(name=name, **said)


async def test_a_write_off_frees_the_seat_and_says_what_it_exposes(world: World) -> None:
    await pool(world, 1)
    made = (await world.lending().CreateBorrow(request())).borrow
    dry = await world.lending("boss").WriteOffBorrow(
        b.WriteOffBorrowRequest(name=made.name, dry_run=True)
    )
    assert (dry.exposure.units, dry.exposure.exposed_count, dry.exposure.budget_count) == (1, 1, 1)
    assert dry.exposure.expire_time == made.expire_time
    assert free(world) == 0
    asked = lost(made.name)
    done = await world.lending("boss").WriteOffBorrow(asked)
    assert done.borrow.state == borrow_pb2.BORROW_STATE_WRITTEN_OFF
    assert done.exposure == dry.exposure
    assert free(world) == 1
    assert await world.lending("boss").WriteOffBorrow(asked) == done
    await world.restart()
    assert await world.lending("boss").WriteOffBorrow(asked) == done
    assert world.pool_of("pools/p1").exposed == 1
    await world.pass_time(2 * DAY + CLOCK_MARGIN.total_seconds() + 1)
    assert world.pool_of("pools/p1").exposed == 0


async def test_beyond_the_budget_nothing_is_written_off(world: World) -> None:
    await pool(world, 2)
    first = (await world.lending().CreateBorrow(request())).borrow
    other = ed25519_key(OTHER_KEY.public_key.key)
    second = (await world.lending().CreateBorrow(request(return_key=other))).borrow
    await world.lending("boss").WriteOffBorrow(lost(first.name))
    for asked in (lost(second.name), lost(second.name, dry_run=True)):
        with pytest.raises(PoolRule) as refused:
            await world.lending("boss").WriteOffBorrow(asked)
        assert refused.value.metadata["rule"] == "write_off"
        assert "the publisher" in told(refused.value).remedies[0].sentence
    # The first turns up: its exposure is over, and the second can be written off.
    await world.lending().ReturnBorrow(statement(first.name))
    await world.lending("boss").WriteOffBorrow(lost(second.name))


async def test_members_write_nothing_off_and_see_only_their_own(world: World) -> None:
    await pool(world, 2)
    made = (await world.lending().CreateBorrow(request())).borrow
    with pytest.raises(PermissionDenied):
        await world.lending().WriteOffBorrow(lost(made.name))
    listed = b.ListBorrowsRequest(parent="pools/p1")
    assert [one.name for one in (await world.lending().ListBorrows(listed)).borrows] == [made.name]
    assert not (await world.lending("tom").ListBorrows(listed)).borrows
    for who, call in (
        ("tom", world.lending("tom").GetBorrow(b.GetBorrowRequest(name=made.name))),
        ("tom", world.lending("tom").WriteOffBorrow(lost(made.name))),
        ("eve", world.lending("eve").ListBorrows(listed)),
    ):
        with pytest.raises(NotFound):
            await call
        assert who


async def test_only_the_publisher_raises_what_may_be_written_off(world: World) -> None:
    await pool(world)
    rules = pool_rules_pb2.PoolRules(write_off_units=2)
    asked = s.UpdatePoolRulesRequest(name="pools/p1", rules=rules)
    with pytest.raises(PermissionDenied):
        await world.seats("boss").UpdatePoolRules(asked)
    asked.rules.write_off_units = 0  # who administers may lower it
    answer = await world.seats("boss").UpdatePoolRules(asked)
    assert not answer.rules.HasField("borrowing")
    with pytest.raises(PoolRule):
        await world.lending().CreateBorrow(request())


async def test_rules_of_borrowing_are_shown_as_they_were_set(world: World) -> None:
    name = await world.add_pool(5)
    rules = pool_rules_pb2.PoolRules()
    rules.borrowing.longest.FromTimedelta(timedelta(days=3))
    rules.borrowing.floor_units, rules.borrowing.most_units = 1, 0
    rules.borrowing.allowed.add(host="laptop-1")
    await world.seats("boss").UpdatePoolRules(s.UpdatePoolRulesRequest(name=name, rules=rules))
    shown = (await world.seats("boss").GetPoolRules(s.GetPoolRulesRequest(name=name))).rules
    assert shown.borrowing == rules.borrowing
    with pytest.raises(PoolRule) as refused:
        await world.lending().CreateBorrow(request())
    assert refused.value.metadata["rule"] == "borrow_most"  # none at all is a number too


async def test_a_denial_that_cuts_leaves_what_is_offline_and_its_renewal_is_refused(
    world: World,
) -> None:
    name = await pool(world)
    made = (await world.lending().CreateBorrow(request())).borrow
    denied = replace(LENDING, denied=(Deny(Who(Kind.HOST, "laptop-1"), cut=True),))
    await world.engine.set_rules(world.pool_of(name), denied, "", "boss")
    assert free(world) == 1
    renew = b.RenewBorrowRequest(name=made.name, request_id=str(uuid.uuid4()))
    renew.duration.FromTimedelta(timedelta(days=3))
    with pytest.raises(PoolRule) as refused:
        await world.lending().RenewBorrow(renew)
    assert refused.value.metadata["rule"] == "deny"


async def test_what_is_exposed_keeps_the_activation(world: World) -> None:
    await pool(world, 1)
    made = (await world.lending().CreateBorrow(request())).borrow
    await world.lending("boss").WriteOffBorrow(lost(made.name))
    with pytest.raises(PoolRule):
        await world.engine.retire(("pools/p1",))


async def test_a_page_of_borrows_goes_on_where_the_one_before_ended(world: World) -> None:
    await pool(world, 3)
    for number in range(3):
        key = Ed25519Signer(bytes([number]) * 32)
        await world.lending().CreateBorrow(
            request(return_key=ed25519_key(key.public_key.key), duration=timedelta(days=3 - number))
        )
    found, token = [], ""
    while True:
        page = await world.lending().ListBorrows(
            b.ListBorrowsRequest(parent=ACCOUNT, page_size=2, page_token=token)
        )
        found += list(page.borrows)
        token = page.next_page_token
        if not token:
            break
    ends = [one.expire_time.ToDatetime() for one in found]
    assert len(found) == 3
    assert ends == sorted(ends)


async def test_by_user_a_borrowed_seat_is_the_user_s_one_seat(world: World) -> None:
    await pool(world, 1, replace(LENDING, counting=Counting.USER))
    made = (await world.lending().CreateBorrow(request())).borrow
    app = world.app("mia", "device-b")
    await app.open()
    assert (await app.acquire()).units == 1
    await world.lending().ReturnBorrow(statement(made.name))
    assert free(world) == 0


async def test_the_disk_fails_and_nothing_was_lent(world: World) -> None:
    await pool(world, 1)
    world.database.close()
    with pytest.raises(KeypegError):
        await world.lending().CreateBorrow(request())
    assert free(world) == 1
    assert not world.pool_of("pools/p1").borrows
    world.database = open_in(world.path.parent)
