"""What one run of `keypeg` knows: the shared options, the profile, the printer, and the way to a server.

Promises: loading this module loads no gRPC; a token of a profile goes only to a host of that profile,
never to another one that `--server` or the environment names.

Leaves to others: the calls themselves (link.py) and the profile's files (keypeg.profile).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from keypeg._version import __version__
from keypeg.cli.lazy import SETTINGS
from keypeg.cli.output import Printer
from keypeg.clock import Clock, SystemClock

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.profile import Profile
    from keypeg.v1 import session_pb2


@dataclass
class Cli:
    """One run of the program."""

    clock: Clock = field(default_factory=SystemClock)

    @property
    def settings(self) -> dict[str, Any]:
        """The shared options as given, nearest to the end of the line first."""
        found: dict[str, Any] = click.get_current_context().meta.get(SETTINGS, {})
        return found

    @property
    def printer(self) -> Printer:
        """Prints in the form that was asked for."""
        return Printer(self.form, self.now)

    @property
    def form(self) -> str:
        """How to print."""
        return str(self.settings.get("output", "table"))

    @property
    def version(self) -> str:
        """The version of this program."""
        return __version__

    @property
    def sdk(self) -> str:
        """The SDK's name, as the contract asks for it."""
        return f"keypeg-python/{__version__}"

    def now(self) -> datetime:
        """The date and time."""
        return self.clock.wall()

    def profile(self) -> Profile:
        """The profile, with the options over it; its token only when the host is the profile's."""
        from keypeg import profile as profiles

        name = self.settings.get("profile")
        environment = dict(os.environ)
        if server := self.settings.get("server"):
            environment["KEYPEG_SERVER"] = server
        loaded = profiles.load(name, environment)
        if ca_file := self.settings.get("ca_file"):
            loaded = replace(loaded, ca_file=ca_file)
        if bridge := self.settings.get("bridge"):
            loaded = replace(loaded, bridge=bridge)
        if (loaded.token or loaded.unread) and not environment.get("KEYPEG_TOKEN"):
            kept = profiles.server_of(loaded.name, environment)
            if kept and not hosts(loaded.server) <= hosts(kept):
                loaded = replace(loaded, token="", unread=None, account="", user="")
        return loaded

    def device(self) -> session_pb2.Device:
        """This computer, as the contract names it."""
        import socket

        from keypeg import profile as profiles
        from keypeg.v1 import session_pb2

        return session_pb2.Device(id=profiles.device_id(), host_name=socket.gethostname()[:255])

    def bridge_target(self) -> str | None:
        """Where the bridge is; None when there is none."""
        from keypeg.discovery import bridge_target

        return bridge_target(self.profile().bridge)

    @asynccontextmanager
    async def server(self, *, signed_in: bool = True) -> AsyncIterator[Link]:
        """The way to the server, closed at the end. Without a token nothing is asked of it."""
        from keypeg.cli.link import Link
        from keypeg.errors import SignInRequired

        profile = self.profile()
        if signed_in and profile.credential and not profile.token:
            from keypeg import credential_sign_in
            from keypeg import profile as profiles

            profile = await credential_sign_in.signed_in(profile, profiles.device_id())
        if signed_in and profile.server and not profile.readable().token:
            raise SignInRequired(
                f"Nobody is signed in at {profile.server} with the profile {profile.name}."
            )
        link = Link.to_server(profile)
        try:
            yield link
        finally:
            await link.close()

    @asynccontextmanager
    async def bridge(self) -> AsyncIterator[Link]:
        """The way to the bridge, closed at the end."""
        from keypeg.cli.link import Link
        from keypeg.discovery import bridge_socket
        from keypeg.errors import Unreachable

        profile = self.profile()
        target = self.bridge_target()
        if target is None:
            raise Unreachable(
                f"No bridge runs on this computer: there is no socket {bridge_socket()}. "
                "Start keypeg-bridge, or name one with --bridge."
            )
        link = Link.to_bridge(target, profile)
        try:
            yield link
        finally:
            await link.close()


pass_cli: Callable[..., Any] = click.make_pass_decorator(Cli, ensure=True)


def hosts(server: str) -> frozenset[str]:
    """The hosts of `host:port`, several separated by commas."""
    return frozenset(part.strip().rpartition(":")[0] for part in server.split(",") if part.strip())
