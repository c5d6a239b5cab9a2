"""The administration over gRPC and TLS, on a real keypegd."""

from __future__ import annotations

from itertools import count

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from keypeg.errors import Reason
from keypeg.v1 import (
    account_service_pb2,
    activation_service_pb2,
    catalog_service_pb2,
    cloud_session_pb2,
    cloud_session_service_pb2,
    license_service_pb2,
    location_service_pb2,
    location_service_pb2_grpc,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from keypeg_server.domain.guessing import TRIES
from lab.world import ADMIN, CLOUD, KEY, MEMBER, PASSWORD, SITE, Api, World, request_id
from tests.server.rpc.conftest import refused

NUMBERS = count(1)


def new_id(stem: str) -> str:
    return f"{stem}-{next(NUMBERS)}"


@pytest.fixture
def anonymous(world: World) -> Api:
    return Api(world.address, world.ca_file.read_bytes())


def new_account(world: World) -> tuple[str, Api, Api]:
    """An account with an admin and a member."""
    id = new_id("account")
    account = world.account(id, {f"{id}-admin": ADMIN, f"{id}-member": MEMBER})
    return account, world.sign_in(f"{id}-admin"), world.sign_in(f"{id}-member")


def test_without_a_token_nothing_but_signing_in_is_served(world: World, anonymous: Api) -> None:
    with refused(Reason.SIGN_IN_REQUIRED):
        anonymous.accounts.GetCaller(account_service_pb2.GetCallerRequest())
    stranger = Api(world.address, world.ca_file.read_bytes(), "A" * 43)
    with refused(Reason.TOKEN_INVALID):
        stranger.accounts.GetCaller(account_service_pb2.GetCallerRequest())
    with refused(Reason.SIGN_IN_REQUIRED):
        # Not even what is wrong with the request is told.
        anonymous.licenses.GetLicense(license_service_pb2.GetLicenseRequest(name="nonsense"))


def test_health_and_reflection_are_public(anonymous: Api) -> None:
    health = health_pb2_grpc.HealthStub(anonymous.channel)
    for service in ("", "keypeg.v1.SessionService", "keypeg.v1.LicenseService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(anonymous.channel)
    wanted = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = reflection.ServerReflectionInfo(iter([wanted]))
    names = {service.name for service in listed.list_services_response.service}
    assert {"keypeg.v1.SeatService", "grpc.health.v1.Health"} <= names


def test_who_guesses_a_password_has_to_wait_and_keeps_nobody_out(
    world: World, anonymous: Api
) -> None:
    id = new_id("account")
    world.account(id, {f"{id}-ada": ADMIN, f"{id}-tom": MEMBER})
    world.sign_in(f"{id}-ada")  # so that she is at home here

    def guess(login: str) -> None:
        anonymous.accounts.SignIn(
            account_service_pb2.SignInRequest(login=login, password="is it this one")
        )

    for _ in range(TRIES.size):
        with refused(Reason.CREDENTIALS_INVALID):
            guess(f"{id}-tom")
    with refused(Reason.LIMIT_EXCEEDED) as told:
        guess(f"{id}-tom")
    (error,) = told
    assert error.metadata["limit"] == "sign_in.failures"
    assert error.retry_after is not None
    assert 0 < error.retry_after.total_seconds() <= TRIES.leak
    world.sign_in(f"{id}-ada")
    assert world.server is not None
    assert "too many failures" in world.server.log.read_text()


def test_a_caller_knows_who_it_is_until_it_signs_out(world: World) -> None:
    account, admin, _ = new_account(world)
    found = admin.accounts.GetCaller(account_service_pb2.GetCallerRequest())
    assert (found.account, found.user.role) == (account, ADMIN)
    assert found.user.name.startswith(f"{account}/users/")
    admin.accounts.SignOut(account_service_pb2.SignOutRequest())
    with refused(Reason.TOKEN_INVALID):
        admin.accounts.GetCaller(account_service_pb2.GetCallerRequest())


def test_wrong_credentials_look_alike(world: World, anonymous: Api) -> None:
    account, _, _ = new_account(world)
    login = f"{account.split('/')[1]}-admin"
    said = set()
    for name, password in ((login, "wrong password"), ("nobody-here", PASSWORD)):
        with refused(Reason.CREDENTIALS_INVALID) as caught:
            anonymous.accounts.SignIn(
                account_service_pb2.SignInRequest(login=name, password=password)
            )
        said.add(caught[0].sentence)
    assert len(said) == 1


def test_what_is_another_s_and_what_is_not_there_are_the_same(world: World) -> None:
    account, admin, member = new_account(world)
    theirs, _, _ = new_account(world)
    product = world.product(new_id("product"))
    owned = world.license(theirs, product)
    for name in (owned.name, f"{theirs}/licenses/none", "accounts/none/licenses/none"):
        with refused(Reason.NOT_FOUND) as caught:
            member.licenses.GetLicense(license_service_pb2.GetLicenseRequest(name=name))
        assert caught[0].metadata == {"name": name}
    with refused(Reason.NOT_FOUND):
        admin.accounts.ListUsers(account_service_pb2.ListUsersRequest(parent=theirs))
    with refused(Reason.PERMISSION_DENIED):
        member.accounts.ListUsers(account_service_pb2.ListUsersRequest(parent=account))
    with refused(Reason.PERMISSION_DENIED):
        admin.accounts.ListAccounts(account_service_pb2.ListAccountsRequest())


def test_a_deleted_user_s_token_ends_at_once(world: World) -> None:
    account, admin, member = new_account(world)
    name = member.accounts.GetCaller(account_service_pb2.GetCallerRequest()).user.name
    request = account_service_pb2.DeleteUserRequest(name=name, request_id=request_id())
    admin.accounts.DeleteUser(request)
    admin.accounts.DeleteUser(request)  # the same request again
    with refused(Reason.TOKEN_INVALID):
        member.accounts.GetCaller(account_service_pb2.GetCallerRequest())
    listed = admin.accounts.ListUsers(account_service_pb2.ListUsersRequest(parent=account))
    assert name not in [user.name for user in listed.users]


def test_the_same_request_gives_the_first_answer_and_another_body_is_refused(
    world: World,
) -> None:
    account, _, _ = new_account(world)
    product = world.product(new_id("product"))
    request = license_service_pb2.CreateLicenseRequest(
        parent=account, request_id=request_id(), product=product
    )
    first = world.publisher.licenses.CreateLicense(request)
    assert world.publisher.licenses.CreateLicense(request) == first
    request.seat_count = 5
    with refused(Reason.REQUEST_ID_REUSED):
        world.publisher.licenses.CreateLicense(request)
    listed = world.publisher.licenses.ListLicenses(
        license_service_pb2.ListLicensesRequest(parent=account)
    )
    assert [one.name for one in listed.licenses] == [first.license.name]


def test_what_is_remembered_of_a_request_does_not_depend_on_its_password(world: World) -> None:
    account, admin, _ = new_account(world)
    request = account_service_pb2.CreateUserRequest(
        parent=account, request_id=request_id(), login=new_id("login"), password=PASSWORD
    )
    first = admin.accounts.CreateUser(request)
    request.password = "another password"
    assert admin.accounts.CreateUser(request) == first
    assert world.token(first.user.login, PASSWORD)


def test_lists_come_in_pages(world: World) -> None:
    account, admin, _ = new_account(world)
    product = world.product(new_id("product"))
    made = [world.license(account, product).name for _ in range(5)]
    found: list[str] = []
    token = ""
    sizes = []
    while True:
        page = admin.licenses.ListLicenses(
            license_service_pb2.ListLicensesRequest(parent=account, page_size=2, page_token=token)
        )
        sizes.append(len(page.licenses))
        found += [one.name for one in page.licenses]
        token = page.next_page_token
        if not token:
            break
    assert (found, sizes) == (made, [2, 2, 1])
    with refused(Reason.FIELD_INVALID) as caught:
        admin.licenses.ListLicenses(
            license_service_pb2.ListLicensesRequest(parent=account, page_token="made up")
        )
    assert set(caught[0].fields) == {"page_token"}


def test_the_catalog_is_what_was_put_into_it(world: World) -> None:
    first, second = new_id("part"), new_id("part")
    parts = [world.product(first, features=["hd"]), world.product(second, locations=[KEY])]
    bundle = world.product(new_id("bundle"), bundle=parts, offline_grace=42)
    found = world.publisher.catalog.GetProduct(
        catalog_service_pb2.GetProductRequest(name=bundle)
    ).product
    assert list(found.bundle_products) == parts
    assert (found.offline_grace.seconds, found.unplug_grace.seconds) == (42, 30)
    listed = world.publisher.catalog.ListProducts(
        catalog_service_pb2.ListProductsRequest(parent="publishers/acme", page_size=1_000)
    )
    assert {*parts, bundle} <= {one.name for one in listed.products}
    with refused(Reason.FIELD_INVALID):
        world.product(new_id("nested"), bundle=[bundle])


def test_a_license_shows_what_it_is(world: World) -> None:
    account, admin, _ = new_account(world)
    parts = [world.product(new_id("part"), locations=[CLOUD, SITE]) for _ in range(2)]
    bundle = world.product(new_id("bundle"), bundle=parts, locations=[CLOUD, SITE])
    owned = world.license(
        account, bundle, activations=2, term_days=30, external_reference="order 7"
    )
    world.activate(admin, owned.name, f"{account}/locations/cloud")
    found = admin.licenses.GetLicense(
        license_service_pb2.GetLicenseRequest(name=owned.name)
    ).license
    assert (found.bundle, list(found.opens_products)) == (True, parts)
    assert (found.activations_used_count, found.activation_count) == (1, 2)
    assert list(found.allowed_locations) == [CLOUD, SITE]
    assert found.expire_time.seconds - found.first_activate_time.seconds == 30 * 86_400
    assert found.external_reference == "order 7"


def test_the_cloud_session_opens_moves_and_closes(world: World) -> None:
    account, admin, member = new_account(world)
    product = world.product(new_id("product"))
    world.license(account, product)
    a, b = world.computer("a"), world.computer("b")
    opened = world.open_cloud(admin, account, a)
    assert opened.cloud_session.host_name == "a"
    assert len(opened.cloud_session.activations) == 1
    with refused(Reason.CLOUD_SESSION_ELSEWHERE) as caught:
        world.open_cloud(member, account, b, keep_elsewhere=True)
    assert caught[0].metadata["device"] == a.device.id
    assert world.open_cloud(member, account, b).moved_from_host_name == "a"
    closed = admin.cloud.CloseCloudSession(
        cloud_session_service_pb2.CloseCloudSessionRequest(
            name=f"{account}/cloudSession", request_id=request_id(), device=a.device
        )
    ).cloud_session
    assert closed.state == cloud_session_pb2.CLOUD_SESSION_STATE_CLOSED
    assert list(closed.activations) == []


def test_activations_are_listed_by_account_and_by_license(world: World) -> None:
    account, admin, _ = new_account(world)
    product = world.product(new_id("product"), locations=[CLOUD, SITE])
    pool = world.seats(account, product, 3)
    owned = world.license(account, product)
    made = world.activate(admin, owned.name, f"{account}/locations/cloud")
    listed = admin.activations.ListActivations(
        activation_service_pb2.ListActivationsRequest(parent=account)
    ).activations
    assert len(listed) == 2
    assert pool in [name for one in listed for name in one.pools]
    (found,) = admin.activations.ListActivations(
        activation_service_pb2.ListActivationsRequest(parent=owned.name)
    ).activations
    assert found == made.activation
    again = admin.activations.GetActivation(
        activation_service_pb2.GetActivationRequest(name=found.name)
    )
    assert (again.document, again.delegation) == (made.document, made.delegation)


def test_emulated_keys_are_refused_by_default(world: World) -> None:
    account, admin, _ = new_account(world)
    locations = location_service_pb2_grpc.LocationServiceStub(admin.channel)
    with refused(Reason.KEY_EMULATED):
        locations.AuthorizeKeyWrite(
            location_service_pb2.AuthorizeKeyWriteRequest(
                parent=account,
                card_id="00" * 16,
                management_algorithm="aes256",
                challenge=bytes(16),
                emulated=True,
            )
        )
    listed = locations.ListLocations(location_service_pb2.ListLocationsRequest(parent=account))
    assert [place.name for place in listed.locations] == [
        f"{account}/locations/cloud",
        f"{account}/locations/site",
    ]


def test_a_message_above_the_limit_is_refused_and_the_server_goes_on(world: World) -> None:
    account, admin, _ = new_account(world)
    with pytest.raises(grpc.RpcError) as caught:
        admin.licenses.ListLicenses(
            license_service_pb2.ListLicensesRequest(parent=account, page_token="x" * 300_000)
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    admin.licenses.ListLicenses(license_service_pb2.ListLicensesRequest(parent=account))


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05ab", b"\x00" * 100])
def test_bytes_that_are_no_message_are_refused(world: World, body: bytes) -> None:
    _, admin, _ = new_account(world)
    call = admin.channel.unary_unary(
        "/keypeg.v1.LicenseService/GetLicense",
        request_serializer=lambda raw: raw,
        response_deserializer=lambda raw: raw,
    )
    with pytest.raises(grpc.RpcError) as caught:
        call(body, metadata=())
    assert caught.value.code() in (
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNKNOWN,
    )


def test_a_method_that_does_not_exist_is_unimplemented(world: World, anonymous: Api) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = anonymous.channel.unary_unary(
        "/keypeg.v1.LicenseService/Steal"
    )
    with pytest.raises(grpc.RpcError) as caught:
        call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_stream_needs_a_caller_and_a_well_formed_frame(world: World, anonymous: Api) -> None:
    product = world.product(new_id("product"))
    _, admin, _ = new_account(world)

    def frame(**fields: object) -> session_service_pb2.HoldSessionRequest:
        right: dict[str, object] = {
            "sequence": 1,
            "protocol_version": 1,
            "device": session_pb2.Device(id="device-a"),
            "app": session_pb2.App(),
            "product": product,
            "nonce": bytes(32),
            "key_share": bytes(31) + b"\x09",
        }
        opening = session_pb2.Open(**{**right, **fields})  # type: ignore[arg-type]
        return session_service_pb2.HoldSessionRequest(open=opening)

    for api, sent, reason in (
        (anonymous, frame(), Reason.SIGN_IN_REQUIRED),
        (admin, frame(nonce=b""), Reason.FIELD_INVALID),
        (admin, session_service_pb2.HoldSessionRequest(), Reason.PROTOCOL_VIOLATION),
        (admin, frame(), Reason.LICENSE_MISSING),
    ):
        sessions = session_service_pb2_grpc.SessionServiceStub(api.channel)
        with refused(reason):
            list(sessions.HoldSession(iter([sent])))
