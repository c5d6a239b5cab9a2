"""Where a bridge and an agent are found on this computer.

Promises: one rule for all programs: the environment first, then the socket at its usual place, and
only when it is there and belongs to this user or to the system's own.

Leaves to others: connecting (calls), and what is served there.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import platformdirs

BRIDGE_SOCKET: Final = "bridge.sock"


def runtime_dir(environment: Mapping[str, str] | None = None) -> Path:
    """The directory for sockets of this user's keypeg programs; need not exist."""
    env = os.environ if environment is None else environment
    if chosen := env.get("XDG_RUNTIME_DIR"):
        return Path(chosen) / "keypeg"
    if not hasattr(os, "getuid"):
        return platformdirs.user_runtime_path("keypeg", appauthor=False)
    usual = Path(f"/run/user/{os.getuid()}")
    if usual.is_dir():
        return usual / "keypeg"
    return Path(tempfile.gettempdir()) / f"keypeg-{os.getuid()}"


def bridge_socket(environment: Mapping[str, str] | None = None) -> Path:
    """Where a bridge listens unless told otherwise."""
    return runtime_dir(environment) / BRIDGE_SOCKET


def bridge_target(chosen: str = "", environment: Mapping[str, str] | None = None) -> str | None:
    """The bridge to ask: `chosen`, else KEYPEG_BRIDGE, else the usual socket if it is there.

    None when there is no bridge; `off` as the choice means: ask none.
    """
    env = os.environ if environment is None else environment
    target = chosen or env.get("KEYPEG_BRIDGE") or ""
    if target == "off":
        return None
    if target:
        return target
    usual = bridge_socket(env)
    return f"unix:{usual}" if is_trusted_socket(usual) else None


def agent_target(environment: Mapping[str, str] | None = None) -> str | None:
    """The agent that watches this process: KEYPEG_AGENT, else the bridge where it is a Unix socket."""
    env = os.environ if environment is None else environment
    target = env.get("KEYPEG_AGENT") or ""
    if target == "off":
        return None
    if target:
        return target
    bridge = bridge_target("", env)
    return bridge if bridge is not None and bridge.startswith("unix:") else None


def is_trusted_socket(path: Path) -> bool:
    """True when there is a socket whose owner is this user or root."""
    try:
        found = path.stat()
    except OSError:
        return False
    owners = (0, os.getuid()) if hasattr(os, "getuid") else (found.st_uid,)
    return stat.S_ISSOCK(found.st_mode) and found.st_uid in owners
