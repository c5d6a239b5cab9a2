"""What a token of a credential is good for: the methods of the cloud session, on its own device.

Promises: pure; whoever signed in otherwise passes. What is not in the list is denied, whatever role the user has.

Leaves to others: the license that lets an app run (service/credential_limits.py), whose resources are named
(authorization.py).
"""

from __future__ import annotations

from typing import Any, Final

from keypeg.errors import PermissionDenied
from keypeg_server.domain.caller import Caller
from keypeg_server.service.credential_limits import check_device

METHODS: Final = frozenset(
    {
        "/keypeg.v1.AccountService/GetCaller",
        "/keypeg.v1.CloudSessionService/GetCloudSession",
        "/keypeg.v1.CloudSessionService/OpenCloudSession",
        "/keypeg.v1.CloudSessionService/CloseCloudSession",
        "/keypeg.v1.CloudSessionService/WatchCloudSession",
        "/keypeg.v1.CredentialService/GetCredential",
        "/keypeg.v1.CredentialService/RemoveCredentialDevice",
        "/keypeg.v1.SessionService/HoldSession",
    }
)
"""What CREDENTIAL_SCOPE_CLOUD_SESSION opens; whoever may call a method without signing in may with a token, too."""


def check_method(caller: Caller, method: str) -> None:
    """Refuse what a credential is not for."""
    if caller.credential and method not in METHODS:
        short = method.rpartition("/")[2]
        raise PermissionDenied(
            f"{caller.credential} is for the cloud session, not for {short}; sign in as its user.",
            method=short,
            credential=caller.credential,
        )


def check_request(caller: Caller, request: Any) -> None:
    """Refuse what names another device than the credential's own."""
    if not caller.credential or "device" not in request.DESCRIPTOR.fields_by_name:
        return
    named = request.device
    check_device(caller, named if isinstance(named, str) else named.id)
