"""A call of every method of the server: what it names, made for one cell of the table of who may call what.

Promises: each request is well-formed and names what is there, so that nothing but the caller decides; what a call
uses up is made anew for it. A scene whose names exist nowhere gives the same requests.

Leaves to others: who calls, and how each call must end (test_authorization.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from keypeg import fingerprint
from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    activation_service_pb2,
    api_key_service_pb2,
    borrow_service_pb2,
    catalog_service_pb2,
    certificate_pb2,
    certificate_service_pb2,
    cloud_session_pb2,
    cloud_session_service_pb2,
    credential_pb2,
    credential_service_pb2,
    document_pb2,
    identity_service_pb2,
    identity_service_pb2_grpc,
    license_life_pb2,
    license_service_pb2,
    license_switches_pb2,
    location_service_pb2,
    passkey_service_pb2,
    people_service_pb2,
    pool_rules_pb2,
    report_service_pb2,
    seat_service_pb2,
    session_pb2,
    session_service_pb2,
    sign_in_service_pb2,
)
from keypeg_bridge import enrollment
from lab.world import PASSWORD, SITE, Api, World, request_id
from tests.system.people import Customer, new_id

TOMORROW: Final = Timestamp()
TOMORROW.FromDatetime(datetime.now(UTC) + timedelta(days=1))
DEVICE: Final = session_pb2.Device(id="device-cells", host_name="cells")
APP: Final = session_pb2.App(name="cells")
NOTE: Final = document_pb2.Envelope(
    payload=b"x",
    payload_type="x",
    signatures=[document_pb2.Signature(key_id="0" * 32, signature=bytes(64))],
)
POINT: Final = b"\x04" + bytes(64)


@dataclass(frozen=True)
class Scene:
    """What requests name; all of it belongs to one account, seats and borrows to `holder`."""

    world: World
    account: str
    login: str
    product: str
    license: str
    activation: str
    location: str
    pool: str
    full_pool: str
    holder: Api
    lease: str = ""
    fence: int = 1
    place: str = ""
    borrow: str = ""
    user: str = ""
    refresh: str = ""
    change: str = ""
    credential: str = ""
    own_user: str = ""  # of who holds
    reseller: str = ""
    invitation: str = ""
    key: str = ""
    certificate: str = ""
    capacity: str = ""
    identity: str = ""

    def elsewhere(self) -> Scene:
        """The same names of what does not exist."""

        def gone(name: str) -> str:
            if not name:
                return name
            parts = name.split("/")
            parts[1] = "nowhere" if parts[0] == "accounts" else "0" * 32
            return "/".join(parts)

        return replace(
            self,
            account=gone(self.account),
            license=gone(self.license),
            activation=gone(self.activation),
            location=gone(self.location),
            pool=gone(self.pool),
            lease=gone(self.lease),
            place=gone(self.place),
            borrow=gone(self.borrow),
            user=gone(self.user),
            change=gone(self.change),
            credential=gone(self.credential),
            own_user=gone(self.own_user),
            invitation=gone(self.invitation),
            key=gone(self.key),
            certificate=gone(self.certificate),
            capacity=gone(self.capacity),
            identity=gone(self.identity),
        )

    # --- what a call uses up ---

    def with_user(self) -> Scene:
        made = self.world.publisher.accounts.CreateUser(
            account_service_pb2.CreateUserRequest(
                parent=self.account,
                request_id=request_id(),
                login=new_id("gone"),
                password=PASSWORD,
                display_name="Gone",
                role=account_pb2.ROLE_MEMBER,
            )
        )
        return replace(self, user=made.user.name)

    def with_group(self) -> Scene:
        """The account is a group."""
        asked = account_service_pb2.SetAccountKindRequest(
            name=self.account, request_id=request_id(), kind=account_pb2.ACCOUNT_KIND_GROUP
        )
        self.world.publisher.accounts.SetAccountKind(asked)
        return self

    def with_invitation(self) -> Scene:
        asked = people_service_pb2.CreateInvitationRequest(
            parent=self.account, request_id=request_id(), address="cells@example.com"
        )
        made = self.world.publisher.people.CreateInvitation(asked)
        return replace(self, invitation=made.invitation.name)

    def with_key(self) -> Scene:
        asked = api_key_service_pb2.CreateApiKeyRequest(
            parent=self.own_user,
            request_id=request_id(),
            display_name="cells",
            scopes=["licenses:read"],
        )
        return replace(self, key=self.holder.api_keys.CreateApiKey(asked).api_key.name)

    def with_own_identity(self) -> Scene:
        asked = identity_service_pb2.CreateIdentityRequest(
            parent=self.own_user, request_id=request_id(), provider="work", subject=new_id("sub")
        )
        stub = identity_service_pb2_grpc.IdentityServiceStub(self.world.publisher.channel)
        return replace(self, identity=stub.CreateIdentity(asked).identity.name)

    def with_certificate(self) -> Scene:
        made = self.world.bridge(self.world.publisher, self.account, "cells")
        made.close()
        return replace(self, certificate=made.certificate.name)

    def with_capacity(self) -> Scene:
        made = self.world.publisher.licenses.AddLicenseCapacity(
            license_service_pb2.AddLicenseCapacityRequest(
                parent=self.license,
                request_id=request_id(),
                seat_count=1,
                start_time=TOMORROW,
                duration=Duration(seconds=60),
            )
        )
        return replace(self, capacity=made.capacity.name)

    def with_activation(self) -> Scene:
        owned = self.world.license(self.account, self.product, seats=1)
        made = self.world.activate(self.world.publisher, owned.name, self.location)
        return replace(self, activation=made.activation.name)

    def with_refresh_token(self) -> Scene:
        """A sign-in of the holder's own."""
        asked = account_service_pb2.SignInRequest(login=self.login, password=PASSWORD)
        return replace(self, refresh=self.holder.accounts.SignIn(asked).refresh_token)

    def with_change(self) -> Scene:
        """A license of its own, and a change that is planned for it."""
        owned = self.world.license(self.account, self.product, seats=1)
        request = license_service_pb2.SuspendLicenseRequest(
            name=owned.name, request_id=request_id(), reason="cells"
        )
        request.apply_time.FromSeconds(LATER)
        made = self.world.publisher.licenses.SuspendLicense(request)
        return replace(self, license=owned.name, change=made.change.name)

    def with_lease(self) -> Scene:
        lease = self.holder.seats.AcquireSeat(acquire(self)).lease
        return replace(self, lease=lease.name, fence=lease.fencing_number)

    def with_place(self) -> Scene:
        """Somebody who waits."""
        asked = acquire(self)
        asked.pool = self.full_pool
        asked.wait.FromMilliseconds(1)
        return replace(self, place=self.holder.seats.AcquireSeat(asked).place.name)

    def with_borrow(self) -> Scene:
        made = self.holder.borrows.CreateBorrow(borrow(self))
        return replace(self, borrow=made.borrow.name)

    def with_credential(self) -> Scene:
        made = self.holder.credentials.CreateCredential(_new_credential(self))
        return replace(self, credential=made.credential.name)


