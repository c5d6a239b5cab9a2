"""Whether an app may run: implements `Entitlements` (ports.py).

Promises: one read transaction an answer at most, and none for who asks again while nobody has changed
anything: every running app is looked at again once a minute. What is refused says what would help.

Leaves to others: the decision (domain/admission.py), signing, and the session that follows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.errors import LicenseMissing, TokenInvalid
from keypeg_server.domain.admission import Admission, Holdings, admit
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.license_change import due
from keypeg_server.domain.license_life import Switch
from keypeg_server.domain.location import LocationKind
from keypeg_server.domain.product import Product, check_version
from keypeg_server.service.credential_limits import check_there, kinds_for
from keypeg_server.service.homes_port import acting_for
from keypeg_server.service.license_changes import LicenseChanges
from keypeg_server.service.placing import Placing
from keypeg_server.service.ports import AppInfo, Clock, DeviceInfo, Entitlement
from keypeg_server.service.signing import Signing
from keypeg_server.service.site_documents import SiteDocuments, site_license
from keypeg_server.service.store import Store, Unit

KNOWN_COUNT: Final = 20_000  # answers kept in memory, some KiB each: those of a running site


@dataclass(frozen=True)
class _Found:
    """An admission, with the products of the account's licenses by name."""

    admission: Admission
    sold: Product  # what the license is for: the product asked for, or a bundle of it


class AccountEntitlements:
    """Decides by what an account has."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signing: Signing,
        seat_grant: timedelta,
        held: Callable[[str], int],
        placing: Placing,
        changes: LicenseChanges,
        documents: SiteDocuments,
    ) -> None:
        """`held` says how many units of a pool (name) are held now, to choose between pools."""
        self._placing = placing
        self._changes = changes
        self._documents = documents
        self._store = store
        self._held = held
        self._clock = clock
        self._signing = signing
        self._seat_grant = seat_grant
        # By who asked for which product, and nothing that an app says of itself: what was found, and of which
        # generation of the store it is.
        self._known: OrderedDict[
            tuple[str, str], tuple[int, tuple[Holdings, dict[str, Product]]]
        ] = OrderedDict()

    async def admit(
        self,
        caller: Caller,
        device: DeviceInfo,
        app: AppInfo | None,
        product: str,
        kinds: tuple[int, ...],
        pools: tuple[str, ...] = (),
    ) -> Entitlement:
        if caller.account is None:
            raise LicenseMissing(
                "Staff of the publisher have no account, and so no license; "
                "sign in as a user of an account.",
                product=product,
            )
        (account,) = names.ACCOUNT.parse(caller.account)
        _, member = names.USER.parse(caller.user)
        publisher, product_id = names.PRODUCT.parse(product, "product")
        now = self._clock.wall()
        kinds = kinds_for(caller, device.id, kinds)

        def look(unit: Unit) -> tuple[Holdings, dict[str, Product]]:
            # A stream that waits for its first frame was let in before; the user may have gone since.
            if unit.accounts.user(*names.USER.parse(caller.user)) is None:
                raise TokenInvalid(
                    f"{caller.user} was removed; sign in as another user.", user=caller.user
                )
            check_there(unit, caller)
            asked = unit.catalog.product(publisher, product_id)
            if asked is None:
                raise LicenseMissing(
                    f"This server knows no product {product}; check its name and the server.",
                    product=product,
                )
            return _holdings(unit, account, member, asked)

        # A license whose copy in the cloud has ended is free, and automatic mode leaves nothing free.
        holdings, sold = await self._found(caller, product, look)
        if app is not None:
            check_version(holdings.product, app.version)
        # What was planned for a license comes before it opens anything, and so does a document that is believed.
        planned = any(due(license, now) for license in holdings.licenses)
        unusable = self._documents.unusable(holdings.activations)
        if planned or unusable or holdings.to_arrange(now):

            def arrange(unit: Unit) -> None:
                self._changes.settle(unit, account, now)
                self._documents.renew(unit, unusable, now)
                self._placing.license_freed(unit, account, now)

            with acting_for(
                caller.account
            ):  # whatever brought this about, as a change of the catalog
                await self._store.change(arrange)
            holdings, sold = await self._found(caller, product, look)
        there = [pool.name for one in holdings.activations for pool in one.pools]
        if len(there) > 1 or pools:
            held = {pool: self._held(pool) for pool in there}
            holdings = replace(holdings, seats_held=held, own_pools=frozenset(pools))
        release = None if app is None else app.release
        admission = admit(holdings, device.id, tuple(map(LocationKind, kinds)), now, release)
        found = _Found(admission, sold[admission.license.product])
        entitlement = self._entitlement(caller, holdings.product, found)
        ends = found.admission.activation.ends_with(found.admission.license)
        if ends is not None:  # a grant does not outlive its license
            left = max(ends - now, timedelta(0))
            return replace(entitlement, valid_for=min(left, entitlement.valid_for), ends_at=ends)
        return entitlement

    async def _found(
        self,
        caller: Caller,
        product: str,
        look: Callable[[Unit], tuple[Holdings, dict[str, Product]]],
    ) -> tuple[Holdings, dict[str, Product]]:
        """What `look` finds, or found when nothing has changed since."""
        asked_by = (caller.token if caller.credential else caller.user, product)
        known = self._known.get(asked_by)
        if known is not None and known[0] == self._store.generation:
            self._known.move_to_end(asked_by)
            return known[1]
        generation = self._store.generation
        found = await self._store.read(look)
        self._known[asked_by] = (generation, found)
        self._known.move_to_end(asked_by)
        if len(self._known) > KNOWN_COUNT:
            self._known.popitem(last=False)
        return found

    def _entitlement(self, caller: Caller, asked: Product, found: _Found) -> Entitlement:
        account = caller.account
        assert account is not None, "staff are not admitted"
        license, activation = found.admission.license, found.admission.activation
        pool = found.admission.pool
        return Entitlement(
            account=account,
            publisher=names.PUBLISHER.build(asked.publisher),
            product=asked.name,
            # A seat of one product's pool opens that product and no other.
            products=found.sold.opens if pool is None else (asked.name,),
            features=tuple(feature.id for feature in license.features),
            license=license.name,
            activation=activation.name,
            location=activation.location_name,
            location_kind=activation.location_kind,
            valid_for=asked.offline_grace if pool is None else self._seat_grant,
            seat_required=pool is not None,
            pools=() if pool is None else (pool,),
            delegation=self._signing.delegation(asked.publisher),
            site_license=None if pool is None else site_license(activation.document),
            sold_as=found.sold.name,
            borrowing=found.sold.switches.of(Switch.BORROW),
        )


def _holdings(
    unit: Unit, account: str, member: str, asked: Product
) -> tuple[Holdings, dict[str, Product]]:
    """What the account has for a product, and what that was sold as."""
    owned = unit.licenses.list_licenses(account)
    sold = unit.catalog.products(sorted({license.product for license in owned}))
    licenses = [one for one in owned if asked.name in sold[one.product].opens]
    ids = {license.id for license in licenses}
    activations = [one for one in unit.licenses.list_activations(account) if one.license in ids]
    session = unit.places.cloud_session(account, member)
    others = unit.places.list_cloud_sessions(account) if session.member else []
    return Holdings(account, asked, licenses, activations, session, of_members=others), sold
