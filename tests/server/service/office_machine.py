"""A stateful test of an account in an office on a real database, against a naive model of it.

Promises: each command is done by the server and by the model, and ends alike; all runs share one office, each with an
account of its own.

Leaves to others: the models, and what there is to see after every step (test_cloud_model.py, test_group_model.py).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Protocol

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from keypeg.errors import KeypegError
from keypeg_server.domain.account import AccountKind
from keypeg_server.domain.license import License
from keypeg_server.service.activations import ActivationView
from keypeg_server.service.store import Page
from tests.server.service.office import Office

ALL = Page("", 1_000)
KEYS = ("k1", "k2")

numbers = itertools.count(1)


class Keyed(Protocol):
    """What a model says of keys."""

    def activate(self, name: str, place: str) -> str: ...
    def give_back(self, name: str, key: str) -> str: ...


class OfficeMachine(RuleBasedStateMachine):
    """One account, with two keys and no license yet."""

    office: ClassVar[Office]
    loop: ClassVar[asyncio.AbstractEventLoop]
    pace: ClassVar[timedelta] = timedelta(0)  # from one command to the next
    model: Keyed

    def __init__(self, kind: AccountKind = AccountKind.PERSONAL) -> None:
        super().__init__()
        self.account = f"{kind.name.lower()}{next(numbers)}"
        self.licenses: dict[str, License] = {}
        self.on_keys: dict[tuple[str, str], ActivationView] = {}
        self.run(self.office.account(self.account, kind))
        for key in KEYS:
            self.run(self.office.key_place(key, account=self.account))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def same(self, work: Coroutine[Any, Any, Any], wanted: str) -> Any:
        """Do it, and compare how it ended with the model."""
        self.office.clock.now += self.pace
        try:
            result, ended = self.run(work), "ok"
        except KeypegError as error:
            result, ended = None, error.reason.name
        assert ended == wanted
        return result

    def some(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.licenses)))

    @precondition(lambda self: self.licenses)
    @rule(data=st.data(), key=st.sampled_from(KEYS))
    def put_on_key(self, data: st.DataObject, key: str) -> None:
        name = self.some(data)
        wanted = self.model.activate(name, key)
        view = self.same(self.office.activate(self.licenses[name], key), wanted)
        if view is not None:
            self.on_keys[name, key] = view

    @precondition(lambda self: self.on_keys)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        name, key = data.draw(st.sampled_from(sorted(self.on_keys)))
        wanted = self.model.give_back(name, key)
        self.same(self.office.give_back(self.on_keys.pop((name, key))), wanted)

    @classmethod
    def check(cls, examples: int, steps: int) -> None:
        """Play so many examples of so many steps."""
        with TemporaryDirectory() as folder:
            loop = asyncio.new_event_loop()
            office = Office(Path(folder))
            try:
                loop.run_until_complete(office.furnish())
                loop.run_until_complete(office.product("eq"))
                cls.office, cls.loop = office, loop
                case = cls.TestCase
                case.settings = settings(
                    max_examples=examples, stateful_step_count=steps, deadline=None
                )
                case().runTest()
            finally:
                loop.run_until_complete(office.close())
                loop.close()
