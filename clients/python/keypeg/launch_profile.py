"""Which profile a launch signs in with, and how it is kept.

Promises: a token goes to the server of its own profile only; an app that names another server than the person's
profile gets a profile of its own, which leaves that one as it is.

Leaves to others: the files (profile), signing in (launch_work).
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Final

from keypeg import profile as profiles
from keypeg.profile import Profile

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9._-]+")
_NAME_SIZE: Final = 63  # characters, as PROFILE_NAME


def settled(given: Profile) -> Profile:
    """The profile to use, for one with what the app and the environment gave over it."""
    stored = _stored()
    own = stored.get(given.name)
    if own is None or not own.server or not given.server:
        return given
    if _hosts(given.server) <= _hosts(own.server) or given.token != own.token:
        return given  # its own server, or a token that was given by hand
    for one in stored.values():
        if _hosts(given.server) <= _hosts(one.server):
            return replace(
                one,
                server=given.server,
                ca_file=given.ca_file,
                cloud=given.cloud,
                bridge=given.bridge,
            )
    return replace(given, name=_name(given.server), token="", account="", user="")


def kept(profile: Profile) -> Profile:
    """Keeps a profile whose user wants to be remembered; the first one becomes the default."""
    ca_file = os.path.abspath(os.path.expanduser(profile.ca_file)) if profile.ca_file else ""
    whole = replace(profile, ca_file=ca_file)
    profiles.save(whole, current=not profiles.names())
    return whole


def shares_host(one: str, other: str) -> bool:
    """Whether two lists of servers name a host in common."""
    return bool(_hosts(one) & _hosts(other))


def named_for(profile: Profile) -> str:
    """The name to keep a profile under: its own, unless that is another server's."""
    own = _stored().get(profile.name)
    if own is None or not own.server or shares_host(own.server, profile.server):
        return profile.name
    return _name(profile.server)


def _stored() -> dict[str, Profile]:
    only_files = {"KEYPEG_CONFIG_DIR": str(profiles.config_dir())}
    return {name: profiles.load(name, only_files) for name in profiles.names(only_files)}


def _hosts(server: str) -> frozenset[str]:
    return frozenset(part.strip().rpartition(":")[0] for part in server.split(",") if part.strip())


def _name(server: str) -> str:
    """A profile's name for a server: its first host."""
    host = server.partition(",")[0].rpartition(":")[0].strip("[]").lower()
    name = _NOT_IN_NAMES.sub("-", host).strip("._-")[:_NAME_SIZE]
    return name or "launch"
