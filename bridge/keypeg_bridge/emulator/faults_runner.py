"""Runs one script at a time on the board of faults.

Promises: each fault of the script begins at its time, in the script's order; one that cannot begin is noted in the history
and the script goes on. Stopping a script leaves the faults that have begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.faults_board import At, Board, Timer
from keypeg_bridge.emulator.faults_script import Moment, Script


class Runner:
    """The script of one process."""

    def __init__(self, board: Board, clock: Callable[[], float], at: At) -> None:
        self._board = board
        self._clock = clock
        self._at = at
        self._moments: Iterator[Moment] | None = None
        self._next: Moment | None = None
        self._timer: Timer | None = None
        self._start = 0.0
        self._seed: str | None = None
        self._done = 0

    def start(self, script: Script, seed: str) -> None:
        """Begin a script now; what the board draws comes from its seed too. Refused while another one runs."""
        if self._next is not None:
            raise EmulatorError("A script runs already. Stop it, or wait for its end.")
        self._board.reseed(seed)
        self._seed, self._done, self._start = seed, 0, self._clock()
        self._moments = script.moments(seed)
        self._plan()

    def stop(self) -> None:
        """Begin nothing more; safe to repeat."""
        if self._timer is not None:
            self._timer.cancel()
        self._moments = self._next = self._timer = None

    def status(self) -> dict[str, Any]:
        """Whether one runs, from which seed, how many faults it began, and when the next is due."""
        return {
            "running": self._next is not None,
            "seed": self._seed,
            "done": self._done,
            "next_at": None if self._next is None else self._next.at,
        }

    def _plan(self) -> None:
        self._next = next(self._moments, None) if self._moments is not None else None
        self._timer = None
        if self._next is not None:
            self._timer = self._at(self._start + self._next.at, self._do)

    def _do(self) -> None:
        moment = self._next
        if moment is None:
            return
        try:
            self._board.inject(moment.fault)
        except EmulatorError as error:
            self._board.refused(moment.fault.to_json(), str(error))
        self._done += 1
        self._plan()
