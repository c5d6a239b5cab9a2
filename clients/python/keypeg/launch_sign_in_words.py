"""What a launch says to a person who signs in: by password, by a credential file, by a code, at a provider.

Promises: pure. Every way leads back to the others.

Leaves to others: when each step comes (launch_flow), the other steps (launch_words).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from keypeg.errors import KeypegError, Reason
from keypeg.launch_steps import Choice, Field, FieldKind, Step
from keypeg.launch_works import CodeShown

YES: Final = "yes"  # of a field to check
NOT_NOW: Final = Choice("leave", "Not now", leaves=True)
AT: Final = "at:"  # before the name of a provider
BACK: Final = Choice("back", "Sign in otherwise")


def sign_in(
    product: str,
    server: str,
    login: str,
    problem: KeypegError | None,
    why: KeypegError,
    providers: Iterable[str] = (),
) -> Step:
    """Who is it?"""
    fields: tuple[Field, ...] = (
        Field("login", "Login", value=login),
        Field("password", "Password", FieldKind.SECRET),
        Field("remember", "Remember me on this computer", FieldKind.CHECK, YES),
    )
    if problem is not None and problem.reason is Reason.CODE_REQUIRED:
        fields = (*fields[:2], Field("code", "One-time code"), *fields[2:])
    if not server:
        fields = (Field("server", "Server (host:port)"), *fields)
    where = f" at {server}" if server else ""
    every = tuple(one.name for one in fields)
    return Step(
        "sign_in",
        "Sign in",
        f"{product} has found no license on this computer. Sign in{where} to use one of your account.",
        (
            Choice("sign_in", "Sign in", is_default=True, takes=every),
            Choice("by_code", "With a code", takes=("server",) if not server else ()),
            Choice("by_file", "With a credential file"),
            *(Choice(f"{AT}{name}", f"At {name}") for name in providers),
            NOT_NOW,
        ),
        fields,
        problem=problem.sentence if problem else "",
        error=why,
    )


def file(path: str, *, is_sealed: bool, problem: KeypegError | None, why: KeypegError) -> Step:
    """Which credential file?"""
    fields: tuple[Field, ...] = (
        Field("path", "Credential file", FieldKind.FILE, path),
        Field("remember", "Keep it on this computer", FieldKind.CHECK, YES),
    )
    if is_sealed:
        fields = (fields[0], Field("passphrase", "Passphrase", FieldKind.SECRET), fields[1])
    return Step(
        "file",
        "Sign in with a credential file",
        "A credential file opens the cloud licenses of its account, and says itself where the server is.",
        (
            Choice("use", "Use it", is_default=True, takes=tuple(one.name for one in fields)),
            BACK,
            NOT_NOW,
        ),
        fields,
        note="Do not keep it on a computer that others use, too. `keypeg credential remove` takes it off.",
        problem=problem.sentence if problem else "",
        error=why,
    )


def code(shown: CodeShown, problem: KeypegError | None, why: KeypegError) -> Step:
    """Approved elsewhere? Or typed at a provider?"""
    sentence = (
        f"Where you are signed in at {shown.server} already, on any computer, run `keypeg sign-ins approve {shown.code}`. "
        "Then go on here."
    )
    label, waits = "It is approved", "Nobody has approved it yet."
    if shown.provider:
        sentence = f"Open {shown.url} in any browser, sign in at {shown.provider}, and type the code where that is asked for. Then go on here."
        label, waits = "It is typed", "Nobody has typed it yet."
    fields: tuple[Field, ...] = (
        Field("remember", "Remember me on this computer", FieldKind.CHECK, YES),
    )
    said = ""
    if problem is not None:
        said = waits if problem.reason is Reason.SIGN_IN_PENDING else problem.sentence
        if problem.reason is Reason.CODE_REQUIRED:
            fields = (Field("code", "One-time code"), *fields)
    return Step(
        "code",
        f"The code is {shown.code}",
        sentence,
        (
            Choice("go_on", label, is_default=True, takes=tuple(one.name for one in fields)),
            BACK,
            NOT_NOW,
        ),
        fields,
        problem=said,
        error=why,
    )
