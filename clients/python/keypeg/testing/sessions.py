"""The sessions of a stand-in host: simple rules, real proofs and codes.

Promises: one session answers frames as a location host does: proofs and codes. No I/O: answers are put where the session's stream finds them.

Leaves to others: seats (testing.pool), the stream, faults and scripts (testing.host).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from keypeg import errors, sessionkey, status
from keypeg.errors import KeypegError
from keypeg.sessionkey import FrameAuthenticator, KeyShare
from keypeg.testing.pool import POOL, StandInPool, Terms
from keypeg.testing.publisher import StandInPublisher
from keypeg.v1 import document_pb2, proof_pb2, seat_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse

Out = asyncio.Queue[HoldSessionResponse | KeypegError]


class StandInSession:
    """One session, on whatever stream it is now."""

    def __init__(
        self,
        name: str,
        first: session_pb2.Open,
        terms: Terms,
        pool: StandInPool,
        publisher: StandInPublisher,
        wall: Callable[[], datetime],
    ) -> None:
        self.name = name
        self.open = first
        self.out: Out | None = None
        self.ticket = f"ticket of {name}".encode()
        self.release_token = f"token of {name}".encode()
        self.key_is_here = True
        self._terms = terms
        self._pool = pool
        self._publisher = publisher
        self._wall = wall
        self._authenticator: FrameAuthenticator | None = None
        self._client_share = b""
        self._server_share = b""

    def say(self, **frame: object) -> None:
        """Puts one frame on the stream, if there is one."""
        if self.out is not None:
            self.out.put_nowait(HoldSessionResponse(**frame))  # type: ignore[arg-type]  # one by name

    def answer_first(self, sequence: int, nonce: bytes, key_share: bytes, *, resumed: bool) -> None:
        """Answers `open` or `resume`."""
        self._client_share = key_share
        self._authenticator = None
        share = KeyShare.generate() if key_share else None
        self._server_share = share.public if share else b""
        if share:
            self._authenticator = FrameAuthenticator(share.agree(key_share, nonce, self.name))
        leases = self._pool.of(self)
        opened = session_pb2.Opened(
            sequence=sequence,
            session=self.name,
            proof=self.proof(nonce),
            key_share=self._server_share,
            resume_ticket=self.ticket,
            release_token=self.release_token,
            resumed=resumed,
            leases=leases,
            places=self._pool.places_of(self),
            pools=[POOL] if self._terms.kind == "site" else [],
            seat_required=self._terms.seat_required,
            location=f"{self._publisher.account}/locations/{self._terms.kind}",
        )
        opened.renew_interval.FromTimedelta(self._terms.renew_interval)
        opened.valid_for.FromTimedelta(self._terms.valid_for)
        if self._authenticator:
            valid_for_us = sessionkey.microseconds(opened.valid_for)
            opened.mac = self._authenticator.opened(
                sequence, self.name, valid_for_us, resumed, leases
            )
        self.say(opened=opened)

    def check_resume(self, frame: session_pb2.Resume) -> None:
        """Refuses a resume without the ticket or the session key."""
        if frame.resume_ticket != self.ticket:
            raise errors.ResumeInvalid("The ticket is not one of this server's.")
        if self._authenticator:
            code = self._authenticator.resume(
                frame.sequence, frame.session, frame.nonce, frame.key_share
            )
            sessionkey.check(code, frame.mac, "resume")

    def renew(self, frame: session_pb2.Renew) -> None:
        """Gives more time."""
        if self._authenticator:
            code = self._authenticator.renew(frame.sequence, frame.nonce)
            sessionkey.check(code, frame.mac, "renew")
        if not self.key_is_here:
            self.deny(frame.sequence, errors.KeyUnplugged("The key is not plugged in."))
            return
        renewed = session_pb2.Renewed(sequence=frame.sequence)
        renewed.valid_for.FromTimedelta(self._terms.valid_for)
        if frame.nonce:
            renewed.proof.CopyFrom(self.proof(frame.nonce))
        if self._authenticator:
            renewed.mac = self._authenticator.renewed(
                frame.sequence, sessionkey.microseconds(renewed.valid_for)
            )
        self.say(renewed=renewed)

    def give(self, sequence: int, request_id: str, lease: seat_pb2.Lease) -> None:
        """A seat."""
        mac = b""
        if self._authenticator:
            mac = self._authenticator.acquired(sequence, request_id, lease)
        self.say(
            acquired=session_pb2.Acquired(
                sequence=sequence, request_id=request_id, lease=lease, mac=mac
            )
        )

    def deny(self, sequence: int, error: KeypegError, request_id: str = "") -> None:
        """No, and why."""
        self.say(
            denied=session_pb2.Denied(
                sequence=sequence, request_id=request_id, explanation=status.explain(error)
            )
        )

    def proof(self, nonce: bytes) -> proof_pb2.Proof:
        """What the app verifies."""
        terms, publisher, now = self._terms, self._publisher, self._wall()
        if terms.kind == "cloud":
            return publisher.cloud_proof(self._grant(nonce), now)
        license_document = publisher.license_document(
            terms.kind,
            terms.product,
            now,
            features=terms.features,
            seat_count=terms.seat_count if terms.kind == "site" else 0,
            expire_time=terms.license_expire_time,
            unplug_grace=terms.unplug_grace,
            parts=terms.parts if terms.kind == "host" else None,
        )
        if terms.kind == "site":
            return publisher.site_proof(self._grant(nonce), license_document, now)
        if terms.kind == "host":
            return publisher.host_proof(license_document, now)
        return publisher.key_proof(self.name, nonce, license_document, now)

    def _grant(self, nonce: bytes) -> document_pb2.Grant:
        grant = document_pb2.Grant(
            session=self.name,
            account=self._publisher.account,
            device=self.open.device.id,
            publisher=self._publisher.name,
            products=[self._terms.product],
            features=self._terms.features,
            nonce=nonce,
            leases=[
                document_pb2.GrantedLease(
                    lease=lease.name,
                    units=lease.units,
                    features=lease.features,
                    fencing_number=lease.fencing_number,
                )
                for lease in self._pool.of(self)
            ],
            client_key_share=self._client_share,
            server_key_share=self._server_share,
            activation=self._publisher.activation,
            seat_required=self._terms.seat_required,
        )
        grant.valid_for.FromTimedelta(self._terms.valid_for)
        return grant
