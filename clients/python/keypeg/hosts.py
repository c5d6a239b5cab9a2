"""Activating a license onto this computer: it becomes a location of the account, and keeps the license's document.

Promises: the parts of the computer leave it hashed, with a salt of their own. The document is on the disk, whole, at
the end; what was interrupted anywhere is finished by the same call, with the same activation.

Leaves to others: reading the parts (hostinfo), opening an app by the document (offline), connecting (calls).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from keypeg import activations, files, fingerprint
from keypeg.activations import Side
from keypeg.document import to_text
from keypeg.offline import SUFFIX
from keypeg.v1 import location_service_pb2, location_service_pb2_grpc

if TYPE_CHECKING:
    from keypeg.v1 import license_pb2, location_pb2, session_pb2


async def activate_onto_host(
    server: Side,
    license_name: str,
    account: str,
    device: session_pb2.Device,
    parts: Mapping[str, str],
    directory: Path,
) -> tuple[license_pb2.Activation, Path]:
    """Activates a license onto this computer; the activation, and where its document is now.

    An activation that is here already is kept, and its document written again.
    """
    location = await add_host(server, account, device, parts)
    existing = await activations.activation_at(server, license_name, location.name)
    made = await activations.get_or_create(
        server, license_name, location.name, existing, request_id=str(uuid.uuid4())
    )
    path = directory / f"{made.activation.name.rpartition('/')[2]}{SUFFIX}"
    files.write(path, (to_text(made.document) + to_text(made.delegation)).encode())
    return made.activation, path


async def add_host(
    server: Side, account: str, device: session_pb2.Device, parts: Mapping[str, str]
) -> location_pb2.Location:
    """The location that this computer is; it is added to the account where it is none yet."""
    made = await server.call(
        location_service_pb2_grpc.LocationServiceStub(server.channel).CreateHostLocation,
        location_service_pb2.CreateHostLocationRequest(
            parent=account,
            request_id=str(uuid.uuid4()),
            device=device,
            fingerprint=fingerprint.make(parts, os.urandom(fingerprint.SALT_BYTES)),
        ),
    )
    return made.location
