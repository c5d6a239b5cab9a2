"""`keypeg one-time-codes`: codes of an authenticator beside the password.

Promises: secrets are asked for or read from standard input, never from the command line; what is shown once is on
standard output.
"""

from __future__ import annotations

import sys

import click

from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import entry


@click.group("one-time-codes", cls=Group)
def one_time_codes_group() -> None:
    """Codes of an authenticator app, beside your password.

    \b
    Example:
      keypeg one-time-codes set-up
    """


def ask_line(what: str) -> str:
    """A secret line, from a prompt or the next line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True))
    return sys.stdin.readline().strip()


@one_time_codes_group.command("set-up")
@pass_cli
async def set_up(cli: Cli) -> None:
    """Set codes up: from then on, signing in with the password needs one.

    Asks for your password, shows a URI for the authenticator, and asks for the
    code that it shows then. Keep the recovery codes: each signs in once when the
    authenticator is lost. Without a terminal, password and code are the first two
    lines of standard input.

    \b
    Example:
      keypeg one-time-codes set-up
    """
    from keypeg.v1 import sign_in_service_pb2 as pb
    from keypeg.v1 import sign_in_service_pb2_grpc as rpc

    async with cli.server() as link:
        stub = rpc.SignInServiceStub(link.channel)
        password = ask_line("Password")
        begun = await link.call(
            stub.BeginOneTimeCodes, pb.BeginOneTimeCodesRequest(password=password)
        )
        cli.printer.note(f"For the authenticator: {begun.uri}")
        code = ask_line("Code that it shows now")
        done = await link.call(stub.ConfirmOneTimeCodes, pb.ConfirmOneTimeCodesRequest(code=code))
    codes = {"recovery_codes": list(done.recovery_codes)}
    cli.printer.item(codes, [entry("RECOVERY CODES", "recovery_codes")])
    cli.printer.note("Signing in with the password needs a code from now on.")


@one_time_codes_group.command("remove")
@pass_cli
async def remove(cli: Cli) -> None:
    """Sign in with the password alone again.

    Asks for the password, and for a code or a recovery code. Without a terminal
    they are the first two lines of standard input.

    \b
    Example:
      keypeg one-time-codes remove
    """
    from keypeg.v1 import sign_in_service_pb2 as pb
    from keypeg.v1 import sign_in_service_pb2_grpc as rpc

    async with cli.server() as link:
        stub = rpc.SignInServiceStub(link.channel)
        password, code = ask_line("Password"), ask_line("Code")
        request = pb.RemoveOneTimeCodesRequest(password=password, code=code)
        await link.call(stub.RemoveOneTimeCodes, request)
    cli.printer.note("Signing in needs no codes any more.")
