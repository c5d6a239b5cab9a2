"""`keypeg doctor` on tokens: where they are, and who can read them.

Promises: nothing is changed; a keyring that does not answer costs a bounded time.

Leaves to others: the other checks (doctor), places (keypeg.token_place).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keypeg.cli.health import Check, Verdict

if TYPE_CHECKING:
    from keypeg.profile import Profile

NAME: Final = "Tokens"


def check(profile: Profile | None) -> Check:
    """Nobody but its owner can read the token, and its owner can."""
    from keypeg import profile as profiles
    from keypeg.token_place import Place

    if profile is None:
        return Check(NAME, Verdict.SKIPPED, "no profile")
    if os.environ.get("KEYPEG_TOKEN"):
        return Check(NAME, Verdict.OK, "KEYPEG_TOKEN is used instead")
    keeper = profiles.keeper(profile.name)
    if keeper.place() is not Place.KEYRING:
        return _file(profiles.config_dir() / profiles.TOKEN_DIRECTORY / profile.name)
    if profile.unread is not None:
        return Check(
            NAME,
            Verdict.FAILED,
            profile.unread.sentence,
            "Make it possible, or run: keypeg login --tokens file",
        )
    return Check(NAME, Verdict.OK, "in the system's keyring")


def _file(path: Path) -> Check:
    try:
        found = path.stat()
    except FileNotFoundError:
        return Check(NAME, Verdict.SKIPPED, "nobody is signed in")
    except OSError as error:
        return Check(NAME, Verdict.FAILED, f"{path}: {error.strerror}", f"Look at {path}.")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077 and os.name == "posix":
        return Check(
            NAME,
            Verdict.FAILED,
            f"{path} can be read by others (mode {mode:04o})",
            f"Run: chmod 600 {path}; then sign out and in again, for the token may be known.",
        )
    return Check(NAME, Verdict.OK, f"{path} is its owner's only")
