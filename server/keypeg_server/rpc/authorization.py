"""Who may call what: one table, method by method; what is not in it is denied.

Promises: a rule says which right a method takes and, for what belongs to an account, which field of the request names
it.

Leaves to others: carrying the rules out (access_rules.py), and what each means for each caller
(authorization_cells.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from keypeg_server.domain.client_certificate import CertificateRole
from keypeg_server.domain.rights import Right
from keypeg_server.rpc.access_rules import Access, Rule, denied

_BRIDGES, _SITES = frozenset({CertificateRole.BRIDGE}), frozenset({CertificateRole.SITE})
_MACHINES = _BRIDGES | _SITES

_PUBLIC, _CALLER = Rule(Access.PUBLIC), Rule(Access.CALLER)
_HEALTH = Rule(Access.PUBLIC, certificates=_MACHINES)


def _caller(right: Right) -> Rule:
    return Rule(Access.CALLER, right)


def _reads(field: str, certificates: frozenset[CertificateRole] = frozenset()) -> Rule:
    return Rule(Access.ACCOUNT, Right.LICENSES_READ, field, certificates=certificates)


def _uses(field: str, certificates: frozenset[CertificateRole] = frozenset()) -> Rule:
    return Rule(Access.ACCOUNT, Right.LICENSES_USE, field, certificates=certificates)


def _manages(field: str) -> Rule:
    return Rule(Access.ACCOUNT, Right.LICENSES_MANAGE, field)


def _of(right: Right, field: str) -> Rule:
    return Rule(Access.ACCOUNT, right, field)


def _user(field: str) -> Rule:
    return Rule(Access.USER, Right.PEOPLE_WRITE, field)


_USES_SEATS, _READS_SEATS = (
    Rule(Access.POOL, Right.LICENSES_USE),
    Rule(Access.POOL, Right.SEATS_READ),
)
_MANAGES_SEATS = Rule(Access.POOL, Right.SEATS_MANAGE)
_HOLDER = Rule(Access.HOLDER, Right.LICENSES_USE)
_CREDENTIAL = Rule(Access.CREDENTIAL, Right.LICENSES_USE)


_BY_SERVICE: Final[Mapping[str, Mapping[str, Rule]]] = {
    "keypeg.v1.AccountService": {
        "SignIn": _PUBLIC,
        "SignOut": _CALLER,
        "GetCaller": Rule(Access.CALLER, keys=True, certificates=_MACHINES),
        "CreateAccount": _caller(Right.ACCOUNTS_WRITE),
        "GetAccount": _reads("name"),
        "SetAccountKind": _of(Right.ACCOUNTS_WRITE, "name"),
        "ListAccounts": _caller(Right.ACCOUNTS_READ),
        "SetSecondFactorRequired": _of(Right.PEOPLE_WRITE, "name"),
        "CreateUser": _of(Right.PEOPLE_WRITE, "parent"),
        "ListUsers": _of(Right.PEOPLE_READ, "parent"),
        "DeleteUser": _of(Right.PEOPLE_WRITE, "name"),
    },
    "keypeg.v1.SignInService": {
        "RefreshSignIn": _PUBLIC,  # whoever has the refresh token
        "ListSignIns": _CALLER,
        "EndSignIn": _CALLER,
        "SignOutEverywhere": _CALLER,
        "BeginDeviceSignIn": _PUBLIC,
        "FinishDeviceSignIn": _PUBLIC,  # whoever has the device code
        "GetDeviceSignIn": _CALLER,
        "DecideDeviceSignIn": _CALLER,
        "BeginOneTimeCodes": _CALLER,
        "ConfirmOneTimeCodes": _CALLER,
        "RemoveOneTimeCodes": _CALLER,
        "EndUserSignIns": _of(Right.PEOPLE_WRITE, "name"),
    },
    "keypeg.v1.IdentityService": {
        "ListSignInProviders": _PUBLIC,
        "BeginProviderSignIn": _PUBLIC,
        "ProveProviderSignIn": _PUBLIC,  # whoever has the sign-in's secret
        "FinishProviderSignIn": _PUBLIC,  # the same
        "LinkIdentity": _CALLER,
        "AcceptInvitationAsIdentity": _PUBLIC,  # whoever has the ticket
        "CreateIdentity": Rule(Access.ACCOUNT, Right.PEOPLE_WRITE, "parent", in_person=True),
        "ListIdentities": _user("parent"),
        "DeleteIdentity": _user("name"),
    },
    "keypeg.v1.PasskeyService": {
        "BeginPasskeyRegistration": _CALLER,
        "FinishPasskeyRegistration": _CALLER,
        "ListPasskeys": _CALLER,
        "UpdatePasskey": _CALLER,
        "DeletePasskey": _CALLER,
        "BeginPasskeySignIn": _PUBLIC,
        "FinishPasskeySignIn": _PUBLIC,  # whoever has the passkey
    },
    "keypeg.v1.PeopleService": {
        "UpdateUserRole": _of(Right.PEOPLE_WRITE, "name"),
        "CreateServiceUser": _of(Right.PEOPLE_WRITE, "parent"),
        "CreateInvitation": _of(Right.PEOPLE_WRITE, "parent"),
        "ListInvitations": _of(Right.PEOPLE_READ, "parent"),
        "DeleteInvitation": _of(Right.PEOPLE_WRITE, "name"),
        "AcceptInvitation": _PUBLIC,  # whoever has the ticket
        "SetResellerAccounts": _of(Right.STAFF_WRITE, "name"),
        "GetResellerAccounts": _of(Right.STAFF_READ, "name"),
        "ResetSecondFactors": Rule(Access.ACCOUNT, Right.PEOPLE_WRITE, "name", in_person=True),
    },
    "keypeg.v1.ApiKeyService": {
        "CreateApiKey": _user("parent"),
        "ListApiKeys": _user("parent"),
        "RotateApiKey": _user("name"),
        "DeleteApiKey": _user("name"),
    },
    "keypeg.v1.CertificateService": {
        "IssueCertificate": _of(Right.PEOPLE_WRITE, "parent"),
        "ListCertificates": _of(Right.PEOPLE_READ, "parent"),
        "RevokeCertificate": _of(Right.PEOPLE_WRITE, "name"),
        "RenewCertificate": Rule(Access.CERTIFICATE, certificates=_MACHINES),
    },
    "keypeg.v1.CatalogService": {
        "GetPublisher": _caller(Right.LICENSES_READ),
        "CreateProduct": _caller(Right.CATALOG_WRITE),
        "GetProduct": _caller(Right.LICENSES_READ),
        "ListProducts": _caller(Right.LICENSES_READ),
        "SetLicenseSwitches": _caller(Right.CATALOG_WRITE),
    },
    "keypeg.v1.LicenseService": {
        "CreateLicense": _of(Right.LICENSES_WRITE, "parent"),
        "GetLicense": _reads("name"),
        "ListLicenses": _reads("parent"),
        # Of an account, as the switches of the product say (domain/license_life.py).
        "SuspendLicense": _uses("name"),
        "ResumeLicense": _uses("name"),
        "RevokeLicense": _uses("name"),
        "EditLicense": _uses("name"),
        "MoveLicense": _uses("name"),
        "RecoverLicense": _uses("name"),
        "ListLicenseChanges": _reads("parent"),
        "BeginLicenseChange": _uses("name"),
        "ApplyLicenseChange": _uses("name"),
        "CancelLicenseChange": _uses("name"),
        "AddLicenseCapacity": _of(Right.LICENSES_WRITE, "parent"),
        "ListLicenseCapacities": _reads("parent"),
        "RemoveLicenseCapacity": _of(Right.LICENSES_WRITE, "name"),
    },
    "keypeg.v1.ActivationService": {
        "CreateActivation": _uses("parent"),
        # A site sees of them what is at sites (activation_service.py).
        "GetActivation": _reads("name", _SITES),
        "ListActivations": _reads("parent", _SITES),
        # Others may be working with it: seats of a site are everyone's.
        "BeginDeactivation": _manages("name"),
        "DeleteActivation": _manages("name"),
    },
    "keypeg.v1.CloudSessionService": {
        "GetCloudSession": _reads("name"),
        "OpenCloudSession": _uses("name"),
        "CloseCloudSession": _uses("name"),
        "SetCloudSessionMode": _uses("name"),
        "ChooseCloudLicenses": _uses("name"),
        "WatchCloudSession": _reads("name"),
        # Of a group.
        "ListCloudSessions": _of(Right.PEOPLE_READ, "parent"),
        "EndCloudSession": _of(Right.PEOPLE_WRITE, "name"),
        "ResumeCloudSession": _of(Right.PEOPLE_WRITE, "name"),
    },
    "keypeg.v1.CredentialService": {
        "CreateCredential": _uses("parent"),
        "GetCredential": Rule(Access.CREDENTIAL, Right.LICENSES_READ),
        "ListCredentials": _reads("parent"),  # without the rest, one's own
        "RotateCredential": _CREDENTIAL,
        "ResetCredential": _CREDENTIAL,
        "DeleteCredential": _CREDENTIAL,
        "RemoveCredentialDevice": _CREDENTIAL,
        "CreateSignInChallenge": _PUBLIC,
        "SignInWithCredential": _PUBLIC,  # whoever has its key
        "ListActiveDevices": _reads("parent"),
        "SetActiveDeviceLimit": _of(Right.LICENSES_WRITE, "name"),
    },
    "keypeg.v1.LocationService": {
        "GetLocation": _reads("name"),
        "ListLocations": _reads("parent"),
        "AuthorizeKeyWrite": _uses("parent"),
        "CreateKeyLocation": _uses("parent"),
        "CreateHostLocation": _uses("parent"),
        "CheckKey": _uses("parent", _BRIDGES),
        "ReportKeyLost": _manages("name"),
        "ReplaceKey": _manages("name"),
    },
    "keypeg.v1.SessionService": {
        "HoldSession": _caller(
            Right.LICENSES_USE
        ),  # what it asks for is looked up in the caller's own account
        "CloseSession": _PUBLIC,  # whoever has the release token
    },
    "keypeg.v1.SeatService": {
        "AcquireSeat": _USES_SEATS,
        "LeaveQueue": _HOLDER,
        "RenewSeat": _HOLDER,
        "ReleaseSeat": _HOLDER,
        "FreeSeat": Rule(Access.POOL, Right.SEATS_FREE),
        "GetPool": _READS_SEATS,
        "ListPools": _of(Right.SEATS_READ, "parent"),
        "ListLeases": _READS_SEATS,
        "ListQueuePlaces": _READS_SEATS,
        "Explain": _READS_SEATS,
        "GetPoolRules": _MANAGES_SEATS,
        "UpdatePoolRules": _MANAGES_SEATS,
        "WatchPool": _READS_SEATS,
        "ListPoolEvents": _READS_SEATS,
    },
    "keypeg.v1.BorrowService": {
        "CreateBorrow": _USES_SEATS,
        "RenewBorrow": Rule(Access.BORROWER, Right.LICENSES_USE),
        "ReturnBorrow": _USES_SEATS,  # whoever hands in what its key has signed
        "WriteOffBorrow": _MANAGES_SEATS,
        "GetBorrow": Rule(Access.BORROW, Right.SEATS_READ),
        "ListBorrows": _READS_SEATS,
    },
    "keypeg.v1.ReportService": {
        "ExportLog": _of(Right.REPORTS_READ, "parent"),
        "SimulateSeats": _of(Right.REPORTS_READ, "parent"),
    },
    "grpc.health.v1.Health": {
        "Check": _HEALTH,
        "List": _HEALTH,
        "Watch": _HEALTH,
    },
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _PUBLIC},
}

TABLE: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        f"/{service}/{method}": rule
        for service, methods in _BY_SERVICE.items()
        for method, rule in methods.items()
    }
)

CHANNELS: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        f"/grpc.channelz.v1.Channelz/{method}": Rule(Access.CALLER, Right.STAFF_READ)
        for method in (
            "GetTopChannels",
            "GetServers",
            "GetServer",
            "GetServerSockets",
            "GetChannel",
            "GetSubchannel",
            "GetSocket",
        )
    }
)
"""Of the port for administration alone: who is connected, and what passes. For the publisher's people."""


def rule_of(method: str) -> Rule:
    """The rule of a method, as `/package.Service/Method`; PermissionDenied when it has none."""
    rule = TABLE.get(method) or CHANNELS.get(method)
    if rule is None:
        raise denied(method)
    return rule
