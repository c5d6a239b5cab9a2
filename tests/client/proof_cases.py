"""Proofs of all five kinds from fixed keys, and named changes of one thing each.

Promises: everything is deterministic, so that the published vectors can be made from it; each case starts
from a proof that is right, and says for which reason the changed one is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from keypeg import document, fingerprint, proof
from keypeg.document import Ed25519Signer
from keypeg.envelope import CONTENTS_TYPE
from keypeg.errors import Reason
from keypeg.key_contents import entry_of
from keypeg.v1 import document_pb2 as d
from keypeg.v1 import location_pb2, proof_pb2
from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.key_contents_pb2 import KeyContents, KeyContentsEntry
from keypeg.versions import Release

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)

PUBLISHER = "publishers/acme"
PRODUCT = "publishers/acme/products/studio"
ACCOUNT = "accounts/ada"
LICENSE = "accounts/ada/licenses/l1"
ACTIVATION = "accounts/ada/licenses/l1/activations/a1"
SESSION = "sessions/0197a3b0c1d27e3f8a4b5c6d7e8f9012"
BRIDGE = "bridges/b1"
BORROW = "pools/p1/borrows/b1"
PARTS = {
    "machine_id": "4c1de0ff",
    "board": "ACME 9 SN-5512",
    "disk": "WD-12 77",
    "mac": "02:42:ac:11:00:02",
}


def fixed(name: str) -> bytes:
    """32 bytes that stand for what is random elsewhere."""
    return hashlib.sha256(b"keypeg vectors: " + name.encode()).digest()


def signer(name: str) -> Ed25519Signer:
    return Ed25519Signer(fixed(name))


class P256Signer:
    """The key on a smart key: P-256, with deterministic signatures (RFC 6979)."""

    def __init__(self, name: str) -> None:
        self._key = ec.derive_private_key(int.from_bytes(fixed(name), "big") >> 1, ec.SECP256R1())
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public_key = d.PublicKey(algorithm=d.KEY_ALGORITHM_ECDSA_P256, key=point)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def sign_challenge(self, challenge: bytes) -> bytes:
        prehashed = Prehashed(hashes.SHA256())
        return self._key.sign(challenge, ec.ECDSA(prehashed, deterministic_signing=True))


class P384Signer:
    """A card's key on P-384, with deterministic signatures."""

    def __init__(self, name: str) -> None:
        self._key = ec.derive_private_key(int.from_bytes(fixed(name), "big"), ec.SECP384R1())
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public_key = d.PublicKey(algorithm=d.KEY_ALGORITHM_ECDSA_P384, key=point)

    def sign_challenge(self, challenge: bytes) -> bytes:
        prehashed = Prehashed(hashes.SHA256())
        return self._key.sign(challenge, ec.ECDSA(prehashed, deterministic_signing=True))


class RsaSigner:
    """A card's RSA key, from a file: its private half is published, and for tests alone."""

    def __init__(self, file: Path) -> None:
        key = load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._key = key
        modulus = key.public_key().public_numbers().n.to_bytes(256, "big")
        self.public_key = d.PublicKey(algorithm=d.KEY_ALGORITHM_RSA_2048, key=modulus)

    def sign_challenge(self, challenge: bytes) -> bytes:
        return self._key.sign(challenge, padding.PKCS1v15(), Prehashed(hashes.SHA256()))


class Fido2Signer:
    """A credential on a FIDO2 key: its own 37 bytes are signed with each challenge."""

    def __init__(
        self, key: Any, *, rp_id: str = "keypeg.invalid", flags: int = 0, counter: int = 7
    ) -> None:
        self._key = key
        self._data = hashlib.sha256(rp_id.encode()).digest() + bytes([flags])
        self._data += counter.to_bytes(4, "big")
        curve = d.KEY_ALGORITHM_FIDO2_ED25519
        if key.public_key.algorithm == d.KEY_ALGORITHM_ECDSA_P256:
            curve = d.KEY_ALGORITHM_FIDO2_P256
        self.public_key = d.PublicKey(algorithm=curve, key=key.public_key.key)

    def sign_challenge(self, challenge: bytes) -> bytes:
        signature: bytes = self._key.sign(self._data + challenge)
        return self._data + signature


class CountingSigner:
    """A smartkey: its counter is signed with each challenge."""

    def __init__(self, key: P256Signer, *, counter: int = 7) -> None:
        self._key = key
        self._number = counter.to_bytes(8, "big")
        self.public_key = d.PublicKey(
            algorithm=d.KEY_ALGORITHM_SMARTKEY_P256, key=key.public_key.key
        )

    def sign_challenge(self, challenge: bytes) -> bytes:
        message = b"keypeg counted signature v1\0" + self._number + challenge
        return self._number + self._key.sign(message)


ROOT, LICENSES, GRANTS, SITE = (signer(name) for name in ("root", "licenses", "grants", "site"))
SMART_KEY = P256Signer("smart key")
P384_KEY = P384Signer("p384 key")
RSA_KEY = RsaSigner(Path(__file__).with_name("rsa_key.pem"))
FIDO2_KEY = Fido2Signer(SMART_KEY)
COUNTING_KEY = CountingSigner(SMART_KEY)
COUNTING_KEY_ID = document.key_id(COUNTING_KEY.public_key)
STRANGER = signer("stranger")
LAPTOP = signer("laptop")


def delegated(
    by: Any, *purposes: int, begin: timedelta = -DAY, end: timedelta = DAY
) -> d.DelegatedKey:
    key = d.DelegatedKey(public_key=by.public_key, purposes=purposes)  # type: ignore[arg-type]
    key.not_before_time.FromDatetime(NOW + begin)
    key.not_after_time.FromDatetime(NOW + end)
    return key


