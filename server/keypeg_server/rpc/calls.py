"""What the services of this room share: pages, and requests that may come again.

Promises: a page token is opaque and leads on from where the page before ended, also when something came
or went meanwhile; the body of a request that is remembered holds no password.

Leaves to others: remembering (service/store.py).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from google.protobuf.message import Message

from keypeg.errors import FieldInvalid
from keypeg_server.rpc.caller import current
from keypeg_server.service.store import Page, Request

PAGE_SIZE: Final = 100  # when the request has none
_VERSION: Final = b"1:"
_DIGITS: Final = 18  # below 2**63

T = TypeVar("T")


class PageRequest(Protocol):
    """A request for a part of a list."""

    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...


def page_of(request: PageRequest) -> Page:
    """The part that is asked for, and one more, which tells whether the list goes on."""
    return Page(_last_id(request.page_token), (request.page_size or PAGE_SIZE) + 1)


def cut(items: list[T], page: Page, id_of: Callable[[T], str]) -> tuple[list[T], str]:
    """What to answer of the items of `page_of`, and the token for the next page; empty at the end."""
    if len(items) < page.limit:
        return items, ""
    shown = items[: page.limit - 1]
    return shown, token_of(id_of(shown[-1]))


def token_of(id: str) -> str:
    """The token of the page that begins after this id."""
    return base64.urlsafe_b64encode(_VERSION + id.encode()).rstrip(b"=").decode()


def number_of(after: str) -> int | None:
    """What a page begins after, where that is a number; None for the first page."""
    if not after:
        return None
    if not (after.isascii() and after.isdigit() and len(after) <= _DIGITS):
        raise _not_ours()
    return int(after)


def once(request: Any, answer: Callable[[T], Message]) -> Request[T]:
    """A mutation of the caller, to be done once for its request id."""
    body = request
    if "password" in request.DESCRIPTOR.fields_by_name:
        body = type(request)()
        body.CopyFrom(request)
        body.ClearField("password")
    method = request.DESCRIPTOR.full_name.encode()
    return Request(
        caller=current().user,
        id=request.request_id.lower(),
        body=method + b"\0" + body.SerializeToString(deterministic=True),
        answer=lambda result: answer(result).SerializeToString(),
    )


def new_account(request: Any) -> str:
    """The id of the account that a CreateAccountRequest makes: the one it names, else that of the request.

    So that the same request makes the same account, whichever server it reaches.
    """
    chosen: str = request.account_id
    return chosen or request.request_id.lower().replace("-", "")


def _last_id(token: str) -> str:
    if not token:
        return ""
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        if not raw.startswith(_VERSION):
            raise ValueError("another version")
        return raw[len(_VERSION) :].decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _not_ours() from error


def _not_ours() -> FieldInvalid:
    what = "is not one that this server gave"
    return FieldInvalid(
        f"The page token {what}; begin with the first page.", fields={"page_token": what}
    )
