"""`keypeg run -- CMD ARGS`: runs an app, and frees what it holds at the moment that it dies.

Promises: the app and whatever it starts find an agent of their own (KEYPEG_AGENT); when one of them ends
without a goodbye, killed for example, its sessions are closed at their server at once. Signals reach the
app; the exit code is the app's (128 + n when signal n ended it); before it exits, the wrapper waits, at
most SETTLE_TIME, until the server has heard of every session that it must close.

Leaves to others: watching and closing (keypeg.agent). If the wrapper itself is killed with SIGKILL, the
app runs on unwatched: a seat is then free when its last grant has run out. The same holds for processes
that outlive the app that was started.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command

SETTLE_TIME: Final = 5.0  # s; a dead app's sessions are closed within it, or run out by themselves
NOT_FOUND: Final = 127  # as shells say it
NOT_EXECUTABLE: Final = 126
FORWARDED: Final = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
# What a terminal sends by itself to every process in its foreground, the app included.
KEYBOARD: Final = frozenset({signal.SIGINT, getattr(signal, "SIGQUIT", signal.SIGINT)})


@click.command(
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--product", metavar="PRODUCT", help="First find a license for PRODUCT, asking what helps."
)
@click.argument(
    "command", metavar="-- CMD [ARGS]...", nargs=-1, required=True, type=click.UNPROCESSED
)
@pass_cli
def run(cli: Cli, command: tuple[str, ...], product: str | None) -> None:
    """Run an app, and free its seats at once if it dies.

    Watches the app and every process that it starts. Signals are passed on,
    and the exit code is the app's: 128 + N when signal N ended it. Should
    this program itself be killed with SIGKILL, the app runs on unwatched,
    and its seats are freed by time only.

    \b
    Examples:
      keypeg run -- ./solver --model wing.inp
      keypeg --profile lab run -- python simulate.py
      keypeg run --product acme/cad -- ./cad
    """
    environment = _environment(cli)
    if product is not None:
        from keypeg.cli.launch_look import look

        found = asyncio.run(look(cli, product, root=None, family=None, app_version=""))
        environment |= found.environment
    code = asyncio.run(_run(command, environment))
    click.get_current_context().exit(code)


def _environment(cli: Cli) -> dict[str, str]:
    """The app's environment: ours, with the options that were given."""
    from keypeg.cli.main import GRPC_LOG, GRPC_QUIET

    found = dict(os.environ)
    if found.get(GRPC_LOG) == GRPC_QUIET:
        del found[GRPC_LOG]  # ours, not the app's
    variables = {
        "profile": "KEYPEG_PROFILE",
        "server": "KEYPEG_SERVER",
        "ca_file": "KEYPEG_CA_FILE",
        "bridge": "KEYPEG_BRIDGE",
    }
    for option, variable in variables.items():
        if value := cli.settings.get(option):
            found[variable] = str(value)
    return found


async def _run(command: tuple[str, ...], environment: Mapping[str, str]) -> int:
    from keypeg.agent import Agent

    folder = Path(tempfile.mkdtemp(prefix="keypeg-run-"))  # 0700
    try:
        async with Agent(folder / "agent.sock", settle_time=0.0) as agent:
            app = App(command, {**environment, "KEYPEG_AGENT": agent.target})
            with_signals = _Signals(app)
            with_signals.take()
            try:
                if error := app.start():
                    return error
                code = await app.ended()
            finally:
                with_signals.give_back()
            if not await agent.service.settle(SETTLE_TIME):
                click.echo(
                    f"keypeg run: the server was not reached within {SETTLE_TIME:g} s; "
                    "the app's seats are freed when their last grant has run out.",
                    err=True,
                )
            return code
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class App:
    """The process that is run."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    process_id: int = 0
    early: list[signal.Signals] = field(default_factory=list)

    def start(self) -> int:
        """Start it; 0, or the exit code when there is no such program."""
        sys.stdout.flush()
        try:
            self.process_id = os.posix_spawnp(
                self.command[0],
                self.command,
                self.environment,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores them, apps should not
            )
        except FileNotFoundError:
            click.echo(f"keypeg run: there is no program {self.command[0]!r}.", err=True)
            return NOT_FOUND
        except OSError as error:
            click.echo(f"keypeg run: {self.command[0]}: {error.strerror}.", err=True)
            return NOT_EXECUTABLE
        for number in self.early:
            self.send(number)
        return 0

    def send(self, number: signal.Signals) -> None:
        """Pass a signal on; kept for later when the app has not started."""
        if not self.process_id:
            self.early.append(number)
        elif not (number in KEYBOARD and _in_foreground()):
            os.kill(
                self.process_id, number
            )  # not reaped before `ended`, so the id is still its own

    async def ended(self) -> int:
        """Wait for its end; its exit code, 128 + n for signal n."""
        loop = asyncio.get_running_loop()
        exited: asyncio.Future[None] = loop.create_future()
        pidfd = os.pidfd_open(self.process_id)
        loop.add_reader(pidfd, _tell, exited)
        try:
            await exited
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        return self._reaped()

    def _reaped(self) -> int:
        """Take the exit code of the app, which has ended; from here on its id is no longer its own."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.process_id, 0)[1])
        self.process_id = 0
        return code if code >= 0 else 128 - code


@dataclass
class _Signals:
    """Takes signals for the app, but leaves those alone that were ignored, as under nohup."""

    app: App
    taken: list[signal.Signals] = field(default_factory=list)

    def take(self) -> None:
        loop = asyncio.get_running_loop()
        for number in FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.app.send, number)
                self.taken.append(number)

    def give_back(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self.taken:
            loop.remove_signal_handler(number)


def _tell(exited: asyncio.Future[None]) -> None:
    if not exited.done():
        exited.set_result(None)


def _in_foreground() -> bool:
    """Whether a terminal's keyboard signals reach this process, and so the app as well."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
