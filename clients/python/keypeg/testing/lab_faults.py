"""Faults of emulated keys as methods (docs/labs.md has the list, with every parameter).

Promises: each returns at once, with the fault active; used with `with`, or cleared, it ends and the key is as before. What
cannot be done is a `LabError` that says why.

Leaves to others: what the faults do, which the emulated key knows.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal, Protocol, Self

Interface = Literal["card", "fido", "both"]


class Asks(Protocol):
    """The way to the control socket."""

    def ask(self, command: str, /, **fields: Any) -> dict[str, Any]:
        """The answer to a command."""
        ...


class LabFault:
    """One fault that was asked for."""

    def __init__(self, lab: Asks, facts: dict[str, Any]) -> None:
        self._lab = lab
        self.number: int = facts["number"]
        self.kind: str = facts["fault"]
        self.facts = facts

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return any(one["number"] == self.number for one in self._lab.ask("faults")["faults"])

    @property
    def hits(self) -> int:
        """How many answers it has hit; 0 once it has ended."""
        for one in self._lab.ask("faults")["faults"]:
            if one["number"] == self.number:
                return int(one.get("hits", 0))
        return 0

    def clear(self) -> None:
        """End it; nothing happens when it has ended."""
        if self.active:
            self._lab.ask("clear", number=self.number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()


class Faults:
    """What can be done to one key. Times are in seconds; `seconds` left out lasts until cleared."""

    def __init__(self, lab: Asks, key: str | None) -> None:
        self._lab = lab
        self._key = key

    def fault(self, kind: str, /, **values: Any) -> LabFault:
        """Any fault by its name; values that are None are left out."""
        given = {name: value for name, value in values.items() if value is not None}
        key = {} if self._key is None else {"key": self._key}
        return LabFault(self._lab, self._lab.ask("fault", fault=kind, **key, **given)["fault"])

    def unplug(self, seconds: float | None = None) -> LabFault:
        """Pull the key; after `seconds` it is put back."""
        return self.fault("unplug", seconds=seconds)

    def plug(self) -> None:
        """Put the key in."""
        self.fault("plug")

    def touch(self) -> None:
        """Put the finger on the key, where it was made with touch="command"."""
        self._lab.ask("touch", **({} if self._key is None else {"key": self._key}))

    def flap(self, count: int = 5, *, seconds: float = 0.1, pause: float = 0.1) -> LabFault:
        """Pull it and put it back, `count` times."""
        return self.fault("flap", count=count, seconds=seconds, pause=pause)

    def stall(
        self,
        *,
        interface: Interface = "both",
        count: int | None = None,
        skip: int = 0,
        seconds: float | None = None,
    ) -> LabFault:
        """It takes commands and answers none."""
        return self._answers("stall", interface, count, skip, seconds)

    def slow(
        self,
        delay: float = 1.0,
        *,
        interface: Interface = "both",
        count: int | None = None,
        skip: int = 0,
        seconds: float | None = None,
    ) -> LabFault:
        """Its answers come `delay` late."""
        return self._answers("slow", interface, count, skip, seconds, delay=delay)

    def truncate(
        self,
        bytes: int | None = None,
        *,
        interface: Interface = "both",
        count: int | None = None,
        skip: int = 0,
        seconds: float | None = None,
    ) -> LabFault:
        """Its answers break off after so many bytes."""
        return self._answers("truncate", interface, count, skip, seconds, bytes=bytes)

    def corrupt(
        self,
        offset: int | None = None,
        *,
        interface: Interface = "both",
        count: int | None = None,
        skip: int = 0,
        seconds: float | None = None,
    ) -> LabFault:
        """One byte of each answer is another one."""
        return self._answers("corrupt", interface, count, skip, seconds, offset=offset)

    def wrong_sequence(
        self,
        step: int = 1,
        *,
        interface: Interface = "both",
        count: int | None = None,
        skip: int = 0,
        seconds: float | None = None,
    ) -> LabFault:
        """Its answers carry a number that is off by `step`."""
        return self._answers("sequence", interface, count, skip, seconds, step=step)

    def fill(self, bytes: int = 0, *, seconds: float | None = None) -> LabFault:
        """Its card has room for so many bytes more."""
        return self.fault("full", bytes=bytes, seconds=seconds)

    def wear(
        self, mode: Literal["stuck", "end"] = "stuck", *, seconds: float | None = None
    ) -> LabFault:
        """Its signature counter stands still, or cannot be raised."""
        return self.fault("worn", mode=mode, seconds=seconds)

    def clone(
        self,
        mode: Literal["copy", "forged"] = "copy",
        *,
        swap: bool = False,
        name: str | None = None,
        seconds: float | None = None,
    ) -> LabFault:
        """A second key: a true copy, or one with private keys of its own; with `swap` in the place of this one."""
        return self.fault("clone", mode=mode, swap=swap, name=name, seconds=seconds)

    def snapshot(self, name: str = "snapshot") -> None:
        """Keep its contents for `roll_back`."""
        self.fault("snapshot", name=name)

    def roll_back(
        self,
        to: str = "start",
        *,
        mode: Literal["all", "objects"] = "all",
        seconds: float | None = None,
    ) -> LabFault:
        """Write old contents back; ending it brings the newest back."""
        return self.fault("rollback", to=to, mode=mode, seconds=seconds)

    def pin(
        self,
        mode: Literal["wrong", "blocked", "wanted"] = "wrong",
        *,
        seconds: float | None = None,
    ) -> LabFault:
        """Its PIN is another one, is blocked, or is wanted for signatures."""
        return self.fault("pin", mode=mode, seconds=seconds)

    def _answers(
        self,
        kind: str,
        interface: Interface,
        count: int | None,
        skip: int,
        seconds: float | None,
        **values: Any,
    ) -> LabFault:
        return self.fault(
            kind, interface=interface, count=count, skip=skip, seconds=seconds, **values
        )
