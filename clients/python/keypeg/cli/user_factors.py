"""`keypeg user reset-factors`, and what a sign-in tells of it.

Leaves to others: one's own factors (one_time_codes.py, passkeys.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.values import Name, Value, entry

if TYPE_CHECKING:
    from keypeg.v1.account_service_pb2 import SignInResponse
    from keypeg.v1.sign_in_pb2 import SignedIn


@click.command("reset-factors", cls=Command)
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
@account_option
@pass_cli
async def reset_factors(cli: Cli, user: str, yes: bool, account: str | None) -> None:
    """Take away the second factors of USER, who has lost them.

    One-time codes, recovery codes and passkeys are gone, and everything that they
    are signed in with ends. The password stays: with it alone they sign in next,
    are told who did this and when, and set up a second factor anew where one is
    required. Make sure first that it is they who ask for it: call them back.

    Your own sign-in is at most 10 minutes old (keypeg login), with your second
    factor where you have one.

    \b
    Examples:
      keypeg user reset-factors bea
      keypeg user reset-factors rob --account - --yes
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import people_service_pb2 as pb
    from keypeg.v1 import people_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.user_name(link, user, account)
        if not yes:
            click.confirm(
                f"Take away the second factors of {user}, and sign them out everywhere?",
                abort=True,
                err=True,
            )
        done = await link.call(
            rpc.PeopleServiceStub(link.channel).ResetSecondFactors,
            pb.ResetSecondFactorsRequest(name=name, request_id=request_id()),
        )
    shown: dict[str, Value] = {
        "user": Name(name),
        "one_time_codes": done.one_time_codes,
        "passkey_count": done.passkey_count,
        "ended_count": done.ended_count,
    }
    titles = {
        "user": "USER",
        "one_time_codes": "ONE-TIME CODES",
        "passkey_count": "PASSKEYS",
        "ended_count": "SIGN-INS ENDED",
    }
    cli.printer.item(shown, [entry(title, key) for key, title in titles.items()])
    cli.printer.note("They sign in with the password alone, until they set up a second factor.")


def tell_reset(cli: Cli, answer: SignInResponse | SignedIn) -> None:
    """Tell who signed in that somebody took their second factors away, if so."""
    from keypeg.factor_reset import told_in

    if told := told_in(answer):
        cli.printer.note(told)
