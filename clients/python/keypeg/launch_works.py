"""What is launched, what a launch does between two questions, and what comes of it: plain data.

Promises: pure. A password, a passphrase and a code are in the one Work that needs them, and in no repr.

Leaves to others: which work comes when (launch_flow), doing it (launch_work).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from keypeg.errors import KeypegError
from keypeg.launch_steps import Step
from keypeg.launch_survey import OFFERED, Survey


@dataclass(frozen=True)
class Terms:
    """What is launched."""

    product: str  # name
    called: str  # what people call it
    family: str  # for which `always` is remembered; the product when the app names none
    kinds: frozenset[str] = OFFERED  # kinds of place that are offered


# What to do.


@dataclass(frozen=True)
class Look:
    """Open a session, wherever there is a license."""


@dataclass(frozen=True)
class SignIn:
    """Sign in with a password."""

    server: str  # empty: the one that is set
    login: str
    password: str = field(repr=False)
    remember: bool = True
    code: str = field(default="", repr=False)  # a one-time code, of users who have them


@dataclass(frozen=True)
class Import:
    """Sign in with a credential file."""

    path: str
    passphrase: str = field(repr=False)
    remember: bool = True


@dataclass(frozen=True)
class BeginCode:
    """Get a code that somebody approves where they are signed in, or types at an outside provider."""

    server: str  # empty: the one that is set
    provider: str = ""  # empty: where they are signed in


@dataclass(frozen=True)
class FinishCode:
    """Sign in by the code."""

    remember: bool = True
    code: str = field(default="", repr=False)  # a one-time code, of users who have them


@dataclass(frozen=True)
class Find:
    """Find out what the account owns, and where it could be used."""


@dataclass(frozen=True)
class OpenCloud:
    """Open the cloud session here; `move`: also when another device has it."""

    move: bool
    always: bool = False  # remember it first


@dataclass(frozen=True)
class PutIntoCloud:
    """Put a license into the cloud; whether to open the cloud session is asked apart."""

    license: str


@dataclass(frozen=True)
class OntoKey:
    """Activate a license onto the key that is plugged in, and write it there."""

    license: str
    key: str  # as its bridge calls it
    always: bool = False  # remember it first


@dataclass(frozen=True)
class OntoHost:
    """Activate a license onto this computer, and keep its document here."""

    license: str
    always: bool = False  # remember it first


@dataclass(frozen=True)
class End:
    """It is over: with a session, or with the reason why not."""

    session: Any = None
    error: KeypegError | None = None


Work = (
    Look | SignIn | Import | BeginCode | FinishCode | Find
    | OpenCloud | PutIntoCloud | OntoKey | OntoHost
)  # fmt: skip
Turn = Work | Step | End


# What has happened.


@dataclass(frozen=True)
class Found:
    """A session is open."""

    session: Any


@dataclass(frozen=True)
class Refused:
    """The work could not be done; `signed_in`: whether there is somebody to ask for."""

    error: KeypegError
    signed_in: bool = True
    server: str = ""
    login: str = ""
    is_sealed: bool = False  # the credential file takes a passphrase
    providers: tuple[str, ...] = ()  # outside providers of the server


@dataclass(frozen=True)
class CodeShown:
    """A code is there, to be approved elsewhere."""

    code: str
    server: str
    provider: str = ""  # where it is typed; empty where it is approved with this program
    url: str = ""  # the page to type it on


@dataclass(frozen=True)
class Surveyed:
    """What was found out; `always` is the kind of place that the user wanted always, once."""

    survey: Survey
    always: str = ""  # `cloud`, `key`, `host`, or empty


@dataclass(frozen=True)
class Done:
    """The work is done; `tells` is what the person has to hear first, empty for nothing."""

    tells: str = ""


Outcome = Found | Refused | CodeShown | Surveyed | Done
