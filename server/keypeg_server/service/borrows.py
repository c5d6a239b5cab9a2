"""Seats taken offline: what BorrowService does, in the domain's words.

Promises: members borrow for themselves, and hand in any return of their account; administrators and the
publisher's staff see all borrows, and write off within the budget. A document ends no later than the license
and what signs for it. Nobody learns of another account's borrows.

Leaves to others: the rules (domain/pool_borrowing.py), who sees which (borrow_sight.py), documents
(borrow_documents.py), what goes through the committer (borrow_operations.py), the end (borrow_ends.py), decoding and encoding (rpc/borrow_service.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.borrowed import verify_return
from keypeg.document import ed25519_key
from keypeg.errors import KeypegError, LeaseExpired, NotFound, PermissionDenied
from keypeg.v1.document_pb2 import Envelope, HostFingerprint
from keypeg.v1.location_pb2 import LOCATION_KIND_SITE
from keypeg.v1.proof_pb2 import BorrowProof
from keypeg_server.domain import pool_borrowing
from keypeg_server.domain.borrow import Borrow, Exposure
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask
from keypeg_server.domain.lease import Features, Holder
from keypeg_server.domain.license_life import Command, Switch, Switches, check_switch, who_is
from keypeg_server.domain.pool import Pool
from keypeg_server.service import borrow_operations as operations
from keypeg_server.service import frames
from keypeg_server.service.borrow_documents import document_of, proof_of, site_license_of, terms_of
from keypeg_server.service.borrow_ends import BorrowEnds
from keypeg_server.service.borrow_operation import Lent, Place, WrittenOff
from keypeg_server.service.borrow_sight import Known as Known
from keypeg_server.service.borrow_sight import Sight, no_borrow, seen
from keypeg_server.service.commits import RequestKey, settled
from keypeg_server.service.lease_ids import LeaseIds
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import (
    AppInfo,
    BorrowSigner,
    Clock,
    DeviceInfo,
    Entitlement,
    Entitlements,
)
from keypeg_server.service.refusals import no_pool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a computer asks to take offline."""

    pool: str
    units: int
    features: Features
    duration: timedelta
    device: DeviceInfo
    app: AppInfo
    return_key: bytes
    fingerprint: HostFingerprint | None
    address: str


