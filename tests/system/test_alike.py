"""What is not yours and what is not there cost a server the same: the same statements, in the same order.

Time itself is not measured: it would tell as much of the machine. What the server does for each of both calls is.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keypeg.errors import Reason
from keypeg_server.rpc.authorization import TABLE
from keypeg_server.rpc.authorization_cells import STRANGERS, Outcome, outcome
from lab.processes import Lab
from lab.world import World
from tests.system.authorization_calls import CALLS, MADE_ANEW
from tests.system.people import BRIDGES, SETTINGS, Customer, refused
from tests.system.test_authorization import Everyone, call

pytestmark = [pytest.mark.system, pytest.mark.long]
COUNTING = Path(__file__).with_name("counting.py")
TRIES = 8
"""Of two calls: a task of the server's own may fall into one, and not into each."""


@dataclass(frozen=True)
class Counted:
    """A server whose work is written down."""

    world: World
    file: Path

    def work_of(self, calls: Callable[[], object]) -> list[str]:
        """What the server did meanwhile."""
        begun = self.file.stat().st_size
        calls()
        with self.file.open("rb") as lines:
            lines.seek(begun)
            return lines.read().decode().splitlines()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, made_data: Path) -> Iterator[Counted]:
    folder = tmp_path_factory.mktemp("counted")
    file = folder / "work"
    with Lab(folder) as lab:
        under = (sys.executable, str(COUNTING), str(file))
        yield Counted(World(lab, settings=SETTINGS + BRIDGES, like=made_data, under=under), file)


@pytest.fixture(scope="module")
def everyone(counted: Counted) -> Iterator[Everyone]:
    found = Everyone(counted.world)
    yield found
    for api in found.apis.values():
        api.close()


def test_the_work_of_a_call_is_written_down(counted: Counted) -> None:
    """Else all would be alike."""
    customer = Customer(counted.world)
    work = counted.work_of(lambda: counted.world.token(customer.member_login))
    assert sum(line.startswith("password argon2id ") for line in work) == 1
    assert any(line.startswith("INSERT") for line in work)


@pytest.mark.parametrize("method", sorted(TABLE))
def test_not_yours_and_not_there_are_the_same_work(
    counted: Counted, everyone: Everyone, method: str
) -> None:
    there = everyone.scene
    short = method.rpartition("/")[2]
    for who in STRANGERS:
        if outcome(TABLE[method], who) is not Outcome.HIDDEN:
            continue
        about = MADE_ANEW[short](there) if short in MADE_ANEW else there
        api = everyone.api(who, method)
        request = CALLS[method]
        call(api, method, request(about.elsewhere()))  # its token is in memory from now on
        for attempt in itertools.count(1):
            not_yours = counted.work_of(lambda: call(api, method, request(about)))  # noqa: B023
            not_there = counted.work_of(lambda: call(api, method, request(about.elsewhere())))  # noqa: B023
            if not_yours == not_there:
                break
            assert attempt < TRIES, f"{short}, {who.value}: {not_yours} != {not_there}"


def test_a_wrong_login_and_a_wrong_password_are_the_same_work(counted: Counted) -> None:
    customer = Customer(counted.world)

    def sign_in(login: str) -> None:
        with refused(Reason.CREDENTIALS_INVALID):
            counted.world.token(login, "not the password")

    for attempt in itertools.count(1):
        known = counted.work_of(lambda: sign_in(customer.member_login))
        unknown = counted.work_of(lambda: sign_in("nobody-is-called-so"))
        if known == unknown and sum(line.startswith("password") for line in known) == 1:
            break
        assert attempt < TRIES, f"{known} != {unknown}"
