"""Seats and the apps that hold them, for tests of whole programs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keypeg.v1 import product_pb2, seat_pb2, seat_service_pb2, session_pb2
from lab.processes import BIN, Program
from lab.world import SITE, Api, World, request_id
from tests.system.people import Customer

Namer = Callable[[str], str]
RUN = [str(BIN / "keypeg"), "run", "--"]
GRANT = 6.0
"""Seconds that one answer lets an app use its seat, as SETTINGS says."""


def seat_app(
    world: World, customer: Customer, product: str, name: str, *args: str, run: bool = False
) -> Program:
    computer = world.computer(name, token=customer.member_token)
    return world.app(name, computer, product, "--seat", *args, under=RUN if run else [])


def acquire(
    api: Api,
    pool: str,
    *,
    identifier: str = "",
    units: int = 1,
    features: dict[str, int] | None = None,
) -> seat_service_pb2.AcquireSeatResponse:
    return api.seats.AcquireSeat(
        seat_service_pb2.AcquireSeatRequest(
            pool=pool,
            request_id=identifier or request_id(),
            units=units,
            device=session_pb2.Device(id="device-unary", host_name="unary"),
            app=session_pb2.App(name="unary"),
            features=[
                product_pb2.FeatureUnits(feature=name, units=count)
                for name, count in (features or {}).items()
            ],
        )
    )


def release(api: Api, lease: seat_pb2.Lease) -> bool:
    return api.seats.ReleaseSeat(
        seat_service_pb2.ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    ).released


@pytest.fixture
def solver(world: World, customer: Customer, new_name: Namer) -> tuple[str, str]:
    """A product with three seats at the site: its name and its pool."""
    product = world.product(new_name("solver"), locations=[SITE])
    return product, world.seats(customer.account, product, 3)