@dataclass
class Parts:
    """What a proof is made of, before it is signed; a case changes one thing of it."""

    kind: str
    delegation: d.Delegation
    license: d.LicenseDocument
    grant: d.Grant
    borrow: BorrowDocument
    expected: dict[str, Any]
    root_signer: Any = ROOT
    license_signer: Any = LICENSES
    grant_signer: Any = GRANTS
    key_signer: Any = SMART_KEY
    license_type: str = document.LICENSE_TYPE
    grant_type: str = document.GRANT_TYPE
    borrow_signer: Any = SITE
    borrow_type: str = document.BORROW_TYPE
    contents: KeyContents | None = None
    contents_signer: Any = LICENSES
    contents_type: str = CONTENTS_TYPE
    location_host: str = BRIDGE
    key_session: str = SESSION
    key_nonce: bytes = field(default_factory=lambda: fixed("nonce"))
    tampered: Callable[[proof_pb2.Proof], object] = lambda made: None

    def made(self) -> tuple[proof_pb2.Proof, proof.Expectation]:
        """The proof, signed, and what the app expects of it."""
        delegation = document.seal(self.delegation, document.DELEGATION_TYPE, self.root_signer)
        license_ = document.seal(self.license, self.license_type, self.license_signer)
        grant = document.seal(self.grant, self.grant_type, self.grant_signer)
        made = proof_pb2.Proof()
        if self.kind == "cloud":
            made.cloud.CopyFrom(proof_pb2.CloudProof(delegation=delegation, grant=grant))
        elif self.kind == "key":
            challenge = proof.challenge(self.location_host, self.key_session, self.key_nonce)
            signature = self.key_signer.sign_challenge(challenge)
            made.key.CopyFrom(
                proof_pb2.KeyProof(
                    delegation=delegation,
                    license=license_,
                    location_host=self.location_host,
                    session=self.key_session,
                    signature=signature,
                )
            )
            if self.contents is not None:
                sealed = document.seal(self.contents, self.contents_type, self.contents_signer)
                made.key.contents.CopyFrom(sealed)
        elif self.kind == "host":
            made.host.CopyFrom(proof_pb2.HostProof(delegation=delegation, license=license_))
        elif self.kind == "site":
            made.site.CopyFrom(
                proof_pb2.SiteProof(delegation=delegation, license=license_, grant=grant)
            )
        else:
            borrow = document.seal(self.borrow, self.borrow_type, self.borrow_signer)
            made.borrow.CopyFrom(
                proof_pb2.BorrowProof(delegation=delegation, license=license_, borrow=borrow)
            )
        self.tampered(made)
        return made, proof.Expectation(**self.expected)


def parts(kind: str) -> Parts:
    """The parts of a proof that is right."""
    kinds = {
        "cloud": location_pb2.LOCATION_KIND_CLOUD,
        "key": location_pb2.LOCATION_KIND_KEY,
        "host": location_pb2.LOCATION_KIND_HOST,
        "site": location_pb2.LOCATION_KIND_SITE,
        "borrow": location_pb2.LOCATION_KIND_SITE,
    }
    delegation = d.Delegation(publisher=PUBLISHER, generation=3)
    delegation.keys.append(delegated(LICENSES, d.PURPOSE_LICENSE))
    delegation.keys.append(delegated(GRANTS, d.PURPOSE_GRANT))
    license_ = d.LicenseDocument(
        license=LICENSE,
        activation=ACTIVATION,
        publisher=PUBLISHER,
        product=PRODUCT,
        opens_products=[PRODUCT, PRODUCT + "-extra"],
        location_kind=kinds[kind],
        location=f"{ACCOUNT}/locations/{kind}",
        generation=5,
    )
    license_.features.add(feature="export")
    license_.features.add(feature="render", seat_count=2)
    license_.expire_time.FromDatetime(NOW + 300 * DAY)
    license_.renew_before_time.FromDatetime(NOW + 35 * DAY)
    if kind == "key":
        license_.location_key.CopyFrom(SMART_KEY.public_key)
        license_.unplug_grace.FromTimedelta(timedelta(seconds=30))
    elif kind == "host":
        license_.fingerprint.CopyFrom(fingerprint.make(PARTS, fixed("salt")[:16]))
    elif kind in ("site", "borrow"):
        license_.location_key.CopyFrom(SITE.public_key)
        license_.seat_count = 5
    grant = d.Grant(
        session=SESSION,
        account=ACCOUNT,
        device="laptop-1",
        publisher=PUBLISHER,
        products=[PRODUCT],
        features=["export"],
        nonce=fixed("nonce"),
        client_key_share=fixed("client share"),
        server_key_share=fixed("server share"),
        location_kind=kinds[kind],
        activation=ACTIVATION,
    )
    grant.valid_for.FromTimedelta(timedelta(seconds=60 if kind == "site" else 180))
    if kind == "site":
        lease = grant.leases.add(lease="pools/p1/leases/e1", units=2, fencing_number=7)
        lease.features.add(feature="render", units=1)
        grant.seat_required = True
    expected = {
        "publisher_root": ROOT.public_key.key,
        "publisher": PUBLISHER,
        "product": PRODUCT,
        "session": SESSION,
        "device": "laptop-1",
        "nonce": fixed("nonce"),
        "client_key_share": fixed("client share"),
        "server_key_share": fixed("server share"),
        "now": NOW,
        "fingerprint": PARTS if kind in ("host", "borrow") else None,
        "return_key": LAPTOP.public_key.key if kind == "borrow" else b"",
    }
    made = Parts(kind, delegation, license_, grant, borrowed(), expected)
    if kind == "site":
        made.grant_signer = SITE
    return made


