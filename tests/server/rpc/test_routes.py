"""Where calls are served: every method of the contract, and how the account of a call is found."""

from __future__ import annotations

import pytest

from keypeg.v1 import (
    account_service_pb2,
    catalog_service_pb2,
    license_service_pb2,
    seat_service_pb2,
    session_service_pb2,
)
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.rpc import authorization, routes
from keypeg_server.rpc.health import CONTRACT
from keypeg_server.rpc.parents import Routes
from keypeg_server.rpc.routes import By

METHODS = {
    f"/{service.full_name}/{method.name}": method
    for module in CONTRACT
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
CALLER = Caller("accounts/a/users/u", "u", "accounts/a", Role.MEMBER, "t")
STAFF = Caller("users/p", "p", None, Role.PUBLISHER, "t")


def test_every_method_has_a_route() -> None:
    assert set(routes.TABLE) == set(authorization.TABLE)
    assert set(METHODS) <= set(routes.TABLE)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_route_goes_by_what_the_request_has(name: str) -> None:
    route = routes.TABLE[name]
    fields = METHODS[name].input_type.fields_by_name
    if route.field:
        assert route.field in fields
    if "request_id" in fields:
        assert route.by is not By.ANYWHERE, "what changes something does so at its home"
    if any(field.startswith("pool") for field in fields):
        assert route.by is not By.ANYWHERE, "pools are in the memory of their home"


@pytest.mark.parametrize(
    ("method", "request_", "caller", "expected"),
    [
        (
            "LicenseService/CreateLicense",
            license_service_pb2.CreateLicenseRequest(parent="accounts/b"),
            STAFF,
            "accounts/b",
        ),
        (
            "AccountService/DeleteUser",
            account_service_pb2.DeleteUserRequest(name="accounts/b/users/x"),
            CALLER,
            "accounts/b",
        ),
        (
            "CatalogService/CreateProduct",
            catalog_service_pb2.CreateProductRequest(parent="publishers/p"),
            STAFF,
            "publishers/p",
        ),
        (
            "AccountService/CreateAccount",
            account_service_pb2.CreateAccountRequest(account_id="new"),
            STAFF,
            "accounts/new",
        ),
        (
            "AccountService/CreateAccount",
            account_service_pb2.CreateAccountRequest(
                request_id="0199AAAA-0000-7000-8000-000000000001"
            ),
            STAFF,
            "accounts/0199aaaa000070008000000000000001",
        ),
        (
            "SeatService/GetPool",
            seat_service_pb2.GetPoolRequest(name="pools/one"),
            CALLER,
            "accounts/of-one",
        ),
        (
            "SeatService/ReleaseSeat",
            seat_service_pb2.ReleaseSeatRequest(name="pools/one/leases/l"),
            CALLER,
            "accounts/of-one",
        ),
        (
            "SeatService/GetPool",
            seat_service_pb2.GetPoolRequest(name="pools/none"),
            CALLER,
            None,
        ),
        (
            "SessionService/CloseSession",
            session_service_pb2.CloseSessionRequest(session="sessions/one"),
            None,
            "accounts/of-one",
        ),
        (
            "SeatService/WatchPool",
            seat_service_pb2.WatchPoolRequest(parent="pools/one"),
            STAFF,
            "accounts/of-one",
        ),
        (
            "SeatService/WatchPool",
            seat_service_pb2.WatchPoolRequest(parent="accounts/b"),
            STAFF,
            "accounts/b",
        ),
        ("SessionService/HoldSession", None, CALLER, "accounts/a"),
        ("SessionService/HoldSession", None, STAFF, None),
        (
            "AccountService/SignIn",
            account_service_pb2.SignInRequest(login="l"),
            None,
            "of who signs in",
        ),
    ],
)
async def test_the_account_of_a_call(
    method: str, request_: object, caller: Caller | None, expected: str | None
) -> None:
    asked: list[str] = []

    async def account_of(id: str) -> str | None:
        asked.append(id)
        return None if id == "none" else f"accounts/of-{id}"

    async def of_session(request: session_service_pb2.CloseSessionRequest) -> str | None:
        return await account_of(request.session.rpartition("/")[2])

    async def of_person(request: object, caller: Caller | None) -> str | None:
        return "of who signs in"

    found = Routes(account_of, of_session, of_person)
    route = routes.TABLE[f"/keypeg.v1.{method}"]
    assert await found.parent(route, request_, caller) == expected
    assert await found.parent(route, request_, caller) == expected
    named = str(getattr(request_, route.field, ""))
    if route.by is By.POOL and named.startswith("pools/") and expected is not None:
        assert asked == ["one"], "the account of a pool never changes, and is looked up once"
