"""License documents for this computer: found on its disk, verified, and good without any connection.

Promises: a document opens a product only after the same verification as every proof, against the pinned
root and this computer's own parts; the disk is not trusted. When none is right, the error is that of the
document that came nearest.

Leaves to others: getting documents (cli), and the session around one (offline_session).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from keypeg import envelope as envelopes
from keypeg import proof as proofs
from keypeg.errors import DocumentMalformed, KeypegError, LicenseMissing, Reason
from keypeg.proof import Expectation, Verified
from keypeg.session_guard import NONCE_BYTES, Pinned
from keypeg.v1 import document_pb2, proof_pb2

SUFFIX: Final = ".keypeg"
FILE_COUNT: Final = 256  # in one directory; more is not a person's doing

# How near a refused document came: what the person can do something about comes first.
_FAR: Final = (
    Reason.DOCUMENT_OTHER_PRODUCT,
    Reason.SIGNATURE_INVALID,
    Reason.SIGNER_UNKNOWN,
    Reason.DOCUMENT_OTHER_PUBLISHER,
    Reason.DOCUMENT_TYPE,
    Reason.DOCUMENT_MALFORMED,
)

ReadParts = Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class HostLicense:
    """A document that opens the product here, and the file it is in."""

    path: Path
    proof: proof_pb2.HostProof
    verified: Verified


def find(pinned: Pinned, directory: Path, read_parts: ReadParts, now: datetime) -> HostLicense:
    """The document of the directory that opens the product for the longest; else an error says why not."""
    files = sorted(directory.glob(f"*{SUFFIX}"))[:FILE_COUNT] if directory.is_dir() else []
    if not files:
        raise LicenseMissing(f"There is no license document for this computer in {directory}.")
    pinned = replace(pinned, fingerprint=read_parts())
    found: list[HostLicense] = []
    refusals: list[KeypegError] = []
    for path in files:
        try:
            found.extend(_licenses(path, pinned, now, refusals))
        except KeypegError as error:
            refusals.append(error)
    if found:
        return max(found, key=lambda one: _rank(one.verified))
    raise min(refusals, key=lambda e: _FAR.index(e.reason) + 1 if e.reason in _FAR else 0)


def verify(proof: proof_pb2.HostProof, pinned: Pinned, now: datetime) -> Verified:
    """What the document allows here and now; the error of the check that failed."""
    return proofs.verify(
        proof_pb2.Proof(host=proof),
        Expectation(
            publisher_root=pinned.root,
            publisher=pinned.publisher,
            product=pinned.product,
            session="",
            device=pinned.device,
            nonce=bytes(NONCE_BYTES),  # nobody is asked: the computer itself is the proof
            client_key_share=b"",
            server_key_share=b"",
            now=now,
            fingerprint=pinned.fingerprint,
            release=pinned.release,
        ),
    )


def _licenses(
    path: Path, pinned: Pinned, now: datetime, refusals: list[KeypegError]
) -> Iterable[HostLicense]:
    parts = _read(path)
    delegations = [one for one in parts if one.payload_type == envelopes.DELEGATION_TYPE]
    licenses = [one for one in parts if one.payload_type == envelopes.LICENSE_TYPE]
    if not delegations or not licenses:
        raise DocumentMalformed(
            f"The file {path} holds no license together with its delegation; get it again."
        )
    for license_document in licenses:
        for delegation in delegations:
            proof = proof_pb2.HostProof(delegation=delegation, license=license_document)
            try:
                yield HostLicense(path, proof, verify(proof, pinned, now))
            except KeypegError as error:
                refusals.append(error)


def _read(path: Path) -> tuple[document_pb2.Envelope, ...]:
    try:
        with path.open("rb") as file:
            data = file.read(envelopes.TEXT_CHARACTERS + 1)
    except OSError as error:
        raise DocumentMalformed(f"The file {path} can not be read: {error.strerror}.") from error
    return envelopes.all_from_text(data.decode("ascii", errors="replace"))


def _rank(verified: Verified) -> float:
    end = verified.license_expire_time
    return float("inf") if end is None else end.timestamp()