def borrowed() -> BorrowDocument:
    """A seat that the laptop may use for a week."""
    made = BorrowDocument(
        borrow=BORROW,
        serial=2,
        account=ACCOUNT,
        publisher=PUBLISHER,
        activation=ACTIVATION,
        products=[PRODUCT],
        features=["export"],
        device="laptop-1",
        return_key=LAPTOP.public_key,
        user=f"{ACCOUNT}/users/ann",
    )
    made.lease.lease, made.lease.units, made.lease.fencing_number = "pools/p1/leases/b1", 2, 7
    made.lease.features.add(feature="render", units=1)
    made.fingerprint.CopyFrom(fingerprint.make(PARTS, fixed("salt")[:16]))
    made.issue_time.FromDatetime(NOW)
    made.expire_time.FromDatetime(NOW + 7 * DAY)
    return made


Change = Callable[[Parts], object]


@dataclass(frozen=True)
class Case:
    """A change of a right proof, and the reason for which it is refused; None: it is still right."""

    kind: str
    name: str
    change: Change
    reason: Reason | None

    @property
    def id(self) -> str:
        return f"{self.kind}: {self.name}"

    def made(self) -> tuple[proof_pb2.Proof, proof.Expectation]:
        made = parts(self.kind)
        self.change(made)
        return made.made()


def expect(**changed: Any) -> Change:
    return lambda p: p.expected.update(changed)


def put(**changed: Any) -> Change:
    def change(p: Parts) -> None:
        for name, value in changed.items():
            setattr(p, name, value)

    return change


def in_grant(**changed: Any) -> Change:
    return lambda p: p.grant.MergeFrom(cleared(p.grant, d.Grant(**changed)))


def in_borrow(**changed: Any) -> Change:
    return lambda p: p.borrow.MergeFrom(cleared(p.borrow, BorrowDocument(**changed)))


def carrying(version: int = 4, *, needs: int = 4, seen: int = 0, **changed: Any) -> Change:
    """The key shows contents that name the license, which needs such; one thing of them is changed."""

    def change(p: Parts) -> None:
        p.license.contents_version = needs
        contents = KeyContents(
            location=p.license.location,
            location_key=SMART_KEY.public_key,
            publisher=PUBLISHER,
            publisher_root=ROOT.public_key.key,
            version=version,
        )
        contents.entries.add(
            activation=entry_of("accounts/ada/licenses/l2/activations/a2"), generation=1
        )
        contents.entries.add(activation=entry_of(ACTIVATION), generation=5)
        p.contents = contents
        p.contents.MergeFrom(cleared(contents, KeyContents(**changed)))
        p.expected.update(seen={p.license.location: seen})

    return change


def and_then(*changes: Change) -> Change:
    def change(p: Parts) -> None:
        for one in changes:
            one(p)

    return change


def in_license(**changed: Any) -> Change:
    return lambda p: p.license.MergeFrom(cleared(p.license, d.LicenseDocument(**changed)))


def seats_for_a_time(start: timedelta, end: timedelta, units: int = 8) -> Change:
    """A license of five seats with three more for a time, and a session that holds so many."""

    def change(p: Parts) -> None:
        window = p.license.capacities.add(seat_count=3)
        window.start_time.FromDatetime(NOW + start)
        window.end_time.FromDatetime(NOW + end)
        p.grant.leases[0].units = units

    return change


def of_versions(newest: str, version: str) -> Change:
    """A license up to this version, and the app's."""
    release = Release(version)

    def change(p: Parts) -> None:
        p.license.newest_version = newest
        p.expected.update(release=release)

    return change


def of_maintenance(released: datetime | None) -> Change:
    """A license whose maintenance ends now, and when the app was released."""

    def change(p: Parts) -> None:
        p.license.maintenance_end_time.FromDatetime(NOW)
        p.expected["release"] = Release("1.0", released)

    return change


def in_delegation(**changed: Any) -> Change:
    return lambda p: p.delegation.MergeFrom(cleared(p.delegation, d.Delegation(**changed)))


def cleared(old: Any, new: Any) -> Any:
    for one, _ in new.ListFields():
        old.ClearField(one.name)
    return new


def keys(*entries: d.DelegatedKey) -> Change:
    return in_delegation(keys=entries)


def tamper(how: Callable[[Any], object]) -> Change:
    """Change the proof of the kind after everything is signed."""
    return lambda p: setattr(p, "tampered", lambda made: how(getattr(made, p.kind)))


def flipped(envelope: d.Envelope, which: str) -> None:
    if which == "payload":
        envelope.payload = envelope.payload[:-1] + bytes([envelope.payload[-1] ^ 1])
    elif which == "signature":
        one = envelope.signatures[0]
        one.signature = bytes([one.signature[0] ^ 1]) + one.signature[1:]
    else:
        envelope.signatures[0].key_id = "0" * 32


def later(delta: timedelta) -> Change:
    return expect(now=NOW + delta)


def nothing(p: Parts) -> None:
    """Leave the proof right."""


def unknown_field(p: Parts) -> None:
    """A newer server signs a field 500 that this program does not know."""
    p.license.MergeFromString(b"\xa2\x1f\x03new")
    p.grant.MergeFromString(b"\xa2\x1f\x03new")
    p.borrow.MergeFromString(b"\xa2\x1f\x03new")


