"""Where a call is served: one table, method by method, of how its account or publisher (its *parent*) is found.

Promises: every method that the server authorizes has a route, by assertion. What reads nothing but rows is
served anywhere, for all servers see the same rows; what changes something, or looks at the memory of pools and
sessions, is served by the home of its parent.

Leaves to others: finding it (parents.py), who may call (authorization.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from keypeg_server.rpc import authorization


class By(enum.Enum):
    """How the parent of a call is found."""

    ANYWHERE = "it has none, or only rows are read"
    NAME = "a field names the account or publisher, or something in it"
    POOL = "a field names a pool, or something in it, of an account; or the account itself"
    CALLER = "it is the caller's own account"
    NEW_ACCOUNT = "it is the account that is to be made"
    SESSION = "a field names a session of an account"
    PERSON = "it is the account of who signs in or out"


@dataclass(frozen=True)
class Route:
    """How the parent of a method's calls is found, and by which field."""

    by: By
    field: str = ""

    def __post_init__(self) -> None:
        assert bool(self.field) == (self.by in (By.NAME, By.POOL, By.SESSION))


_ANYWHERE, _CALLER, _PERSON = Route(By.ANYWHERE), Route(By.CALLER), Route(By.PERSON)


def _of(field: str) -> Route:
    return Route(By.NAME, field)


def _pool(field: str) -> Route:
    return Route(By.POOL, field)