SEATS: Final = 500
LATER: Final = 4_000_000_000  # in the year 2096


def acquire(scene: Scene) -> seat_service_pb2.AcquireSeatRequest:
    return seat_service_pb2.AcquireSeatRequest(
        request_id=request_id(), pool=scene.pool, units=1, device=DEVICE, app=APP
    )


def borrow(scene: Scene) -> borrow_service_pb2.CreateBorrowRequest:
    made = borrow_service_pb2.CreateBorrowRequest(
        request_id=request_id(),
        pool=scene.pool,
        units=1,
        device=DEVICE,
        app=APP,
        return_key=document_pb2.PublicKey(
            algorithm=document_pb2.KEY_ALGORITHM_ED25519, key=uuid.uuid4().bytes * 2
        ),
    )
    made.duration.seconds = 3600
    return made


Request = Callable[[Scene], Message]
_accounts, _seats, _cloud = account_service_pb2, seat_service_pb2, cloud_session_service_pb2
_credentials = credential_service_pb2
_people, _api_keys = people_service_pb2, api_key_service_pb2
_locations, _borrows = location_service_pb2, borrow_service_pb2
_licenses = license_service_pb2


def _new_user(s: Scene) -> Message:
    return _accounts.CreateUserRequest(
        parent=s.account,
        request_id=request_id(),
        login=new_id("new"),
        password=PASSWORD,
        display_name="New",
        role=account_pb2.ROLE_MEMBER,
    )


def _new_license(s: Scene) -> Message:
    return license_service_pb2.CreateLicenseRequest(
        parent=s.account, request_id=request_id(), product=s.product, activation_count=1
    )


