"""Taking licenses back from keys: begun here, done at the key, proved by its receipt (KEY-6).

Promises: an activation on a key is free again when the key itself has signed that the license is gone, after
the removal was asked for; a receipt counts once, and handing it in again changes nothing. From a key that was
reported lost it is free as the publisher's policy allows.

Leaves to others: removing it (the key's bridge), freeing it (placing.py), who may ask (rpc).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from keypeg import names, receipts
from keypeg.errors import DocumentMalformed, KeyLost, NonceMismatch, ReceiptRequired
from keypeg.v1 import explanation_pb2
from keypeg.v1.document_pb2 import Envelope, PublicKey
from keypeg_server.domain.key_contents import Versions
from keypeg_server.domain.key_loss import Move, check
from keypeg_server.domain.license import Activation
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.service import key_contents
from keypeg_server.service.key_contents import Statement
from keypeg_server.service.key_ports import Returned
from keypeg_server.service.placing import product_of
from keypeg_server.service.ports import Clock
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Unit

RANDOM_BYTES: Final = 24  # of a nonce; the other 8 are the version that was given out with it


@dataclass(frozen=True)
class Deactivation:
    """What a key has to do, to give a license back."""

    activation: Activation
    statement: Statement
    nonce: bytes = field(repr=False)


class Deactivations:
    """Licenses that leave keys."""

    def __init__(self, clock: Clock, signing: Signing, new_id: Callable[[], str]) -> None:
        self._clock = clock
        self._signing = signing
        self._new_id = new_id

    def begin(self, unit: Unit, activation: Activation) -> Deactivation:
        """Ask a key to give a license back; its newest contents do not name it any more."""
        place = unit.places.location(activation.account, activation.location)
        assert place is not None, "an activation has its location"
        if place.kind is not LocationKind.KEY:
            raise ReceiptRequired(
                f"{activation.name} lives on {place.name}, which is no key; take it back directly.",
                activation=activation.name,
                location=place.name,
            )
        if place.lost_time is not None:
            raise KeyLost(
                f"{place.name} was reported lost, and has nothing to confirm any more; take "
                f"{activation.name} back directly, or move it to a replacement.",
                location=place.name,
            )
        return self.told(unit, self.ask(unit, activation), place)

    def ask(self, unit: Unit, activation: Activation) -> Activation:
        """Have a key give a license back, when somebody reaches it; nothing new when it was asked before."""
        if activation.return_nonce:
            return activation
        publisher = key_contents.publisher_of(unit, activation)
        version = key_contents.changed(unit, activation.account, activation.location, publisher)
        nonce = os.urandom(RANDOM_BYTES) + version.to_bytes(8, "big")
        asked = replace(activation, return_nonce=nonce)
        unit.licenses.update_activation(asked)
        self._record(unit, "key_return_begun", asked, version=version)
        return asked

    def told(self, unit: Unit, activation: Activation, place: Location) -> Deactivation:
        """What a key has to do, that was asked."""
        publisher = key_contents.publisher_of(unit, activation)
        now = self._clock.wall()
        statement = key_contents.statement(unit, self._signing, place, publisher, now)
        return Deactivation(activation, statement, activation.return_nonce)

    def undo(self, unit: Unit, activation: Activation) -> Activation:
        """The license stays on its key after all; a receipt that was signed meanwhile counts no more."""
        kept = replace(activation, return_nonce=b"")
        unit.licenses.update_activation(kept)
        publisher = key_contents.publisher_of(unit, activation)
        version = key_contents.changed(unit, activation.account, activation.location, publisher)
        self._record(unit, "key_return_undone", activation, version=version)
        return kept

    def check_gone(
        self,
        unit: Unit,
        activation: Activation,
        receipt: Envelope | None,
        *,
        beyond_policy: bool = False,
    ) -> None:
        """Refuse unless the license is gone from its key, or may leave it without."""
        now = self._clock.wall()
        place = unit.places.location(activation.account, activation.location)
        assert place is not None, "an activation has its location"
        if place.lost_time is not None:
            self._leave_lost(unit, activation, place.lost_time, now, beyond_policy=beyond_policy)
            return
        if receipt is None:
            raise needs_receipt(activation, place)
        if not activation.return_nonce:
            raise NonceMismatch(
                f"{activation.name} is not being taken back: that was undone, or never begun. Begin again.",
                activation=activation.name,
            )
        publisher = key_contents.publisher_of(unit, activation)
        versions = unit.keys.versions(activation.account, place.id).get(publisher, Versions())
        found = receipts.verify_receipt(
            receipt,
            receipts.Expected(
                activation=activation.name,
                generation=activation.generation,
                location=place.name,
                location_key=PublicKey(algorithm=place.key_algorithm, key=place.public_key),  # type: ignore[arg-type]
                nonce=activation.return_nonce,
                contents_version=int.from_bytes(activation.return_nonce[RANDOM_BYTES:], "big"),
            ),
        )
        if found.contents_version > versions.version:
            raise DocumentMalformed(
                f"The receipt for {activation.name} names contents that this server has not given out; begin "
                "again."
            )
        shown = versions.shown(found.contents_version)
        unit.keys.save_versions(activation.account, place.id, publisher, shown)
        returned = Returned(activation.id, place.id, activation.return_nonce)
        unit.keys.add_return(activation.account, returned, now)
        self._record(
            unit,
            "key_returned",
            activation,
            version=found.contents_version,
            host=found.location_host,
        )

    def came_before(self, unit: Unit, account: str, id: str, receipt: Envelope | None) -> bool:
        """Whether this receipt has freed this activation already."""
        returned = None if receipt is None else unit.keys.returned(account, id)
        if receipt is None or returned is None:
            return False
        return hmac.compare_digest(receipts.read(receipt).nonce, returned.nonce)

    def _leave_lost(
        self,
        unit: Unit,
        activation: Activation,
        reported: datetime,
        now: datetime,
        *,
        beyond_policy: bool,
    ) -> None:
        license = unit.licenses.license(activation.account, activation.license)
        assert license is not None, "an activation has its license"
        moves = unit.keys.moves(activation.account, activation.license)
        if not beyond_policy:
            check(product_of(unit, license).key_loss, reported, moves, now, activation.name)
        unit.keys.add_move(
            Move(
                id=self._new_id(),
                account=activation.account,
                license=activation.license,
                activation=activation.id,
                from_location=activation.location,
                to_location="",
                time=now,
            )
        )

    def _record(self, unit: Unit, event: str, activation: Activation, **said: object) -> None:
        unit.record(
            names.ACCOUNT.build(activation.account),
            event,
            activation=activation.name,
            location=activation.location_name,
            **said,
        )


def needs_receipt(activation: Activation, place: Location) -> ReceiptRequired:
    """The refusal that says where the license is, and what to do."""
    called = " ".join(part for part in (place.display_name, place.serial) if part)
    remedies = [
        explanation_pb2.Remedy(
            action="plug_in",
            resource=place.name,
            sentence=f"Plug the key in ({called}) and run: keypeg activation delete {activation.id}",
        ),
        explanation_pb2.Remedy(
            action="report_lost",
            resource=place.name,
            sentence=f"If it is lost or broken, report it: keypeg key report-lost {place.id}",
        ),
    ]
    return ReceiptRequired(
        f"{activation.name} lives on the key {place.name} ({called}), which must confirm that it is gone from "
        "there. Plug it in and take the license back with its receipt; if the key is lost or broken, report it.",
        explanation=explanation_pb2.Explanation(remedies=remedies),
        activation=activation.name,
        location=place.name,
    )
