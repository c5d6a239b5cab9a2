"""The signed answer to a session: a Grant, and the Proof around it.

Promises: a Grant names the session, its device and key shares, the app's nonce, and the seats on disk.

Leaves to others: signing (signing.py), when to sign (sessions.py), verification (keypeg.proof).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from keypeg.errors import Internal
from keypeg.v1 import document_pb2, location_pb2, proof_pb2
from keypeg_server.domain.lease import Lease
from keypeg_server.service import frames
from keypeg_server.service.ports import GrantSigner
from keypeg_server.service.presence import Session


def prove(
    signer: GrantSigner, session: Session, nonce: bytes, leases: Iterable[Lease], now: datetime
) -> proof_pb2.Proof:
    """What the app verifies, signed for this nonce."""
    entitlement = session.admitted
    assert session.device is not None
    grant = document_pb2.Grant(
        session=session.name,
        account=entitlement.account,
        device=session.device.id,
        publisher=entitlement.publisher,
        products=entitlement.products,
        features=entitlement.features,
        nonce=nonce,
        valid_for=frames.duration(entitlement.valid_for),
        leases=[
            document_pb2.GrantedLease(
                lease=frames.lease_name(lease),
                units=lease.units,
                features=frames.features(lease.features),
                fencing_number=lease.fencing_number,
            )
            for lease in leases
        ],
        client_key_share=session.client_share,
        server_key_share=session.server_share,
        location_kind=location_pb2.LocationKind.ValueType(entitlement.location_kind),
        activation=entitlement.activation,
        seat_required=entitlement.seat_required,
    )
    grant.issue_time.FromDatetime(now - timedelta(microseconds=now.microsecond))
    if entitlement.ends_at is not None:
        grant.license_expire_time.FromDatetime(entitlement.ends_at)
    site = entitlement.site_license
    envelope = signer.sign_grant(entitlement.publisher, grant, site)
    # Not the one of when the session was admitted: keys are replaced while sessions run.
    delegation = signer.delegated(entitlement.publisher, site)
    if entitlement.location_kind == location_pb2.LOCATION_KIND_CLOUD:
        cloud = proof_pb2.CloudProof(delegation=delegation, grant=envelope)
        return proof_pb2.Proof(cloud=cloud)
    if site is not None:
        proven = proof_pb2.SiteProof(delegation=delegation, license=site.envelope, grant=envelope)
        return proof_pb2.Proof(site=proven)
    raise Internal(f"This server proves nothing for location kind {entitlement.location_kind}.")