def _new_product(s: Scene) -> Message:
    return catalog_service_pb2.CreateProductRequest(
        parent="publishers/acme",
        request_id=request_id(),
        product_id=new_id("cells"),
        display_name="Cells",
        allowed_locations=[SITE],
    )


def _key_location(s: Scene) -> Message:
    return _locations.CreateKeyLocationRequest(
        parent=s.account,
        request_id=request_id(),
        card_id="00" * 16,
        public_key=document_pb2.PublicKey(
            algorithm=document_pb2.KEY_ALGORITHM_ECDSA_P256, key=POINT
        ),
        enrollment_nonce=bytes(32),
        signature=bytes(70),
        display_name="Key",
    )


def _public_key() -> document_pb2.PublicKey:
    return document_pb2.PublicKey(
        algorithm=document_pb2.KEY_ALGORITHM_ED25519, key=uuid.uuid4().bytes * 2
    )


def _new_credential(s: Scene) -> credential_service_pb2.CreateCredentialRequest:
    return credential_service_pb2.CreateCredentialRequest(
        parent=s.account,
        request_id=request_id(),
        display_name="Cells",
        public_key=_public_key(),
        scopes=[credential_pb2.CREDENTIAL_SCOPE_CLOUD_SESSION],
        servers=[s.world.address],
    )


def _hold(s: Scene) -> Message:
    return session_service_pb2.HoldSessionRequest()


def _planned(s: Scene, request: Any) -> Message:
    """Planned for a time when nobody tests."""
    made: Message = request(name=s.license, request_id=request_id(), reason="cells")
    made.apply_time.FromSeconds(LATER)  # type: ignore[attr-defined]  # all of them have it
    return made


