"""The table of who may call what: complete, and denying what it does not list."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from keypeg.errors import NotFound, PermissionDenied
from keypeg.v1 import account_service_pb2
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.client_certificate import CertificateRole
from keypeg_server.domain.rights import RIGHTS, Right, Role
from keypeg_server.rpc.access_rules import Access, Rule, check_account, check_right
from keypeg_server.rpc.authorization import TABLE, rule_of
from keypeg_server.rpc.certificate_door import check_client
from keypeg_server.rpc.health import CONTRACT

MEMBER = Caller("accounts/acme/users/anna", "anna", "accounts/acme", Role.MEMBER, "t1")
ADMIN = Caller("accounts/acme/users/ada", "ada", "accounts/acme", Role.ADMIN, "t2")
STAFF = Caller("accounts/-/users/pia", "pia", None, Role.PUBLISHER, "t3")
SUPPORT = Caller("accounts/-/users/sue", "sue", None, Role.SUPPORT, "t4")
RESELLER = Caller(
    "accounts/-/users/rob", "rob", None, Role.RESELLER, "t5", frozenset({"accounts/acme"})
)


def served_methods() -> dict[str, object]:
    """Every method that the server serves, with its descriptor."""
    modules = [*CONTRACT, health_pb2, reflection_pb2]
    return {
        f"/{service.full_name}/{method.name}": method
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def test_every_served_method_has_a_rule_and_no_other() -> None:
    assert set(TABLE) == set(served_methods())


def test_a_method_without_a_rule_is_denied() -> None:
    with pytest.raises(PermissionDenied):
        rule_of("/keypeg.v1.AccountService/MakeMeRich")


def test_a_rule_s_field_is_a_name_of_the_request() -> None:
    for method, descriptor in served_methods().items():
        rule = TABLE[method]
        if rule.field:
            fields = descriptor.input_type.fields_by_name  # type: ignore[attr-defined]
            assert fields[rule.field].name in ("name", "parent"), method


_HEALTH = {f"grpc.health.v1.Health/{method}" for method in ("Check", "List", "Watch")}
_OF_ANY = {"keypeg.v1.AccountService/GetCaller", "keypeg.v1.CertificateService/RenewCertificate"}
OPENED = {
    CertificateRole.BRIDGE: _HEALTH | _OF_ANY | {"keypeg.v1.LocationService/CheckKey"},
    CertificateRole.SITE: _HEALTH
    | _OF_ANY
    | {
        "keypeg.v1.ActivationService/GetActivation",
        "keypeg.v1.ActivationService/ListActivations",
    },
}
"""What is called by which certificate."""


@pytest.mark.parametrize("role", CertificateRole, ids=lambda role: role.word)
def test_a_certificate_opens_what_its_role_needs_and_nothing_else(role: CertificateRole) -> None:
    machine = replace(MEMBER, certificate="accounts/acme/certificates/c", machine=role)
    for method, rule in TABLE.items():
        if method.removeprefix("/") in OPENED[role]:
            check_right(rule, machine, method)
        else:
            with pytest.raises(PermissionDenied, match=f"certificate of a {role.word} does not"):
                check_right(rule, machine, method)


def test_what_nobody_signs_in_for_opens_to_each_certificate_or_none() -> None:
    with pytest.raises(AssertionError):
        Rule(Access.PUBLIC, certificates=frozenset({CertificateRole.SITE}))


def test_requiring_certificates_of_bridges_asks_them_of_nobody_else() -> None:
    check_key = "/keypeg.v1.LocationService/CheckKey"
    bridge, program = (("keypeg-client", "bridge"),), (("user-agent", "x"),)
    with pytest.raises(PermissionDenied, match="by their certificates alone"):
        check_client(rule_of(check_key), MEMBER, bridge, check_key)
    check_client(rule_of(check_key), MEMBER, program, check_key)
    for role in CertificateRole:
        machine = replace(MEMBER, certificate="accounts/acme/certificates/c", machine=role)
        check_client(rule_of(check_key), machine, bridge, check_key)


def test_only_what_must_be_is_public() -> None:
    public = {method for method, rule in TABLE.items() if rule.access is Access.PUBLIC}
    assert public == {
        "/keypeg.v1.AccountService/SignIn",
        "/keypeg.v1.SignInService/RefreshSignIn",
        "/keypeg.v1.SignInService/BeginDeviceSignIn",
        "/keypeg.v1.SignInService/FinishDeviceSignIn",
        "/keypeg.v1.IdentityService/ListSignInProviders",
        "/keypeg.v1.IdentityService/BeginProviderSignIn",
        "/keypeg.v1.IdentityService/ProveProviderSignIn",
        "/keypeg.v1.IdentityService/FinishProviderSignIn",
        "/keypeg.v1.IdentityService/AcceptInvitationAsIdentity",
        "/keypeg.v1.PasskeyService/BeginPasskeySignIn",
        "/keypeg.v1.PasskeyService/FinishPasskeySignIn",
        "/keypeg.v1.PeopleService/AcceptInvitation",
        "/keypeg.v1.SessionService/CloseSession",
        "/keypeg.v1.CredentialService/CreateSignInChallenge",
        "/keypeg.v1.CredentialService/SignInWithCredential",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }


@pytest.mark.parametrize(
    ("caller", "name", "there"),
    [
        (MEMBER, "accounts/acme/licenses/l", True),
        (ADMIN, "accounts/acme", True),
        (STAFF, "accounts/acme", True),
        (SUPPORT, "accounts/other/licenses/l", True),
        (RESELLER, "accounts/acme/licenses/l", True),
        (RESELLER, "accounts/other", False),
        (RESELLER, "accounts/-", False),
        (MEMBER, "accounts/other", False),
        (MEMBER, "accounts/acme2/licenses/l", False),
        (ADMIN, "accounts/-/users/u", False),
        (ADMIN, "accounts/other", False),
        (MEMBER, "", False),
    ],
)
def test_what_belongs_to_an_account(caller: Caller, name: str, there: bool) -> None:
    rule, request = Rule(Access.ACCOUNT, Right.LICENSES_READ, "name"), SimpleNamespace(name=name)
    if there:
        check_account(rule, caller, request, "/x/Y")
    else:
        with pytest.raises(NotFound):
            check_account(rule, caller, request, "/x/Y")


@pytest.mark.parametrize(
    "method", ["PeopleService/ResetSecondFactors", "IdentityService/CreateIdentity"]
)
def test_no_key_says_who_signs_in_as_somebody_whatever_its_scopes(method: str) -> None:
    rule = rule_of(f"/keypeg.v1.{method}")
    for caller in (ADMIN, STAFF):
        check_right(rule, caller, "/x/Y")
        with pytest.raises(PermissionDenied, match="sign in"):
            check_right(rule, replace(caller, scopes=frozenset(Right)), "/x/Y")


@pytest.mark.parametrize("right", Right)
@pytest.mark.parametrize("caller", [MEMBER, ADMIN, STAFF, SUPPORT, RESELLER])
def test_who_lacks_a_right_is_denied_and_a_key_has_no_more_than_its_user(
    caller: Caller, right: Right
) -> None:
    rule = Rule(Access.CALLER, right)
    key, other = replace(caller, scopes=frozenset(Right)), replace(caller, scopes=frozenset())
    if right in RIGHTS[caller.role]:
        check_right(rule, caller, "/x/Y")
        check_right(rule, key, "/x/Y")
        with pytest.raises(PermissionDenied, match=f"API key.*{right.value}"):
            check_right(rule, other, "/x/Y")
    else:
        for one in (caller, key, other):
            with pytest.raises(PermissionDenied, match="You may not call Y"):
                check_right(rule, one, "/x/Y")


def test_a_reseller_makes_and_does_not_use() -> None:
    assert RESELLER.may(Right.LICENSES_WRITE)
    assert not RESELLER.may(Right.LICENSES_USE)


def test_a_refusal_does_not_tell_whether_it_is_there() -> None:
    request = account_service_pb2.GetAccountRequest(name="accounts/other")
    with pytest.raises(NotFound) as refused:
        check_account(Rule(Access.ACCOUNT, Right.LICENSES_READ, "name"), MEMBER, request, "/x/Y")
    assert "or it is not visible to you" in refused.value.sentence
