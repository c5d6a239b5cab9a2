"""The sessions and seats of a stand-in host: simple rules, real proofs and codes.

Promises: one session answers frames as a location host does: proofs, codes, seats with fencing numbers, and
a queue in the order of asking. No I/O: answers are put where the session's stream finds them.

Leaves to others: the stream, faults and scripts (testing.host).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from keypeg import errors, sessionkey, status
from keypeg.errors import KeypegError
from keypeg.sessionkey import FrameAuthenticator, KeyShare
from keypeg.testing.publisher import StandInPublisher
from keypeg.v1 import document_pb2, proof_pb2, seat_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse

POOL: Final = "pools/stand-in"
Out = asyncio.Queue[HoldSessionResponse | KeypegError]


@dataclass
class Terms:
    """What a stand-in host gives; change it at any time."""

    kind: str = "cloud"  # cloud, site, key or host
    product: str = "stand-in"
    features: tuple[str, ...] = ()
    valid_for: timedelta = timedelta(seconds=60)
    renew_interval: timedelta = timedelta(seconds=20)
    unplug_grace: timedelta = timedelta(seconds=30)
    seat_count: int = 3  # of a site
    seat_required: bool = False
    license_expire_time: datetime | None = None
    parts: dict[str, str] = field(default_factory=dict)  # the computer of a host license


@dataclass
class Waiter:
    """A place in the queue."""

    session: StandInSession
    acquire: session_pb2.Acquire
    name: str


class StandInPool:
    """The seats; first come, first served."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._numbers = itertools.count(1)
        self.leases: dict[str, tuple[StandInSession, seat_pb2.Lease]] = {}
        self.waiters: list[Waiter] = []
        self._answers: dict[str, seat_pb2.Lease] = {}  # by request id

    def acquire(self, session: StandInSession, frame: session_pb2.Acquire) -> None:
        """Gives, queues or refuses."""
        known = self._answers.get(frame.request_id)
        if known is not None and known.name in self.leases:
            session.give(frame.sequence, frame.request_id, known)
        elif any(w.acquire.request_id == frame.request_id for w in self.waiters):
            self._tell_places()
        elif not self.waiters and self._fits(frame):
            self._give(session, frame)
        elif frame.wait:
            name = f"{POOL}/places/{next(self._numbers)}"
            self.waiters.append(Waiter(session, frame, name))
            self._tell_places()
        else:
            session.deny(
                frame.sequence, errors.PoolExhausted("Every seat is held."), frame.request_id
            )

    def release(self, name: str) -> bool:
        """Takes a lease or place away; False when there is none."""
        waiting = [w for w in self.waiters if w.name != name]
        found = len(waiting) < len(self.waiters) or self.leases.pop(name, None) is not None
        self.waiters = waiting
        self.serve()
        return found

    def release_all(self, session: StandInSession) -> None:
        """Takes everything of a session away."""
        self.leases = {n: (s, v) for n, (s, v) in self.leases.items() if s is not session}
        self.waiters = [w for w in self.waiters if w.session is not session]
        self.serve()

    def serve(self) -> None:
        """Gives what is free to those who wait."""
        served = False
        while self.waiters and self._fits(self.waiters[0].acquire):
            waiter = self.waiters.pop(0)
            self._give(waiter.session, waiter.acquire)
            served = True
        if served:
            self._tell_places()

    def of(self, session: StandInSession) -> list[seat_pb2.Lease]:
        """The leases of a session."""
        return [lease for holder, lease in self.leases.values() if holder is session]

    def places_of(self, session: StandInSession) -> list[seat_pb2.QueuePlace]:
        """The places of a session."""
        return [self._place(i) for i, w in enumerate(self.waiters) if w.session is session]

    def _fits(self, frame: session_pb2.Acquire) -> bool:
        held = sum(lease.units for _, lease in self.leases.values())
        return held + (frame.units or 1) <= self._terms.seat_count

    def _give(self, session: StandInSession, frame: session_pb2.Acquire) -> None:
        number = next(self._numbers)
        lease = seat_pb2.Lease(
            name=f"{POOL}/leases/{number}",
            session=session.name,
            units=frame.units or 1,
            features=frame.features,
            fencing_number=number,
        )
        self.leases[lease.name] = (session, lease)
        self._answers[frame.request_id] = lease
        session.give(frame.sequence, frame.request_id, lease)

    def _place(self, index: int) -> seat_pb2.QueuePlace:
        waiter = self.waiters[index]
        return seat_pb2.QueuePlace(
            name=waiter.name,
            session=waiter.session.name,
            position=index + 1,
            waiting_count=len(self.waiters),
            units=waiter.acquire.units,
        )

    def _tell_places(self) -> None:
        for index, waiter in enumerate(self.waiters):
            waiter.session.say(
                queued=session_pb2.Queued(
                    sequence=waiter.acquire.sequence,
                    request_id=waiter.acquire.request_id,
                    place=self._place(index),
                )
            )


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
