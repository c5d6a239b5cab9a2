"""Signing in at an outside provider, for `keypeg login --provider`, `identity link` and `user accept --provider`.

Promises: the browser of this computer, or a code that is typed in any browser; the provider's answer goes to the server,
which alone decides what it is worth. Ends when the time that there is for it does; Ctrl-C ends it at any time.

Leaves to others: the port that the browser comes back to (redirect.py), profiles and tokens (login.py).
"""

from __future__ import annotations

import asyncio
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from keypeg import errors
from keypeg.cli import redirect
from keypeg.cli.context import Cli
from keypeg.cli.link import Link
from keypeg.cli.one_time_codes import ask_line
from keypeg.v1 import identity_service_pb2 as pb
from keypeg.v1 import identity_service_pb2_grpc as rpc

if TYPE_CHECKING:
    from keypeg.profile import Profile
    from keypeg.v1.sign_in_pb2 import SignedIn

PROVIDER_TIME: Final = 45.0  # seconds for a call in which the server asks the provider


async def sign_in(
    cli: Cli, profile: Profile, provider: str, client_name: str, *, typed: bool, browser: bool
) -> tuple[Profile, SignedIn]:
    """Sign in there and here; the profile as it is kept, and the answer."""
    from keypeg import sign_in as tokens

    link = Link.to_server(replace(profile, token=""))
    try:
        secret = await proven(cli, link, provider, client_name, typed=typed, browser=browser)
        begun = cli.now()
        request = pb.FinishProviderSignInRequest(sign_in=secret)
        stub = rpc.IdentityServiceStub(link.channel)
        try:
            answer = await link.call(stub.FinishProviderSignIn, request)
        except errors.CodeRequired:
            request.code = ask_line("One-time code")
            if not request.code:
                raise
            answer = await link.call(stub.FinishProviderSignIn, request)
    finally:
        await link.close()
    return tokens.keep(profile, answer.signed_in, begun), answer.signed_in


async def proven(
    cli: Cli, link: Link, provider: str, client_name: str, *, typed: bool, browser: bool
) -> str:
    """The secret of a sign-in whose identity the server has proven."""
    patient = replace(link, deadline=PROVIDER_TIME)
    stub = rpc.IdentityServiceStub(link.channel)
    request = pb.BeginProviderSignInRequest(provider=provider, client_name=client_name)
    if typed:
        begun = await patient.call(stub.BeginProviderSignIn, request)
        cli.printer.note(f"The code is {begun.user_code}. Type it at {begun.verification_url}")
        if begun.url != begun.verification_url:
            cli.printer.note(f"  or open {begun.url}")
        await _typed(patient, stub, begun)
    else:
        async with redirect.listening() as callback:
            request.redirect_uri = callback.uri
            begun = await patient.call(stub.BeginProviderSignIn, request)
            if not redirect.is_page(begun.url):
                raise errors.ProviderRefused(
                    f"The address that the server gives for {provider} is no page of the web; tell its administrator.",
                    provider=provider,
                )
            cli.printer.note(f"Sign in at {provider} in your browser: {begun.url}")
            if browser:
                await asyncio.to_thread(webbrowser.open, begun.url)
            await _redirected(patient, stub, begun, callback, provider)
    return begun.sign_in


async def _redirected(
    link: Link, stub: Any, begun: Any, callback: redirect.Callback, provider: str
) -> None:
    seconds = begun.valid_for.ToTimedelta().total_seconds()
    try:
        came = await callback.answer(begun.state, seconds)
    except TimeoutError:
        raise errors.TimedOut(
            f"Nobody signed in at {provider} within {seconds:g} s; begin again, or with --device where the browser is on "
            "another computer."
        ) from None
    if came.error:
        declined = came.error == "access_denied"
        word = came.error if came.error.replace("_", "").isalnum() else "an error"
        kind = errors.SignInDeclined if declined else errors.ProviderRefused
        raise kind(f"{provider} did not sign you in ({word[:64]}); begin again.", provider=provider)
    request = pb.ProveProviderSignInRequest(
        sign_in=begun.sign_in, code=came.code, state=came.state, issuer=came.issuer
    )
    await link.call(stub.ProveProviderSignIn, request)


async def _typed(link: Link, stub: Any, begun: Any) -> None:
    wait = begun.interval.ToTimedelta().total_seconds()
    while True:
        await asyncio.sleep(wait)
        try:
            await link.call(
                stub.ProveProviderSignIn, pb.ProveProviderSignInRequest(sign_in=begun.sign_in)
            )
        except errors.SignInPending as pending:
            if pending.retry_after is not None:
                wait = pending.retry_after.total_seconds()
        else:
            return


def provider_options(*, required: bool) -> Callable[[Any], Any]:
    """`--provider`, `--device` and `--no-browser`."""

    def options(command: Any) -> Any:
        command = click.option(
            "--no-browser", is_flag=True, help="Show the address, and open no browser."
        )(command)
        command = click.option(
            "--device",
            is_flag=True,
            help="Show a code instead, which you type at the provider in any browser.",
        )(command)
        return click.option(
            "--provider",
            required=required,
            metavar="NAME",
            help="The outside provider to sign in at, as the server calls it.",
        )(command)

    return options
