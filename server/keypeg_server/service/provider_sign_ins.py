"""Signing in at an outside provider: a client begins, proves who its user is there, and finishes.

Promises: the client alone has the secret that it goes on with, kept as a hash; what the provider gave is used once,
also by two who send it at once. Who is linked to nobody signs in as nobody: an e-mail address links nobody. One-time
codes are asked for as after a password, unless the settings trust the provider for that, and count as tries.

Leaves to others: the provider (oidc/), linking (identities.py), what follows every sign-in (sign_ins.py).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, NoReturn

from keypeg.errors import (
    Busy,
    FieldInvalid,
    IdentityUnknown,
    KeypegError,
    NotFound,
    ProviderRefused,
    ProviderUnavailable,
    SignInPending,
)
from keypeg_server.domain.account import User
from keypeg_server.domain.id_token import Proven
from keypeg_server.domain.identity import (
    Derived,
    Identity,
    ProviderSignIn,
    chosen,
    is_callback,
)
from keypeg_server.domain.sign_in import Method
from keypeg_server.service.ports import Clock
from keypeg_server.service.provider_ports import Provider, Providers, TypedCode
from keypeg_server.service.second_factors import SecondFactors
from keypeg_server.service.sign_ins import Guarded, SignIns
from keypeg_server.service.store import Store, Unit
from keypeg_server.service.tokens import NewTokens
from keypeg_server.service.wrapping import Wrapping

VALID_FOR: Final = timedelta(minutes=10)
_SECRET_BYTES: Final = 32
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """A sign-in that has begun, and the only time that its secret is there."""

    secret: str = field(repr=False)
    url: str = field(repr=False)  # it holds the state
    state: str = field(repr=False)  # empty for a code that is typed
    typed: TypedCode | None
    valid_for: timedelta


class ProviderSignIns:
    """See the contract's IdentityService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        sign_ins: SignIns,
        factors: SecondFactors,
        providers: Providers,
        wrapping: Wrapping,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sign_ins = sign_ins
        self._factors = factors
        self._providers = providers
        self._wrapping = wrapping
        self._begun = Guarded(clock, NotFound)

    def names(self) -> tuple[str, ...]:
        """Where one can sign in."""
        return self._providers.names()

    async def begin(
        self, provider: str, redirect_uri: str, client_name: str, address: str
    ) -> Begun:
        """Where the user signs in; LimitExceeded when too many have begun from there."""
        asked = self._providers.provider(provider)
        if redirect_uri and not is_callback(redirect_uri):
            what = "is not http://127.0.0.1:PORT/callback, or the same at [::1]"
            raise FieldInvalid(f"redirect_uri {what}.", fields={"redirect_uri": what})
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        digest = digest_of(secret)
        self._begun.count(f"sign-in {digest.hex()}", address)
        typed, code, valid_for, interval = None, b"", VALID_FOR, timedelta(0)
        if redirect_uri:
            made = Derived.of(secret)
            url, state = await asked.authorization_url(redirect_uri, made), made.state
        else:
            typed = await asked.begin_typed()
            url, state, interval = typed.whole_url or typed.url, "", typed.interval
            valid_for = min(VALID_FOR, typed.valid_for)
            code = self._wrapping.wrap(typed.device_code.encode(), _context(digest))
        now = self._clock.wall()
        begun = ProviderSignIn(
            digest,
            asked.name,
            redirect_uri,
            code,
            client_name,
            address,
            now,
            now + valid_for,
            now,
            interval,
        )
        await self._store.write(lambda unit: unit.identities.add_sign_in(begun, now))
        return Begun(secret, url, state, typed, valid_for)

    async def prove(self, secret: str, code: str, state: str, issuer: str) -> ProviderSignIn:
        """Ask the provider who it is, once; the sign-in, which is proven."""
        found = await self._store.read(lambda unit: self._open(unit, secret))
        if found.proven:
            return found
        provider = self._providers.provider(found.provider)
        made = Derived.of(secret)
        if found.redirect_uri:
            if not code or not hmac.compare_digest(state.encode(), made.state.encode()):
                raise ProviderRefused(
                    "What the browser brought back is of another sign-in; begin again.",
                    provider=provider.name,
                )
            await provider.check_redirect(issuer)
        asking = found.asking(self._clock.wall())
        if asking is None:
            self._too_early(found)
        if not await self._store.write(
            lambda unit: unit.identities.update_sign_in(asking, found.asked)
        ):
            self._too_early(asking)
        proven = await self._asked(provider, asking, code, made)
        done = asking.proved(
            provider.issuer,
            proven.subject,
            asks_code=provider.second_factor.asks(proven.methods),
        )
        if not await self._store.write(
            lambda unit: unit.identities.update_sign_in(done, asking.asked)
        ):
            raise _over()
        return done

    async def finish(self, secret: str, code: str, address: str) -> NewTokens:
        """Tokens for the user to whom the identity is linked; CodeRequired where they have one-time codes."""
        _, user = await self._store.read(lambda unit: self._linked(unit, secret))

        def keep(unit: Unit) -> NewTokens:
            found = self.proven(unit, secret)
            identity, user = self._linked(unit, secret)
            if found.asks_code:
                self._factors.check(unit, user, code)
            if not identity.proven:
                unit.identities.prove(identity.id)
            return self.sign_in(unit, found, user)

        return await self._sign_ins.guarded.attempt(
            user.login, address, lambda: self._store.write(keep)
        )

    def sign_in(self, unit: Unit, found: ProviderSignIn, user: User) -> NewTokens:
        """Tokens of a user, within a unit of work; the proof is used up."""
        self.use_up(unit, found)
        method = Method.PROVIDER if found.asks_code else Method.TRUSTED_PROVIDER
        return self._sign_ins.new(unit, user, method, found.client_name)

    def use_up(self, unit: Unit, found: ProviderSignIn) -> None:
        """A proof is good for one thing, once."""
        if not unit.identities.delete_sign_in(found.digest):
            raise _over()

    def proven(self, unit: Unit, secret: str) -> ProviderSignIn:
        """The sign-in of a secret, whose identity is proven; NotFound."""
        found = self._open(unit, secret)
        if not found.proven:
            raise NotFound("Nobody has signed in at the provider yet; prove that first.")
        return found

    def _linked(self, unit: Unit, secret: str) -> tuple[Identity, User]:
        found = self.proven(unit, secret)
        linked = chosen(unit.identities.of_subject(found.issuer, found.subject))
        if linked is None:
            raise IdentityUnknown(
                f"{found.subject} of {found.issuer} is linked to nobody here. Sign in otherwise and link it "
                "(keypeg identity link), join by an invitation with it, or have an administrator of your account link it.",
                issuer=found.issuer,
                subject=found.subject,
            )
        return linked

    def _open(self, unit: Unit, secret: str) -> ProviderSignIn:
        found = unit.identities.sign_in(digest_of(secret))
        if found is None or found.expire_time <= self._clock.wall():
            raise _over()
        return found

    async def _asked(
        self, provider: Provider, asking: ProviderSignIn, code: str, made: Derived
    ) -> Proven:
        """What the provider says; where that is the end of it, the sign-in is."""
        try:
            if asking.redirect_uri:
                return await provider.by_code(code, asking.redirect_uri, made)
            typed = self._wrapping.unwrap(asking.wrapped_code, _context(asking.digest))
            return await provider.by_typed(typed.decode())
        except SignInPending as pending:
            slower = asking.interval + (pending.retry_after or timedelta(0))
            await self._store.write(
                lambda unit: unit.identities.update_sign_in(
                    replace(asking, interval=slower), asking.asked
                )
            )
            raise SignInPending(pending.sentence, retry_after=slower) from pending
        except (ProviderUnavailable, Busy):
            if asking.redirect_uri:
                await self._forget(asking)  # whether the code was used up, nobody knows
            raise
        except KeypegError as error:
            _LOG.warning(
                "sign-in at a provider refused",
                extra={"provider": provider.name, "why": error.sentence, "address": asking.address},
            )
            await self._forget(asking)
            raise

    async def _forget(self, asking: ProviderSignIn) -> None:
        await self._store.write(lambda unit: unit.identities.delete_sign_in(asking.digest))

    def _too_early(self, found: ProviderSignIn) -> NoReturn:
        if found.redirect_uri:
            raise _over()
        wait = max(timedelta(seconds=1), found.ask_time - self._clock.wall())
        raise SignInPending("Nobody has typed the code yet.", retry_after=wait)


def digest_of(secret: str) -> bytes:
    """What is kept of a sign-in's secret."""
    return hashlib.sha256(secret.encode()).digest()


def _context(digest: bytes) -> str:
    return f"provider's device code {digest.hex()}"


def _over() -> NotFound:
    return NotFound("This sign-in is over, or was used; begin to sign in again.")
