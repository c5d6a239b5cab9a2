"""Who wants a place used without being asked, and which: remembered per user and product family.

Promises: one small file, `launch.json` in the configuration directory, readable by its owner only, written whole
or not at all. A file that can not be read means: ask. It holds no secret.

Leaves to others: asking (launch_flow), showing and resetting it (cli).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from keypeg import files, profile
from keypeg.errors import FieldInvalid

FILE: Final = "launch.json"
SIZE: Final = 1 << 20  # bytes; some hundred for each answer
KEPT: Final = 1_000  # answers; the oldest are asked for again
VERSION: Final = 1


@dataclass(frozen=True)
class Remembered:
    """An answer that was `always`."""

    user: str  # `accounts/{account}/users/{user}`
    login: str  # for people
    family: str  # a product's name, or what its publisher calls some of them
    time: str  # when, ISO 8601 in UTC
    place: str = "cloud"  # what is always used: `cloud`, `key` or `host`


class Memory:
    """The answers that are remembered on this computer."""

    def __init__(self, directory: Path | None = None) -> None:
        self._path = (directory or profile.config_dir()) / FILE

    def all(self) -> tuple[Remembered, ...]:
        """The answers, the oldest first."""
        try:
            stored = json.loads(files.read(self._path, SIZE))
            if stored["version"] != VERSION:
                return ()
            found = tuple(Remembered(**one) for one in stored["always"])
        except FileNotFoundError:
            return ()
        except (FieldInvalid, ValueError, KeyError, TypeError, RecursionError):
            return ()  # another version, or damaged: the person is asked again
        texts = [text for one in found for text in vars(one).values()]
        return found if all(isinstance(text, str) for text in texts) else ()

    def always(self, user: str, family: str) -> str:
        """The kind of place that this user always wants for this family; empty for none."""
        found = (one for one in self.all() if (one.user, one.family) == (user, family))
        return next((one.place for one in found), "")

    def remember(self, user: str, login: str, family: str, now: datetime, place: str) -> None:
        """Always this place, from now on."""
        others = [one for one in self.all() if (one.user, one.family) != (user, family)]
        added = Remembered(user, login, family, now.isoformat(timespec="seconds"), place)
        self._write([*others, added][-KEPT:])

    def reset(self, *, user: str | None = None, family: str | None = None) -> int:
        """Forgets what matches, everything when nothing is named; how many answers that were."""
        before = self.all()
        kept = [
            one
            for one in before
            if user not in (None, one.user) or family not in (None, one.family)
        ]
        if len(kept) < len(before) or (self._path.exists() and not before):
            self._write(kept)
        return len(before) - len(kept)

    def _write(self, answers: list[Remembered]) -> None:
        stored = {"version": VERSION, "always": [vars(one) for one in answers]}
        files.write(self._path, json.dumps(stored, indent=1).encode() + b"\n")
