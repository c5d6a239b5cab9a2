"""A server and a bridge with little services of their own, behind real gRPC.

Promises: real TLS on loopback and a real Unix socket; refusals are rich statuses; what was asked is kept
in `asked`, and `refuse` makes the next calls of a method fail. The data is one small studio's.

Leaves to others: rules. A fake does what it is told, and no more.
"""

# ruff: noqa: N802 - methods have the names of the contract
from __future__ import annotations

import functools
import tempfile
from collections import defaultdict
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keypeg import errors
from keypeg.serving import rich_status
from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    account_service_pb2_grpc,
    activation_service_pb2,
    activation_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    cloud_session_pb2,
    cloud_session_service_pb2,
    cloud_session_service_pb2_grpc,
    document_pb2,
    explanation_pb2,
    key_pb2,
    key_service_pb2,
    key_service_pb2_grpc,
    license_pb2,
    license_service_pb2,
    license_service_pb2_grpc,
    location_pb2,
    location_service_pb2,
    location_service_pb2_grpc,
    pool_event_pb2,
    product_pb2,
    seat_pb2,
    seat_service_pb2,
    seat_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ACCOUNT = "accounts/studio"
TOKEN = "good-token"
PASSWORD = "correct horse"
CAD = f"{ACCOUNT}/licenses/019abc00000070008000000000000a11"
SOLVER = f"{ACCOUNT}/licenses/019abc00000070008000000000000b22"
POOL = "pools/019abc00000070008000000000000c33"
LEASE = f"{POOL}/leases/019abc00000070008000000000000d44"
KEY = "keys/019abc00000070008000000000000e55"
CARD = "00112233445566778899aabbccddeeff"