_ACCOUNTS: Final[Mapping[str, Request]] = {
    "SignIn": lambda s: _accounts.SignInRequest(login=s.login, password=PASSWORD),
    "SignOut": lambda s: _accounts.SignOutRequest(),
    "GetCaller": lambda s: _accounts.GetCallerRequest(),
    "CreateAccount": lambda s: _accounts.CreateAccountRequest(
        request_id=request_id(), display_name="New"
    ),
    "GetAccount": lambda s: _accounts.GetAccountRequest(name=s.account),
    "SetAccountKind": lambda s: _accounts.SetAccountKindRequest(
        name=s.account, request_id=request_id(), kind=account_pb2.ACCOUNT_KIND_PERSONAL
    ),
    "ListAccounts": lambda s: _accounts.ListAccountsRequest(),
    "SetSecondFactorRequired": lambda s: _accounts.SetSecondFactorRequiredRequest(
        name=s.account, request_id=request_id()
    ),
    "CreateUser": _new_user,
    "ListUsers": lambda s: _accounts.ListUsersRequest(parent=s.account),
    "DeleteUser": lambda s: _accounts.DeleteUserRequest(name=s.user, request_id=request_id()),
}
_SIGN_INS: Final[Mapping[str, Request]] = {
    "RefreshSignIn": lambda s: sign_in_service_pb2.RefreshSignInRequest(
        refresh_token=s.refresh, request_id=request_id()
    ),
    "ListSignIns": lambda s: sign_in_service_pb2.ListSignInsRequest(),
    "EndSignIn": lambda s: sign_in_service_pb2.EndSignInRequest(
        name="signIns/nowhere", request_id=request_id()
    ),
    "SignOutEverywhere": lambda s: sign_in_service_pb2.SignOutEverywhereRequest(),
    "BeginDeviceSignIn": lambda s: sign_in_service_pb2.BeginDeviceSignInRequest(),
    "FinishDeviceSignIn": lambda s: sign_in_service_pb2.FinishDeviceSignInRequest(device_code="x"),
    "GetDeviceSignIn": lambda s: sign_in_service_pb2.GetDeviceSignInRequest(user_code="x"),
    "DecideDeviceSignIn": lambda s: sign_in_service_pb2.DecideDeviceSignInRequest(
        user_code="x", request_id=request_id()
    ),
    "BeginOneTimeCodes": lambda s: sign_in_service_pb2.BeginOneTimeCodesRequest(password=PASSWORD),
    "ConfirmOneTimeCodes": lambda s: sign_in_service_pb2.ConfirmOneTimeCodesRequest(code="0"),
    "RemoveOneTimeCodes": lambda s: sign_in_service_pb2.RemoveOneTimeCodesRequest(
        password=PASSWORD, code="0"
    ),
    "EndUserSignIns": lambda s: sign_in_service_pb2.EndUserSignInsRequest(
        name=s.user, request_id=request_id()
    ),
}
_identities = identity_service_pb2
_IDENTITIES: Final[Mapping[str, Request]] = {
    "ListSignInProviders": lambda s: _identities.ListSignInProvidersRequest(),
    "BeginProviderSignIn": lambda s: _identities.BeginProviderSignInRequest(
        provider="work", redirect_uri="http://example.com/callback"
    ),
    "ProveProviderSignIn": lambda s: _identities.ProveProviderSignInRequest(sign_in="x"),
    "FinishProviderSignIn": lambda s: _identities.FinishProviderSignInRequest(sign_in="x"),
    "LinkIdentity": lambda s: _identities.LinkIdentityRequest(sign_in="x", password=PASSWORD),
    "AcceptInvitationAsIdentity": lambda s: _identities.AcceptInvitationAsIdentityRequest(
        name=f"{s.account}/invitations/none", ticket="x", sign_in="x", login="nobody"
    ),
    "CreateIdentity": lambda s: _identities.CreateIdentityRequest(
        parent=s.user, request_id=request_id(), provider="work", subject=new_id("sub")
    ),
    "ListIdentities": lambda s: _identities.ListIdentitiesRequest(parent=s.own_user),
    "DeleteIdentity": lambda s: _identities.DeleteIdentityRequest(
        name=s.identity, request_id=request_id()
    ),
}
_PASSKEYS: Final[Mapping[str, Request]] = {
    "BeginPasskeyRegistration": lambda s: passkey_service_pb2.BeginPasskeyRegistrationRequest(
        password=PASSWORD
    ),
    "FinishPasskeyRegistration": lambda s: passkey_service_pb2.FinishPasskeyRegistrationRequest(
        request_id=request_id(),
        display_name="cells",
        client_data_json=b"{}",
        attestation_object=b"x",
    ),
    "ListPasskeys": lambda s: passkey_service_pb2.ListPasskeysRequest(),
    "UpdatePasskey": lambda s: passkey_service_pb2.UpdatePasskeyRequest(
        name=f"{s.own_user}/passkeys/none", request_id=request_id(), display_name="cells"
    ),
    "DeletePasskey": lambda s: passkey_service_pb2.DeletePasskeyRequest(
        name=f"{s.own_user}/passkeys/none", request_id=request_id(), password=PASSWORD
    ),
    "BeginPasskeySignIn": lambda s: passkey_service_pb2.BeginPasskeySignInRequest(),
    "FinishPasskeySignIn": lambda s: passkey_service_pb2.FinishPasskeySignInRequest(
        credential_id=b"x", client_data_json=b"{}", authenticator_data=bytes(37), signature=b"x"
    ),
}
_PEOPLE: Final[Mapping[str, Request]] = {
    "UpdateUserRole": lambda s: _people.UpdateUserRoleRequest(
        name=s.user, request_id=request_id(), role=account_pb2.ROLE_MEMBER
    ),
    "CreateServiceUser": lambda s: _people.CreateServiceUserRequest(
        parent=s.account, request_id=request_id(), login=new_id("program")
    ),
    "CreateInvitation": lambda s: _people.CreateInvitationRequest(
        parent=s.account, request_id=request_id(), address="cells@example.com"
    ),
    "ListInvitations": lambda s: _people.ListInvitationsRequest(parent=s.account),
    "DeleteInvitation": lambda s: _people.DeleteInvitationRequest(
        name=s.invitation, request_id=request_id()
    ),
    "AcceptInvitation": lambda s: _people.AcceptInvitationRequest(
        name=f"{s.account}/invitations/none",
        request_id=request_id(),
        ticket="x",
        login="nobody",
        password=PASSWORD,
    ),
    "SetResellerAccounts": lambda s: _people.SetResellerAccountsRequest(
        name=s.reseller, request_id=request_id(), accounts=[s.account]
    ),
    "GetResellerAccounts": lambda s: _people.GetResellerAccountsRequest(name=s.reseller),
    "ResetSecondFactors": lambda s: _people.ResetSecondFactorsRequest(
        name=s.user, request_id=request_id()
    ),
}
_KEYS: Final[Mapping[str, Request]] = {
    "CreateApiKey": lambda s: _api_keys.CreateApiKeyRequest(
        parent=s.own_user,
        request_id=request_id(),
        display_name="cells",
        scopes=["licenses:write"],  # which no member has: nothing is made
    ),
    "ListApiKeys": lambda s: _api_keys.ListApiKeysRequest(parent=s.own_user),
    "RotateApiKey": lambda s: _api_keys.RotateApiKeyRequest(name=s.key, request_id=request_id()),
    "DeleteApiKey": lambda s: _api_keys.DeleteApiKeyRequest(name=s.key, request_id=request_id()),
}
_CERTIFICATES: Final[Mapping[str, Request]] = {
    "IssueCertificate": lambda s: certificate_service_pb2.IssueCertificateRequest(
        parent=s.account,
        request_id=request_id(),
        display_name="cells",
        role=certificate_pb2.CERTIFICATE_ROLE_BRIDGE,
        certificate_request=enrollment.make_request().text,
    ),
    "ListCertificates": lambda s: certificate_service_pb2.ListCertificatesRequest(parent=s.account),
    "RevokeCertificate": lambda s: certificate_service_pb2.RevokeCertificateRequest(
        name=s.certificate, request_id=request_id()
    ),
    "RenewCertificate": lambda s: certificate_service_pb2.RenewCertificateRequest(
        request_id=request_id(), certificate_request=enrollment.make_request().text
    ),
}
_CATALOG: Final[Mapping[str, Request]] = {
    "GetPublisher": lambda s: catalog_service_pb2.GetPublisherRequest(name="publishers/acme"),
    "CreateProduct": _new_product,
    "GetProduct": lambda s: catalog_service_pb2.GetProductRequest(name=s.product),
    "SetLicenseSwitches": lambda s: catalog_service_pb2.SetLicenseSwitchesRequest(
        name=s.product,
        request_id=request_id(),
        switches=license_switches_pb2.LicenseSwitches(),
    ),
    "ListProducts": lambda s: catalog_service_pb2.ListProductsRequest(parent="publishers/acme"),
}
_LICENSES: Final[Mapping[str, Request]] = {
    "CreateLicense": _new_license,
    "GetLicense": lambda s: license_service_pb2.GetLicenseRequest(name=s.license),
    "ListLicenses": lambda s: license_service_pb2.ListLicensesRequest(parent=s.account),
    "AddLicenseCapacity": lambda s: license_service_pb2.AddLicenseCapacityRequest(
        parent=s.license,
        request_id=request_id(),
        seat_count=1,
        start_time=TOMORROW,
        duration=Duration(seconds=60),
    ),
    "ListLicenseCapacities": lambda s: license_service_pb2.ListLicenseCapacitiesRequest(
        parent=s.license
    ),
    "RemoveLicenseCapacity": lambda s: license_service_pb2.RemoveLicenseCapacityRequest(
        name=s.capacity, request_id=request_id()
    ),
}
_LIFE: Final[Mapping[str, Request]] = {
    "SuspendLicense": lambda s: _planned(s, _licenses.SuspendLicenseRequest),
    "ResumeLicense": lambda s: _planned(s, _licenses.ResumeLicenseRequest),
    "RevokeLicense": lambda s: _planned(s, _licenses.RevokeLicenseRequest),
    "EditLicense": lambda s: _licenses.EditLicenseRequest(
        name=s.license,
        request_id=request_id(),
        reason="cells",
        edit=license_life_pb2.LicenseEdit(term_days=36_500),
    ),
    "MoveLicense": lambda s: _licenses.MoveLicenseRequest(
        name=s.activation, request_id=request_id(), reason="cells"
    ),
    "RecoverLicense": lambda s: _licenses.RecoverLicenseRequest(
        name=s.activation, request_id=request_id(), reason="cells"
    ),
    "ListLicenseChanges": lambda s: _licenses.ListLicenseChangesRequest(parent=s.license),
    "BeginLicenseChange": lambda s: _licenses.BeginLicenseChangeRequest(name=s.change),
    "ApplyLicenseChange": lambda s: _licenses.ApplyLicenseChangeRequest(
        name=s.change, request_id=request_id(), receipt=NOTE
    ),
    "CancelLicenseChange": lambda s: _licenses.CancelLicenseChangeRequest(
        name=s.change, request_id=request_id(), reason="cells"
    ),
}
_ACTIVATIONS: Final[Mapping[str, Request]] = {
    "CreateActivation": lambda s: activation_service_pb2.CreateActivationRequest(
        parent=s.license, request_id=request_id(), location=s.location
    ),
    "GetActivation": lambda s: activation_service_pb2.GetActivationRequest(name=s.activation),
    "ListActivations": lambda s: activation_service_pb2.ListActivationsRequest(parent=s.license),
    "BeginDeactivation": lambda s: activation_service_pb2.BeginDeactivationRequest(
        name=s.activation, request_id=request_id()
    ),
    "DeleteActivation": lambda s: activation_service_pb2.DeleteActivationRequest(
        name=s.activation, request_id=request_id()
    ),
}
_CLOUD: Final[Mapping[str, Request]] = {
    "GetCloudSession": lambda s: _cloud.GetCloudSessionRequest(name=f"{s.account}/cloudSession"),
    "OpenCloudSession": lambda s: _cloud.OpenCloudSessionRequest(
        name=f"{s.account}/cloudSession", request_id=request_id(), device=DEVICE
    ),
    "CloseCloudSession": lambda s: _cloud.CloseCloudSessionRequest(
        name=f"{s.account}/cloudSession", request_id=request_id(), device=DEVICE
    ),
    "SetCloudSessionMode": lambda s: _cloud.SetCloudSessionModeRequest(
        name=f"{s.account}/cloudSession",
        request_id=request_id(),
        mode=cloud_session_pb2.CLOUD_MODE_AUTOMATIC,
    ),
    "ChooseCloudLicenses": lambda s: _cloud.ChooseCloudLicensesRequest(
        name=f"{s.account}/cloudSession", request_id=request_id(), remove_licenses=[s.license]
    ),
    "WatchCloudSession": lambda s: _cloud.WatchCloudSessionRequest(
        name=f"{s.account}/cloudSession"
    ),
    "ListCloudSessions": lambda s: _cloud.ListCloudSessionsRequest(parent=s.account),
    "EndCloudSession": lambda s: _cloud.EndCloudSessionRequest(
        name=f"{s.own_user}/cloudSession", request_id=request_id(), reason="cells"
    ),
    "ResumeCloudSession": lambda s: _cloud.ResumeCloudSessionRequest(
        name=f"{s.own_user}/cloudSession", request_id=request_id()
    ),
}
_CREDENTIALS: Final[Mapping[str, Request]] = {
    "CreateCredential": _new_credential,
    "GetCredential": lambda s: _credentials.GetCredentialRequest(name=s.credential),
    "ListCredentials": lambda s: _credentials.ListCredentialsRequest(parent=s.account),
    "RotateCredential": lambda s: _credentials.RotateCredentialRequest(
        name=s.credential, request_id=request_id(), public_key=_public_key()
    ),
    "ResetCredential": lambda s: _credentials.ResetCredentialRequest(
        name=s.credential, request_id=request_id(), public_key=_public_key()
    ),
    "DeleteCredential": lambda s: _credentials.DeleteCredentialRequest(
        name=s.credential, request_id=request_id()
    ),
    "RemoveCredentialDevice": lambda s: _credentials.RemoveCredentialDeviceRequest(
        name=s.credential, request_id=request_id(), device=DEVICE.id
    ),
    "CreateSignInChallenge": lambda s: _credentials.CreateSignInChallengeRequest(
        name=f"{s.account}/credentials/cells"
    ),
    # What lets it in is the document and not who calls: one that no server has signed.
    "SignInWithCredential": lambda s: _credentials.SignInWithCredentialRequest(
        name=f"{s.account}/credentials/cells",
        document=NOTE,
        device=DEVICE,
        challenge=bytes(64),
        host="localhost",
        signature=bytes(64),
    ),
    "ListActiveDevices": lambda s: _credentials.ListActiveDevicesRequest(parent=s.account),
    "SetActiveDeviceLimit": lambda s: _credentials.SetActiveDeviceLimitRequest(
        name=s.account, request_id=request_id()
    ),
}
_LOCATIONS: Final[Mapping[str, Request]] = {
    "GetLocation": lambda s: _locations.GetLocationRequest(name=s.location),
    "ListLocations": lambda s: _locations.ListLocationsRequest(parent=s.account),
    "AuthorizeKeyWrite": lambda s: _locations.AuthorizeKeyWriteRequest(
        parent=s.account,
        card_id="00" * 16,
        management_algorithm="aes192",
        challenge=bytes(16),
        factory_key=True,
        emulated=True,
    ),
    "CreateKeyLocation": _key_location,
    "CreateHostLocation": lambda s: _locations.CreateHostLocationRequest(
        parent=s.account,
        request_id=request_id(),
        device=DEVICE,
        fingerprint=fingerprint.make(
            {"machine_id": "0011223344556677"}, bytes(fingerprint.SALT_BYTES)
        ),
    ),
    "CheckKey": lambda s: _locations.CheckKeyRequest(
        parent=s.account,
        card_id="00" * 16,
        public_key=document_pb2.PublicKey(
            algorithm=document_pb2.KEY_ALGORITHM_ECDSA_P256, key=POINT
        ),
    ),
    "ReportKeyLost": lambda s: _locations.ReportKeyLostRequest(
        name=s.location, request_id=request_id(), reason="cells"
    ),
    "ReplaceKey": lambda s: _locations.ReplaceKeyRequest(
        name=s.location, request_id=request_id(), replacement=s.location
    ),
}
_SESSIONS: Final[Mapping[str, Request]] = {
    "HoldSession": _hold,
    "CloseSession": lambda s: session_service_pb2.CloseSessionRequest(
        session="sessions/" + "0" * 32, release_token=bytes(32)
    ),
}
_SEATS: Final[Mapping[str, Request]] = {
    "AcquireSeat": acquire,
    "LeaveQueue": lambda s: _seats.LeaveQueueRequest(name=s.place),
    "RenewSeat": lambda s: _seats.RenewSeatRequest(name=s.lease, fencing_number=s.fence),
    "ReleaseSeat": lambda s: _seats.ReleaseSeatRequest(name=s.lease, fencing_number=s.fence),
    "FreeSeat": lambda s: _seats.FreeSeatRequest(
        name=s.lease, request_id=request_id(), reason="cells"
    ),
    "GetPool": lambda s: _seats.GetPoolRequest(name=s.pool),
    "ListPools": lambda s: _seats.ListPoolsRequest(parent=s.account),
    "ListLeases": lambda s: _seats.ListLeasesRequest(parent=s.pool),
    "ListQueuePlaces": lambda s: _seats.ListQueuePlacesRequest(parent=s.pool),
    "Explain": lambda s: _seats.ExplainRequest(pool=s.pool, units=1, device=DEVICE, app=APP),
    "GetPoolRules": lambda s: _seats.GetPoolRulesRequest(name=s.pool),
    "UpdatePoolRules": lambda s: _seats.UpdatePoolRulesRequest(
        name=s.pool, rules=pool_rules_pb2.PoolRules(), dry_run=True
    ),
    "WatchPool": lambda s: _seats.WatchPoolRequest(parent=s.pool),
    "ListPoolEvents": lambda s: _seats.ListPoolEventsRequest(parent=s.pool),
}
_BORROWS: Final[Mapping[str, Request]] = {
    "CreateBorrow": borrow,
    "RenewBorrow": lambda s: _renewal(s),
    "ReturnBorrow": lambda s: _borrows.ReturnBorrowRequest(name=s.borrow, statement=NOTE),
    "WriteOffBorrow": lambda s: _borrows.WriteOffBorrowRequest(
        name=s.borrow, request_id=request_id(), reason="cells", dry_run=True
    ),
    "GetBorrow": lambda s: _borrows.GetBorrowRequest(name=s.borrow),
    "ListBorrows": lambda s: _borrows.ListBorrowsRequest(parent=s.pool),
}
_REPORTS: Final[Mapping[str, Request]] = {
    "ExportLog": lambda s: report_service_pb2.ExportLogRequest(parent=s.account),
    "SimulateSeats": lambda s: report_service_pb2.SimulateSeatsRequest(
        parent=s.account, pool=s.pool, seat_counts=[1]
    ),
}


