"""The license documents of sites: by which keys they are believed, and new ones when those are others now.

Promises: a document names the site key that signs by it, and is signed by a key of its publisher. One that is stale,
for it names another than the newest site key or its signer was withdrawn, is made anew: in the background, and before
anybody is admitted by it when it could not be believed. Sessions that run by it go on, with the new one.

Leaves to others: which keys there are (site_keys.py, delegations.py), signing (placing.py), when to look (app.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache, partial
from itertools import groupby
from typing import Final

import structlog

from keypeg import names
from keypeg.document import key_id, parse_envelope
from keypeg.errors import KeypegError
from keypeg.v1.document_pb2 import LicenseDocument
from keypeg_server.domain.events import DocumentRenewed
from keypeg_server.domain.license import Activation
from keypeg_server.domain.location import LocationKind
from keypeg_server.service.homes_port import acting_for
from keypeg_server.service.placing import Placing
from keypeg_server.service.ports import Clock, SiteLicense
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Store, Unit

AT_ONCE: Final = 100  # documents that are made anew in one round
KNOWN_COUNT: Final = 20_000  # documents kept in memory, about 2 KiB each: those of a running site
_BEGIN: Final = ("", "")
_LOG: Final = structlog.get_logger("keypegd")


@lru_cache(KNOWN_COUNT)
def site_license(document: bytes) -> SiteLicense:
    """An activation's document, with the ids of the keys that it is about."""
    envelope = parse_envelope(document)
    named = LicenseDocument.FromString(envelope.payload).location_key
    return SiteLicense(envelope, key_id(named), envelope.signatures[0].key_id)


class SiteDocuments:
    """Keeps the documents of this server's own seats such that apps believe them."""

    def __init__(self, store: Store, clock: Clock, signing: Signing, placing: Placing) -> None:
        self._store = store
        self._clock = clock
        self._signing = signing
        self._placing = placing
        self._after = _BEGIN  # the keys and the activation (id) at which the last round ended
        self._renewed = 0  # since nothing was stale

    def any_unusable(self, activations: Iterable[Activation]) -> bool:
        """Whether apps would not believe one of these."""
        return any(
            not self._signing.serves(site_license(one.document))
            for one in activations
            if one.location_kind is LocationKind.SITE
        )

    def renew_all(self, unit: Unit, account: str, now: datetime) -> None:
        """Make what is stale of an account (id) anew."""
        for activation in unit.licenses.list_activations(account):
            if activation.location_kind is LocationKind.SITE:
                self._renew(unit, activation, now)

    async def renew_stale(self, mine: Callable[[str], bool]) -> None:
        """Make some of the stale documents anew, of the accounts (names) that are this server's; one round."""
        fine = self._signing.site_documents()
        found = await self._store.read(
            lambda unit: unit.licenses.stale_documents(fine, self._after, AT_ONCE)
        )
        if not found and self._after == _BEGIN and self._renewed:
            _LOG.info("license documents renewed", count=self._renewed)
            self._renewed = 0
        self._after = _BEGIN
        if len(found) == AT_ONCE:
            self._after = site_license(found[-1].document).keys, found[-1].id
        for account, ours in groupby(sorted(found, key=_owner), _owner):
            name = names.ACCOUNT.build(account)
            if not mine(name):
                continue
            work = partial(self._renew_some, stale=list(ours), now=self._clock.wall())
            try:
                with acting_for(name):
                    self._renewed += await self._store.change(work)
            except KeypegError as error:  # the disk, or the home: a later round tries again
                _LOG.warning("license documents not renewed", account=name, why=str(error))

    def _renew_some(self, unit: Unit, stale: list[Activation], now: datetime) -> int:
        renewed = 0
        for one in stale:  # it may have changed since, or be gone
            there = unit.licenses.activation(one.account, one.license, one.id)
            renewed += there is not None and self._renew(unit, there, now)
        return renewed

    def _renew(self, unit: Unit, activation: Activation, now: datetime) -> bool:
        if site_license(activation.document).keys in self._signing.site_documents():
            return False
        license = unit.licenses.license(activation.account, activation.license)
        assert license is not None, "an activation has its license"
        after = self._placing.sign_again(unit, license, activation, now)
        account = names.ACCOUNT.build(activation.account)
        unit.record(
            account,
            "document_renewed",
            license=license.name,
            activation=after.name,
            generation=after.generation,
            key=self._signing.sites.current_id,
        )
        unit.publish(DocumentRenewed(account, license.name, after.name))
        return True


def _owner(activation: Activation) -> str:
    return activation.account
