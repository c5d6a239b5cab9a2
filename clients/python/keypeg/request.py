"""What an app asks for when it opens a session, with everything from the environment filled in.

Promises: what the app gave is checked here, before anything is asked of anybody.

Leaves to others: where a license is looked for with it (client), the environment (profile, discovery).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Final, Literal, get_args

from keypeg import discovery, hostinfo, servers
from keypeg import profile as profiles
from keypeg.clock import Clock, SystemClock
from keypeg.errors import FieldInvalid
from keypeg.key_counters import KeyCounters
from keypeg.session_guard import Pinned
from keypeg.versions import Release

Cloud = Literal["ask", "open", "move", "never"]
"""What to do when the account's cloud session is not on this device: raise, so that the app can ask (ask,
never); open it if it is closed (open); take it over from another device, too (move)."""

KINDS: Final[Mapping[str, int]] = {"cloud": 1, "key": 2, "host": 3, "site": 4}  # as LocationKind
ROOT_SIZE: Final = 32  # bytes of an Ed25519 key
_COUNTERS: Final = KeyCounters()  # of all sessions of this process


@dataclass(frozen=True)
class Request:
    """What an app asks for, with everything from the environment filled in."""

    pinned: Pinned
    app_name: str
    profile: profiles.Profile
    bridge: str | None
    agent: str | None
    licenses: Path
    borrows: Path
    marks: Path
    kinds: tuple[str, ...]  # empty for any
    cloud: Cloud
    clock: Clock
    read_parts: Callable[[], Mapping[str, str]] = field(repr=False)

    @classmethod
    def make(
        cls,
        product: str,
        *,
        root: bytes | str,
        publisher: str | None,
        server: str | Iterable[str] | None,
        ca_file: str | None,
        bridge: str | None,
        token: str | None,
        credential: str | None = None,
        profile: str | None,
        account: str | None,
        app_name: str | None,
        app_version: str,
        app_released: date | None,
        locations: Iterable[str] | None,
        cloud: Cloud | None,
        clock: Clock | None,
    ) -> Request:
        """Checks what the app gave, and fills in the rest."""
        address = None if server is None else servers.joined(server)
        loaded = profiles.given(profile, address, ca_file, token, account, credential)
        policy = cloud or loaded.cloud or "ask"
        if policy not in get_args(Cloud):
            raise FieldInvalid(
                f"cloud is one of {', '.join(get_args(Cloud))}, not {policy!r}.", field="cloud"
            )
        device = profiles.device_id()
        return cls(
            pinned=Pinned(
                product=product,
                device=device,
                root=root_bytes(root),
                publisher=publisher,
                counters=_COUNTERS,
                release=Release(app_version, released_at(app_released)),
            ),
            app_name=(app_name or Path(sys.argv[0] or "app").name or "app")[:128],
            profile=loaded,
            bridge=discovery.bridge_target(bridge or loaded.bridge),
            agent=discovery.agent_target(),
            licenses=profiles.licenses_dir(),
            borrows=profiles.borrows_dir(),
            marks=profiles.marks_dir(),
            kinds=_kinds(locations),
            cloud=policy,  # type: ignore[arg-type]  # checked above
            clock=clock or SystemClock(),
            read_parts=hostinfo.parts,
        )

    def wants(self, *kinds: str) -> bool:
        """Whether one of these kinds of place may be asked."""
        return not self.kinds or any(kind in self.kinds for kind in kinds)

    def numbers(self, *kinds: str) -> tuple[int, ...]:
        """The kinds for `open`; empty for any."""
        return tuple(KINDS[kind] for kind in self.kinds if kind in kinds)


def root_bytes(root: bytes | str) -> bytes:
    """The pinned root: 32 bytes, or 64 hexadecimal characters."""
    try:
        key = bytes.fromhex(root.strip()) if isinstance(root, str) else bytes(root)
    except ValueError:
        key = b""
    if len(key) != ROOT_SIZE:
        raise FieldInvalid(
            f"The publisher's root is an Ed25519 public key: {ROOT_SIZE} bytes, or "
            f"{2 * ROOT_SIZE} hexadecimal characters.",
            field="root",
        )
    return key


def released_at(released: date | None) -> datetime | None:
    """When an app was released: a moment with its time zone, or a day, which begins in UTC."""
    if released is None or isinstance(released, datetime):
        if released is not None and released.tzinfo is None:
            raise FieldInvalid(
                f"app_released is a day, or a moment with its time zone; {released.isoformat()} has none.",
                field="app_released",
            )
        return released
    return datetime.combine(released, time(), UTC)


def _kinds(locations: Iterable[str] | None) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(locations or ()))
    if isinstance(locations, str) or (unknown := set(chosen) - set(KINDS)):
        named = locations if isinstance(locations, str) else ", ".join(sorted(unknown))
        raise FieldInvalid(
            f"locations is a list of {', '.join(KINDS)}; {named!r} is none.", field="locations"
        )
    return chosen
