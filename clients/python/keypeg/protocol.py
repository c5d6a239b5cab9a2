"""Which versions of the session protocol are spoken here, and what old and new sides say to each other.

Promises: pure. Who is too old hears which side is to be updated, and to which version as far as that is known. A newer
client finds the newest version that both sides speak: a server names those that it speaks when it refuses one.

Leaves to others: the frames (session_frames), apps' own versions and what licenses open of them (versions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from keypeg._version import __version__
from keypeg.errors import KeypegError, ProtocolUnsupported, UpdateRequired
from keypeg.versions import is_older

# Each version of the frames that is spoken here, with the version of keypeg that spoke it first.
SPOKEN: Final[Mapping[int, str]] = {1: "0.1.0"}

SDK: Final = f"keypeg-python/{__version__}"  # goes with every call, as its user agent
_CLIENT: Final = re.compile(r"(?:^| )keypeg-[a-z]{1,20}/v?(\d[\w.+-]{0,40})", re.ASCII)
_LISTED: Final = 32  # versions that a server names at most


def check(version: int, spoken: Mapping[int, str] = SPOKEN) -> None:
    """ProtocolUnsupported for frames of a version that is not spoken here."""
    if version in spoken:
        return
    named = ",".join(map(str, sorted(spoken)))
    if version > max(spoken):
        raise ProtocolUnsupported(
            f"Version {version} of the session protocol is newer than this side, which speaks {named}: update "
            "keypeg here, or use an app with an older one.",
            version=str(version),
            supported=named,
            component="server",
        )
    needed = spoken[min(spoken)]
    raise ProtocolUnsupported(
        f"Version {version} of the session protocol is not spoken here any more, {named} is: update the app to "
        f"one with keypeg {needed} or newer.",
        version=str(version),
        supported=named,
        component="client",
        minimum_version=needed,
    )


def lower(error: KeypegError, tried: int, spoken: Mapping[int, str] = SPOKEN) -> int | None:
    """The newest version below the one that was tried that both sides speak; None when there is none."""
    if not isinstance(error, ProtocolUnsupported):
        return None
    parts = error.metadata.get("supported", "").split(",")[:_LISTED]
    theirs = {int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 10}
    return max((one for one in theirs & set(spoken) if one < tried), default=None)


def client_version(user_agent: str) -> str | None:
    """The version of keypeg that calls; None when it is another client."""
    found = _CLIENT.search(user_agent)
    return found[1] if found else None


def check_client(user_agent: str, minimum: str) -> None:
    """UpdateRequired for a client of keypeg that is older than what is served."""
    version = client_version(user_agent)
    if version is not None and is_older(version, minimum):
        raise UpdateRequired(
            f"keypeg {version} is no longer served here; update this program to one with keypeg {minimum} or "
            "newer.",
            component="client",
            version=version,
            minimum_version=minimum,
        )
