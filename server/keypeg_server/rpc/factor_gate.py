"""What a token is good for whose user owes a second factor: setting one up, and signing out.

Promises: pure. Nobody is locked out: whoever knows the password gets this far, the last owner too. What is not in the
list is denied, whatever role the user has; API keys and credential files are not of a person at a keyboard, and pass.

Leaves to others: who owes one (service/second_factors.py).
"""

from __future__ import annotations

from typing import Final

from keypeg.errors import SecondFactorRequired
from keypeg_server.domain.account import OUTSIDE_NAME
from keypeg_server.domain.caller import Caller

METHODS: Final = frozenset(
    {
        "/keypeg.v1.AccountService/GetCaller",
        "/keypeg.v1.AccountService/SignOut",
        "/keypeg.v1.SignInService/SignOutEverywhere",
        "/keypeg.v1.SignInService/BeginOneTimeCodes",
        "/keypeg.v1.SignInService/ConfirmOneTimeCodes",
        "/keypeg.v1.PasskeyService/BeginPasskeyRegistration",
        "/keypeg.v1.PasskeyService/FinishPasskeyRegistration",
        "/keypeg.v1.PasskeyService/ListPasskeys",
    }
)
"""What such a token opens; whoever may call a method without signing in may with a token, too."""


def check_method(caller: Caller, method: str) -> None:
    """Refuse what has to wait until there is a second factor."""
    if caller.owes_factor and method not in METHODS:
        raise SecondFactorRequired(
            f"{caller.account or 'The publisher'} requires a second factor, and you have none; set one up:"
            " `keypeg login passkey add`, or `keypeg one-time-codes set-up`.",
            account=caller.account or OUTSIDE_NAME,
        )
