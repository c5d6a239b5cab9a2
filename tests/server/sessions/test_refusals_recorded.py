"""Who was refused for its license is in the log: sessions that are not opened, and seats asked for by a call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keypeg.errors import CloudSessionElsewhere, LicenseMissing
from keypeg_server.storage.log_search import SqlLogSearch
from tests.server.sessions.test_seat_service import ask
from tests.server.sessions.world import ACCOUNT, PRODUCT, Ended, World

pytestmark = pytest.mark.behaviour("SEAT-14")


async def said(world: World, event: str) -> list[dict[str, Any]]:
    await world.settled()
    mark = f'"event":"{event}"'.encode()
    found = await SqlLogSearch(world.database).find(ACCOUNT, 0, mark)
    return [json.loads(body) for _, body in found.records]


async def test_a_session_that_is_not_opened_is_recorded_with_who_and_why(world: World) -> None:
    world.licenses.refusal = CloudSessionElsewhere("It is open elsewhere.", device="d")
    app = world.app("tom", "device-t")
    with pytest.raises(Ended):
        await app.open()
    (denied,) = await said(world, "open_denied")
    assert (denied["reason"], denied["product"]) == ("CLOUD_SESSION_ELSEWHERE", PRODUCT)
    assert (denied["user"], denied["host"]) == (f"{ACCOUNT}/users/tom", "host of device-t")
    assert (denied["app"], denied["process"]) == ("cad", 4711)


async def test_a_seat_that_no_license_gives_is_recorded(world: World) -> None:
    await world.add_pool(1)
    world.licenses.refusal = LicenseMissing("There is none.", product=PRODUCT)
    with pytest.raises(LicenseMissing):
        await world.seats("tom").AcquireSeat(ask(units=1))
    (denied,) = await said(world, "denied")
    assert (denied["reason"], denied["pool"], denied["units"]) == ("LICENSE_MISSING", "p1", 1)
    assert denied["user"] == f"{ACCOUNT}/users/tom"
