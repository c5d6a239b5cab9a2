"""Accounts that come to this server and leave it while it runs, and a server that is not sure of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from keypeg.errors import ServerDraining
from keypeg.v1.seat_service_pb2 import GetPoolRequest, ReleaseSeatRequest, RenewSeatRequest
from keypeg_server.domain import events
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.storage.pool_store import SqlPoolStore
from keypeg_server.storage.tables_seat import LeaseRow, PoolRow
from tests.server.sessions.test_free_seat import free
from tests.server.sessions.test_seat_service import ask
from tests.server.sessions.world import ACCOUNT, App, Ended, World, changed

OTHER = "accounts/other"


async def rows(world: World) -> set[str]:
    """The leases on disk, whoever serves them."""

    def read(session: Any) -> set[str]:
        return set(session.exec(select(LeaseRow.id)).all())

    return await world.database.read(read)


def id_of(name: str) -> str:
    return name.rsplit("/", 1)[1]


async def refused(app: App, by: type[Exception]) -> None:
    """Coming back is refused so."""
    with pytest.raises(Ended) as ended:
        await app.resume()
    assert isinstance(ended.value.error, by)


async def test_sessions_of_an_account_that_leaves_hear_to_connect_again(world: World):
    await world.add_pool(2)
    app = world.app()
    await app.open()
    lease = await app.acquire()
    world.sessions.abandon(ACCOUNT)
    error = await app.ends()
    assert isinstance(error, ServerDraining)
    assert error.retry_after == timedelta(seconds=1)
    assert len(world.sessions.presence) == 0
    await refused(app, ServerDraining)
    assert await rows(world) == {id_of(lease.name)}


async def test_nothing_ends_the_seats_of_an_account_that_has_left(world: World):
    await world.add_pool(2)
    app, seats = world.app(), world.seats()
    await app.open()
    kept = {
        id_of((await app.acquire()).name),
        id_of((await seats.AcquireSeat(ask(ttl=5))).lease.name),
    }
    world.sessions.abandon(ACCOUNT)
    await app.ends()
    await world.pass_time(10_000)
    assert await rows(world) == kept


async def test_a_session_comes_back_when_its_account_does(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    lease = await app.acquire()
    world.sessions.abandon(ACCOUNT)
    await app.ends()
    await world.sessions.adopt(ACCOUNT)
    opened = await app.resume()
    assert opened.resumed
    assert [one.name for one in opened.leases] == [lease.name]
    assert (await app.release(lease.name)).name == lease.name


async def test_who_does_not_come_back_keeps_its_seats_for_one_full_grant(world: World):
    changed(world, restart_grant=timedelta(seconds=60))
    await world.add_pool(1)
    app = world.app()
    await app.open()
    lease = await app.acquire()
    world.sessions.abandon(ACCOUNT)
    await world.pass_time(1_000)
    await world.sessions.adopt(ACCOUNT)
    await world.pass_time(60 * 1.01 + 0.9)
    assert await rows(world) == {id_of(lease.name)}
    await world.pass_time(0.2)
    assert await rows(world) == set()
    assert list((await app.resume()).leases) == []


async def test_a_lease_without_a_stream_gets_its_full_time_again(world: World):
    await world.add_pool(1)
    seats = world.seats()
    lease = (await seats.AcquireSeat(ask(ttl=30))).lease
    renew = RenewSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    world.sessions.abandon(ACCOUNT)
    for call in (
        seats.RenewSeat(renew),
        seats.ReleaseSeat(ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)),
        seats.AcquireSeat(ask()),
        seats.GetPool(GetPoolRequest(name="pools/p1")),
    ):
        with pytest.raises(ServerDraining):
            await call
    await world.pass_time(1_000)
    await world.sessions.adopt(ACCOUNT)
    await world.pass_time(30)
    assert (await seats.RenewSeat(renew)).valid_for.ToTimedelta() == timedelta(seconds=30)


async def test_only_the_account_that_is_named_comes_and_leaves(world: World):
    await world.add_pool(1)
    await world.database.write(
        lambda session: session.add(
            PoolRow(
                id="p9", account=OTHER, product="x", activation="y", seat_count=1, create_time_us=1
            )
        )
    )
    app = world.app()
    await app.open()
    world.sessions.abandon(OTHER)
    world.hub.publish(events.PoolCreated("pools/p9"))
    with pytest.raises(ServerDraining):
        await world.engine.present(("pools/p9",))
    await world.sessions.adopt(OTHER)
    assert world.pool_of("pools/p9").capacity == 1
    lease = await app.acquire()
    assert (await app.release(lease.name)).name == lease.name


async def test_a_server_that_adopts_account_by_account_has_no_pools_of_others(world: World):
    await world.add_pool(1)
    fresh = type(world.engine)(
        world.committer, SqlPoolStore(world.database), world.clock, type(world.hub)()
    )
    await fresh.adopt(OTHER)
    with pytest.raises(ServerDraining):
        await fresh.present(("pools/p1",))
    assert not fresh.pools.serves(ACCOUNT)
    assert [pool.name for pool in await fresh.adopt(ACCOUNT)] == ["pools/p1"]
    assert fresh.pool("pools/p1") is not None
    assert fresh.pool("pools/p2") is None


async def test_an_account_that_leaves_while_it_is_read_is_not_kept(world: World):
    await world.add_pool(1)
    world.sessions.abandon(ACCOUNT)
    adopting = asyncio.create_task(world.sessions.adopt(ACCOUNT))
    fetching = asyncio.create_task(world.engine.present(("pools/p1",)))
    await asyncio.sleep(0)
    world.sessions.abandon(ACCOUNT)
    for under_way in (adopting, fetching):
        with pytest.raises(ServerDraining):
            await under_way
    assert world.engine.pools_of_account(ACCOUNT) == []


async def test_a_session_that_opens_while_its_account_leaves_is_refused(world: World):
    await world.add_pool(1)
    app = world.app()
    world.licenses.gate = asyncio.Event()
    app.connect()
    await app.send(open=app.open_frame())
    await world.licenses.asked.wait()
    world.sessions.abandon(ACCOUNT)
    world.licenses.gate.set()
    assert isinstance(await app.ends(), ServerDraining)
    assert len(world.sessions.presence) == 0


async def test_work_on_a_pool_from_before_its_account_left_is_refused(world: World):
    await world.add_pool(1)
    before = world.pool_of("pools/p1")
    world.sessions.abandon(ACCOUNT)
    await world.sessions.adopt(ACCOUNT)
    heard: list[Any] = []
    world.engine.release(before, "none", heard.append)
    assert isinstance(heard[0], ServerDraining)
    with pytest.raises(ServerDraining):
        await world.engine.set_rules(before, PoolRules(), "", "x")


async def test_a_recall_goes_on_where_the_account_goes(world: World):
    await world.add_pool(1)
    app = world.app()
    opened = await app.open()
    lease = await app.acquire()
    await world.seats("boss").FreeSeat(free(lease))
    world.sessions.abandon(ACCOUNT)
    await app.ends()
    assert world.engine.aftermath.recalls.of_session(id_of(opened.session)) == []
    await world.sessions.adopt(ACCOUNT)
    await app.resume()
    assert (await app.next("recalled")).lease == lease.name


async def test_whoever_remembers_an_account_hears_that_it_left(world: World):
    left: list[str] = []
    world.hub.subscribe(events.AccountAbandoned, lambda event: left.append(event.account))
    world.sessions.abandon(ACCOUNT)
    assert left == [ACCOUNT]


async def test_a_server_that_is_not_sure_promises_nobody_more_time(world: World):
    await world.add_pool(3)
    running, signed, seats = world.app(), world.app("bob"), world.seats()
    await running.open()
    await signed.open()
    held = (await seats.AcquireSeat(ask())).lease
    world.sure = False
    await running.send(renew=running.renew_frame())
    assert isinstance(await running.ends(), ServerDraining)
    await signed.send(renew=signed.renew_frame(signed=True))
    assert isinstance(await signed.ends(), ServerDraining)
    await refused(running, ServerDraining)
    late = world.app("ann")
    late.connect()
    await late.send(open=late.open_frame())
    assert isinstance(await late.ends(), ServerDraining)
    renew = RenewSeatRequest(name=held.name, fencing_number=held.fencing_number)
    request = ask()
    for call in (seats.RenewSeat(renew), seats.AcquireSeat(request)):
        with pytest.raises(ServerDraining):
            await call
    world.sure = True
    assert (await running.resume()).resumed
    await seats.RenewSeat(renew)
    late_lease = (await seats.AcquireSeat(request)).lease  # what it got is there, and is the same
    assert await rows(world) == {id_of(held.name), id_of(late_lease.name)}


async def test_streams_end_and_sessions_stay_when_a_server_is_not_sure(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    lease = await app.acquire()
    world.sessions.disconnect()
    assert isinstance(await app.ends(), ServerDraining)
    assert [one.name for one in (await app.resume()).leases] == [lease.name]
