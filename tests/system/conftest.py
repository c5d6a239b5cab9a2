"""Fixtures of whole processes: a lab for each test file, a world with a running server in it.

Promises: every program started in a file ends with it; each test takes an account of its own, so that
tests of one file do not see each other.

Leaves to others: the programs and how they are started (tools/lab), who takes part (people.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.processes import Lab
from lab.world import World
from tests.system.people import SETTINGS, Customer, new_id


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path) -> World:
    return World(lab, settings=SETTINGS, like=made_data)


@pytest.fixture
def customer(world: World) -> Customer:
    return Customer(world)


@pytest.fixture
def new_name() -> Callable[[str], str]:
    """Ids that no other test of the run has."""
    return new_id