def _renewal(scene: Scene) -> Message:
    asked = _borrows.RenewBorrowRequest(name=scene.borrow, request_id=request_id())
    asked.duration.seconds = 7200
    return asked


CALLS: Final[Mapping[str, Request]] = {
    f"/{service}/{method}": request
    for service, methods in {
        "keypeg.v1.AccountService": _ACCOUNTS,
        "keypeg.v1.SignInService": _SIGN_INS,
        "keypeg.v1.IdentityService": _IDENTITIES,
        "keypeg.v1.PasskeyService": _PASSKEYS,
        "keypeg.v1.PeopleService": _PEOPLE,
        "keypeg.v1.ApiKeyService": _KEYS,
        "keypeg.v1.CertificateService": _CERTIFICATES,
        "keypeg.v1.CatalogService": _CATALOG,
        "keypeg.v1.LicenseService": {**_LICENSES, **_LIFE},
        "keypeg.v1.ActivationService": _ACTIVATIONS,
        "keypeg.v1.CloudSessionService": _CLOUD,
        "keypeg.v1.CredentialService": _CREDENTIALS,
        "keypeg.v1.LocationService": _LOCATIONS,
        "keypeg.v1.SessionService": _SESSIONS,
        "keypeg.v1.SeatService": _SEATS,
        "keypeg.v1.BorrowService": _BORROWS,
        "keypeg.v1.ReportService": _REPORTS,
        "grpc.health.v1.Health": {
            "Check": lambda s: health_pb2.HealthCheckRequest(),
            "List": lambda s: health_pb2.HealthListRequest(),
            "Watch": lambda s: health_pb2.HealthCheckRequest(),
        },
        "grpc.reflection.v1alpha.ServerReflection": {
            "ServerReflectionInfo": lambda s: reflection_pb2.ServerReflectionRequest(
                list_services=""
            )
        },
    }.items()
    for method, request in methods.items()
}
"""Every method, and a request for it."""

