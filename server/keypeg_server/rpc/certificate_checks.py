"""What requests about certificates have to be: rules for validate.py."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.v1.certificate_pb2 import CertificateRole
from keypeg_server.rpc.checks import duration, name, one_of, optional, size_between, text, uuid
from keypeg_server.rpc.parts import Fields

_REQUEST: Final = size_between(1, 4_096)

RULES: Final[Mapping[str, Fields]] = {
    "IssueCertificateRequest": {
        "parent": name(names.ACCOUNT),
        "request_id": uuid,
        "display_name": text(1, 128),
        "role": one_of(CertificateRole),
        "certificate_request": _REQUEST,
        "ttl": optional(duration(timedelta(minutes=1), timedelta(days=400))),
    },
    "ListCertificatesRequest": {"parent": name(names.ACCOUNT)},
    "RevokeCertificateRequest": {"name": name(names.CERTIFICATE), "request_id": uuid},
    "RenewCertificateRequest": {"request_id": uuid, "certificate_request": _REQUEST},
}
