"""Copies of one computer: which of the sessions of a device may go on together (CLOUD-18).

A virtual machine that was copied, or put back to an earlier state, says that it is the same device. Its sessions can not
show the marks that those of the other copy have put on their disk since, and so the server finds out.

Promises: pure. All members that are not doubted share one computer: a session joins by taking the place of those that
do not share its own, and comes back only to those that do. Who does not answer is doubted, may not go on before it has
shown itself, and ends nobody.

Leaves to others: asking, and ending sessions (service/copies.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final


class Answer(enum.Enum):
    """What a session says when it is asked for the mark of another."""

    SHARED = "shared"  # it found the mark: one computer
    OTHER = "other"  # it did not: another copy
    SILENT = "silent"  # it is not connected, or did not answer in time


@dataclass(frozen=True)
class Outcome:
    """The sessions of a device after one has come, and those whose time is over."""

    device: Device
    ended: frozenset[str] = frozenset()
    refused: bool = False  # the one that came


@dataclass(frozen=True)
class Device:
    """The sessions (ids) of one device of an account; True for those that are doubted."""

    sessions: Mapping[str, bool] = field(default_factory=dict)

    @property
    def together(self) -> frozenset[str]:
        """Those of one computer: whoever comes is compared with them."""
        return frozenset(session for session, doubted in self.sessions.items() if not doubted)

    def opened(self, session: str, answers: Mapping[str, Answer]) -> Outcome:
        """A new session; `answers` are those of the others that are together. The newest stays."""
        return self._with(session, answers, ended=_said(answers, Answer.OTHER))

    def resumed(self, session: str, answers: Mapping[str, Answer]) -> Outcome:
        """A session that comes back, perhaps out of a copy of its memory: refused while another computer runs."""
        if _said(answers, Answer.OTHER):
            return Outcome(self, refused=True)
        return self._with(session, answers, ended=frozenset())

    def left(self, session: str) -> Device:
        """A session is over."""
        return Device({id: doubted for id, doubted in self.sessions.items() if id != session})

    def _with(self, session: str, answers: Mapping[str, Answer], ended: frozenset[str]) -> Outcome:
        silent = _said(answers, Answer.SILENT)
        kept = {
            id: doubted or id in silent for id, doubted in self.sessions.items() if id not in ended
        }
        return Outcome(replace(self, sessions={**kept, session: False}), ended)


def _said(answers: Mapping[str, Answer], what: Answer) -> frozenset[str]:
    return frozenset(session for session, answer in answers.items() if answer is what)


NOBODY: Final = Device()