MADE_ANEW: Final[Mapping[str, Callable[[Scene], Scene]]] = {
    "GetCredential": Scene.with_credential,
    "RotateCredential": Scene.with_credential,
    "ResetCredential": Scene.with_credential,
    "DeleteCredential": Scene.with_credential,
    "RemoveCredentialDevice": Scene.with_credential,
    "DeleteUser": Scene.with_user,
    "EndCloudSession": Scene.with_group,
    "ResumeCloudSession": Scene.with_group,
    "EndUserSignIns": Scene.with_user,
    "ResetSecondFactors": Scene.with_user,
    "RefreshSignIn": Scene.with_refresh_token,
    "BeginLicenseChange": Scene.with_change,
    "ApplyLicenseChange": Scene.with_change,
    "CancelLicenseChange": Scene.with_change,
    "UpdateUserRole": Scene.with_user,
    "DeleteInvitation": Scene.with_invitation,
    "DeleteApiKey": Scene.with_key,
    "CreateIdentity": Scene.with_user,
    "DeleteIdentity": Scene.with_own_identity,
    "RevokeCertificate": Scene.with_certificate,
    "BeginDeactivation": Scene.with_activation,
    "DeleteActivation": Scene.with_activation,
    "RemoveLicenseCapacity": Scene.with_capacity,
    "RenewSeat": Scene.with_lease,
    "ReleaseSeat": Scene.with_lease,
    "FreeSeat": Scene.with_lease,
    "LeaveQueue": Scene.with_place,
    "RenewBorrow": Scene.with_borrow,
    "ReturnBorrow": Scene.with_borrow,
    "WriteOffBorrow": Scene.with_borrow,
    "GetBorrow": Scene.with_borrow,
}
"""What a method's request names beside what is there all the time."""


def scene(world: World, customer: Customer, holder: Api, reseller: str) -> Scene:
    """An account with a license, an activation, and a pool from which may be borrowed."""
    product = world.product(new_id("cells"), locations=[SITE])
    owned = world.license(customer.account, product, seats=SEATS, activations=2)
    location = f"{customer.account}/locations/site"
    made = world.activate(world.publisher, owned.name, location)
    pool = made.activation.pools[0]
    rules = _seats.UpdatePoolRulesRequest(name=pool)
    rules.rules.borrowing.longest.seconds = 86_400
    rules.rules.write_off_units = 100
    world.publisher.seats.UpdatePoolRules(rules)
    found = Scene(
        world,
        customer.account,
        customer.member_login,
        product,
        owned.name,
        made.activation.name,
        location,
        pool,
        world.seats(customer.account, product, 1),
        holder,
        own_user=holder.accounts.GetCaller(_accounts.GetCallerRequest()).user.name,
        reseller=reseller,
    )
    found = found.with_key()
    found.with_lease()  # a simulation needs some demand on record
    replace(found, pool=found.full_pool).with_lease()
    return found
