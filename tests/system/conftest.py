"""Fixtures of whole processes: a lab for each test file, a world with a running server in it, a key.

Promises: every program started in a file ends with it, but for the server of files that leave it running as it is: they
share one. Each test takes an account of its own, so that tests of one server do not see each other.

Leaves to others: the programs and how they are started (tools/lab), who takes part (people.py).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.keys import KeyLab
from lab.processes import Lab
from lab.world import World
from tests.system.people import SETTINGS, Customer, new_id


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory, made_data: Path) -> Iterator[World]:
    with Lab(tmp_path_factory.mktemp("shared")) as made:
        yield World(made, settings=SETTINGS, like=made_data)


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, lab: Lab) -> World:
    """The server is the file's own where it says `own_server`: where it is stopped, killed or set otherwise."""
    if request.node.get_closest_marker("own_server"):
        return World(lab, settings=SETTINGS, like=request.getfixturevalue("made_data"))
    view: World = copy.copy(request.getfixturevalue("shared_world"))
    view.lab = lab
    return view


@pytest.fixture
def customer(world: World) -> Customer:
    return Customer(world)


@pytest.fixture
def new_name() -> Callable[[str], str]:
    """Ids that no other test of the run has."""
    return new_id


@pytest.fixture
def keys(lab: Lab, new_name: Callable[[str], str]) -> Iterator[KeyLab]:
    """A key, and a bridge that has it."""
    made = KeyLab(lab, new_name("key"))
    made.start_key()
    made.start_bridge()
    yield made
    made.end()