def both_purposes_later(p: Parts) -> None:
    """An entry for another purpose before the one for the right purpose."""
    p.delegation.keys.insert(0, delegated(LICENSES, d.PURPOSE_LOG))
    p.delegation.keys.insert(0, delegated(GRANTS, d.PURPOSE_LOG))


def second_signature(envelope: Any) -> None:
    old = d.Signature(key_id="ab" * 16, signature=b"of an algorithm to come")
    signatures = [old, *envelope.signatures]
    del envelope.signatures[:]
    envelope.signatures.extend(signatures)


def unknown_algorithm(p: Parts) -> None:
    key = delegated(LICENSES, d.PURPOSE_LICENSE, d.PURPOSE_GRANT)
    key.public_key.algorithm = 99  # type: ignore[assignment]
    p.delegation.keys.insert(0, key)


def no_grant(p: Parts) -> None:
    """The right key signs bytes that are no Grant: its first field is no text."""
    p.grant = d.HostFingerprint(salt=b"\xff" * 16)  # type: ignore[assignment]


def no_account(p: Parts) -> None:
    p.license.license = "l1"
    p.grant.ClearField("account")


def without_end(p: Parts) -> None:
    p.license.ClearField("expire_time")
    p.license.ClearField("renew_before_time")


def by_id_alone(p: Parts) -> None:
    p.borrow.ClearField("fingerprint")
    p.expected.update(fingerprint=None)


def no_return_key(p: Parts) -> None:
    p.borrow.ClearField("return_key")
    p.expected.update(return_key=b"")


def very_many_leases(p: Parts) -> None:
    p.license.seat_count = 1_000
    for number in range(257 - len(p.grant.leases)):
        p.grant.leases.add(lease=f"pools/p1/leases/x{number}", units=1)


def more_units(p: Parts) -> None:
    p.grant.leases[0].units = 6


def units_in_two_leases(p: Parts) -> None:
    p.grant.leases.add(lease="pools/p1/leases/e2", units=4, fencing_number=8)


def fido2(signer: Any = FIDO2_KEY, *, named: Any = FIDO2_KEY) -> Change:
    """`signer` signs; the license names `named`."""

    def change(p: Parts) -> None:
        p.key_signer = signer
        p.license.location_key.CopyFrom(named.public_key)

    return change


def fido2_then(change: Callable[[bytes], bytes]) -> Change:
    """A FIDO2 key's proof, and its bytes changed."""

    def both(p: Parts) -> None:
        fido2()(p)
        tamper(lambda k: setattr(k, "signature", change(k.signature)))(p)

    return both


def counting(counter: int = 7, *, seen: int = 0, signer: Any = None) -> Change:
    """A smartkey signs, and the app has seen it count up to `seen`."""

    def change(p: Parts) -> None:
        fido2(signer or CountingSigner(SMART_KEY, counter=counter), named=COUNTING_KEY)(p)
        p.expected.update(seen={COUNTING_KEY_ID: seen})

    return change


def counting_then(change: Callable[[bytes], bytes], seen: int = 0) -> Change:
    """A smartkey's proof, and its bytes changed."""

    def both(p: Parts) -> None:
        counting(seen=seen)(p)
        tamper(lambda k: setattr(k, "signature", change(k.signature)))(p)

    return both


def with_flags(flags: int) -> Fido2Signer:
    return Fido2Signer(SMART_KEY, flags=flags)


R = Reason
EVERY = ("cloud", "key", "host", "site", "borrow")
WITH_LICENSE = ("key", "host", "site", "borrow")
BORROWED = ("borrow",)
WITH_GRANT = ("cloud", "site")

