"""Fixtures of a real keypegd on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import KeypegError, Reason
from lab.processes import Lab
from lab.world import World


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("keypegd")) as made:
        yield made


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path) -> World:
    return World(lab, like=made_data)


@contextmanager
def refused(reason: Reason) -> Iterator[list[KeypegError]]:
    """The call inside is refused for this reason; the error is in the list afterwards."""
    caught: list[KeypegError] = []
    try:
        yield caught
    except grpc.RpcError as error:
        caught.append(translate(error))
        assert caught[0].reason is reason, f"{caught[0].reason}: {caught[0]}"
        return
    pytest.fail(f"expected a refusal for {reason.name}, but the call succeeded")
