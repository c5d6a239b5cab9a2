"""The table of who may call what: complete, and denying what it does not list."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from keypeg.errors import NotFound, PermissionDenied
from keypeg.v1 import account_service_pb2
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.rpc.authorization import (
    TABLE,
    Access,
    Rule,
    check_account,
    check_role,
    rule_of,
)
from keypeg_server.rpc.health import CONTRACT

MEMBER = Caller("accounts/acme/users/anna", "anna", "accounts/acme", Role.MEMBER, "t1")
ADMIN = Caller("accounts/acme/users/ada", "ada", "accounts/acme", Role.ADMIN, "t2")
STAFF = Caller("accounts/-/users/pia", "pia", None, Role.PUBLISHER, "t3")


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


def test_only_what_must_be_is_public() -> None:
    public = {method for method, rule in TABLE.items() if rule.access is Access.PUBLIC}
    assert public == {
        "/keypeg.v1.AccountService/SignIn",
        "/keypeg.v1.SessionService/CloseSession",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }


@pytest.mark.parametrize(
    ("access", "caller", "name", "error"),
    [
        (Access.MEMBER, MEMBER, "accounts/acme/licenses/l", None),
        (Access.MEMBER, ADMIN, "accounts/acme", None),
        (Access.MEMBER, STAFF, "accounts/acme", None),
        (Access.MEMBER, MEMBER, "accounts/other", NotFound),
        (Access.MEMBER, MEMBER, "accounts/acme2/licenses/l", NotFound),
        (Access.MEMBER, MEMBER, "", NotFound),
        (Access.ADMIN, ADMIN, "accounts/acme", None),
        (Access.ADMIN, STAFF, "accounts/acme", None),
        (Access.ADMIN, MEMBER, "accounts/acme", PermissionDenied),
        (Access.ADMIN, MEMBER, "accounts/other", NotFound),
        (Access.ADMIN, ADMIN, "accounts/other", NotFound),
    ],
)
def test_what_belongs_to_an_account(
    access: Access, caller: Caller, name: str, error: type[Exception] | None
) -> None:
    rule, request = Rule(access, "name"), SimpleNamespace(name=name)
    if error is None:
        check_account(rule, caller, request, "/x/Y")
    else:
        with pytest.raises(error):
            check_account(rule, caller, request, "/x/Y")


@pytest.mark.parametrize("caller", [MEMBER, ADMIN])
def test_staff_s_methods_are_staff_s(caller: Caller) -> None:
    rule = Rule(Access.PUBLISHER)
    with pytest.raises(PermissionDenied):
        check_role(rule, caller, "/x/Y")
    check_role(rule, STAFF, "/x/Y")


def test_a_refusal_does_not_tell_whether_it_is_there() -> None:
    request = account_service_pb2.GetAccountRequest(name="accounts/other")
    with pytest.raises(NotFound) as refused:
        check_account(Rule(Access.MEMBER, "name"), MEMBER, request, "/x/Y")
    assert "or it is not visible to you" in refused.value.sentence
