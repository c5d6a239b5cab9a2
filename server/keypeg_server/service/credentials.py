"""Credentials: one use case a method.

Promises: each change is one transaction with its record in the log; whoever it cuts off is told once it is on disk.
Signing in takes a document that this server has signed, a challenge of this server, and the signature of the document's
key over both, the host and the device; it counts the device, and refuses one too many before it gives a token.

Leaves to others: who may call what (rpc/authorization.py), the rules (domain/credential.py, active_devices.py), tokens
(credential_tokens.py), ending streams (upheavals.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from keypeg import names
from keypeg.credential_document import check_possession, check_time, verify_credential
from keypeg.document import key_id, parse_envelope, parsed
from keypeg.envelope import CREDENTIAL_TYPE, seal
from keypeg.errors import FieldInvalid
from keypeg.v1.credential_pb2 import CredentialDocument
from keypeg.v1.document_pb2 import PublicKey
from keypeg_server.domain import credential as rules
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller, Right
from keypeg_server.domain.credential import Credential
from keypeg_server.domain.events import CredentialEnded
from keypeg_server.service.accounts import not_found
from keypeg_server.service.active_devices import ActiveDevices
from keypeg_server.service.credential_ports import NewCredential, Presented, SignedInBy
from keypeg_server.service.credential_tokens import Bearer, CredentialTokens
from keypeg_server.service.ports import Clock
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Page, Request, Store, Unit


class CredentialsService:
    """See the contract's CredentialService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        signing: Signing,
        tokens: CredentialTokens,
        devices: ActiveDevices,
        *,
        token_valid_for: timedelta,
        longest: timedelta,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._signing = signing
        self._tokens = tokens
        self._devices = devices
        self._token_valid_for = token_valid_for
        self._longest = longest

    async def create(
        self, request: Request[Credential], caller: Caller, account: str, new: NewCredential
    ) -> bytes:
        user = _for_whom(caller, account, new.user)
        now = self._clock.wall()
        begin = max(new.not_before or now, now)
        ttl = new.ttl or self._longest
        if ttl > self._longest:
            raise FieldInvalid(
                f"A credential of this server is good for {self._longest} at most; ask for less.",
                fields={"ttl": f"is longer than {self._longest}"},
            )
        made = Credential(
            account=account,
            id=self._new_id(),
            user=user,
            display_name=new.display_name,
            document=b"",
            scopes=new.scopes,
            device_limit=new.device_limit or rules.DEVICE_LIMIT,
            generation=1,
            create_time=now,
            not_before=begin,
            not_after=begin + ttl,
        )
        document = CredentialDocument(
            servers=new.servers,
            ca_certificates=new.ca_certificates,
        )

        def create(unit: Unit) -> Credential:
            if unit.accounts.user(account, user) is None:
                raise not_found(names.USER.build(account, user))
            whole = self._documented(made, document, new.public_key, now)
            unit.credentials.save(whole)
            _record(unit, whole, "credential_created", limit=whole.device_limit)
            return whole

        return await self._store.once(request, create)

    async def get(self, caller: Caller, name: str) -> Credential:
        return await self._store.read(lambda unit: _found(unit, caller, name))

    async def list_of(self, caller: Caller, account: str, page: Page) -> list[Credential]:
        """All of the account for who may see its people; else the caller's own."""
        own = None if _sees_all(caller, account) else names.USER.parse(caller.user)[1]
        return await self._store.read(
            lambda unit: unit.credentials.list_of(account, own, page.after, page.limit)
        )

    async def rotate(
        self,
        request: Request[Credential],
        caller: Caller,
        name: str,
        public_key: PublicKey,
        overlap: timedelta | None,
    ) -> bytes:
        now = self._clock.wall()

        def change(unit: Unit) -> Credential:
            found = _found(unit, caller, name)
            wanted = rules.OVERLAP if overlap is None else overlap
            after = rules.rotated(found, b"", wanted, now)
            after = self._documented(after, _said(found), public_key, now)
            unit.credentials.save(after)
            until = "" if after.overlap_end is None else after.overlap_end.isoformat()
            _record(unit, after, "credential_rotated", overlap_end=until)
            return after

        return await self._store.once(request, change)

    async def reset(
        self,
        request: Request[Credential],
        caller: Caller,
        name: str,
        public_key: PublicKey,
    ) -> bytes:
        now = self._clock.wall()

        def change(unit: Unit) -> Credential:
            found = _found(unit, caller, name)
            after = self._documented(rules.reset(found, b""), _said(found), public_key, now)
            unit.credentials.save(after)
            unit.publish(CredentialEnded(found.name))
            _record(unit, after, "credential_reset", devices=len(found.devices))
            return after

        return await self._store.once(request, change)

    async def delete(self, request: Request[None], caller: Caller, name: str) -> bytes:
        def change(unit: Unit) -> None:
            found = _found(unit, caller, name)
            unit.credentials.delete(found)
            unit.publish(CredentialEnded(found.name))
            _record(unit, found, "credential_deleted", devices=len(found.devices))

        return await self._store.once(request, change)

    async def remove_device(
        self, request: Request[Credential], caller: Caller, name: str, device: str
    ) -> bytes:
        def change(unit: Unit) -> Credential:
            found = _found(unit, caller, name)
            there = found.device(device)
            if there is None:
                return found
            kept = tuple(one for one in found.devices if one.device != device)
            after = replace(found, devices=kept)
            unit.credentials.save(after)
            unit.publish(CredentialEnded(found.name, device))
            _record(unit, found, "credential_device_removed", device=device, host=there.host_name)
            return after

        return await self._store.once(request, change)

    def challenge(self) -> bytes:
        """What to sign to sign in; nobody learns from it which credentials there are."""
        return self._tokens.challenges.new()

    async def sign_in(self, presented: Presented) -> SignedInBy:
        """A token for who has the key of a credential."""
        now = self._clock.wall()
        document = verify_credential(presented.document, self._server_key(presented))
        if document.credential != presented.name:
            raise FieldInvalid(
                f"The document is of {document.credential}, not of {presented.name}.",
                fields={"name": "is not the credential of the document"},
            )
        check_time(document, now)
        device = presented.device
        check_possession(
            document, presented.host, device.device, presented.challenge, presented.signature
        )
        self._tokens.challenges.take(presented.challenge)
        account, id = names.CREDENTIAL.parse(presented.name)

        def keep(unit: Unit) -> tuple[User, datetime]:
            found = unit.credentials.find(account, id)
            user = None if found is None else unit.accounts.user(account, found.user)
            if found is None or user is None:
                raise rules.revoked(presented.name)
            new_device = found.device(device.device) is None
            after, there = rules.signed_in(
                found,
                device.device,
                device.host_name,
                document.generation,
                now,
                self._token_valid_for,
            )
            member = unit.places.cloud_session(account, found.user).member
            self._devices.check_room(unit, account, device.device, now, member)
            unit.credentials.save(after)
            if new_device:
                _record(
                    unit,
                    found,
                    "credential_device_added",
                    device=device.device,
                    host=device.host_name,
                )
            return user, there.active_until

        user, ends = await self._store.write(keep)
        text = self._tokens.seal(Bearer(presented.name, device.device, document.generation, ends))
        return SignedInBy(text, user, ends)

    def _server_key(self, presented: Presented) -> PublicKey:
        """The key of this server that the document names: the newest, or one before it."""
        sites = self._signing.sites
        claimed = key_id(parsed(CredentialDocument, presented.document.payload).server_key)
        if sites.is_withdrawn(claimed):
            raise rules.signer_withdrawn(presented.name)
        return (sites.of(claimed) or sites.current).public_key

    def _documented(
        self, credential: Credential, said: CredentialDocument, key: PublicKey, now: datetime
    ) -> Credential:
        """With the document of its newest key; `said` are the servers and certificates."""
        signer = self._signing.sites.current  # once: it may be replaced meanwhile
        document = CredentialDocument(
            credential=credential.name,
            user=credential.user_name,
            public_key=key,
            scopes=credential.scopes,  # type: ignore[arg-type]  # numbers of the enum
            server_key=signer.public_key,
            servers=said.servers,
            ca_certificates=said.ca_certificates,
            device_limit=credential.device_limit,
            generation=credential.generation,
        )
        document.issue_time.FromDatetime(now)
        document.not_before_time.FromDatetime(credential.not_before)
        document.not_after_time.FromDatetime(credential.not_after)
        envelope = seal(document, CREDENTIAL_TYPE, signer)
        verify_credential(envelope, signer.public_key)
        return replace(credential, document=envelope.SerializeToString())


