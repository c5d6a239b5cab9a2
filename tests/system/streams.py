"""An app's stream to a real server, frame by frame, for tests that must see what each answer is signed with.

Promises: every proof is verified as an app verifies it, under the pinned root.

Leaves to others: what the answers should be (the tests); apps as people write them (lab/world.py).
"""

from __future__ import annotations

import itertools
import os
import queue
from datetime import UTC, datetime

from keypeg.proof import Expectation, verify
from keypeg.sessionkey import FrameAuthenticator, KeyShare
from keypeg.v1 import proof_pb2, session_pb2, session_service_pb2_grpc
from keypeg.v1.document_pb2 import Delegation
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from lab.world import Api

SECONDS = 30.0


class Stream:
    """A session of one device on one stream."""

    def __init__(self, api: Api, root: bytes, product: str, device: str) -> None:
        self._root, self._product, self._device = root, product, device
        self._numbers = itertools.count(1)
        self._seen: dict[str, int] = {}  # generations, as an app remembers them
        self._share, self._nonce = KeyShare.generate(), os.urandom(32)
        self._begin(
            api,
            HoldSessionRequest(
                open=session_pb2.Open(
                    sequence=next(self._numbers),
                    protocol_version=1,
                    device=session_pb2.Device(id=device, host_name=device),
                    app=session_pb2.App(name="cad", version="1.2", process_id=4711),
                    product=product,
                    nonce=self._nonce,
                    key_share=self._share.public,
                )
            ),
        )

    def resume(self, api: Api) -> session_pb2.Resume:
        """Leave the stream without a word and go on with another; gives what was sent for that."""
        self.call.cancel()
        sequence, session, share = next(self._numbers), self.opened.session, KeyShare.generate()
        self._share, self._nonce = share, os.urandom(32)
        resume = session_pb2.Resume(
            sequence=sequence,
            protocol_version=1,
            session=session,
            resume_ticket=self.opened.resume_ticket,
            nonce=self._nonce,
            key_share=share.public,
            mac=self._codes.resume(sequence, session, self._nonce, share.public),
        )
        self._begin(api, HoldSessionRequest(resume=resume))
        return resume

    def renew(self) -> None:
        """A signed renewal; `generation` and `signed_by` are those of its proof afterwards."""
        sequence, self._nonce = next(self._numbers), os.urandom(32)
        mac = self._codes.renew(sequence, self._nonce)
        renew = session_pb2.Renew(sequence=sequence, nonce=self._nonce, mac=mac)
        self._frames.put(HoldSessionRequest(renew=renew))
        self.generation, self.signed_by = self._verified(self._next("renewed").renewed.proof)

    def ask(self, times: int) -> None:
        """Renewals whose answers nobody reads."""
        for _ in range(times):
            sequence, nonce = next(self._numbers), os.urandom(32)
            mac = self._codes.renew(sequence, nonce)
            renew = session_pb2.Renew(sequence=sequence, nonce=nonce, mac=mac)
            self._frames.put(HoldSessionRequest(renew=renew))

    def close(self) -> None:
        """End the stream."""
        self._frames.put(None)
        self.call.cancel()

    def _begin(self, api: Api, first: HoldSessionRequest) -> None:
        """A stream of its own, with its first frame and the answer to that."""
        self._frames: queue.Queue[HoldSessionRequest | None] = queue.Queue()
        self._frames.put(first)
        stub = session_service_pb2_grpc.SessionServiceStub(api.channel)
        self.call = stub.HoldSession(iter(self._frames.get, None), timeout=SECONDS * 4)
        self.opened = self._next("opened").opened
        key = self._share.agree(self.opened.key_share, self._nonce, self.opened.session)
        self._codes = FrameAuthenticator(key)
        self.generation, self.signed_by = self._verified(self.opened.proof)

    def _next(self, kind: str) -> HoldSessionResponse:
        for frame in self.call:
            if frame.WhichOneof("frame") == kind:
                return frame
        raise AssertionError(f"the stream ended before {kind}")

    def _verified(self, proof: proof_pb2.Proof) -> tuple[int, str]:
        """The generation of the delegation, and the id of the key that signed the grant."""
        found = verify(
            proof,
            Expectation(
                publisher_root=self._root,
                publisher="publishers/acme",
                product=self._product,
                session=self.opened.session,
                device=self._device,
                nonce=self._nonce,
                client_key_share=self._share.public,
                server_key_share=self.opened.key_share,
                now=datetime.now(UTC),
                fingerprint=None,
                seen=self._seen,
            ),
        )
        self._seen[found.delegation.publisher] = found.delegation.generation
        if found.license is not None:
            self._seen[found.activation] = found.license.generation
        given = getattr(proof, proof.WhichOneof("kind") or "")
        delegation = Delegation.FromString(given.delegation.payload)
        return delegation.generation, given.grant.signatures[0].key_id