def handler(method: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what was asked, refuse what was told to be refused, and make errors rich statuses."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        name = method.__name__
        self.asked[name].append(request)
        try:
            self.check(name, context)
            if self.refusals[name]:
                refusal = self.refusals[name].pop(0)
                if isinstance(refusal, grpc.StatusCode):
                    context.abort(refusal, "told to")
                raise refusal
            return method(self, request, context)
        except errors.KeypegError as error:
            context.abort_with_status(rich_status(error))

    return answer


class Asked:
    """What every fake keeps."""

    def __init__(self) -> None:
        self.asked: dict[str, list[Any]] = defaultdict(list)
        self.refusals: dict[str, list[errors.KeypegError | grpc.StatusCode]] = defaultdict(list)

    def refuse(self, method: str, *refusals: errors.KeypegError | grpc.StatusCode) -> None:
        self.refusals[method] += refusals

    def check(self, method: str, context: grpc.ServicerContext) -> None:
        """Whether the caller may call at all."""


class Server(
    Asked,
    account_service_pb2_grpc.AccountServiceServicer,
    license_service_pb2_grpc.LicenseServiceServicer,
    activation_service_pb2_grpc.ActivationServiceServicer,
    cloud_session_service_pb2_grpc.CloudSessionServiceServicer,
    location_service_pb2_grpc.LocationServiceServicer,
    catalog_service_pb2_grpc.CatalogServiceServicer,
    seat_service_pb2_grpc.SeatServiceServicer,
    session_service_pb2_grpc.SessionServiceServicer,
):
    """The server's services, for one account."""

    def __init__(self) -> None:
        super().__init__()
        self.user = account_pb2.User(
            name=f"{ACCOUNT}/users/ada",
            display_name="Ada",
            login="ada",
            role=account_pb2.ROLE_ADMIN,
        )
        self.account = ACCOUNT
        self.page = 2  # small, so that listings have several pages
        self.licenses = [
            license_pb2.License(
                name=CAD,
                product="publishers/acme/products/cad",
                product_display_name="CAD",
                opens_products=["publishers/acme/products/cad"],
                type=license_pb2.LICENSE_TYPE_PERPETUAL,
                state=license_pb2.LICENSE_STATE_ACTIVE,
                allowed_locations=[
                    location_pb2.LOCATION_KIND_CLOUD,
                    location_pb2.LOCATION_KIND_KEY,
                ],
                activation_count=2,
                activations_used_count=1,
            ),
            license_pb2.License(
                name=SOLVER,
                product="publishers/acme/products/solver",
                product_display_name="Solver",
                type=license_pb2.LICENSE_TYPE_SUBSCRIPTION,
                state=license_pb2.LICENSE_STATE_EXPIRED,
                allowed_locations=[location_pb2.LOCATION_KIND_SITE],
                activation_count=1,
                seat_count=3,
            ),
        ]
        self.licenses[1].expire_time.FromDatetime(NOW - timedelta(days=3))
        self.activations: list[license_pb2.Activation] = []
        self.locations = [
            location_pb2.Location(
                name=f"{ACCOUNT}/locations/cloud",
                kind=location_pb2.LOCATION_KIND_CLOUD,
                display_name="Cloud",
            ),
            location_pb2.Location(
                name=f"{ACCOUNT}/locations/site",
                kind=location_pb2.LOCATION_KIND_SITE,
                display_name="Site",
            ),
        ]
        self.pool = seat_pb2.Pool(
            name=POOL,
            account=ACCOUNT,
            product="publishers/acme/products/solver",
            seat_count=3,
            held_count=1,
            waiting_count=1,
        )
        self.ahead: list[seat_pb2.QueuePlace] = []  # what who waits is told before it has a seat
        self.events: list[pool_event_pb2.PoolEvent] = []
        self.watched: list[list[seat_service_pb2.WatchPoolResponse]] = []  # stream by stream
        self.watch_ends: list[errors.KeypegError] = []  # how each ends; the last by NOT_FOUND
        self.leases = [
            seat_pb2.Lease(
                name=LEASE,
                session="sessions/s1",
                units=1,
                fencing_number=7,
                user=self.user.name,
                device="dev-one",
                host_name="atlas",
                app="solver",
                process_id=4711,
            )
        ]
        self.leases[0].acquire_time.FromDatetime(NOW - timedelta(hours=2))
        self.cloud = cloud_session_pb2.CloudSession(
            name=f"{ACCOUNT}/cloudSession",
            state=cloud_session_pb2.CLOUD_SESSION_STATE_CLOSED,
            mode_letter="A",
            implies="automatic: as the server says",
            mode=cloud_session_pb2.CLOUD_MODE_AUTOMATIC,
        )
        self.cloud_watched: list[list[cloud_session_service_pb2.WatchCloudSessionResponse]] = []

    def check(self, method: str, context: grpc.ServicerContext) -> None:
        if method in ("SignIn", "CloseSession"):
            return
        given = dict(context.invocation_metadata()).get("authorization")
        if given != f"Bearer {TOKEN}":
            raise errors.TokenInvalid("The token is unknown or was revoked.")

    def pages(self, items: list[Any], request: Any) -> tuple[list[Any], str]:
        start = int(request.page_token or 0)
        end = start + self.page
        return items[start:end], str(end) if end < len(items) else ""

    @handler
    def SignIn(self, request, context):
        if request.password != PASSWORD:
            raise errors.CredentialsInvalid("User name or password is wrong.")
        answer = account_service_pb2.SignInResponse(
            token=TOKEN, user=self.user, account=self.account
        )
        answer.expire_time.FromDatetime(NOW + timedelta(days=30))
        return answer

    @handler
    def SignOut(self, request, context):
        return account_service_pb2.SignOutResponse()

    @handler
    def GetCaller(self, request, context):
        answer = account_service_pb2.GetCallerResponse(user=self.user, account=self.account)
        answer.expire_time.FromDatetime(NOW + timedelta(days=30))
        return answer

    @handler
    def CreateAccount(self, request, context):
        account = account_pb2.Account(
            name=f"accounts/{request.account_id or 'made'}", display_name=request.display_name
        )
        return account_service_pb2.CreateAccountResponse(account=account)

    @handler
    def GetAccount(self, request, context):
        account = account_pb2.Account(name=request.name, display_name="Studio Nord")
        return account_service_pb2.GetAccountResponse(account=account)

    @handler
    def ListAccounts(self, request, context):
        all_of_them = [account_pb2.Account(name=f"accounts/a{n}") for n in range(5)]
        found, token = self.pages(all_of_them, request)
        return account_service_pb2.ListAccountsResponse(accounts=found, next_page_token=token)

    @handler
    def CreateUser(self, request, context):
        user = account_pb2.User(
            name=f"{request.parent}/users/new", login=request.login, role=request.role
        )
        return account_service_pb2.CreateUserResponse(user=user)

    @handler
    def ListUsers(self, request, context):
        return account_service_pb2.ListUsersResponse(users=[self.user])

    @handler
    def DeleteUser(self, request, context):
        return account_service_pb2.DeleteUserResponse()

    @handler
    def CreateLicense(self, request, context):
        made = license_pb2.License(
            name=f"{request.parent}/licenses/new",
            product=request.product,
            type=request.type,
            state=license_pb2.LICENSE_STATE_ACTIVE,
            activation_count=request.activation_count,
            seat_count=request.seat_count,
            features=request.features,
        )
        return license_service_pb2.CreateLicenseResponse(license=made)

    @handler
    def GetLicense(self, request, context):
        for one in self.licenses:
            if one.name == request.name:
                return license_service_pb2.GetLicenseResponse(license=one)
        raise errors.NotFound(f"There is no license {request.name}.")

    @handler
    def ListLicenses(self, request, context):
        found, token = self.pages(self.licenses, request)
        return license_service_pb2.ListLicensesResponse(licenses=found, next_page_token=token)

    @handler
    def ListLicenseChanges(self, request, context):
        return license_service_pb2.ListLicenseChangesResponse()  # none wait

    @handler
    def CreateActivation(self, request, context):
        made = license_pb2.Activation(
            name=f"{request.parent}/activations/x{len(self.activations)}",
            license=request.parent,
            location=request.location,
            generation=1,
        )
        places = [one for one in self.locations if one.name == request.location]
        if places:
            made.location_kind = places[0].kind
        self.activations.append(made)
        return activation_service_pb2.CreateActivationResponse(
            activation=made, document=document_for(made), delegation=delegation()
        )

    @handler
    def GetActivation(self, request, context):
        for one in self.activations:
            if one.name == request.name:
                return activation_service_pb2.GetActivationResponse(
                    activation=one, document=document_for(one), delegation=delegation()
                )
        raise errors.NotFound(f"There is no activation {request.name}.")

    @handler
    def ListActivations(self, request, context):
        there = [one for one in self.activations if one.name.startswith(request.parent)]
        found, token = self.pages(there, request)
        return activation_service_pb2.ListActivationsResponse(
            activations=found, next_page_token=token
        )

    @handler
    def BeginDeactivation(self, request, context):
        (one,) = [one for one in self.activations if one.name == request.name]
        return activation_service_pb2.BeginDeactivationResponse(
            activation=one, nonce=b"r" * 32, contents=delegation(), delegation=delegation()
        )

    @handler
    def DeleteActivation(self, request, context):
        self.activations = [one for one in self.activations if one.name != request.name]
        return activation_service_pb2.DeleteActivationResponse()

    @handler
    def GetCloudSession(self, request, context):
        return cloud_session_service_pb2.GetCloudSessionResponse(cloud_session=self.cloud)

    @handler
    def OpenCloudSession(self, request, context):
        moved_from = self.cloud.host_name if self.cloud.device != request.device.id else ""
        if moved_from and request.keep_elsewhere:
            raise errors.CloudSessionElsewhere(
                f"The cloud session is open on {moved_from}.", device=self.cloud.device
            )
        self.cloud.state = cloud_session_pb2.CLOUD_SESSION_STATE_OPEN
        self.cloud.device = request.device.id
        self.cloud.host_name = request.device.host_name
        self.cloud.open_time.FromDatetime(NOW)
        return cloud_session_service_pb2.OpenCloudSessionResponse(
            cloud_session=self.cloud, moved_from_host_name=moved_from
        )

    @handler
    def CloseCloudSession(self, request, context):
        moved_from = self.cloud.host_name if self.cloud.device != request.device.id else ""
        self.cloud.state = cloud_session_pb2.CLOUD_SESSION_STATE_CLOSED
        self.cloud.device = self.cloud.host_name = ""
        self.cloud.ClearField("open_time")
        return cloud_session_service_pb2.CloseCloudSessionResponse(
            cloud_session=self.cloud, moved_from_host_name=moved_from
        )

    @handler
    def SetCloudSessionMode(self, request, context):
        self.set_mode(request.mode)
        return cloud_session_service_pb2.SetCloudSessionModeResponse(cloud_session=self.cloud)

    @handler
    def ChooseCloudLicenses(self, request, context):
        there = {one.rsplit("/activations/", 1)[0] for one in self.cloud.activations}
        there = (there | set(request.add_licenses)) - set(request.remove_licenses)
        self.cloud.activations[:] = [f"{one}/activations/{'a' * 32}" for one in sorted(there)]
        switched = bool(request.remove_licenses) and self.cloud.mode_letter == "A"
        if switched:
            self.set_mode(cloud_session_pb2.CLOUD_MODE_MANAGED)
        return cloud_session_service_pb2.ChooseCloudLicensesResponse(
            cloud_session=self.cloud, switched_to_managed=switched
        )

    def WatchCloudSession(self, request, context):
        self.asked["WatchCloudSession"].append(request)
        self.check("WatchCloudSession", context)
        yield from self.cloud_watched.pop(0) if self.cloud_watched else ()
        context.abort_with_status(
            rich_status(
                self.watch_ends.pop(0)
                if self.watch_ends
                else errors.NotFound("There is no such account that you can see.")
            )
        )

    def set_mode(self, mode: cloud_session_pb2.CloudMode.ValueType) -> None:
        """With what the server says about it."""
        self.cloud.mode = mode
        automatic = mode == cloud_session_pb2.CLOUD_MODE_AUTOMATIC
        self.cloud.mode_letter = "A" if automatic else "M"
        self.cloud.implies = f"{'automatic' if automatic else 'managed'}: as the server says"

    @handler
    def ListLocations(self, request, context):
        found, token = self.pages(self.locations, request)
        return location_service_pb2.ListLocationsResponse(locations=found, next_page_token=token)

    @handler
    def GetLocation(self, request, context):
        for one in self.locations:
            if one.name == request.name:
                return location_service_pb2.GetLocationResponse(location=one)
        raise errors.NotFound(f"There is no location {request.name}.")

    @handler
    def CheckKey(self, request, context):
        place = next(one for one in self.locations if one.card_id == request.card_id)
        lost = place.HasField("lost_time")
        return location_service_pb2.CheckKeyResponse(
            location=place,
            standing=(
                location_service_pb2.KEY_STANDING_LOST
                if lost
                else location_service_pb2.KEY_STANDING_CURRENT
            ),
            statements=[
                location_service_pb2.KeyStatement(contents=delegation(), delegation=delegation())
            ],
            activations=[one.name for one in self.activations],
        )

    @handler
    def ReportKeyLost(self, request, context):
        place = next(one for one in self.locations if one.name == request.name)
        place.lost_time.FromDatetime(NOW)
        return location_service_pb2.ReportKeyLostResponse(location=place)

    @handler
    def ReplaceKey(self, request, context):
        place = next(one for one in self.locations if one.name == request.replacement)
        left = location_service_pb2.KeyMove(activation="accounts/a/licenses/l/activations/x")
        left.refusal = "Its publisher decides."
        moved = location_service_pb2.KeyMove(activation="accounts/a/licenses/l/activations/y")
        return location_service_pb2.ReplaceKeyResponse(location=place, moved=[moved], left=[left])

    @handler
    def AuthorizeKeyWrite(self, request, context):
        return location_service_pb2.AuthorizeKeyWriteResponse(
            response=request.challenge[::-1],
            new_management_key=b"m" * 24 if request.factory_key else b"",
            new_management_algorithm="aes192" if request.factory_key else "",
            enrollment_nonce=b"n" * 32,
        )

    @handler
    def CreateKeyLocation(self, request, context):
        made = location_pb2.Location(
            name=f"{request.parent}/locations/key1",
            kind=location_pb2.LOCATION_KIND_KEY,
            display_name=request.display_name,
            card_id=request.card_id,
            model=request.model,
            serial=request.serial,
            emulated=request.emulated,
        )
        self.locations.append(made)
        return location_service_pb2.CreateKeyLocationResponse(location=made)

    @handler
    def GetPublisher(self, request, context):
        raise errors.NotFound(f"There is no publisher {request.name}.")

    @handler
    def CreateProduct(self, request, context):
        made = product_pb2.Product(
            name=f"{request.parent}/products/{request.product_id}",
            display_name=request.display_name,
            allowed_locations=request.allowed_locations,
            bundle_products=request.bundle_products,
            offline_grace=request.offline_grace,
        )
        return catalog_service_pb2.CreateProductResponse(product=made)

    @handler
    def GetProduct(self, request, context):
        return catalog_service_pb2.GetProductResponse(
            product=product_pb2.Product(name=request.name, display_name="CAD")
        )

    @handler
    def ListProducts(self, request, context):
        there = [
            product_pb2.Product(name=f"{request.parent}/products/{name}") for name in ("cad", "all")
        ]
        return catalog_service_pb2.ListProductsResponse(products=there)

    @handler
    def GetPool(self, request, context):
        return seat_service_pb2.GetPoolResponse(pool=self.pool)

    @handler
    def ListPools(self, request, context):
        there = [self.pool] if request.product in ("", self.pool.product) else []
        return seat_service_pb2.ListPoolsResponse(pools=there)

    @handler
    def ListLeases(self, request, context):
        return seat_service_pb2.ListLeasesResponse(leases=self.leases)

    @handler
    def ListQueuePlaces(self, request, context):
        place = seat_pb2.QueuePlace(
            name=f"{POOL}/places/p1",
            session="sessions/s2",
            position=1,
            waiting_count=1,
            units=1,
        )
        place.create_time.FromDatetime(NOW - timedelta(minutes=4))
        return seat_service_pb2.ListQueuePlacesResponse(places=[place])

    @handler
    def AcquireSeat(self, request, context):
        if self.ahead:
            place = self.ahead[0] if not request.wait.ToMilliseconds() else self.ahead.pop(0)
            return seat_service_pb2.AcquireSeatResponse(place=place)
        answer = seat_service_pb2.AcquireSeatResponse(
            lease=seat_pb2.Lease(
                name=f"{request.pool}/leases/new",
                units=request.units,
                fencing_number=8,
                features=request.features,
            )
        )
        answer.valid_for.FromTimedelta(request.ttl.ToTimedelta() or timedelta(seconds=60))
        answer.expire_time.FromDatetime(NOW + answer.valid_for.ToTimedelta())
        return answer

    @handler
    def LeaveQueue(self, request, context):
        self.ahead.clear()
        return seat_service_pb2.LeaveQueueResponse(left=True)

    @handler
    def ListPoolEvents(self, request, context):
        found, token = self.pages(self.events, request)
        return seat_service_pb2.ListPoolEventsResponse(events=found, next_page_token=token)

    def WatchPool(self, request, context):
        self.asked["WatchPool"].append(request)
        self.check("WatchPool", context)
        yield from self.watched.pop(0) if self.watched else ()
        context.abort_with_status(
            rich_status(
                self.watch_ends.pop(0)
                if self.watch_ends
                else errors.NotFound("There is no such pool that you can use.")
            )
        )

    @handler
    def RenewSeat(self, request, context):
        answer = seat_service_pb2.RenewSeatResponse()
        answer.valid_for.FromTimedelta(timedelta(seconds=60))
        return answer

    @handler
    def ReleaseSeat(self, request, context):
        return seat_service_pb2.ReleaseSeatResponse(released=True)

    @handler
    def FreeSeat(self, request, context):
        answer = seat_service_pb2.FreeSeatResponse()
        if request.HasField("hold_off"):
            answer.hold_off_until_time.FromDatetime(NOW + request.hold_off.ToTimedelta())
        return answer

    def HoldSession(self, request_iterator, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams here")

    def Explain(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no rules here")

    def GetPoolRules(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no rules here")

    def UpdatePoolRules(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no rules here")

    @handler
    def CloseSession(self, request, context):
        return session_service_pb2.CloseSessionResponse(closed=True)


class Bridge(Asked, key_service_pb2_grpc.KeyServiceServicer):
    """A bridge's KeyService with one emulated key."""

    def __init__(self) -> None:
        super().__init__()
        self.key = key_pb2.Key(
            name=KEY,
            state=key_pb2.KEY_STATE_PRESENT,
            driver="piv",
            model="Test key",
            serial="0042",
            emulated=True,
            card_id=CARD,
            capabilities=key_pb2.KeyCapabilities(
                silent_proof=True, slot_count=2, slot_size_bytes=3000
            ),
        )
        self.keys = [self.key]
        self.problems: list[str] = []
        self.writing = False

    @handler
    def ListKeys(self, request, context):
        return key_service_pb2.ListKeysResponse(
            keys=self.keys, location_host="bridges/b1", problems=self.problems
        )

    @handler
    def GetKey(self, request, context):
        return key_service_pb2.GetKeyResponse(key=self.key)

    def WatchKeys(self, request, context):
        for state in (key_pb2.KEY_STATE_PRESENT, key_pb2.KEY_STATE_MISSING):
            key = key_pb2.Key()
            key.CopyFrom(self.key)
            key.state = state
            yield key_service_pb2.WatchKeysResponse(key=key)

    @handler
    def BeginKeyWrite(self, request, context):
        if self.writing:
            raise errors.KeyBusy("The key is being written to.")
        self.writing = True
        return key_service_pb2.BeginKeyWriteResponse(
            write="write-1",
            card_id=CARD,
            management_algorithm="3des" if not self.key.enrolled else "aes192",
            challenge=b"12345678",
            factory_key=not self.key.enrolled,
        )

    @handler
    def EnrollKey(self, request, context):
        if request.response != b"87654321":
            raise errors.KeyAuthorizationFailed("The key did not accept the authorization.")
        self.key.enrolled = True
        self.key.public_key.key = b"\x04" + b"p" * 64
        self.key.public_key.algorithm = document_pb2.KEY_ALGORITHM_ECDSA_P256
        return key_service_pb2.EnrollKeyResponse(key=self.key, signature=b"signed")

    @handler
    def WriteKeyLicense(self, request, context):
        if request.response != b"87654321":
            raise errors.KeyAuthorizationFailed("The key did not accept the authorization.")
        self.key.licenses.add(slot=len(self.key.licenses) + 1, license=request.license)
        return key_service_pb2.WriteKeyLicenseResponse(key=self.key)

    @handler
    def RemoveKeyLicense(self, request, context):
        del self.key.licenses[:]
        return key_service_pb2.RemoveKeyLicenseResponse(key=self.key, receipt=delegation())

    @handler
    def FenceKey(self, request, context):
        return key_service_pb2.FenceKeyResponse()

    @handler
    def EndKeyWrite(self, request, context):
        self.writing = False
        return key_service_pb2.EndKeyWriteResponse()


def document_for(activation: license_pb2.Activation) -> document_pb2.Envelope:
    document = document_pb2.LicenseDocument(
        license=activation.license,
        activation=activation.name,
        product="publishers/acme/products/cad",
    )
    return document_pb2.Envelope(
        payload=document.SerializeToString(),
        payload_type="application/vnd.keypeg.license.v1+protobuf",
        signatures=[document_pb2.Signature(key_id="0" * 32, signature=b"s" * 64)],
    )


def delegation() -> document_pb2.Envelope:
    return document_pb2.Envelope(
        payload=document_pb2.Delegation(publisher="publishers/acme").SerializeToString(),
        payload_type="application/vnd.keypeg.delegation.v1+protobuf",
        signatures=[document_pb2.Signature(key_id="0" * 32, signature=b"s" * 64)],
    )


def explained() -> errors.KeypegError:
    """A refusal with everything that an explanation can say."""
    explanation = explanation_pb2.Explanation(
        remedies=[
            explanation_pb2.Remedy(action="wait", sentence="Wait in the queue."),
            explanation_pb2.Remedy(action="release", sentence="Ask a holder to close its app."),
        ],
        holders=[
            explanation_pb2.Holder(
                user=f"{ACCOUNT}/users/ada", host_name="atlas", app="solver", units=3
            )
        ],
    )
    explanation.holders[0].acquire_time.FromDatetime(NOW - timedelta(hours=2))
    explanation.earliest_time.FromDatetime(NOW + timedelta(minutes=5))
    return errors.PoolExhausted("Every seat of acme/solver is held.", explanation=explanation)


def certificate() -> tuple[bytes, bytes]:
    """A private key and a certificate of its own for loopback, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "keypeg test")])
    begin = datetime.now(UTC) - timedelta(days=30)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=3650))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        made.public_bytes(serialization.Encoding.PEM),
    )


def ipaddress(text: str) -> Any:
    import ipaddress as addresses

    return addresses.ip_address(text)


def serve(
    services: Server, add_more: Callable[[grpc.Server], object] = lambda server: None
) -> Generator[tuple[str, bytes], None, None]:
    """The server's services, and more, over TLS; its target and its certificate."""
    private, public = certificate()
    server = grpc.server(ThreadPoolExecutor(4))
    add_more(server)
    for module, name in (
        (account_service_pb2_grpc, "AccountService"),
        (license_service_pb2_grpc, "LicenseService"),
        (activation_service_pb2_grpc, "ActivationService"),
        (cloud_session_service_pb2_grpc, "CloudSessionService"),
        (location_service_pb2_grpc, "LocationService"),
        (catalog_service_pb2_grpc, "CatalogService"),
        (seat_service_pb2_grpc, "SeatService"),
        (session_service_pb2_grpc, "SessionService"),
    ):
        getattr(module, f"add_{name}Servicer_to_server")(services, server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(private, public)]))
    server.start()
    try:
        yield f"127.0.0.1:{port}", public
    finally:
        server.stop(None).wait()


def serve_bridge(services: Bridge) -> Generator[str, None, None]:
    """The bridge's services on a Unix socket; its target."""
    with tempfile.TemporaryDirectory(prefix="keypeg-test-") as folder:
        target = f"unix:{Path(folder) / 'b.sock'}"
        server = grpc.server(ThreadPoolExecutor(4))
        key_service_pb2_grpc.add_KeyServiceServicer_to_server(services, server)
        server.add_insecure_port(target)
        server.start()
        try:
            yield target
        finally:
            server.stop(None).wait()
