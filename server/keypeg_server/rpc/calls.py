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
    token = base64.urlsafe_b64encode(_VERSION + id_of(shown[-1]).encode()).rstrip(b"=").decode()
    return shown, token


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
        what = "is not one that this server gave"
        raise FieldInvalid(
            f"The page token {what}; begin with the first page.", fields={"page_token": what}
        ) from error
