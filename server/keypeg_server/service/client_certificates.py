"""Certificates of bridges and sites: issued, renewed, revoked, and recognized.

Promises: who shows a certificate is looked up at each call, so that a revoked one opens nothing from that moment on, at no
server of the database and on no connection; each refusal is in the log with its own reason. Renewing leaves the name.

Leaves to others: X.509 (client_authority.py), the connection (certificates.py): gRPC refuses there what another authority
has signed, and what has ended, and says so itself; carrying a call elsewhere (carried_certificates.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from keypeg import names
from keypeg.errors import (
    FieldInvalid,
    LimitExceeded,
    PermissionDenied,
    TokenExpired,
    TokenInvalid,
)
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.client_certificate import (
    CERTIFICATES_LIMIT,
    CertificateRole,
    ClientCertificate,
    Machine,
)
from keypeg_server.domain.rights import Role
from keypeg_server.service.accounts import not_found
from keypeg_server.service.certificate_ports import Authority, Wanted
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Request, Store, Unit
from keypeg_server.service.tokens import SignedIn

_LOG: Final = structlog.get_logger("keypegd")


@dataclass(frozen=True)
class Issued:
    """A certificate that was just signed."""

    certificate: ClientCertificate
    pem: str


class ClientCertificates:
    """Issues certificates, and knows who shows one."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        authority: Authority | None,
        valid_for: timedelta,
    ) -> None:
        """Without an authority none are issued."""
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._authority = authority
        self._valid_for = valid_for

    # Recognizing.

    async def authenticate(self, pem: str) -> SignedIn:
        """Who shows this certificate; TokenInvalid or TokenExpired."""
        assert self._authority is not None, "where there is no authority, there is no port for it"
        now = self._clock.wall()
        try:
            shown = self._authority.shown(pem)
        except ValueError as error:
            raise _refused(str(error)) from error
        if not shown.starts <= now < shown.ends:
            until = f"{shown.ends:%Y-%m-%dT%H:%MZ}"
            raise _refused("ended", shown.role, certificate=shown.name, until=until)
        return await self.of_name(shown.name, shown.ends, shown.role)

    async def of_name(self, name: str, ends: datetime, role: str = "") -> SignedIn:
        """Who calls by the certificate of this name that ends then; TokenInvalid when nobody may any more.

        `role`: what the certificate says of it, where that is known. What is kept of it counts.
        """
        parts = names.CERTIFICATE.parse(name) if names.CERTIFICATE.matches(name) else ("-", "-")
        found = await self._store.read(lambda unit: unit.certificates.certificate(*parts))
        if found is None:
            raise _refused("unknown", role, certificate=name)
        kept = found.role.word
        if role not in ("", kept):
            raise _refused("other role", kept, certificate=name, role=role, issued_for=kept)
        _check_revoked(found)
        login = f"{kept} {found.display_name}"
        machine = Machine(
            found.account,
            found.id,
            login,
            found.display_name,
            Role.MEMBER,
            found.create_time,
            service=True,
        )
        caller = Caller(
            name,
            login,
            machine.account_name,
            Role.MEMBER,
            found.id,
            certificate=found.name,
            machine=found.role,
        )
        return SignedIn(caller, machine, ends)

    # Managing.

    async def issue(
        self,
        request: Request[Issued],
        parent: str,
        display_name: str,
        role: CertificateRole,
        asked: bytes,
        ttl: timedelta | None,
    ) -> bytes:
        wanted = self._wanted(asked)
        (account,) = names.ACCOUNT.parse(parent)

        def issue(unit: Unit) -> Issued:
            now = self._clock.wall()
            if unit.accounts.account(account) is None:
                raise not_found(parent)
            unit.certificates.delete_forgotten(account, now)
            if len(unit.certificates.certificates_of(account)) >= CERTIFICATES_LIMIT:
                raise LimitExceeded(
                    f"{parent} has {CERTIFICATES_LIMIT} certificates, which is the limit; those that have ended go "
                    "30 days after their end.",
                    limit="certificates",
                    value=str(CERTIFICATES_LIMIT),
                )
            valid_for = ttl or self._valid_for
            blank = ClientCertificate(
                account, self._new_id(), role, display_name, "", valid_for, now, now
            )
            issued = self._signed(blank, wanted, now)
            unit.certificates.add_certificate(issued.certificate)
            _record(unit, "certificate_issued", issued.certificate)
            return issued

        return await self._store.once(request, issue)

    async def listed(self, parent: str) -> list[ClientCertificate]:
        (account,) = names.ACCOUNT.parse(parent)
        now = self._clock.wall()
        found = await self._store.read(lambda unit: unit.certificates.certificates_of(account))
        return [one for one in found if not one.is_forgotten(now)]

    async def revoke(self, request: Request[ClientCertificate], name: str) -> bytes:
        def revoke(unit: Unit) -> ClientCertificate:
            found = _found(unit, name)
            revoked = found.revoked(self._clock.wall())
            if revoked != found:
                unit.certificates.update_certificate(revoked)
                _record(unit, "certificate_revoked", revoked)
            return revoked

        return await self._store.once(request, revoke)

    async def renew(self, request: Request[Issued], caller: Caller, asked: bytes) -> bytes:
        wanted = self._wanted(asked)

        def renew(unit: Unit) -> Issued:
            found = _found(unit, caller.certificate)
            _check_revoked(found)  # meanwhile
            issued = self._signed(found, wanted, self._clock.wall())
            unit.certificates.update_certificate(issued.certificate)
            _record(unit, "certificate_renewed", issued.certificate)
            return issued

        return await self._store.once(request, renew)

    def _wanted(self, asked: bytes) -> Wanted:
        if self._authority is None:
            raise PermissionDenied(
                "This server issues no certificates (tls.client_certificates is off); ask its operator."
            )
        try:
            return self._authority.wanted(asked)
        except ValueError as error:
            what = str(error)
            raise FieldInvalid(
                f"What was sent {what}; send a request for a P-256 key, as `keypeg-bridge certificate request` makes it.",
                fields={"certificate_request": what},
            ) from error

    def _signed(self, before: ClientCertificate, wanted: Wanted, now: datetime) -> Issued:
        assert self._authority is not None
        made = before.renewed(self._authority.serial(), now)
        return Issued(made, self._authority.issue(wanted, made, now))


