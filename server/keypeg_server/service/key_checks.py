"""Looking at a key that is plugged in somewhere: whether it carries what it should (KEY-7, KEY-8).

Promises: the highest version that each key has shown is kept; one that shows less, one that is a copy and one
that was reported lost are recorded, at most once a minute each. What the answer says is signed, for bridges to
remember.

Leaves to others: asking (bridges, and programs that reach both), refusing (bridges and apps).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from keypeg import key_contents as floor
from keypeg import names
from keypeg.document import parsed
from keypeg.envelope import key_id
from keypeg.errors import KeyNotEnrolled, KeypegError
from keypeg.v1.document_pb2 import Envelope, PublicKey
from keypeg.v1.key_contents_pb2 import KeyContents
from keypeg_server.domain.key_contents import Standing, Versions, standing, worst
from keypeg_server.domain.location import Location
from keypeg_server.service import key_contents
from keypeg_server.service.key_contents import Statement
from keypeg_server.service.ports import Clock
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Store, Unit

RECORD_EVERY: Final = timedelta(minutes=1)  # of one key: whoever asks again and again fills no disk
_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Sight:
    """What a bridge says of a key."""

    card_id: str
    public_key: PublicKey
    contents: Sequence[Envelope]
    suspicions: Sequence[str]


@dataclass(frozen=True)
class Checked:
    """What the key is, and should carry."""

    location: Location
    standing: Standing
    statements: tuple[Statement, ...]
    activations: tuple[str, ...]  # names


class KeyChecks:
    """Compares keys."""

    def __init__(self, store: Store, clock: Clock, signing: Signing) -> None:
        self._store = store
        self._clock = clock
        self._signing = signing

    async def check(self, account: str, sight: Sight, user: str) -> Checked:
        """Compare a key with what it should carry; `user` is who says so. KeyNotEnrolled for others."""

        def look(unit: Unit) -> Checked | KeyNotEnrolled:
            now = self._clock.wall()
            ours = unit.keys.of_card(account, sight.card_id)
            wanted = (int(sight.public_key.algorithm), sight.public_key.key)
            place = next((x for x in ours if (x.key_algorithm, x.public_key) == wanted), None)
            if place is None:
                if ours:
                    copy = f"another private key, {key_id(sight.public_key)}"
                    self._report(unit, ours[-1], now, "key_copied", user, found=copy)
                return _unknown(ours)
            found = self._found(unit, place, sight.contents)
            standing_ = self._compare(unit, place, found, now, user)
            if sight.suspicions:
                said = "; ".join(sight.suspicions)
                self._report(unit, place, now, "key_suspected", user, found=said)
            place = unit.places.location(account, place.id) or place
            told = key_contents.statements(unit, self._signing, place, now)
            living = [
                one
                for one in key_contents.living_on(unit, place)
                if one.return_nonce or not key_contents.withdrawn(unit, one)
            ]
            return Checked(
                place, standing_, tuple(told.values()), tuple(one.name for one in living)
            )

        answer = await self._store.write(look)
        if isinstance(answer, KeyNotEnrolled):
            raise answer
        return answer

    def _found(self, unit: Unit, place: Location, shown: Sequence[Envelope]) -> dict[str, int]:
        """The versions that the key shows, of those that this server has signed for it."""
        found: dict[str, int] = {}
        for envelope in shown:
            try:
                contents = self._ours(unit, envelope)
            except KeypegError:
                continue  # it says nothing that counts, which counts as nothing
            if contents.location == place.name and contents.location_key.key == place.public_key:
                (publisher,) = names.PUBLISHER.parse(contents.publisher)
                found[publisher] = max(contents.version, found.get(publisher, 0))
        return found

    def _ours(self, unit: Unit, envelope: Envelope) -> KeyContents:
        (publisher,) = names.PUBLISHER.parse(parsed(KeyContents, envelope.payload).publisher)
        under = self._signing.delegation(publisher)
        contents, _ = floor.vouched(envelope, under)
        owner = unit.catalog.publisher(publisher)
        if owner is None or owner.root_public_key != contents.publisher_root:
            raise KeyNotEnrolled("These contents are of another root.")
        return contents

    def _compare(
        self, unit: Unit, place: Location, found: dict[str, int], now: datetime, user: str
    ) -> Standing:
        if place.lost_time is not None:
            self._report(unit, place, now, "lost_key_seen", user)
            return Standing.LOST
        standings = []
        for publisher, versions in unit.keys.versions(place.account, place.id).items():
            shown = found.get(publisher, 0)
            one = standing(versions, shown)
            standings.append(one)
            if one is Standing.ROLLED_BACK:
                said = {"version": shown, "seen": versions.seen_version, "publisher": publisher}
                self._report(unit, place, now, "key_rolled_back", user, **said)
            else:
                self._keep(unit, place, publisher, versions, versions.shown(shown))
        return worst(standings)

    def _keep(
        self, unit: Unit, place: Location, publisher: str, before: Versions, after: Versions
    ) -> None:
        if after != before:
            unit.keys.save_versions(place.account, place.id, publisher, after)

    def _report(
        self, unit: Unit, place: Location, now: datetime, event: str, user: str, **said: Any
    ) -> None:
        """Record what is suspicious, unless that was just done."""
        known = unit.places.location(place.account, place.id) or place
        _LOG.warning(event.replace("_", " "), location=place.name, **said)
        if known.suspect_time is not None and now - known.suspect_time < RECORD_EVERY:
            return
        unit.places.update_location(replace(known, suspect_time=now))
        unit.record(
            names.ACCOUNT.build(place.account),
            event,
            location=place.name,
            card=place.card_id,
            serial=place.serial,
            reporter=user,
            **said,
        )


def _unknown(ours: Sequence[Location]) -> KeyNotEnrolled:
    if ours:
        return KeyNotEnrolled(
            f"This key has the card id of {ours[-1].name} and another private key: it is a copy, or was "
            "enrolled elsewhere since. Its licenses name the other one, and open nothing with it.",
            location=ours[-1].name,
        )
    return KeyNotEnrolled("This key is not enrolled at the account. Enroll it first.")
