"""What a server does: its use cases, made once, each given what it needs of the others.

Promises: nothing is served, and no database is asked, before whoever made them starts what is to be started.

Leaves to others: callers (callers.py), the wire (services.py), beginning and end (app.py).
"""

from __future__ import annotations

from typing import Final

from keypeg_server.callers import Callers
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.opened import Opened, new_ids
from keypeg_server.service.accounts import AccountService
from keypeg_server.service.activations import ActivationService
from keypeg_server.service.active_devices import ActiveDevices
from keypeg_server.service.borrows import Borrows
from keypeg_server.service.capacities import CapacityService
from keypeg_server.service.capacity_keeping import CapacityKeeper
from keypeg_server.service.catalog import CatalogService
from keypeg_server.service.cloud import CloudService
from keypeg_server.service.cloud_groups import CloudGroups
from keypeg_server.service.cloud_watching import CloudWatching
from keypeg_server.service.credentials import CredentialsService
from keypeg_server.service.device_sign_ins import DeviceSignIns
from keypeg_server.service.entitlements import AccountEntitlements
from keypeg_server.service.factor_resets import FactorResets
from keypeg_server.service.history import History
from keypeg_server.service.identities import Identities
from keypeg_server.service.key_checks import KeyChecks
from keypeg_server.service.key_losses import KeyLosses
from keypeg_server.service.licenses import LicenseService
from keypeg_server.service.life_parts import LifeParts
from keypeg_server.service.locations import LocationService
from keypeg_server.service.passkey_challenges import Challenges
from keypeg_server.service.passkey_checks import PasskeyChecks
from keypeg_server.service.passkey_sign_ins import PasskeySignIns
from keypeg_server.service.passkeys import PasskeyService
from keypeg_server.service.passwords import Passwords
from keypeg_server.service.people import PeopleService
from keypeg_server.service.placing import Placing
from keypeg_server.service.pools import Engine
from keypeg_server.service.provider_sign_ins import ProviderSignIns
from keypeg_server.service.reports import Reports
from keypeg_server.service.seats import Seats
from keypeg_server.service.second_factors import SecondFactors
from keypeg_server.service.sessions import SessionLimits, Sessions
from keypeg_server.service.sign_ins import SignIns
from keypeg_server.service.signing import Signing
from keypeg_server.service.site_documents import SiteDocuments
from keypeg_server.service.tickets import TicketBox
from keypeg_server.service.watching import Watching
from keypeg_server.storage import log_store
from keypeg_server.storage.log_search import SqlLogSearch


class UseCases:
    """Of one server."""

    def __init__(
        self,
        opened: Opened,
        callers: Callers,
        signing: Signing,
        engine: Engine,
        passwords: Passwords,
    ) -> None:
        store, clock, hub, settings = opened.store, opened.clock, opened.hub, opened.settings
        secrets = opened.secrets()
        new_id = new_ids(clock)
        placing = Placing(signing, new_id)
        life = LifeParts(store, clock, new_id, signing, placing)
        self.life: Final = life
        self.documents: Final = SiteDocuments(store, clock, signing, placing)

        def held(pool: str) -> int:
            found = engine.pool(pool)
            return 0 if found is None else found.held

        def rules_of(pool: str) -> PoolRules | None:
            found = engine.by_id(pool)
            return None if found is None else found.rules

        # Seats and sessions.
        seat_grant = settings.sessions.seat_grant
        entitlements = AccountEntitlements(
            store, clock, signing, seat_grant, held, placing, life.changes, self.documents
        )
        self.borrows: Final = Borrows(engine, entitlements, signing, clock, clock.date_us)
        self.sessions: Final = Sessions(
            engine,
            entitlements,
            signing,
            TicketBox(secrets.ticket_key, secrets.release_key),
            clock,
            hub,
            limits=SessionLimits(
                unread_frames=settings.limits.session_unread_frames,
                holdings=settings.limits.session_holdings,
                restart_grant=seat_grant,
            ),
        )
        self.watching: Final = Watching(engine, hub)
        self.seats: Final = Seats(engine, entitlements, clock, hub)
        self.history: Final = History(engine.pool, SqlLogSearch(opened.database))
        self.reports: Final = Reports(
            log_store.SqlLogStore(opened.database), signing, clock, rules_of
        )

        # People, and how they sign in.
        self.groups: Final = CloudGroups(store, clock, placing, life.changes)
        self.accounts: Final = AccountService(store, clock, new_id, passwords, self.groups)
        self.people: Final = PeopleService(store, clock, new_id, passwords)
        self.factors: Final = SecondFactors(store, clock, opened.wrapping(), clock.date_us)
        self.sign_ins: Final = SignIns(
            store, clock, new_id, passwords, callers.tokens, self.factors
        )
        self.factor_resets: Final = FactorResets(store, clock, self.sign_ins)
        self.device_sign_ins: Final = DeviceSignIns(store, clock, self.sign_ins)

        providers = opened.providers()
        self.provider_sign_ins: Final = ProviderSignIns(
            store, clock, self.sign_ins, self.factors, providers, opened.wrapping()
        )
        self.identities: Final = Identities(
            store,
            clock,
            new_id,
            providers,
            self.sign_ins,
            self.provider_sign_ins,
            self.people,
            self.factors,
        )
        self.passkey_checks: Final = PasskeyChecks(settings.relying_party)
        challenges = Challenges(secrets.ticket_key, clock)
        self.passkeys: Final = PasskeyService(
            store, clock, new_id, self.sign_ins, self.factors, self.passkey_checks, challenges
        )
        self.passkey_sign_ins: Final = PasskeySignIns(
            store, clock, self.sign_ins, self.passkey_checks, challenges
        )

        # Licenses, and where they are.
        self.catalog: Final = CatalogService(store, clock)
        self.licenses: Final = LicenseService(store, clock, new_id, placing)
        self.capacities: Final = CapacityService(store, clock, new_id, placing, life.changes)
        self.capacity_keeper: Final = CapacityKeeper(store, clock, hub, engine, self.capacities)
        self.activations: Final = ActivationService(
            store, clock, placing, signing, engine, life.deactivations, life.changes
        )
        self.locations: Final = LocationService(
            store,
            clock,
            new_id,
            secrets.management_key,
            allow_emulated=settings.keys.allow_emulated,
            roots=opened.attestation_roots(),
        )
        self.key_losses: Final = KeyLosses(store, clock, signing, new_id, life.changes)
        self.key_checks: Final = KeyChecks(store, clock, signing)
        self.devices: Final = ActiveDevices(store, clock, settings.credentials.active_devices)
        self.credentials: Final = CredentialsService(
            store,
            clock,
            new_id,
            signing,
            callers.by_credential,
            self.devices,
            token_valid_for=settings.credentials.token_valid_for,
            longest=settings.credentials.longest,
        )
        self.cloud: Final = CloudService(store, clock, placing, life.changes, self.devices)
        self.cloud_watching: Final = CloudWatching(self.cloud.get, hub)