def _found(unit: Unit, name: str) -> ClientCertificate:
    found = unit.certificates.certificate(*names.CERTIFICATE.parse(name))
    if found is None:
        raise not_found(name)
    return found


def _check_revoked(one: ClientCertificate) -> None:
    if one.revoke_time is not None:
        raise _refused("revoked", one.role.word, certificate=one.name, called=one.display_name)


def _record(unit: Unit, event: str, one: ClientCertificate) -> None:
    unit.record(
        names.ACCOUNT.build(one.account),
        event,
        certificate=one.name,
        called=one.display_name,
        role=one.role.word,
        serial=one.serial,
    )


_SENTENCES: Final = {
    "revoked": "This certificate was revoked; enroll the {word} anew.",
    "ended": "This certificate has ended; enroll the {word} anew.",
    "other role": "This certificate is not one of a {word}; show the one that was issued for it.",
    "unknown": "This certificate is not known here; enroll the {word} anew.",
}
_OTHERWISE: Final = "This certificate can not be used here; enroll the {word} anew."
_ANY: Final = " or ".join(one.word for one in CertificateRole)


def _refused(why: str, word: str = "", **said: str) -> TokenInvalid | TokenExpired:
    """The refusal of a certificate, which the log has, too. `word`: of what, where that is known."""
    _LOG.warning("certificate refused", why=why, **said)
    kind = TokenExpired if why == "ended" else TokenInvalid
    sentence = _SENTENCES.get(why, _OTHERWISE).format(word=word or _ANY)
    return kind(sentence, why=why)