# fmt: off
_RIGHT: list[tuple[tuple[str, ...], str, Change]] = [
    (EVERY, "as it was made", nothing),
    (EVERY, "unknown fields are kept and do no harm", unknown_field),
    (EVERY, "a key delegated twice, for other purposes first", both_purposes_later),
    (EVERY, "a delegated key of an algorithm to come", unknown_algorithm),
    (EVERY, "a second signature of an algorithm to come", tamper(lambda k: second_signature(k.delegation))),
    (EVERY, "any publisher that the root vouches for", expect(publisher=None)),
    (EVERY, "the generations that were seen", expect(seen={PUBLISHER: 3, ACTIVATION: 5})),
    (EVERY, "a key that begins in four minutes", later(-DAY - timedelta(minutes=4))),
    (EVERY, "the last microsecond of the delegation", later(DAY - timedelta(microseconds=1))),
    (("key",), "a key of P-384", fido2(P384_KEY, named=P384_KEY)),
    (("key",), "a key of RSA", fido2(RSA_KEY, named=RSA_KEY)),
    (("key",), "a FIDO2 key of P-256", fido2()),
    (("key",), "a FIDO2 key of Ed25519", fido2(Fido2Signer(STRANGER), named=Fido2Signer(STRANGER))),
    (("key",), "a FIDO2 key that was touched, knows its person, and counts nothing", fido2(Fido2Signer(SMART_KEY, flags=0x1D, counter=0))),
    (("key",), "contents that name the license", carrying()),
    (("key",), "contents newer than those that were seen", carrying(9, seen=8)),
    (("key",), "contents that no license needs yet", carrying(needs=0)),
    (("key",), "a smartkey", counting()),
    (("key",), "a smartkey that counts on", counting(1_001, seen=1_000)),
    (("key",), "a smartkey's highest count", counting(2**64 - 1, seen=2**64 - 2)),
    (("key",), "a smartkey of which another key's count was seen", lambda p: (counting()(p), p.expected.update(seen={"0" * 32: 9}))),
    (("host",), "one part of four has changed", expect(fingerprint={**PARTS, "disk": "new one"})),
    (WITH_LICENSE, "a license without an end", without_end),
    (WITH_LICENSE, "the newest version that it opens", of_versions("7", "7.9.1")),
    (WITH_LICENSE, "a version before the newest", of_versions("7.2", "v6.11-beta")),
    (WITH_LICENSE, "a version without the numbers that count", of_versions("7.0.1", "7")),
    (WITH_LICENSE, "a release of the last microsecond of its maintenance", of_maintenance(NOW - timedelta(microseconds=1))),
    (WITH_LICENSE, "an app that tells no release", of_maintenance(None)),
    (("key", "host"), "the last second of its term", lambda p: p.license.expire_time.FromDatetime(NOW + timedelta(seconds=1))),
    (("site",), "units of a feature that is not counted", lambda p: p.grant.leases[0].features.add(feature="export", units=9)),
    (("site",), "as many units as the license has", lambda p: setattr(p.grant.leases[0], "units", 5)),
    (("site",), "as many units as the license has for a time", seats_for_a_time(-DAY, DAY)),
    (("site",), "seats for a time that begin in four minutes", seats_for_a_time(timedelta(minutes=4), DAY)),
    (BORROWED, "one part of four has changed", expect(fingerprint={**PARTS, "disk": "new one"})),
    (BORROWED, "a seat for a device by its id alone", by_id_alone),
    (BORROWED, "the serial that was seen", expect(seen={BORROW: 2})),
    (BORROWED, "the last minute", lambda p: p.borrow.expire_time.FromDatetime(NOW + timedelta(minutes=1))),
    (BORROWED, "as many units as the license has", lambda p: setattr(p.borrow.lease, "units", 5)),
]

