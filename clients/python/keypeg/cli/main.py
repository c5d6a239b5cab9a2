"""The program `keypeg`: its commands, and the one place where errors become text and an exit code.

Promises: `keypeg --help` and completion load no gRPC; every refusal ends as sentences on standard error
and a code of exits.py, never as a traceback unless `--debug`.

Leaves to others: every command (one file per noun).
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Final

import click

from keypeg._version import __version__
from keypeg.cli.lazy import SETTINGS, Late, LateGroup, shared_options

CHAPTERS: Final = (
    (
        "Start",
        {
            "login": Late("keypeg.cli.login", "login", "Sign in at a server and keep a profile."),
            "logout": Late("keypeg.cli.login", "logout", "Sign out and forget the token."),
            "whoami": Late("keypeg.cli.login", "whoami", "Show who is signed in, and where."),
            "status": Late("keypeg.cli.status", "status", "Show everything on one screen."),
            "doctor": Late("keypeg.cli.doctor", "doctor", "Check step by step what works."),
        },
    ),
    (
        "Use",
        {
            "license": Late("keypeg.cli.license", "license_group", "What the account owns."),
            "activation": Late(
                "keypeg.cli.activation", "activation_group", "Where its licenses live."
            ),
            "session": Late(
                "keypeg.cli.session", "session_group", "The cloud session: which device has it."
            ),
            "seat": Late("keypeg.cli.seat", "seat_group", "Pools, seats and who waits."),
            "borrow": Late(
                "keypeg.cli.borrow", "borrow_group", "Seats for this computer without a connection."
            ),
            "key": Late("keypeg.cli.key", "key_group", "USB keys plugged into this computer."),
            "location": Late(
                "keypeg.cli.location", "location_group", "Places where licenses may live."
            ),
            "launch": Late(
                "keypeg.cli.launch", "launch_group", "Find a license here, asking what helps."
            ),
            "run": Late("keypeg.cli.run", "run", "Run an app, and free its seats if it dies."),
        },
    ),
    (
        "Manage",
        {
            "pool": Late("keypeg.cli.pool", "pool_group", "Rules of pools: who may, and how much."),
            "account": Late("keypeg.cli.account", "account_group", "Customers."),
            "apikey": Late("keypeg.cli.apikey", "apikey_group", "Keys with which programs call."),
            "certificate": Late(
                "keypeg.cli.certificate",
                "certificate_group",
                "Certificates by which bridges and sites call.",
            ),
            "identity": Late(
                "keypeg.cli.identity", "identity_group", "Who users are at outside providers."
            ),
            "one-time-codes": Late(
                "keypeg.cli.one_time_codes",
                "one_time_codes_group",
                "Codes of an authenticator app, beside your password.",
            ),
            "sign-ins": Late(
                "keypeg.cli.sign_ins", "sign_ins_group", "What you are signed in with."
            ),
            "user": Late("keypeg.cli.user", "user_group", "The people of an account."),
            "credential": Late(
                "keypeg.cli.credential", "credential_group", "Files that open the cloud licenses."
            ),
            "product": Late("keypeg.cli.product", "product_group", "What a publisher sells."),
            "report": Late(
                "keypeg.cli.usage_report", "report_group", "Seats in use, denials, and what if."
            ),
            "audit": Late(
                "keypeg.cli.audit", "audit_group", "The log, and proof that it is whole."
            ),
        },
    ),
    (
        "More",
        {
            "completion": Late(
                "keypeg.cli.completion", "completion", "Print a completion script for a shell."
            ),
            "version": Late("keypeg.cli.version", "version", "Show the versions of this program."),
        },
    ),
)

HELP: Final = """Licenses, seats, sessions and keys from the command line.

Data goes to standard output, messages to standard error, so that
`keypeg -o json ...` can be piped. The shared options below may also stand
after the command.

\b
Exit codes:
  0 done   1 error   2 usage   4 sign in first   5 denied
  6 no seat free   7 server unreachable   8 expired

\b
Example:
  keypeg login --server licenses.example.com:7400 --login ada
  keypeg status
"""


# gRPC's own log would stand between our sentences; `run` gives the app its environment without it.
GRPC_LOG: Final = "GRPC_VERBOSITY"
GRPC_QUIET: Final = "NONE"


INTERRUPTED: Final = 130  # Exit.INTERRUPTED, which is not loaded for help


class Root(LateGroup):
    """The outermost group: ends every error."""

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        if not ctx.meta.get(SETTINGS, {}).get("debug"):
            os.environ.setdefault(GRPC_LOG, GRPC_QUIET)
            warnings.simplefilter("ignore")  # of libraries: for developers, not for users
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (click.Abort, KeyboardInterrupt):
            click.echo(err=True)  # ends the line of ^C
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Whoever read the output has enough; keep the interpreter from saying so at its end.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except Exception as error:
            ctx.exit(_end(error, ctx))


def _end(error: Exception, ctx: click.Context) -> int:
    from keypeg.cli import report
    from keypeg.cli.context import Cli
    from keypeg.errors import KeypegError

    debug = bool(ctx.meta.get(SETTINGS, {}).get("debug"))
    if isinstance(error, KeypegError):
        cli = ctx.find_object(Cli) or Cli()
        return report.refuse(error, cli.now(), debug=debug)
    return report.fail(error, debug=debug)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"keypeg {__version__}")
        ctx.exit()


root: Final = Root(
    "keypeg",
    chapters=CHAPTERS,
    help=HELP,
    params=[
        *shared_options(hidden=False),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and exit.",
        ),
    ],
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; never returns."""
    root.main(args=None if arguments is None else list(arguments), prog_name="keypeg")
