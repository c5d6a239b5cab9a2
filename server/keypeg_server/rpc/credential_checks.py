"""Whether requests about credentials are well-formed; one rule for every field (validate.py has them all)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.credential_document import (
    CA_CHARACTERS,
    CHALLENGE_BYTES,
    DEVICE_LIMIT,
    HOST_CHARACTERS,
    SERVER_COUNT,
)
from keypeg.v1.credential_pb2 import CredentialScope
from keypeg_server.rpc import borrow_checks
from keypeg_server.rpc.checks import (
    PAGE,
    duration,
    each,
    matching,
    message,
    name,
    number,
    one_of,
    optional,
    size,
    text,
    timestamp,
    uuid,
)
from keypeg_server.rpc.parts import DEVICE, PUBLIC_KEY, Fields

_ACCOUNT, _CREDENTIAL = name(names.ACCOUNT), name(names.CREDENTIAL)
_SERVER = matching(
    r"[\w.:\[\]-]{1,255}:\d{1,5}|unix:/[!-~]{1,200}", "host:port, or unix:/path of this computer"
)
_CERTIFICATES = matching(rf"[\x20-\x7e\r\n]{{0,{CA_CHARACTERS}}}", "certificates in PEM form")

RULES: Final[dict[str, Fields]] = {
    "CreateCredentialRequest": {
        "parent": _ACCOUNT,
        "request_id": uuid,
        "display_name": text(1, 128),
        "public_key": message(PUBLIC_KEY),
        "scopes": each(one_of(CredentialScope), low=1, high=8, key=int),
        "not_before_time": timestamp,
        "ttl": duration(timedelta(minutes=1), timedelta(days=3_660)),
        "device_limit": number(0, DEVICE_LIMIT),
        "servers": each(_SERVER, low=1, high=SERVER_COUNT, key=str),
        "ca_certificates": _CERTIFICATES,
        "user": optional(name(names.USER)),
    },
    "GetCredentialRequest": {"name": _CREDENTIAL},
    "ListCredentialsRequest": {
        "parent": _ACCOUNT,
        **PAGE,
    },
    "RotateCredentialRequest": {
        "name": _CREDENTIAL,
        "request_id": uuid,
        "public_key": message(PUBLIC_KEY),
        "overlap": duration(timedelta(0), timedelta(days=90)),
    },
    "ResetCredentialRequest": {
        "name": _CREDENTIAL,
        "request_id": uuid,
        "public_key": message(PUBLIC_KEY),
    },
    "DeleteCredentialRequest": {"name": _CREDENTIAL, "request_id": uuid},
    "RemoveCredentialDeviceRequest": {
        "name": _CREDENTIAL,
        "request_id": uuid,
        "device": DEVICE["id"],
    },
    "CreateSignInChallengeRequest": {"name": _CREDENTIAL},
    "SignInWithCredentialRequest": {
        "name": _CREDENTIAL,
        "document": message(borrow_checks.ENVELOPE),
        "device": message(DEVICE),
        "challenge": size(CHALLENGE_BYTES),
        "host": text(1, HOST_CHARACTERS),
        "signature": size(64),
    },
    "ListActiveDevicesRequest": {"parent": _ACCOUNT},
    "SetActiveDeviceLimitRequest": {
        "name": _ACCOUNT,
        "request_id": uuid,
        "limit": number(0, DEVICE_LIMIT),
    },
}
