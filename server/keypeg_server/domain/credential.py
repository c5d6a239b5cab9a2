"""Credentials: for whom a key pair signs in, what for, on which devices, and which of its keys still do.

Promises: pure rules, and values without a secret. A key that was replaced signs in until its overlap ends; after a
reset none before does, and no device that had it (CLOUD-16). What refuses says what to do.

Leaves to others: the signatures (keypeg.credential_document), on how many devices an account may be in use
(active_devices.py), and storing it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from keypeg import names
from keypeg.errors import CredentialRevoked, DevicesExhausted

DEVICE_LIMIT: Final = 5  # devices of a credential, unless it is made with another number
OVERLAP: Final = timedelta(days=7)  # of a rotation, unless another is asked for
LISTED_DEVICES: Final = 5  # of a refusal: what fits into a sentence


@dataclass(frozen=True)
class CredentialDevice:
    """A device on which a credential is."""

    device: str  # id
    host_name: str
    first_time: datetime
    last_time: datetime
    generation: int  # of the key by which it signed in last
    active_until: datetime

    def is_active(self, now: datetime) -> bool:
        """Whether the account counts as in use there."""
        return now < self.active_until


@dataclass(frozen=True)
class Credential:
    """A credential, with its devices."""

    account: str  # id
    id: str
    user: str  # id
    display_name: str
    document: bytes  # Envelope of the newest CredentialDocument, serialized
    scopes: tuple[int, ...]
    device_limit: int
    generation: int
    create_time: datetime
    not_before: datetime
    not_after: datetime
    overlap_end: datetime | None = None
    devices: tuple[CredentialDevice, ...] = ()  # the last used first

    @property
    def name(self) -> str:
        return names.CREDENTIAL.build(self.account, self.id)

    @property
    def user_name(self) -> str:
        return names.USER.build(self.account, self.user)

    def device(self, id: str) -> CredentialDevice | None:
        """What is known of a device."""
        return next((one for one in self.devices if one.device == id), None)

    def takes(self, generation: int, now: datetime) -> bool:
        """Whether a key of this generation signs in."""
        if generation == self.generation:
            return now < self.not_after
        overlap = self.overlap_end
        return generation == self.generation - 1 and overlap is not None and now < overlap


def signed_in(
    credential: Credential,
    device: str,
    host_name: str,
    generation: int,
    now: datetime,
    valid_for: timedelta,
) -> tuple[Credential, CredentialDevice]:
    """The credential with a device that has signed in, and that device; the refusal when it may not."""
    if not credential.takes(generation, now):
        raise revoked(credential.name)
    before = credential.device(device)
    if before is None and len(credential.devices) >= credential.device_limit:
        raise _no_more_devices(credential)
    after = CredentialDevice(
        device,
        host_name,
        now if before is None else before.first_time,
        now,
        generation,
        min(now + valid_for, credential.not_after),
    )
    others = (one for one in credential.devices if one.device != device)
    return replace(credential, devices=(after, *others)), after


def rotated(
    credential: Credential, document: bytes, overlap: timedelta, now: datetime
) -> Credential:
    """With another key; the one before signs in for the overlap."""
    return replace(
        credential,
        document=document,
        generation=credential.generation + 1,
        overlap_end=min(now + overlap, credential.not_after) if overlap else None,
    )


def reset(credential: Credential, document: bytes) -> Credential:
    """With another key, and nobody who holds one before."""
    return replace(
        credential,
        document=document,
        generation=credential.generation + 1,
        overlap_end=None,
        devices=(),
    )


def revoked(credential: str) -> CredentialRevoked:
    """The refusal of a holder of a credential (name) that was cut off."""
    return CredentialRevoked(
        f"{credential} was reset or taken away, or this device was taken off it; ask for the new file.",
        credential=credential,
    )


def signer_withdrawn(credential: str) -> CredentialRevoked:
    """The refusal of a file that a key of the server has signed which was withdrawn."""
    return CredentialRevoked(
        f"The key of the server that has signed this file of {credential} was withdrawn; ask for a new file.",
        credential=credential,
    )


def called(hosts: Iterable[tuple[str, str]]) -> str:
    """Devices (host name and id) for a sentence."""
    words = [host or device for host, device in hosts]
    more = f" and {len(words) - LISTED_DEVICES} more" if len(words) > LISTED_DEVICES else ""
    return ", ".join(words[:LISTED_DEVICES]) + more


def _no_more_devices(credential: Credential) -> DevicesExhausted:
    devices = called((one.host_name, one.device) for one in credential.devices)
    return DevicesExhausted(
        f"{credential.name} is on {len(credential.devices)} devices ({devices}), and may be on no more; take it "
        "off one of them: `keypeg credential remove` there, or with --device from anywhere.",
        credential=credential.name,
        limit=str(credential.device_limit),
        devices=devices,
    )
