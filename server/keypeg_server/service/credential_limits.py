"""What a caller with a credential may do: less than its user, on one device.

Promises: pure but for the look at the rows of the credential itself; a caller without one passes everything.

Leaves to others: which methods are there at all for credentials (rpc/credential_gate.py).
"""

from __future__ import annotations

from keypeg import names
from keypeg.errors import PermissionDenied
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.credential import revoked
from keypeg_server.domain.location import LocationKind
from keypeg_server.service.store import Unit


def kinds_for(caller: Caller, device: str, kinds: tuple[int, ...]) -> tuple[int, ...]:
    """The kinds of location that a session may use: of a credential the cloud alone, on its own device."""
    if not caller.credential:
        return kinds
    check_device(caller, device)
    if kinds and LocationKind.CLOUD not in kinds:
        raise PermissionDenied(
            f"{caller.credential} opens the cloud licenses of the account and no others; sign in as its user.",
            credential=caller.credential,
        )
    return (int(LocationKind.CLOUD),)


def check_device(caller: Caller, device: str) -> None:
    """Refuse a credential's caller who speaks for another device than the one that signed in."""
    if caller.credential and caller.device != device:
        raise PermissionDenied(
            f"This token of {caller.credential} is good on device {caller.device} only; sign in with the "
            "credential on this device.",
            credential=caller.credential,
        )


def check_there(unit: Unit, caller: Caller) -> None:
    """Refuse whose credential was taken away since, or whose device was taken off it."""
    if not caller.credential:
        return
    found = unit.credentials.find(*names.CREDENTIAL.parse(caller.credential))
    if found is None or found.device(caller.device) is None:
        raise revoked(caller.credential)
