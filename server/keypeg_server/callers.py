"""Who calls: what makes tokens, and what knows them again.

Promises: what a token says of a user is forgotten as soon as it is no longer so, once `follow` was told where that is heard.

Leaves to others: what callers may do (rpc/gate.py).
"""

from __future__ import annotations

from typing import Final

from keypeg_server.client_authority import ClientAuthority
from keypeg_server.domain.events import (
    ApiKeyChanged,
    CredentialEnded,
    SecondFactorsChanged,
    TokenRevoked,
    UserChanged,
    UserRemoved,
)
from keypeg_server.opened import Opened, StartError, new_ids
from keypeg_server.service import carried_certificates, credential_tokens
from keypeg_server.service.api_keys import API_KEY_START, ApiKeys
from keypeg_server.service.authenticators import Authenticators
from keypeg_server.service.carried_certificates import CarriedCertificates
from keypeg_server.service.client_certificates import ClientCertificates
from keypeg_server.service.credential_tokens import CredentialTokens
from keypeg_server.service.events import EventHub
from keypeg_server.service.token_texts import TokenTexts
from keypeg_server.service.tokens import Lifetimes, Tokens


class Callers:
    """Of one server."""

    def __init__(self, opened: Opened) -> None:
        kept = opened.settings.tokens
        secret = opened.secrets().ticket_key
        self.tokens: Final = Tokens(
            opened.store,
            opened.clock,
            Lifetimes(kept.access, kept.valid_for),
            TokenTexts(secret, kept.audience),
        )
        self.by_credential: Final = CredentialTokens(opened.store, opened.clock, secret)
        self.api_keys: Final = ApiKeys(opened.store, opened.clock, new_ids(opened.clock))
        self.authority: Final = _authority(opened)
        self.bridges_by_certificate: Final = (
            opened.settings.tls.client_certificates == "require-for-bridges"
        )
        self.certificates: Final = ClientCertificates(
            opened.store,
            opened.clock,
            new_ids(opened.clock),
            self.authority,
            opened.settings.tls.certificate_valid_for,
        )
        self.carried: Final = CarriedCertificates(self.certificates, opened.clock, secret)
        self.authenticators: Final = Authenticators(
            self.tokens,
            {
                credential_tokens.PREFIX: self.by_credential,
                API_KEY_START: self.api_keys,
                carried_certificates.PREFIX: self.carried,
            },
        )

    def follow(self, hub: EventHub) -> None:
        """Forget what is no longer so as it happens."""
        hub.subscribe(UserRemoved, lambda event: self.tokens.forget_user(event.user))
        hub.subscribe(UserChanged, lambda event: self.tokens.forget_user(event.user))
        for ended in (UserRemoved, CredentialEnded):
            hub.subscribe(ended, lambda _: self.by_credential.forget_all())
        hub.subscribe(TokenRevoked, lambda event: self.tokens.forget(event.token))
        hub.subscribe(SecondFactorsChanged, self.tokens.forget_factors)
        hub.subscribe(UserRemoved, lambda event: self.api_keys.forget_user(event.user))
        hub.subscribe(UserChanged, lambda event: self.api_keys.forget_user(event.user))
        hub.subscribe(ApiKeyChanged, lambda event: self.api_keys.forget(event.key))


def _authority(opened: Opened) -> ClientAuthority | None:
    """Who signs the certificates of bridges and sites, where there are any."""
    if opened.settings.tls.client_certificates == "off":
        return None
    if not opened.settings.server.bridge_listen:
        raise StartError(
            "tls.client_certificates is set, and server.bridge_listen is not. Give the address and port at which "
            "bridges and sites call by their certificates."
        )
    return ClientAuthority(opened.secrets().management_key, opened.clock.wall())
