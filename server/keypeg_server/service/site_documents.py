"""The license documents of sites: by which keys they are believed, and new ones when those are others now.

Promises: a document names the site key that signs by it, and is signed by a key of its publisher. One that is stale,
for it names another than the newest site key or its signer was withdrawn, is made anew in the background, few at a
time; one that apps would not believe before anybody is admitted by it. What is made anew says the same, in the same
generation: who has seen one believes the other.

Leaves to others: which keys there are (site_keys.py, delegations.py), signing (placing.py), when to look (app.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final

import structlog

from keypeg import names
from keypeg.document import key_id, parse_envelope
from keypeg.errors import KeypegError
from keypeg.v1.document_pb2 import LicenseDocument
from keypeg_server.domain.license import Activation
from keypeg_server.domain.location import LocationKind
from keypeg_server.service.homes_port import acting_for
from keypeg_server.service.placing import Placing
from keypeg_server.service.ports import Clock, SiteLicense
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import StaleDocument, Store, Unit

AT_ONCE: Final = 20  # documents that are made anew in one round, and one transaction
LOOKED_AT: Final = (
    500  # stale ones that a round looks at; some are of accounts that are other servers'
)
REST: Final = 5.0  # seconds until the next look by the same keys, when there was nothing to do
KNOWN_COUNT: Final = 20_000  # documents kept in memory, about 2 KiB each: those of a running site
_BEGIN: Final = ("", "")
_LOG: Final = structlog.get_logger("keypegd")


@lru_cache(KNOWN_COUNT)
def site_license(document: bytes) -> SiteLicense:
    """An activation's document, with the ids of the keys that it is about."""
    envelope = parse_envelope(document)
    said = LicenseDocument.FromString(envelope.payload)
    signed_by = envelope.signatures[0].key_id
    return SiteLicense(
        envelope, said.publisher, said.generation, key_id(said.location_key), signed_by
    )


class SiteDocuments:
    """Keeps the documents of this server's own seats such that apps believe them."""

    def __init__(self, store: Store, clock: Clock, signing: Signing, placing: Placing) -> None:
        self._store = store
        self._clock = clock
        self._signing = signing
        self._placing = placing
        self._after = _BEGIN  # the keys and the activation (id) at which the last round ended
        self._renewed = 0  # since nothing was stale
        self._idle = True  # whether the rounds since `_BEGIN` had nothing to do
        self._rests_until = 0.0  # on the monotonic clock
        self._rests_by: frozenset[str] = frozenset()  # keys by which there was nothing to do

    def unusable(self, activations: Iterable[Activation]) -> list[Activation]:
        """Those of these whose documents apps would not believe."""
        return [
            one
            for one in activations
            if one.location_kind is LocationKind.SITE and not self._is_usable(one)
        ]

    def renew(self, unit: Unit, activations: Iterable[Activation], now: datetime) -> None:
        """Make the documents of these anew, as far as they are there."""
        for one in activations:
            there = unit.licenses.activation(one.account, one.license, one.id)
            if there is not None and not self._is_usable(there):
                self._renew(unit, there, now)

    async def renew_stale(self, mine: Callable[[str], bool]) -> None:
        """Make some of the stale documents anew, of the accounts (names) that are this server's; one round.

        After one that found nothing to do it does nothing for REST, unless the keys are others by then.
        """
        fine = self._signing.site_documents()
        if fine == self._rests_by and self._clock.monotonic() < self._rests_until:
            return
        self._idle |= self._after == _BEGIN
        found = await self._store.read(
            lambda unit: unit.licenses.stale_documents(fine, self._after, LOOKED_AT)
        )
        if not found and self._after == _BEGIN and self._renewed:
            self._store.outdate()  # what is remembered is by the keys before
            _LOG.info("license documents renewed", count=self._renewed)
            self._renewed = 0
        chosen: list[StaleDocument] = []
        self._after = _BEGIN
        for one in found:
            if mine(names.ACCOUNT.build(one.account)):
                chosen.append(one)
            if len(chosen) == AT_ONCE or (one is found[-1] and len(found) == LOOKED_AT):
                self._after = one.keys, one.id
                break
        if chosen:
            self._idle = False
            await self._renew_chosen(chosen, fine)
        elif self._idle and self._after == _BEGIN:
            self._rests_by, self._rests_until = fine, self._clock.monotonic() + REST

    async def _renew_chosen(self, chosen: list[StaleDocument], fine: frozenset[str]) -> None:
        now, ids = self._clock.wall(), [one.id for one in chosen]

        def work(unit: Unit) -> int:
            there = unit.licenses.still_stale(fine, ids)
            for one in there:
                self._renew(unit, one, now)
            return len(there)

        try:
            with acting_for(*{names.ACCOUNT.build(one.account) for one in chosen}):
                # No change: documents of before are as good, and who is admitted by one goes on.
                self._renewed += await self._store.write(work)
        except KeypegError as error:  # the disk, or a home: a later round tries again
            _LOG.warning("license documents not renewed", why=str(error))

    def _is_usable(self, activation: Activation) -> bool:
        """Also of a generation that nobody has seen a later one of: a restored row is ahead of its document."""
        found = site_license(activation.document)
        return found.generation == activation.generation and self._signing.serves(found)

    def _renew(self, unit: Unit, activation: Activation, now: datetime) -> None:
        license = unit.licenses.license(activation.account, activation.license)
        assert license is not None, "an activation has its license"
        after = self._placing.sign_again(unit, license, activation, now, says_same=True)
        unit.record(
            names.ACCOUNT.build(activation.account),
            "document_renewed",
            license=license.name,
            activation=after.name,
            key=self._signing.sites.current_id,
        )
