"""What is told to somebody whose second factors were taken away by somebody else, when they sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keypeg.v1.account_service_pb2 import SignInResponse
    from keypeg.v1.sign_in_pb2 import SignedIn


def told_in(answer: SignInResponse | SignedIn) -> str:
    """The sentences for the person; empty when there is nothing to tell."""
    if not answer.HasField("second_factor_reset"):
        return ""
    reset = answer.second_factor_reset
    gone = [
        *(["one-time codes"] if reset.one_time_codes else []),
        *([f"{reset.passkey_count} passkeys"] if reset.passkey_count > 1 else []),
        *(["a passkey"] if reset.passkey_count == 1 else []),
    ]
    when = f"{reset.reset_time.ToDatetime():%Y-%m-%d %H:%M} UTC"
    return (
        f"Your second factors ({' and '.join(gone)}) were taken away by {reset.by_login} at {when}. If you did not ask"
        " for that, somebody may want to sign in as you: tell who manages the people of your account, and look at"
        " `keypeg sign-ins list`."
    )
