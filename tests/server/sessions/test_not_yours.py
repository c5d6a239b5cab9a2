"""What callers must not be able to do to each other, whatever names they learn."""

from __future__ import annotations

import pytest

from keypeg.errors import NotFound
from keypeg.v1.seat_service_pb2 import ListQueuePlacesRequest, ReleaseSeatRequest
from tests.server.sessions.world import World


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
