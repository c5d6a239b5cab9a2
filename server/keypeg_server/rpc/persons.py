"""In whose log it is what somebody does with a sign-in: for the routes of calls that are of nobody else.

Promises: the account of the caller, or of who signs in by what the request says. Nobody is None: such a call is
refused wherever it is served.

Leaves to others: the refusal (service/sign_ins.py), routes (routes.py).
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message

from keypeg import names
from keypeg.errors import KeypegError
from keypeg_server.domain.account import NO_ACCOUNT, User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.identity import chosen
from keypeg_server.service import provider_sign_ins
from keypeg_server.service.device_sign_ins import digest_of
from keypeg_server.service.sign_ins import parent_of
from keypeg_server.service.store import Store, Unit
from keypeg_server.service.token_texts import TokenTexts

STAFF: Final = names.ACCOUNT.build(NO_ACCOUNT)


class Persons:
    """Finds whom a request is about."""

    def __init__(self, store: Store, texts: TokenTexts) -> None:
        self._store = store
        self._texts = texts

    async def parent(self, request: Message, caller: Caller | None) -> str | None:
        """The account (name) in whose log it is."""
        if caller is not None:
            return caller.account or STAFF
        try:
            user = await self._store.read(lambda unit: self._who(unit, request))
        except KeypegError:  # said again, in its own words, by who serves the call
            return None
        return None if user is None else parent_of(user)

    def _who(self, unit: Unit, request: Any) -> User | None:
        fields = request.DESCRIPTOR.fields_by_name
        if "login" in fields:
            credential = unit.accounts.credential(request.login)
            return None if credential is None else credential.user
        if "sign_in" in fields:
            proven = unit.identities.sign_in(provider_sign_ins.digest_of(request.sign_in))
            if proven is None:
                return None
            linked = chosen(unit.identities.of_subject(proven.issuer, proven.subject))
            return None if linked is None else linked[1]
        if "credential_id" in fields:
            passkey = unit.passkeys.of_credential(request.credential_id)
            return None if passkey is None else passkey.user
        if "device_code" in fields:
            waiting = unit.sign_ins.device_sign_in(digest_of(request.device_code))
            return None if waiting is None else waiting.user
        if "refresh_token" in fields:
            token = self._texts.read_refresh(request.refresh_token)
            sign_in = unit.sign_ins.sign_in(token.sign_in)
            return None if sign_in is None else sign_in.user
        return None
