"""`keypeg login`, `logout`, `whoami`: who works with which server.

Promises: a password comes from a prompt, a file or standard input, never from the command line; the
token is kept where only its owner reads it, and printed nowhere.

Leaves to others: which profile is written (login_profile.py), and where profiles are kept (keypeg.profile).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

import click

from keypeg.cli.asking import line, password_option, secret
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command, Group
from keypeg.cli.login_profile import check_fingerprint, profile_to_write, whole_path
from keypeg.cli.passkeys import passkey_group, sign_in_by_passkey, usbip_option
from keypeg.cli.user_factors import tell_reset
from keypeg.cli.values import Name, Value, entry, moment, word

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.profile import Profile
    from keypeg.v1 import account_pb2


def client_name() -> str:
    """What this client is called in the list of what a user is signed in with."""
    import socket

    return f"keypeg on {socket.gethostname()}"[:128]


def role(user: account_pb2.User) -> str:
    """A user's role as a word."""
    from keypeg.v1 import account_pb2

    return word(account_pb2.Role, user.role, "ROLE_")


class Login(Command, Group):
    """A group that is a command too: it signs in where no command of it is named."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.invoke_without_command, self.no_args_is_help = True, False


@click.group(cls=Login)
@click.option("--login", "name", metavar="NAME", help="The name to sign in with.")
@password_option
@click.option(
    "--fingerprint",
    metavar="SHA256",
    help="Refuse unless the certificates in --ca-file have this fingerprint, as the server printed it.",
)
@click.option(
    "--device",
    is_flag=True,
    help="Show a code instead, which you approve where you are signed in already; with --provider, which you type there.",
)
@click.option(
    "--provider",
    metavar="NAME",
    help="Sign in at this outside provider of the server, in a browser.",
)
@click.option(
    "--no-browser", is_flag=True, help="With --provider: show the address, and open no browser."
)
@click.option(
    "--passkey",
    is_flag=True,
    help="With a security key: alone, or with --login beside the password.",
)
@usbip_option
@click.option(
    "--tokens",
    type=click.Choice(["auto", "keyring", "file"]),
    help="Where to keep your tokens: in the system's keyring where one can be used, else in a file (auto); in the keyring or not at all; in a file.",
)
@click.pass_context
def login(ctx: click.Context, /, **given: Any) -> Any:
    """Sign in at a server and keep a profile.

    Asks for what is not given, and for a one-time code where the user has
    them; without a terminal it is the next line of standard input. Server and
    certificates are kept in the profile, so that later commands need neither.

    \b
    Examples:
      keypeg login --server licenses.example.com:7400 --login ada
      keypeg login --server lan:7400 --ca-file ca.pem --fingerprint 3f:a1:... --login ada
      keypeg login --login ada --password-file - < password.txt
      keypeg login --device        # and elsewhere: keypeg sign-ins approve CODE
      keypeg login --provider work
      keypeg login --passkey       # with a security key that was added before
    """
    return None if ctx.invoked_subcommand else _sign_in(ctx.ensure_object(Cli), **given)


login.add_command(passkey_group)


async def _sign_in(
    cli: Cli,
    name: str | None,
    password_file: TextIO | None,
    fingerprint: str | None,
    device: bool,
    provider: str | None,
    no_browser: bool,
    passkey: bool,
    usbip: str | None,
    tokens: str | None,
) -> None:
    from keypeg import errors, sign_in
    from keypeg import profile as profiles
    from keypeg.cli.link import Link
    from keypeg.v1 import account_service_pb2 as pb
    from keypeg.v1 import account_service_pb2_grpc as rpc

    profile = profile_to_write(cli)
    profile = replace(profile, tokens=tokens or profile.tokens)
    profiles.keeper(profile.name, profile.tokens).check()
    if fingerprint is not None:
        check_fingerprint(profile, fingerprint)
    if passkey and (device or provider is not None):
        raise click.UsageError("--passkey stands alone: leave out --device and --provider.")
    if device or passkey or provider is not None:
        whole = replace(profile, ca_file=whole_path(profile.ca_file))
        if passkey:
            password = secret("Password", password_file) if name else ""
            kept, answered = await sign_in_by_passkey(
                cli, whole, name or "", password, usbip, client_name()
            )
        elif provider is None:
            from keypeg.cli.device_code import sign_in_by_code

            kept, answered = await sign_in_by_code(cli, whole, client_name())
        else:
            from keypeg.cli import provider_login

            kept, answered = await provider_login.sign_in(
                cli, whole, provider, client_name(), typed=device, browser=not no_browser
            )
        _show(cli, kept, answered.user, moment(answered, "refresh_expire_time"))
        _welcome(cli, kept, answered.user.login)
        tell_reset(cli, answered)
        return
    login_name = name or line("Login", "--login")
    password = secret("Password", password_file)
    link = Link.to_server(replace(profile, token=""))
    begun = cli.now()
    sign_in_to = rpc.AccountServiceStub(link.channel).SignIn
    request = pb.SignInRequest(login=login_name, password=password, client_name=client_name())
    try:
        try:
            answer = await link.call(sign_in_to, request)
        except errors.CodeRequired:
            from keypeg.cli.one_time_codes import ask_line

            request.code = ask_line("One-time code")
            if not request.code:
                raise
            answer = await link.call(sign_in_to, request)
    finally:
        await link.close()
    kept = sign_in.keep(replace(profile, ca_file=whole_path(profile.ca_file)), answer, begun)
    _show(cli, kept, answer.user, moment(answer, "refresh_expire_time"))
    _welcome(cli, kept, answer.user.login)
    tell_reset(cli, answer)
    if answer.second_factor_owed:
        cli.printer.note(
            f"{answer.account or 'The publisher'} requires a second factor, and you have none. Nothing else works before:"
            " keypeg login passkey add, or keypeg one-time-codes set-up"
        )


@click.command(cls=Command)
@click.option(
    "--everywhere",
    is_flag=True,
    help="End everything that you are signed in with, on any computer.",
)
@pass_cli
async def logout(cli: Cli, everywhere: bool) -> None:
    """Sign out: end the sign-in at the server and forget it here.

    What was opened by it ends, too: apps that run by it, and whoever watches.

    \b
    Examples:
      keypeg logout
      keypeg logout --everywhere
    """
    from keypeg import errors
    from keypeg.sign_in import forget_tokens
    from keypeg.v1 import account_service_pb2 as pb
    from keypeg.v1 import account_service_pb2_grpc as rpc

    profile = cli.profile()
    if not profile.readable().token:
        cli.printer.note(f"Nobody was signed in with the profile {profile.name}.")
        return
    try:
        async with cli.server() as link:
            if everywhere:
                count = await _everywhere(link)
                cli.printer.note(f"Ended {count} sign-ins.")
            else:
                await link.call(rpc.AccountServiceStub(link.channel).SignOut, pb.SignOutRequest())
    except (errors.TokenInvalid, errors.TokenExpired, errors.SignInRequired):
        pass  # it had ended before
    except (errors.Unreachable, errors.TimedOut) as error:
        cli.printer.note(f"{error} The token is forgotten here, and ends there by its time.")
    forget_tokens(profile.name)
    cli.printer.note(f"Signed out (profile {profile.name}).")
    if os.environ.get("KEYPEG_TOKEN"):
        cli.printer.note("KEYPEG_TOKEN is still set in this shell: unset it.")


async def _everywhere(link: Link) -> int:
    from keypeg.v1 import sign_in_service_pb2 as pb
    from keypeg.v1 import sign_in_service_pb2_grpc as rpc

    stub = rpc.SignInServiceStub(link.channel)
    answer = await link.call(stub.SignOutEverywhere, pb.SignOutEverywhereRequest())
    return answer.ended_count


@click.command(cls=Command)
@pass_cli
async def whoami(cli: Cli) -> None:
    """Show who is signed in, where, and until when.

    \b
    Example:
      keypeg whoami
    """
    async with cli.server() as link:
        caller = await link.caller()
    profile = replace(cli.profile(), account=caller.account)
    _show(cli, profile, caller.user, moment(caller, "expire_time"))


def _welcome(cli: Cli, profile: Profile, login: str) -> None:
    from keypeg import profile as profiles

    cli.printer.note(f"Signed in as {login} at {profile.server} (profile {profile.name}).")
    cli.printer.note(profiles.keeper(profile.name, profile.tokens).told())


def _show(cli: Cli, profile: Profile, user: account_pb2.User, ends: Value) -> None:
    shown: dict[str, Value] = {
        "login": user.login,
        "display_name": user.display_name,
        "role": role(user),
        "user": Name(user.name),
        "account": Name(profile.account),
        "server": profile.server,
        "profile": profile.name,
        "expire_time": ends,
    }
    titles = {
        "login": "LOGIN",
        "display_name": "CALLED",
        "role": "ROLE",
        "user": "USER",
        "account": "ACCOUNT",
        "server": "SERVER",
        "profile": "PROFILE",
        "expire_time": "TOKEN ENDS",
    }
    cli.printer.item(shown, [entry(title, key) for key, title in titles.items()])