def _for_whom(caller: Caller, account: str, user: str) -> str:
    """The user (id) for whom a credential is made."""
    if user and user != caller.user and not _sees_all(caller, account):
        raise not_found(user)
    name = user or caller.user
    owner, id = names.USER.parse(name, "user")
    if owner != account:
        what = "is no user of the account; name one, for it signs in to the account's cloud session"
        raise FieldInvalid(f"The credential's user {what}.", fields={"user": what})
    return id


def _said(credential: Credential) -> CredentialDocument:
    return CredentialDocument.FromString(parse_envelope(credential.document).payload)


def _sees_all(caller: Caller, account: str) -> bool:
    """Whether the caller may see and end what belongs to others of the account."""
    return caller.may(Right.PEOPLE_READ) and caller.sees_account(names.ACCOUNT.build(account))


def _found(unit: Unit, caller: Caller, name: str) -> Credential:
    """A credential of the caller, or one that they may see; not there else."""
    account, id = names.CREDENTIAL.parse(name)
    found = unit.credentials.find(account, id)
    mine = found is not None and found.user_name == caller.user
    if found is None or not (mine or _sees_all(caller, account)):
        raise not_found(name)
    if caller.credential and caller.credential != found.name:
        raise not_found(name)
    return found


def _record(unit: Unit, credential: Credential, event: str, **said: object) -> None:
    unit.record(
        names.ACCOUNT.build(credential.account),
        event,
        credential=credential.name,
        user=credential.user_name,
        generation=credential.generation,
        **said,
    )