_WRONG: list[tuple[tuple[str, ...], str, Change, Reason]] = [
    # The delegation
    (EVERY, "another root", put(root_signer=STRANGER), R.SIGNER_UNKNOWN),
    (EVERY, "another pinned root", expect(publisher_root=STRANGER.public_key.key), R.SIGNER_UNKNOWN),
    (EVERY, "delegation changed", tamper(lambda k: flipped(k.delegation, "payload")), R.SIGNATURE_INVALID),
    (EVERY, "delegation's signature changed", tamper(lambda k: flipped(k.delegation, "signature")), R.SIGNATURE_INVALID),
    (EVERY, "delegation's key id changed", tamper(lambda k: flipped(k.delegation, "key id")), R.SIGNER_UNKNOWN),
    (EVERY, "no delegation", tamper(lambda k: k.ClearField("delegation")), R.DOCUMENT_MALFORMED),
    (EVERY, "another publisher's delegation", in_delegation(publisher="publishers/other"), R.DOCUMENT_OTHER_PUBLISHER),
    (EVERY, "delegation of no keys", lambda p: p.delegation.ClearField("keys"), R.DOCUMENT_MALFORMED),
    (EVERY, "an older delegation", expect(seen={PUBLISHER: 4}), R.DOCUMENT_SUPERSEDED),
    (EVERY, "delegation ended", later(DAY), R.DELEGATION_EXPIRED),
    (EVERY, "delegation not begun", later(-DAY - timedelta(minutes=6)), R.DELEGATION_NOT_YET_VALID),
    (EVERY, "delegation in place of another document", tamper(lambda k: k.delegation.CopyFrom(getattr(k, "grant", None) or k.license)), R.DOCUMENT_TYPE),
    # The license document
    (WITH_LICENSE, "license by a key that is not delegated", put(license_signer=STRANGER), R.SIGNER_UNKNOWN),
    (WITH_LICENSE, "license by a key delegated for grants only", put(license_signer=GRANTS), R.PURPOSE_NOT_DELEGATED),
    (WITH_LICENSE, "license by a key that ended", keys(delegated(LICENSES, d.PURPOSE_LICENSE, end=-DAY / 2), delegated(GRANTS, d.PURPOSE_GRANT)), R.DELEGATION_EXPIRED),
    (WITH_LICENSE, "license by a key that begins later", keys(delegated(LICENSES, d.PURPOSE_LICENSE, begin=DAY / 2), delegated(GRANTS, d.PURPOSE_GRANT)), R.DELEGATION_NOT_YET_VALID),
    (WITH_LICENSE, "license changed", tamper(lambda k: flipped(k.license, "payload")), R.SIGNATURE_INVALID),
    (WITH_LICENSE, "license's signature changed", tamper(lambda k: flipped(k.license, "signature")), R.SIGNATURE_INVALID),
    (WITH_LICENSE, "license's key id changed", tamper(lambda k: flipped(k.license, "key id")), R.SIGNER_UNKNOWN),
    (WITH_LICENSE, "license under another type", put(license_type=document.GRANT_TYPE), R.DOCUMENT_TYPE),
    (WITH_LICENSE, "license relabeled after signing", lambda p: (put(license_type=document.GRANT_TYPE)(p), tamper(lambda k: setattr(k.license, "payload_type", document.LICENSE_TYPE))(p)), R.SIGNATURE_INVALID),
    (WITH_LICENSE, "license of another publisher", in_license(publisher="publishers/other"), R.DOCUMENT_OTHER_PUBLISHER),
    (WITH_LICENSE, "an older license", expect(seen={ACTIVATION: 6}), R.DOCUMENT_SUPERSEDED),
    (WITH_LICENSE, "license ended", lambda p: p.license.expire_time.FromDatetime(NOW), R.DOCUMENT_EXPIRED),
    (WITH_LICENSE, "license to be renewed", lambda p: p.license.renew_before_time.FromDatetime(NOW), R.DOCUMENT_EXPIRED),
    (WITH_LICENSE, "license for the cloud", in_license(location_kind=1), R.DOCUMENT_TYPE),
    (WITH_LICENSE, "license of another product", in_license(opens_products=[PRODUCT + "-extra"]), R.DOCUMENT_OTHER_PRODUCT),
    (WITH_LICENSE, "an app of another product", expect(product=PRODUCT + "-pro"), R.DOCUMENT_OTHER_PRODUCT),
    (WITH_LICENSE, "a version after the newest", of_versions("7", "8.0"), R.VERSION_NOT_COVERED),
    (WITH_LICENSE, "a version after the newest, in its second number", of_versions("7.2", "7.3.0"), R.VERSION_NOT_COVERED),
    (WITH_LICENSE, "an app that tells no version", of_versions("7", ""), R.VERSION_NOT_COVERED),
    (WITH_LICENSE, "a release from the end of its maintenance on", of_maintenance(NOW), R.VERSION_NOT_COVERED),
    (("site",), "a unit more than the license has for a time", seats_for_a_time(-DAY, DAY, units=9), R.POOL_TOO_SMALL),
    (("site",), "seats for a time that has ended", seats_for_a_time(-DAY, timedelta(0)), R.POOL_TOO_SMALL),
    (("site",), "seats for a time that begins in six minutes", seats_for_a_time(timedelta(minutes=6), DAY), R.POOL_TOO_SMALL),
    # The grant
    (WITH_GRANT, "grant changed", tamper(lambda k: flipped(k.grant, "payload")), R.SIGNATURE_INVALID),
    (WITH_GRANT, "grant's signature changed", tamper(lambda k: flipped(k.grant, "signature")), R.SIGNATURE_INVALID),
    (("cloud",), "grant by a key that is not delegated", put(grant_signer=STRANGER), R.SIGNER_UNKNOWN),
    (("cloud",), "grant by a key delegated for licenses only", put(grant_signer=LICENSES), R.PURPOSE_NOT_DELEGATED),
    (("cloud",), "grant by a key that ended", keys(delegated(GRANTS, d.PURPOSE_GRANT, end=-DAY / 2), delegated(LICENSES, d.PURPOSE_LICENSE)), R.DELEGATION_EXPIRED),
    (("cloud",), "grant by a key that begins later", keys(delegated(GRANTS, d.PURPOSE_GRANT, begin=DAY / 2), delegated(LICENSES, d.PURPOSE_LICENSE)), R.DELEGATION_NOT_YET_VALID),
    (("cloud",), "grant by a site", put(grant_signer=SITE), R.SIGNER_UNKNOWN),
    (("site",), "grant by another site", put(grant_signer=STRANGER), R.DOCUMENT_OTHER_DEVICE),
    (("site",), "license of another site", in_license(location_key=STRANGER.public_key), R.DOCUMENT_OTHER_DEVICE),
    (("site",), "license that names no site", lambda p: p.license.ClearField("location_key"), R.DOCUMENT_OTHER_DEVICE),
    (WITH_GRANT, "signed bytes that are no grant", no_grant, R.DOCUMENT_MALFORMED),
    (WITH_GRANT, "grant under another type", put(grant_type=document.LICENSE_TYPE), R.DOCUMENT_TYPE),
    (WITH_GRANT, "grant of another publisher", in_grant(publisher="publishers/other"), R.DOCUMENT_OTHER_PUBLISHER),
    (WITH_GRANT, "grant for a key", in_grant(location_kind=2), R.DOCUMENT_TYPE),
    (WITH_GRANT, "grant for another session", in_grant(session="sessions/other"), R.DOCUMENT_OTHER_SESSION),
    (WITH_GRANT, "grant for another device", in_grant(device="laptop-2"), R.DOCUMENT_OTHER_DEVICE),
    (WITH_GRANT, "grant to another nonce", in_grant(nonce=fixed("old nonce")), R.NONCE_MISMATCH),
    (WITH_GRANT, "grant to no nonce", lambda p: p.grant.ClearField("nonce"), R.NONCE_MISMATCH),
    (WITH_GRANT, "another client's key share", in_grant(client_key_share=fixed("x")), R.DOCUMENT_OTHER_SESSION),
    (WITH_GRANT, "another server's key share", in_grant(server_key_share=fixed("x")), R.DOCUMENT_OTHER_SESSION),
    (WITH_GRANT, "grant of another product", in_grant(products=[PRODUCT + "-extra"]), R.DOCUMENT_OTHER_PRODUCT),
    (WITH_GRANT, "grant for no time", lambda p: p.grant.ClearField("valid_for"), R.DOCUMENT_MALFORMED),
    (WITH_GRANT, "grant for less than no time", lambda p: p.grant.valid_for.FromSeconds(-60), R.DOCUMENT_MALFORMED),
    (WITH_GRANT, "grant for 31 days", lambda p: p.grant.valid_for.FromTimedelta(31 * DAY), R.DOCUMENT_MALFORMED),
    (WITH_GRANT, "grant for longer than there is time", lambda p: setattr(p.grant.valid_for, "seconds", 2**62), R.DOCUMENT_MALFORMED),
    (WITH_GRANT, "257 leases", very_many_leases, R.DOCUMENT_MALFORMED),
    (("site",), "a lease twice", lambda p: p.grant.leases.append(p.grant.leases[0]), R.DOCUMENT_MALFORMED),
    # What a site may not
    (("site",), "grant of another activation", in_grant(activation=ACTIVATION + "0"), R.DOCUMENT_OTHER_DEVICE),
    (("site",), "grant of another account", in_grant(account="accounts/bob"), R.DOCUMENT_OTHER_DEVICE),
    (("site",), "a license that names no account", no_account, R.DOCUMENT_OTHER_DEVICE),
    (("site",), "a product more than the license", in_grant(products=[PRODUCT, PRODUCT + "-pro"]), R.DOCUMENT_OTHER_PRODUCT),
    (("site",), "a feature more than the license", in_grant(features=["export", "cloud-render"]), R.FEATURE_UNKNOWN),
    (("site",), "a seat more than the license", more_units, R.POOL_TOO_SMALL),
    (("site",), "seats more than the license in two leases", units_in_two_leases, R.POOL_TOO_SMALL),
    (("site",), "seats of a license that counts none", lambda p: p.license.ClearField("seat_count"), R.POOL_TOO_SMALL),
    (("site",), "seats of a feature more than the license", lambda p: setattr(p.grant.leases[0].features[0], "units", 3), R.POOL_TOO_SMALL),
    # The key
    (("key",), "another key", put(key_signer=P256Signer("other key")), R.KEY_PROOF_INVALID),
    (("key",), "license of another key", in_license(location_key=P256Signer("other key").public_key), R.KEY_PROOF_INVALID),
    (("key",), "license that names no key", lambda p: p.license.ClearField("location_key"), R.KEY_PROOF_INVALID),
    (("key",), "answer to another nonce", put(key_nonce=fixed("old nonce")), R.KEY_PROOF_INVALID),
    (("key",), "answer through another bridge", tamper(lambda k: setattr(k, "location_host", "bridges/b2")), R.KEY_PROOF_INVALID),
    (("key",), "answer for another session", put(key_session="sessions/other"), R.DOCUMENT_OTHER_SESSION),
    (("key",), "answer for another session, relabeled", lambda p: (put(key_session="sessions/other")(p), tamper(lambda k: setattr(k, "session", SESSION))(p)), R.KEY_PROOF_INVALID),
    (("key",), "no signature", tamper(lambda k: k.ClearField("signature")), R.KEY_PROOF_INVALID),
    (("key",), "another key's answer where one of P-384 is named", fido2(SMART_KEY, named=P384_KEY), R.KEY_PROOF_INVALID),
    (("key",), "another key's answer where one of RSA is named", fido2(P384_KEY, named=RSA_KEY), R.KEY_PROOF_INVALID),
    (("key",), "a key of RSA's answer where another one is named", fido2(RSA_KEY, named=SMART_KEY), R.KEY_PROOF_INVALID),
    (("key",), "a FIDO2 key's answer for a web site", fido2(Fido2Signer(SMART_KEY, rp_id="acme.example")), R.KEY_PROOF_INVALID),
    (("key",), "a FIDO2 key's answer with attested data", fido2(with_flags(0x41)), R.KEY_PROOF_INVALID),
    (("key",), "a FIDO2 key's answer with extensions", fido2(with_flags(0x80)), R.KEY_PROOF_INVALID),
    (("key",), "another FIDO2 key", fido2(Fido2Signer(P256Signer("other key"))), R.KEY_PROOF_INVALID),
    (("key",), "a FIDO2 key's answer with another counter", fido2_then(lambda b: b[:36] + b"\x08" + b[37:]), R.KEY_PROOF_INVALID),
    (("key",), "a FIDO2 key's answer without its signature", fido2_then(lambda b: b[:37]), R.KEY_PROOF_INVALID),
    (("key",), "a FIDO2 key's answer cut off", fido2_then(lambda b: b[:36]), R.KEY_PROOF_INVALID),
    (("key",), "a FIDO2 key's answer where a plain key is named", fido2(named=SMART_KEY), R.KEY_PROOF_INVALID),
    (("key",), "a plain key's answer where a FIDO2 key is named", fido2(SMART_KEY), R.KEY_PROOF_INVALID),
    (("key",), "a smartkey that counts what it counted before", counting(1_000, seen=1_000), R.KEY_ROLLED_BACK),
    (("key",), "a smartkey that was put back", counting(7, seen=1_000), R.KEY_ROLLED_BACK),
    (("key",), "another smartkey", counting(signer=CountingSigner(P256Signer("other key"))), R.KEY_PROOF_INVALID),
    (("key",), "a smartkey that counts nothing", counting(0), R.KEY_PROOF_INVALID),
    (("key",), "a smartkey's answer with another count", counting_then(lambda b: b[:7] + b"\x09" + b[8:]), R.KEY_PROOF_INVALID),
    (("key",), "a put back smartkey's answer with another count", counting_then(lambda b: b[:7] + b"\x09" + b[8:], seen=8), R.KEY_PROOF_INVALID),
    (("key",), "a smartkey's answer without its signature", counting_then(lambda b: b[:8]), R.KEY_PROOF_INVALID),
    (("key",), "a smartkey's answer cut off", counting_then(lambda b: b[:5]), R.KEY_PROOF_INVALID),
    (("key",), "a smartkey's answer where a plain key is named", fido2(COUNTING_KEY, named=SMART_KEY), R.KEY_PROOF_INVALID),
    (("key",), "a plain key's answer where a smartkey is named", fido2(SMART_KEY, named=COUNTING_KEY), R.KEY_PROOF_INVALID),
    (("key",), "a FIDO2 key's answer where a smartkey is named", fido2(FIDO2_KEY, named=COUNTING_KEY), R.KEY_PROOF_INVALID),
    (("key",), "contents that are missing", in_license(contents_version=4), R.KEY_ROLLED_BACK),
    (("key",), "contents older than the license's", carrying(3), R.KEY_ROLLED_BACK),
    (("key",), "contents older than those that were seen", carrying(4, seen=5), R.KEY_ROLLED_BACK),
    (("key",), "contents that do not name the license", carrying(entries=[KeyContentsEntry(activation=entry_of(ACTIVATION + "0"), generation=5)]), R.KEY_ROLLED_BACK),
    (("key",), "contents that name another document of it", carrying(entries=[KeyContentsEntry(activation=entry_of(ACTIVATION), generation=6)]), R.KEY_ROLLED_BACK),
    (("key",), "contents of a lost key", carrying(lost=True), R.KEY_LOST),
    (("key",), "contents of another key", carrying(location_key=P256Signer("other key").public_key), R.DOCUMENT_OTHER_DEVICE),
    (("key",), "contents of another place", carrying(location=ACCOUNT + "/locations/k2"), R.DOCUMENT_OTHER_DEVICE),
    (("key",), "contents of another publisher", carrying(publisher="publishers/other"), R.DOCUMENT_OTHER_PUBLISHER),
    (("key",), "contents by a key that is not delegated", and_then(carrying(), put(contents_signer=STRANGER)), R.SIGNER_UNKNOWN),
    (("key",), "contents by a key delegated for grants", and_then(carrying(), put(contents_signer=GRANTS)), R.PURPOSE_NOT_DELEGATED),
    (("key",), "contents under another type", and_then(carrying(), put(contents_type=document.RECEIPT_TYPE)), R.DOCUMENT_TYPE),
    (("key",), "contents changed", and_then(carrying(), tamper(lambda k: flipped(k.contents, "payload"))), R.SIGNATURE_INVALID),
    (("key",), "a bridge of a very long name", put(location_host="b" * 256), R.DOCUMENT_MALFORMED),
    # The host
    (("host",), "another computer", expect(fingerprint={kind: value + "9" for kind, value in PARTS.items()}), R.DOCUMENT_OTHER_DEVICE),
    (("host",), "two parts of four have changed", expect(fingerprint={**PARTS, "disk": "new one", "mac": "02:00:00:00:00:01"}), R.DOCUMENT_OTHER_DEVICE),
    (("host",), "a computer that was not read", expect(fingerprint=None), R.DOCUMENT_OTHER_DEVICE),
    (("host",), "license that fits any computer", lambda p: p.license.fingerprint.ClearField("required_count"), R.DOCUMENT_MALFORMED),
    (("host",), "license of no computer", lambda p: p.license.ClearField("fingerprint"), R.DOCUMENT_MALFORMED),
    # The borrowed seat
    (BORROWED, "borrow changed", tamper(lambda k: flipped(k.borrow, "payload")), R.SIGNATURE_INVALID),
    (BORROWED, "borrow of another site", put(borrow_signer=STRANGER), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "borrow signed by the borrower", put(borrow_signer=LAPTOP), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "borrow by a key delegated for licenses", put(borrow_signer=LICENSES), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "a grant in place of a borrow", put(borrow_type=document.GRANT_TYPE), R.DOCUMENT_TYPE),
    (BORROWED, "borrow of another publisher", in_borrow(publisher="publishers/other"), R.DOCUMENT_OTHER_PUBLISHER),
    (BORROWED, "borrow of another activation", in_borrow(activation=ACTIVATION + "0"), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "borrow of another account", in_borrow(account="accounts/bob"), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "borrow of a product more than the license", in_borrow(products=[PRODUCT, PRODUCT + "-pro"]), R.DOCUMENT_OTHER_PRODUCT),
    (BORROWED, "borrow of another product", in_borrow(products=[PRODUCT + "-extra"]), R.DOCUMENT_OTHER_PRODUCT),
    (BORROWED, "borrow of a feature more than the license", in_borrow(features=["cloud-render"]), R.FEATURE_UNKNOWN),
    (BORROWED, "borrow of a seat more than the license", lambda p: setattr(p.borrow.lease, "units", 6), R.POOL_TOO_SMALL),
    (BORROWED, "borrow for another device", in_borrow(device="laptop-2"), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "a seat that was given back: no key", expect(return_key=b""), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "the key of another borrow", expect(return_key=STRANGER.public_key.key), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "borrow that names no key", no_return_key, R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "two parts of the borrower have changed", expect(fingerprint={**PARTS, "disk": "new one", "mac": "02:00:00:00:00:01"}), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "a borrower that was not read", expect(fingerprint=None), R.DOCUMENT_OTHER_DEVICE),
    (BORROWED, "borrow ended", lambda p: p.borrow.expire_time.FromDatetime(NOW), R.DOCUMENT_EXPIRED),
    (BORROWED, "borrow without an end", lambda p: p.borrow.ClearField("expire_time"), R.DOCUMENT_MALFORMED),
    (BORROWED, "an older document of the borrow", expect(seen={BORROW: 3}), R.DOCUMENT_SUPERSEDED),
]
# fmt: on

RIGHT = [Case(kind, name, change, None) for kinds, name, change in _RIGHT for kind in kinds]
WRONG = [
    Case(kind, name, change, reason) for kinds, name, change, reason in _WRONG for kind in kinds
]
