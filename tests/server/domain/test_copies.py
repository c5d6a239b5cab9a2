"""Copies of one computer: whatever is copied, put back, cut off and started again, one of them runs at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
)

from keypeg_server.domain.copies import NOBODY, Answer, Device

SHARED, OTHER, SILENT = Answer.SHARED, Answer.OTHER, Answer.SILENT


@pytest.mark.parametrize(
    ("there", "answers", "left", "ended"),
    [
        ({}, {}, {"new": False}, set()),
        ({"a": False}, {"a": SHARED}, {"a": False, "new": False}, set()),
        ({"a": False}, {"a": OTHER}, {"new": False}, {"a"}),
        ({"a": False}, {"a": SILENT}, {"a": True, "new": False}, set()),
        ({"a": True}, {}, {"a": True, "new": False}, set()),
        (
            {"a": False, "b": False},
            {"a": OTHER, "b": SILENT},
            {"b": True, "new": False},
            {"a"},
        ),
    ],
)
def test_the_newest_takes_the_place_of_those_on_another_copy(
    there: dict[str, bool], answers: dict[str, Answer], left: dict[str, bool], ended: set[str]
) -> None:
    outcome = Device(there).opened("new", answers)
    assert outcome.device.sessions == left
    assert outcome.ended == ended
    assert not outcome.refused


@pytest.mark.parametrize(
    ("answers", "refused", "left"),
    [
        ({"a": SHARED}, False, {"a": False, "back": False}),
        ({"a": OTHER}, True, {"a": False, "back": True}),
        ({"a": SILENT}, False, {"a": True, "back": False}),
    ],
)
def test_who_comes_back_takes_nobody_s_place(
    answers: dict[str, Answer], refused: bool, left: dict[str, bool]
) -> None:
    device = Device({"a": False, "back": True})
    outcome = device.resumed("back", answers)
    assert outcome.refused is refused
    assert not outcome.ended
    assert outcome.device.sessions == left


@dataclass
class Disk:
    """A state directory: the marks that are on it."""

    marks: set[str] = field(default_factory=set)


@dataclass
class App:
    """A running app, in the memory of one machine."""

    session: str
    disk: Disk
    connected: bool = True
    over: bool = False

    @property
    def runs(self) -> bool:
        return self.connected and not self.over


SLOW = st.sets(st.integers(0, 5))
"""Which of those that are asked do not answer in time."""


class Machines(RuleBasedStateMachine):
    """Computers that say they are the same device, and one server."""

    disks = Bundle("disks")
    apps = Bundle("apps")

    def __init__(self) -> None:
        super().__init__()
        self.device = NOBODY
        self.everyone: list[App] = []
        self.count = 0

    @rule(target=disks)
    def a_machine(self) -> Disk:
        return Disk()

    @rule(target=disks, disk=disks)
    def copy(self, disk: Disk) -> Disk:
        """Putting back is the same: a disk that knows nothing of what comes after."""
        return Disk(set(disk.marks))

    @rule(target=apps, app=apps)
    def copy_with_memory(self, app: App) -> App:
        """A machine that was copied as it ran: the same session, and the same secrets of it."""
        twin = App(app.session, Disk(set(app.disk.marks)), connected=False, over=app.over)
        self.everyone.append(twin)
        return twin

    @rule(target=apps, disk=disks, slow=SLOW)
    def start(self, disk: Disk, slow: set[int]) -> App:
        app = App(self._new("session"), disk, connected=False)
        outcome = self.device.opened(app.session, self._answers(app, slow))
        assert not outcome.refused
        self.everyone.append(app)
        self._attach(app, outcome.device)
        for other in self.everyone:
            if other.session in outcome.ended:
                other.over = True
        return app

    @rule(app=apps)
    def cut(self, app: App) -> None:
        """Its network is away; the server may not know it yet."""
        app.connected = False

    @rule(app=apps, slow=SLOW)
    def come_back(self, app: App, slow: set[int]) -> None:
        if app.over or app.connected:
            return
        outcome = self.device.resumed(app.session, self._answers(app, slow))
        if outcome.refused:
            app.over = True
            self._hang_up_the_doubted()
        else:
            self._attach(app, outcome.device)

    @rule(app=apps)
    def quit(self, app: App) -> None:
        if app.runs:
            app.over = True
            self.device = self.device.left(app.session)

    @rule()
    def restart_of_the_server(self) -> None:
        """It forgets everything; apps come back one by one."""
        self.device = NOBODY
        for app in self.everyone:
            app.connected = False

    @invariant()
    def one_copy_runs(self) -> None:
        assert len({id(app.disk) for app in self.everyone if app.runs}) <= 1

    @invariant()
    def whoever_runs_is_among_those_that_are_together(self) -> None:
        assert {app.session for app in self.everyone if app.runs} <= self.device.together

    def _new(self, what: str) -> str:
        self.count += 1
        return f"{what}-{self.count}"

    def _answers(self, newcomer: App, slow: set[int]) -> dict[str, Answer]:
        mark = self._new("mark")  # of this stream alone
        newcomer.disk.marks.add(mark)
        answers = {}
        for index, session in enumerate(sorted(self.device.together - {newcomer.session})):
            asked = [app for app in self.everyone if app.session == session and app.runs]
            if not asked or index in slow:
                answers[session] = SILENT
            else:
                answers[session] = SHARED if mark in asked[0].disk.marks else OTHER
        return answers

    def _attach(self, app: App, device: Device) -> None:
        """It runs; who was on its session before is over, and who is doubted is hung up."""
        for other in self.everyone:
            if other.session == app.session and other.runs:
                other.over = True
        app.connected = True
        self.device = device
        self._hang_up_the_doubted()

    def _hang_up_the_doubted(self) -> None:
        for app in self.everyone:
            if app.session not in self.device.together:
                app.connected = False


Machines.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestMachines = Machines.TestCase