class Borrows:
    """The use cases."""

    def __init__(
        self,
        engine: Engine,
        entitlements: Entitlements,
        signer: BorrowSigner,
        clock: Clock,
        date_us: Callable[[], int],
    ) -> None:
        """To be made before the engine's pools are read: it watches over the borrows in them.

        `date_us` is what the computer's clock says, without a high-water mark.
        """
        self._engine = engine
        self._entitlements = entitlements
        self._signer = signer
        self._clock = clock
        self._ids = LeaseIds()
        self._sight = Sight(engine)
        self.ends: Final = BorrowEnds(clock, date_us, engine.pools.has, self._end)
        engine.heard.append(self.ends.came)

    async def create(
        self, caller: Caller, request_id: str, wanted: Wanted
    ) -> tuple[Known, BorrowProof]:
        """A seat to take offline, or the refusal; the same request again gives the same document."""
        await self._engine.present((wanted.pool,), caller)
        pool = self._engine.pool(wanted.pool)
        if pool is None or not caller.sees_account(pool.account):
            raise no_pool(wanted.pool)
        entitlement = await self._admit(caller, wanted.device, wanted.app, pool)
        _check_lent(caller, entitlement)
        device = wanted.device
        holder = Holder(
            "", caller.user, device.id, device.host_name, wanted.app.name, 0, wanted.address
        )
        parts = b"" if wanted.fingerprint is None else wanted.fingerprint.SerializeToString()
        terms = terms_of(entitlement, wanted.duration, wanted.return_key, parts)
        ask = Ask(
            self._ids.new(self._engine.now_us()),
            holder,
            wanted.units,
            wanted.features,
            False,
            0,
            terms.duration_us,
            request_id,
            self._engine.clock_us(),
        )
        said = (pool.id, wanted.units, wanted.features, wanted.duration, device, wanted.return_key)
        request = RequestKey(caller.user, request_id, frames.digest("borrow", *said, parts))

        def seal(borrow: Borrow) -> bytes:
            return self._sealed(pool, entitlement, borrow)

        lent: Lent = await settled(
            lambda done: self._engine.carry(
                pool,
                operations.Lend(self._place(pool), caller, ask, terms, seal, request, done),
            )
        )
        return Known(pool, lent.borrow), proof_of(self._signer, entitlement, lent.document)

    async def renew(
        self, caller: Caller, request_id: str, name: str, duration: timedelta
    ) -> tuple[Known, BorrowProof]:
        """A later end for a borrow of the caller's own."""
        known = self._sight.known(caller, name)
        pool, borrow = known.pool, known.borrow
        if borrow.holder.user != caller.user:
            raise PermissionDenied(
                f"{name} is borrowed by {borrow.holder.user}, who alone can renew it.",
                resource=name,
            )
        device = DeviceInfo(borrow.holder.device, borrow.holder.host_name)
        entitlement = await self._admit(caller, device, None, pool)
        _check_lent(caller, entitlement)
        terms = terms_of(entitlement, duration, borrow.return_key, borrow.fingerprint)
        request = RequestKey(caller.user, request_id, frames.digest("renew", name, duration))

        def seal(renewed: Borrow) -> bytes:
            return self._sealed(pool, entitlement, renewed)

        lent: Lent = await settled(
            lambda done: self._engine.carry(
                pool,
                operations.Renew(
                    self._place(pool), caller.user, borrow.id, terms, seal, request, done
                ),
            )
        )
        return Known(pool, lent.borrow), proof_of(self._signer, entitlement, lent.document)

    async def give_back(self, caller: Caller, name: str, statement: Envelope) -> Known:
        """A seat comes back by the statement of its computer, whoever hands it in."""
        pool, borrow = self._sight.any(caller, name)
        verify_return(statement, name, borrow.holder.device, ed25519_key(borrow.return_key))
        back: Borrow = await settled(
            lambda done: self._engine.carry(
                pool, operations.GiveBack(self._place(pool), caller.user, borrow.id, done)
            )
        )
        return Known(pool, back)

    async def write_off(
        self, caller: Caller, request_id: str, name: str, reason: str
    ) -> tuple[Known, Exposure]:
        """A lost seat goes to others; what that exposes. For administrators, within the budget."""
        known = self._sight.to_write_off(caller, name)
        pool = known.pool
        request = RequestKey(caller.user, request_id, frames.digest("write off", name, reason))
        done_with: WrittenOff = await settled(
            lambda done: self._engine.carry(
                pool,
                operations.WriteOff(
                    self._place(pool), caller.user, known.borrow.id, reason, request, done
                ),
            )
        )
        return Known(pool, done_with.borrow), done_with.exposure

    async def exposure(self, caller: Caller, name: str) -> tuple[Known, Exposure]:
        """What a write-off would expose, or the refusal that it would get; nothing is changed."""
        known = self._sight.to_write_off(caller, name)
        pool = known.pool

        def look() -> tuple[Known, Exposure]:
            borrow = pool.borrows.get(known.borrow.id)
            if borrow is None:
                raise LeaseExpired(f"{name} is over.", borrow=name)
            pool_borrowing.check_write_off(pool, borrow, self._engine.now_us())
            return Known(pool, borrow), pool_borrowing.exposure(pool, borrow)

        return await self._engine.looked(look)

    async def get(self, caller: Caller, name: str) -> tuple[Known, BorrowProof | None]:
        """A borrow; with its newest documents for the one who has it out."""
        known = self._sight.known(caller, name)
        pool, id = known.pool, known.borrow.id
        borrow = await self._engine.looked(lambda: pool.borrows.get(id))
        if borrow is None:
            raise no_borrow(name)
        if not borrow.is_out or borrow.holder.user != caller.user:
            return Known(pool, borrow), None
        device = DeviceInfo(borrow.holder.device, borrow.holder.host_name)
        try:
            entitlement = await self._admit(caller, device, None, pool)
        except (
            KeypegError
        ):  # the license may have ended: what is known of the borrow is told all the same
            return Known(pool, borrow), None
        return Known(pool, borrow), proof_of(self._signer, entitlement, borrow.document)

    async def listed(self, caller: Caller, parent: str) -> list[Known]:
        """The borrows of a pool or an account that the caller may see; those that end first first."""
        account, pools = parent, []
        if names.POOL.matches(parent):
            pool = self._engine.pool(parent)
            if pool is None or not caller.sees_account(pool.account):
                raise no_pool(parent)
            pools = [pool]
        elif not caller.sees_account(account):
            raise NotFound(f"There is no {account} that you can see.", resource=account)

        def look() -> list[Known]:
            there = pools or self._engine.pools_of_account(account)
            found = (Known(pool, borrow) for pool in there for borrow in pool.borrows.values())
            return sorted(seen(caller, found), key=lambda one: (one.borrow.end_us, one.borrow.id))

        return await self._engine.looked(look)

    def stop(self) -> None:
        """End no borrow any more; for the end of the server."""
        self.ends.stop()

    # Inside.

    def _place(self, pool: Pool) -> Place:
        return Place(self._engine.aftermath, pool, self.ends.watch)

    def _end(self, pool: Pool, id: str, done: operations.Ended) -> None:
        self._engine.carry(pool, operations.End(self._place(pool), id, done))

    def _sealed(self, pool: Pool, entitlement: Entitlement, borrow: Borrow) -> bytes:
        document = document_of(pool, entitlement, borrow, self._engine.now_us())
        site = site_license_of(entitlement)
        return self._signer.sign_borrow(document, site).SerializeToString()

    async def _admit(
        self, caller: Caller, device: DeviceInfo, app: AppInfo | None, pool: Pool
    ) -> Entitlement:
        found = await self._entitlements.admit(
            caller, device, app, pool.product, (LOCATION_KIND_SITE,), (pool.name,)
        )
        if pool.name not in found.pools:
            raise no_pool(pool.name)
        return found


def _check_lent(caller: Caller, entitlement: Entitlement) -> None:
    """SwitchedOff unless the product lets its seats be taken offline."""
    check_switch(
        Switches(((Switch.BORROW, entitlement.borrowing),)),
        Command.BORROW,
        who_is(caller),
        entitlement.license,
        entitlement.sold_as,
    )
