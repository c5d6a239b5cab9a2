"""Who calls, for the code that serves the call.

Promises: within a call that needed a caller, `current()` is that caller; elsewhere asking is an error of
the program, never an answer.

Leaves to others: finding out (gate.py).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from keypeg_server.domain.caller import Caller
from keypeg_server.service.tokens import SignedIn

_CURRENT: Final[ContextVar[SignedIn]] = ContextVar("keypeg_signed_in")


def current() -> Caller:
    """The caller of this call."""
    return _CURRENT.get().caller


def known() -> Caller | None:
    """The caller of this call; None where nobody had to sign in."""
    found = _CURRENT.get(None)
    return None if found is None else found.caller


def name() -> str:
    """The user (name) of this call; empty where nobody had to sign in, or nobody has."""
    found = _CURRENT.get(None)
    return "" if found is None else found.caller.user


def current_sign_in() -> SignedIn:
    """The caller of this call, with the user and the end of the token."""
    return _CURRENT.get()


def become(signed_in: SignedIn) -> None:
    """Serve the rest of this call's task for a caller."""
    _CURRENT.set(signed_in)