_BY_SERVICE: Final[Mapping[str, Mapping[str, Route]]] = {
    "keypeg.v1.AccountService": {
        "SignIn": _PERSON,
        "SignOut": _PERSON,
        "GetCaller": _ANYWHERE,
        "CreateAccount": Route(By.NEW_ACCOUNT),
        "GetAccount": _ANYWHERE,
        "SetAccountKind": _of("name"),
        "ListAccounts": _ANYWHERE,
        "SetSecondFactorRequired": _of("name"),
        "CreateUser": _of("parent"),
        "ListUsers": _ANYWHERE,
        "DeleteUser": _of("name"),
    },
    "keypeg.v1.SignInService": {
        "RefreshSignIn": _PERSON,
        "ListSignIns": _ANYWHERE,
        "EndSignIn": _PERSON,
        "SignOutEverywhere": _PERSON,
        "BeginDeviceSignIn": _ANYWHERE,
        "FinishDeviceSignIn": _PERSON,
        "GetDeviceSignIn": _ANYWHERE,
        "DecideDeviceSignIn": _PERSON,
        "BeginOneTimeCodes": _PERSON,
        "ConfirmOneTimeCodes": _PERSON,
        "RemoveOneTimeCodes": _PERSON,
        "EndUserSignIns": _of("name"),
    },
    "keypeg.v1.IdentityService": {
        "ListSignInProviders": _ANYWHERE,
        "BeginProviderSignIn": _ANYWHERE,
        "ProveProviderSignIn": _ANYWHERE,
        "FinishProviderSignIn": _PERSON,
        "LinkIdentity": _PERSON,
        "AcceptInvitationAsIdentity": _of("name"),
        "CreateIdentity": _of("parent"),
        "ListIdentities": _ANYWHERE,
        "DeleteIdentity": _of("name"),
    },
    "keypeg.v1.PasskeyService": {
        "BeginPasskeyRegistration": _PERSON,
        "FinishPasskeyRegistration": _PERSON,
        "ListPasskeys": _ANYWHERE,
        "UpdatePasskey": _PERSON,
        "DeletePasskey": _PERSON,
        "BeginPasskeySignIn": _PERSON,
        "FinishPasskeySignIn": _PERSON,
    },
    "keypeg.v1.PeopleService": {
        "UpdateUserRole": _of("name"),
        "CreateServiceUser": _of("parent"),
        "CreateInvitation": _of("parent"),
        "ListInvitations": _ANYWHERE,
        "DeleteInvitation": _of("name"),
        "AcceptInvitation": _of("name"),
        "SetResellerAccounts": _of("name"),
        "GetResellerAccounts": _ANYWHERE,
        "ResetSecondFactors": _of("name"),
    },
    "keypeg.v1.ApiKeyService": {
        "CreateApiKey": _of("parent"),
        "ListApiKeys": _ANYWHERE,
        "RotateApiKey": _of("name"),
        "DeleteApiKey": _of("name"),
    },
    "keypeg.v1.CertificateService": {
        "IssueCertificate": _of("parent"),
        "ListCertificates": _ANYWHERE,
        "RevokeCertificate": _of("name"),
        "RenewCertificate": _CALLER,
    },
    "keypeg.v1.CatalogService": {
        "GetPublisher": _ANYWHERE,
        "CreateProduct": _of("parent"),
        "GetProduct": _ANYWHERE,
        "ListProducts": _ANYWHERE,
        "SetLicenseSwitches": _of("name"),
    },
    "keypeg.v1.LicenseService": {
        "CreateLicense": _of("parent"),
        "GetLicense": _ANYWHERE,
        "ListLicenses": _ANYWHERE,
        "SuspendLicense": _of("name"),
        "ResumeLicense": _of("name"),
        "RevokeLicense": _of("name"),
        "EditLicense": _of("name"),
        "MoveLicense": _of("name"),
        "RecoverLicense": _of("name"),
        "ListLicenseChanges": _ANYWHERE,
        "BeginLicenseChange": _ANYWHERE,
        "ApplyLicenseChange": _of("name"),
        "CancelLicenseChange": _of("name"),
        "AddLicenseCapacity": _of("parent"),
        "ListLicenseCapacities": _ANYWHERE,
        "RemoveLicenseCapacity": _of("name"),
    },
    "keypeg.v1.ActivationService": {
        "CreateActivation": _of("parent"),
        "GetActivation": _ANYWHERE,
        "ListActivations": _ANYWHERE,
        "BeginDeactivation": _of("name"),
        "DeleteActivation": _of("name"),
    },
    "keypeg.v1.CloudSessionService": {
        "GetCloudSession": _ANYWHERE,
        "OpenCloudSession": _of("name"),
        "CloseCloudSession": _of("name"),
        "SetCloudSessionMode": _of("name"),
        "ChooseCloudLicenses": _of("name"),
        "WatchCloudSession": _of("name"),
        "ListCloudSessions": _ANYWHERE,
        "EndCloudSession": _of("name"),
        "ResumeCloudSession": _of("name"),
    },
    "keypeg.v1.CredentialService": {
        "CreateCredential": _of("parent"),
        "GetCredential": _ANYWHERE,
        "ListCredentials": _ANYWHERE,
        "RotateCredential": _of("name"),
        "ResetCredential": _of("name"),
        "DeleteCredential": _of("name"),
        "RemoveCredentialDevice": _of("name"),
        "CreateSignInChallenge": _ANYWHERE,
        "SignInWithCredential": _of("name"),
        "ListActiveDevices": _ANYWHERE,
        "SetActiveDeviceLimit": _of("name"),
    },
    "keypeg.v1.LocationService": {
        "GetLocation": _ANYWHERE,
        "ListLocations": _ANYWHERE,
        "AuthorizeKeyWrite": _of("parent"),
        "CreateKeyLocation": _of("parent"),
        "CreateHostLocation": _of("parent"),
        "CheckKey": _of("parent"),
        "ReportKeyLost": _of("name"),
        "ReplaceKey": _of("name"),
    },
    "keypeg.v1.SessionService": {
        "HoldSession": _CALLER,
        "CloseSession": Route(By.SESSION, "session"),
    },
    "keypeg.v1.SeatService": {
        "AcquireSeat": _pool("pool"),
        "LeaveQueue": _pool("name"),
        "RenewSeat": _pool("name"),
        "ReleaseSeat": _pool("name"),
        "FreeSeat": _pool("name"),
        "GetPool": _pool("name"),
        "ListPools": _of("parent"),
        "ListLeases": _pool("parent"),
        "ListQueuePlaces": _pool("parent"),
        "Explain": _pool("pool"),
        "GetPoolRules": _pool("name"),
        "UpdatePoolRules": _pool("name"),
        "WatchPool": _pool("parent"),
        "ListPoolEvents": _pool("parent"),
    },
    "keypeg.v1.BorrowService": {
        "CreateBorrow": _pool("pool"),
        "RenewBorrow": _pool("name"),
        "ReturnBorrow": _pool("name"),
        "WriteOffBorrow": _pool("name"),
        "GetBorrow": _pool("name"),
        "ListBorrows": _pool("parent"),
    },
    "keypeg.v1.ReportService": {
        "ExportLog": _of("parent"),
        "SimulateSeats": _of("parent"),
    },
    "grpc.health.v1.Health": {"Check": _ANYWHERE, "List": _ANYWHERE, "Watch": _ANYWHERE},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _ANYWHERE},
}

TABLE: Final[Mapping[str, Route]] = MappingProxyType(
    {
        f"/{service}/{method}": route
        for service, methods in _BY_SERVICE.items()
        for method, route in methods.items()
    }
)
assert set(TABLE) == set(authorization.TABLE), "every method has its route"
