"""What requests about cloud sessions have to be: rules for validate.py.

Promises: as there: one rule for every field, as the contract's comments say.

Leaves to others: what happens to one then (domain/cloud_machine.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keypeg import names
from keypeg.v1.cloud_session_pb2 import CloudMode
from keypeg_server.rpc.checks import PAGE, anything, each, message, name, one_of, text, uuid
from keypeg_server.rpc.parts import ACCOUNT, DEVICE, Fields

_CLOUD: Final = name(names.CLOUD_SESSION, names.MEMBER_CLOUD_SESSION)
_MEMBER_CLOUD: Final = name(names.MEMBER_CLOUD_SESSION)

RULES: Final[Mapping[str, Fields]] = {
    "GetCloudSessionRequest": {"name": _CLOUD},
    "OpenCloudSessionRequest": {
        "name": _CLOUD,
        "request_id": uuid,
        "device": message(DEVICE),
        "keep_elsewhere": anything,
    },
    "CloseCloudSessionRequest": {"name": _CLOUD, "request_id": uuid, "device": message(DEVICE)},
    "SetCloudSessionModeRequest": {"name": _CLOUD, "request_id": uuid, "mode": one_of(CloudMode)},
    "ChooseCloudLicensesRequest": {
        "name": _CLOUD,
        "request_id": uuid,
        "add_licenses": each(name(names.LICENSE), high=100, key=str),
        "remove_licenses": each(name(names.LICENSE), high=100, key=str),
    },
    "WatchCloudSessionRequest": {"name": _CLOUD},
    "ListCloudSessionsRequest": {"parent": ACCOUNT, **PAGE},
    "EndCloudSessionRequest": {
        "name": _MEMBER_CLOUD,
        "request_id": uuid,
        "reason": text(1, 255),
        "suspend": anything,
    },
    "ResumeCloudSessionRequest": {"name": _MEMBER_CLOUD, "request_id": uuid},
}
