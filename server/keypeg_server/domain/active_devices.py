"""On how many devices an account is in use at once (CLOUD-17).

Promises: pure. A device is active while a token of a credential is good there, and as long as it holds the account's
cloud session; at most the limit are. A device that is active stays so; one more is refused with the names of those
that are, and told until when to wait, where waiting helps.

Leaves to others: who holds the cloud session (cloud_session.py), on which devices a credential may be (credential.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from keypeg import names
from keypeg.errors import DevicesExhausted

from .credential import called


@dataclass(frozen=True)
class ActiveDevice:
    """A device on which an account is in use."""

    device: str  # id
    host_name: str
    user: str  # name
    credential: str = ""  # name
    holds_cloud: bool = False
    until: datetime | None = None  # None: only the cloud session keeps it so


def merged(devices: Sequence[ActiveDevice], now: datetime) -> tuple[ActiveDevice, ...]:
    """One of each device that is active now, by id: with the longest of its times, and whether it holds the cloud."""
    found: dict[str, ActiveDevice] = {}
    for one in devices:
        if one.until is not None and one.until <= now:
            continue
        there = found.get(one.device, one)
        longer = one if _lasts(one) > _lasts(there) else there
        found[one.device] = replace(longer, holds_cloud=one.holds_cloud or there.holds_cloud)
    return tuple(found[id] for id in sorted(found))


def check_room(
    account: str, active: Sequence[ActiveDevice], device: str, limit: int, *, moves_cloud: bool
) -> None:
    """Refuse a device that would be one too many; `moves_cloud`: it takes the cloud session from whoever has it."""
    leaves = [one.device for one in active if moves_cloud and one.until is None]
    others = [one for one in active if one.device != device and one.device not in leaves]
    if any(one.device == device for one in active) or len(others) < limit:
        return
    free = min((one.until for one in others if one.until is not None), default=None)
    devices = called((one.host_name, one.device) for one in others)
    wait = "" if free is None else f", or wait until {free:%Y-%m-%dT%H:%M:%SZ}"
    error = DevicesExhausted(
        f"The account is in use on {len(others)} devices ({devices}), and may be on {limit} at once; close it on one "
        f"of them (`keypeg session close`, or `keypeg credential remove`){wait}.",
        account=names.ACCOUNT.build(account),
        limit=str(limit),
        devices=devices,
    )
    if free is not None:
        error.metadata["free_time"] = free.isoformat()
    raise error


def _lasts(one: ActiveDevice) -> float:
    return 0.0 if one.until is None else one.until.timestamp()
