"""A command line beside a fake server and a fake bridge, with a directory of its own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keypeg import profile as profiles
from keypeg.cli.context import Cli
from keypeg.cli.main import root
from tests.client.cli import fakes


@dataclass
class FixedClock:
    """A clock that stands still."""

    now: datetime = fakes.NOW

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> datetime:
        return self.now


@dataclass
class CommandLine:
    """Runs `keypeg` in this process."""

    environment: dict[str, str | None]
    clock: FixedClock = field(default_factory=FixedClock)

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            root, arguments, input=stdin, env=self.environment, obj=Cli(clock=self.clock)
        )

    def json(self, *arguments: str) -> Any:
        """The JSON that a command prints; it must exit 0, with nothing else on standard output."""
        result = self("-o", "json", *arguments)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def server() -> fakes.Server:
    return fakes.Server()  # type: ignore[abstract]  # what nobody calls here answers UNIMPLEMENTED


@pytest.fixture
def address(server: fakes.Server, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Where the fake server listens, and its certificate's file."""
    serving = fakes.serve(server)
    target, certificate = next(serving)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(certificate)
    yield target, ca_file
    serving.close()


@pytest.fixture
def bridge() -> fakes.Bridge:
    return fakes.Bridge()


@pytest.fixture
def bridge_target(bridge: fakes.Bridge) -> Iterator[str]:
    serving = fakes.serve_bridge(bridge)
    yield next(serving)
    serving.close()


@pytest.fixture
def nowhere(tmp_path: Path) -> CommandLine:
    """A command line that knows no server, no bridge, and nobody."""
    environment: dict[str, str | None] = {
        name: None for name in os.environ if name.startswith("KEYPEG_")
    }
    environment |= {
        "KEYPEG_CONFIG_DIR": str(tmp_path / "config"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "KEYPEG_DEVICE": "dev-here-0001",
        "KEYPEG_TOKENS": "file",
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    return CommandLine(environment)


@pytest.fixture
def keypeg(nowhere: CommandLine, address: tuple[str, Path]) -> CommandLine:
    """A command line that is signed in at the fake server."""
    target, ca_file = address
    profiles.save(
        profiles.Profile(
            server=target, ca_file=str(ca_file), account=fakes.ACCOUNT, token=fakes.TOKEN
        ),
        environment={"KEYPEG_CONFIG_DIR": str(nowhere.environment["KEYPEG_CONFIG_DIR"])},
    )
    return nowhere


@pytest.fixture
def with_bridge(keypeg: CommandLine, bridge_target: str) -> CommandLine:
    """A command line that is signed in and has a bridge."""
    keypeg.environment["KEYPEG_BRIDGE"] = bridge_target
    return keypeg
