"""What a publisher sells and to whom: products, accounts with their users, licenses, seats; and what is left of them.

Promises: everything is made through the server's own API.

Leaves to others: the server (world.py), and what happens next.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    activation_service_pb2,
    catalog_service_pb2,
    cloud_session_service_pb2,
    license_pb2,
    license_service_pb2,
    location_pb2,
    product_pb2,
    seat_pb2,
    seat_service_pb2,
    session_pb2,
)
from lab.api import Api

PASSWORD = "correct horse battery"
CLOUD = location_pb2.LOCATION_KIND_CLOUD
KEY = location_pb2.LOCATION_KIND_KEY
HOST = location_pb2.LOCATION_KIND_HOST
SITE = location_pb2.LOCATION_KIND_SITE
MEMBER = account_pb2.ROLE_MEMBER
ADMIN = account_pb2.ROLE_ADMIN


def request_id() -> str:
    """A new id for a mutation."""
    return str(uuid.uuid4())


@dataclass
class Computer:
    """One computer of the story: its configuration folder and device id."""

    name: str
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def device(self) -> session_pb2.Device:
        """How it introduces itself."""
        return session_pb2.Device(id=f"device-{self.name}", host_name=self.name)


class Stock:
    """The catalog of a publisher, and its customers."""

    publisher: Api

    def product(
        self,
        product_id: str,
        *,
        locations: Sequence[int] = (CLOUD,),
        bundle: Sequence[str] = (),
        offline_grace: float | None = None,
        unplug_grace: float | None = None,
        features: Sequence[str] = (),
    ) -> str:
        """Add a product or a bundle; its name."""
        request = catalog_service_pb2.CreateProductRequest(
            parent="publishers/acme",
            request_id=request_id(),
            product_id=product_id,
            display_name=product_id.capitalize(),
            bundle_products=bundle,
            allowed_locations=locations,  # type: ignore[arg-type]  # enum values
            features=features,
        )
        if offline_grace is not None:
            request.offline_grace.FromMilliseconds(int(offline_grace * 1000))
        if unplug_grace is not None:
            request.unplug_grace.FromMilliseconds(int(unplug_grace * 1000))
        answer = self.publisher.catalog.CreateProduct(request)
        return answer.product.name

    def account(
        self, account_id: str, users: Mapping[str, int] | None = None, *, group: bool = False
    ) -> str:
        """Add an account with its users (login -> role); its name."""
        answer = self.publisher.accounts.CreateAccount(
            account_service_pb2.CreateAccountRequest(
                request_id=request_id(),
                account_id=account_id,
                display_name=account_id.capitalize(),
                kind=account_pb2.ACCOUNT_KIND_GROUP if group else account_pb2.ACCOUNT_KIND_PERSONAL,
            )
        )
        self.add_users(answer.account.name, users or {})
        return answer.account.name

    def add_users(self, account: str, users: Mapping[str, int]) -> None:
        """Add users (login -> role) to an account."""
        for login, role in users.items():
            self.publisher.accounts.CreateUser(
                account_service_pb2.CreateUserRequest(
                    parent=account,
                    request_id=request_id(),
                    login=login,
                    password=PASSWORD,
                    display_name=login.capitalize(),
                    role=role,  # type: ignore[arg-type]  # enum value
                )
            )

    def license(
        self,
        account: str,
        product: str,
        *,
        seats: int = 0,
        activations: int = 1,
        features: Mapping[str, int] | None = None,
        locations: Sequence[int] = (),
        **fields: Any,
    ) -> license_pb2.License:
        """Deposit a license."""
        return self.publisher.licenses.CreateLicense(
            license_service_pb2.CreateLicenseRequest(
                parent=account,
                request_id=request_id(),
                product=product,
                seat_count=seats,
                activation_count=activations,
                allowed_locations=locations,  # type: ignore[arg-type]  # enum values
                features=[
                    product_pb2.FeatureGrant(feature=name, seat_count=count)
                    for name, count in (features or {}).items()
                ],
                **fields,
            )
        ).license

    def activate(
        self, api: Api, license_name: str, location: str
    ) -> activation_service_pb2.CreateActivationResponse:
        """Activate a license on a location."""
        return api.activations.CreateActivation(
            activation_service_pb2.CreateActivationRequest(
                parent=license_name, request_id=request_id(), location=location
            )
        )

    def seats(self, account: str, product: str, count: int, **kwargs: Any) -> str:
        """Deposit a counted license and activate it at the server's own site; its pool."""
        owned = self.license(account, product, seats=count, **kwargs)
        made = self.activate(self.publisher, owned.name, f"{account}/locations/site")
        return made.activation.pools[0]

    # --- what there is ---

    def pool(self, api: Api, pool: str) -> seat_pb2.Pool:
        """A pool as it is now."""
        return api.seats.GetPool(seat_service_pb2.GetPoolRequest(name=pool)).pool

    def leases(self, api: Api, pool: str) -> list[seat_pb2.Lease]:
        """The leases of a pool, the oldest first."""
        return list(
            api.seats.ListLeases(
                seat_service_pb2.ListLeasesRequest(parent=pool, page_size=1000)
            ).leases
        )

    def open_cloud(
        self, api: Api, account: str, computer: Computer, *, keep_elsewhere: bool = False
    ) -> cloud_session_service_pb2.OpenCloudSessionResponse:
        """Open or move the cloud session."""
        return api.cloud.OpenCloudSession(
            cloud_session_service_pb2.OpenCloudSessionRequest(
                name=f"{account}/cloudSession",
                request_id=request_id(),
                device=computer.device,
                keep_elsewhere=keep_elsewhere,
            )
        )
