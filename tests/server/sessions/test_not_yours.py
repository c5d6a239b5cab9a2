"""What callers must not be able to do to each other, whatever names they learn."""

from __future__ import annotations

import pytest

from keypeg.errors import NotFound, SessionExpired
from keypeg.v1.seat_service_pb2 import ListQueuePlacesRequest, ReleaseSeatRequest
from keypeg_server.domain import events
from tests.server.sessions.world import ACCOUNT, LICENSE, Ended, World


@pytest.mark.behaviour("SEAT-3")
async def test_nobody_releases_the_place_of_another_by_calling_it_a_lease(world: World) -> None:
    await world.add_pool(1)
    holder, waiter = world.app(), world.app("bob", device="device-b")
    await holder.open()
    await holder.acquire()
    await waiter.open()
    await waiter.wait()
    listed = await world.seats("carol").ListQueuePlaces(ListQueuePlacesRequest(parent="pools/p1"))
    name = listed.places[0].name.replace("/places/", "/leases/")
    assert "/leases/" in name
    with pytest.raises(NotFound):
        await world.seats("carol").ReleaseSeat(ReleaseSeatRequest(name=name, fencing_number=1))
    assert world.pool_of("pools/p1").waiting == 1


@pytest.mark.behaviour("SEAT-1")
async def test_nobody_runs_by_one_license_on_the_seats_of_another(world: World) -> None:
    """Else the many seats of a license that has ended would run by another one that has few."""
    await world.add_pool(3)
    apps = [world.app(device=f"device-{letter}") for letter in "abc"]
    for app in apps:
        await app.open()
        await app.acquire()
    world.licenses.pools = ()
    await world.add_pool(1, "p2")  # all that serves now
    world.hub.publish(events.LicenseChanged(ACCOUNT, LICENSE, ()))
    for app in apps:
        assert isinstance(await app.ends(), SessionExpired)
        with pytest.raises(Ended) as refused:
            await app.resume()
        assert isinstance(refused.value.error, SessionExpired)
    assert world.pool_of("pools/p1").held == 3
    await world.pass_time(61.7)
    assert world.pool_of("pools/p1").held == 0


@pytest.mark.behaviour("SEAT-1")
async def test_seats_of_another_license_are_not_resumed_after_a_restart(world: World) -> None:
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    world.licenses.pools = ()
    await world.add_pool(1, "p2")
    await world.restart()
    app.channel = world.channel
    with pytest.raises(Ended) as refused:
        await app.resume()
    assert isinstance(refused.value.error, SessionExpired)
    await world.pass_time(61.7)
    assert world.pool_of("pools/p1").held == 0
