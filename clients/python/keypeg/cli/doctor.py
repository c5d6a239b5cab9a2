"""`keypeg doctor`: checks one thing after the other, and says what to do about each that fails.

Promises: a check that needs an earlier one is skipped when that failed, so that one cause gives one ✗;
nothing is changed; every wait is bounded; exit code 1 when a check fails.

Leaves to others: the judgment of clocks and certificates (health.py, pure), connections (probe.py), the
bridge (bridge_check.py).
"""

from __future__ import annotations

import os
import shutil
import ssl
import sys
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli import bridge_check, health, probe, token_check
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.exits import Exit
from keypeg.cli.health import Check, Verdict
from keypeg.cli.lazy import Command
from keypeg.cli.tables import colorful
from keypeg.cli.values import Column, State, moment

if TYPE_CHECKING:
    from keypeg.profile import Profile

MARKS: Final = {
    Verdict.OK: ("✓", "green"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.FAILED: ("✗", "red"),
    Verdict.SKIPPED: ("-", ""),
}


@click.command(cls=Command)
@pass_cli
async def doctor(cli: Cli) -> None:
    """Check step by step what works; exit code 1 when something does not.

    \b
    Example:
      keypeg doctor
    """
    checks: list[Check] = []
    for check in await Doctor(cli).checks():
        checks.append(check)
        if cli.form == "table":
            _print(check)
    if cli.form != "table":
        cli.printer.listing(
            [one.facts() for one in checks],
            [
                Column("CHECK", lambda one: one["check"]),
                Column("VERDICT", lambda one: State(one["verdict"])),
                Column("FOUND", lambda one: one["found"]),
                Column("TO DO", lambda one: one["to_do"]),
            ],
        )
    failed = sum(one.verdict is Verdict.FAILED for one in checks)
    cli.printer.note(f"{failed} of {len(checks)} checks failed." if failed else "All is well.")
    click.get_current_context().exit(Exit.ERROR if failed else Exit.OK)


def _print(check: Check) -> None:
    mark, color = MARKS[check.verdict]
    shown = click.style(mark, fg=color) if color and colorful() else mark
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    told = fitted(f"{mark} {check.name}: {check.found}", width).removeprefix(mark)
    click.echo(f"{shown}{told}", color=colorful())
    if check.to_do:
        click.echo(fitted(f"    {check.to_do}", width))


def fitted(text: str, width: int | None) -> str:
    """`text` in lines of a terminal's width, broken between words, indented after the first."""
    if width is None:
        return text
    return textwrap.fill(
        text,
        width,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


@dataclass
class Doctor:
    """One examination."""

    cli: Cli
    profile: Profile | None = None
    evidence: list[health.Evidence] = field(default_factory=list)
    reached: bool = False

    async def checks(self) -> list[Check]:
        """Every check, in order."""
        out = [self.configuration(), token_check.check(self.profile), self.device()]
        out += await self.server()
        out += await self.signed_in()
        out += await bridge_check.checks(self.cli)
        return [*out, bridge_check.agent(), self.clock(), self.versions()]

    def configuration(self) -> Check:
        """The profile can be read and names a server."""
        from keypeg import profile as profiles
        from keypeg.errors import FieldInvalid

        try:
            self.profile = self.cli.profile()
        except FieldInvalid as error:
            return Check("Configuration", Verdict.FAILED, error.sentence, "Correct or remove it.")
        where = profiles.config_dir() / profiles.CONFIG_FILE
        if not self.profile.server:
            return Check(
                "Configuration",
                Verdict.FAILED,
                f"no server is named in {where}",
                "Sign in: keypeg login --server HOST:PORT",
            )
        return Check("Configuration", Verdict.OK, f"profile {self.profile.name} of {where}")

    def device(self) -> Check:
        """This computer has an id."""
        from keypeg import profile as profiles
        from keypeg.errors import FieldInvalid

        path = profiles.config_dir() / profiles.DEVICE_FILE
        if not os.environ.get("KEYPEG_DEVICE") and not path.exists():
            return Check("Device id", Verdict.OK, "none yet; made at the first use")
        try:
            return Check("Device id", Verdict.OK, profiles.device_id())
        except FieldInvalid as error:
            return Check(
                "Device id", Verdict.FAILED, error.sentence, f"Remove {path}; a new one is made."
            )

    async def server(self) -> list[Check]:
        """The certificates are good, the server answers, and it is the right one."""
        if self.profile is None or not self.profile.server:
            return [Check("Server", Verdict.SKIPPED, "none is named")]
        certificates = self.certificates(self.profile)
        out = [certificates]
        addresses = list(probe.addresses(self.profile.server))
        for host, port in addresses:
            out += await self._address(host, port, certificates.verdict is not Verdict.FAILED)
        return out

    def certificates(self, profile: Profile) -> Check:
        """The file of authorities can be read, and they are valid now."""
        from keypeg.errors import FieldInvalid

        if not profile.ca_file:
            return Check("Certificates", Verdict.OK, "the system's")
        try:
            pem = profile.ca_certificates() or b""
        except FieldInvalid as error:
            return Check(
                "Certificates",
                Verdict.FAILED,
                error.sentence,
                "Get the file from the server's operator, and give it with --ca-file.",
            )
        return health.certificates(pem, profile.ca_file, self.cli.now())

    async def _address(self, host: str, port: int, trusted: bool) -> list[Check]:
        import asyncio

        where = f"{host}:{port}"
        problem = await asyncio.to_thread(probe.reach, host, port)
        if problem:
            return [
                Check(
                    f"Server {where}",
                    Verdict.FAILED,
                    problem,
                    "Ask its operator whether it runs, and whether a firewall is in between.",
                )
            ]
        out = [Check(f"Server {where}", Verdict.OK, "reachable")]
        if not trusted or self.profile is None:
            return [*out, Check("TLS", Verdict.SKIPPED, "no certificates to check with")]
        try:
            version = await asyncio.to_thread(probe.handshake, host, port, self.profile)
        except ssl.SSLCertVerificationError as error:
            out.append(
                Check(
                    "TLS",
                    Verdict.FAILED,
                    f"its certificate is refused: {error.verify_message}",
                    "Compare the fingerprint that the server printed, and sign in with its "
                    "certificates: keypeg login --ca-file FILE --fingerprint SHA256",
                )
            )
        except (OSError, ValueError) as error:
            out.append(
                Check("TLS", Verdict.FAILED, f"no TLS: {error}", "Is it a keypeg server at all?")
            )
        else:
            self.reached = True
            out.append(Check("TLS", Verdict.OK, version))
        return out

    async def signed_in(self) -> list[Check]:
        """The server knows who we are."""
        from keypeg import errors
        from keypeg.v1 import cloud_session_service_pb2 as pb
        from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

        if not self.reached or self.profile is None:
            return [Check("Signed in", Verdict.SKIPPED, "the server is not reached")]
        try:
            async with self.cli.server() as link:
                caller = await link.caller()
                if ends := moment(caller, "expire_time"):
                    self.evidence.append(health.Evidence("the token's end", not_after=ends))
                if caller.account:
                    stub = rpc.CloudSessionServiceStub(link.channel)
                    request = pb.GetCloudSessionRequest(name=f"{caller.account}/cloudSession")
                    cloud = (await link.call(stub.GetCloudSession, request)).cloud_session
                    if opened := moment(cloud, "open_time"):
                        self.evidence.append(
                            health.Evidence("the opening of the cloud session", not_before=opened)
                        )
        except (errors.SignInRequired, errors.TokenExpired, errors.TokenInvalid) as error:
            return [Check("Signed in", Verdict.FAILED, error.sentence, "Run: keypeg login")]
        except errors.KeypegError as error:
            return [
                Check("Signed in", Verdict.FAILED, error.sentence, "Run: keypeg --debug whoami")
            ]
        return [Check("Signed in", Verdict.OK, f"as {caller.user.login}")]

    def clock(self) -> Check:
        """The computer's date, as far as the server's answers show."""
        return health.clock(self.cli.now(), self.evidence)

    def versions(self) -> Check:
        """What is installed."""
        from keypeg.cli.version import versions

        found = versions()
        missing = [name for name, text in found.items() if text == "not installed"]
        told = ", ".join(f"{name} {text}" for name, text in found.items())
        if missing:
            return Check(
                "Versions", Verdict.FAILED, told, "Run: pip install 'keypeg[cli]', to have it all."
            )
        return Check("Versions", Verdict.OK, told)
