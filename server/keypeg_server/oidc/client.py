"""An outside provider as its client, a relying party: OpenID Connect with codes of redirects and codes that are typed.

Promises: the provider's keys are asked for again when a token names one that is not known: once for each
token, and those that wait share the answer. What it says of itself is remembered for `KNOWN_FOR`; that it does not
answer, for `DOWN_FOR`.
A code, a token or the client's secret is in no error and no log.

Leaves to others: HTTP (http.py), what is believed (metadata.py, signatures.py, domain/id_token.py), and who that is here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from keypeg.errors import (
    KeypegError,
    NotFound,
    ProviderRefused,
    ProviderUnavailable,
    SignInDeclined,
    SignInPending,
)
from keypeg_server.clock import from_us
from keypeg_server.domain import id_token
from keypeg_server.domain.id_token import Expected, Proven
from keypeg_server.domain.identity import Derived, SecondFactor, is_loopback, is_safe_url
from keypeg_server.oidc import metadata, signatures
from keypeg_server.oidc.http import Answer, Http, unavailable
from keypeg_server.oidc.metadata import Metadata
from keypeg_server.service.ports import Clock
from keypeg_server.service.provider_ports import TypedCode

KNOWN_FOR: Final = 3_600.0  # seconds: a provider that changes its addresses is followed after that
DOWN_FOR: Final = 3.0  # seconds: not everybody who signs in has it tried anew
SLOWER: Final = timedelta(seconds=5)  # RFC 8628, 3.5: what slow_down adds
TYPED_FOR: Final = (30, 1_800)  # seconds that a typed code holds, at least and at most
INTERVAL: Final = (1, 60)  # seconds between two questions, at least and at most
_TYPED: Final = "urn:ietf:params:oauth:grant-type:device_code"
_WORD: Final = re.compile(r"[a-z_]{1,64}")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Registration:
    """As what this server is known at a provider."""

    name: str
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)  # empty for a public client
    scopes: tuple[str, ...]
    second_factor: SecondFactor


class OidcProvider:
    """Implements `Provider`."""

    def __init__(
        self, registration: Registration, http: Http, clock: Clock, date_us: Callable[[], int]
    ) -> None:
        """`date_us` is what the computer's clock says, without a high-water mark: the provider knows no other."""
        self._is = registration
        self._http = http
        self._clock = clock
        self._date_us = date_us
        self._metadata: _Remembered[Metadata] = _Remembered(self._read_metadata, clock)
        self._keys: _Remembered[dict[str, Any]] = _Remembered(self._read_keys, clock)

    @property
    def name(self) -> str:
        return self._is.name

    @property
    def issuer(self) -> str:
        return self._is.issuer

    @property
    def second_factor(self) -> SecondFactor:
        return self._is.second_factor

    async def authorization_url(self, redirect_uri: str, made: Derived) -> str:
        found = await self._metadata.get()
        asked = {
            "response_type": "code",
            "client_id": self._is.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._is.scopes),
            "state": made.state,
            "nonce": made.nonce,
            "code_challenge": made.challenge,
            "code_challenge_method": "S256",
        }
        endpoint = found.authorization_endpoint
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    async def check_redirect(self, issuer: str) -> None:
        found = await self._metadata.get()
        if issuer != self.issuer and (issuer or found.names_itself):
            raise ProviderRefused(
                f"The browser came back from another provider than {self.name}; begin again.",
                provider=self.name,
            )

    async def by_code(self, code: str, redirect_uri: str, made: Derived) -> Proven:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": made.verifier,
        }
        answer = await self._token(form)
        if answer.status != 200:
            raise self._refused(answer)
        return await self._proven(answer, made.nonce)

    async def begin_typed(self) -> TypedCode:
        found = await self._metadata.get()
        if not found.device_endpoint:
            raise NotFound(
                f"The provider {self.name} has no codes to type; sign in with a browser.",
                name=self.name,
            )
        form = {"scope": " ".join(self._is.scopes)}
        answer = await self._post(found, found.device_endpoint, form)
        if answer.status != 200:
            raise self._refused(answer)
        return self._typed(answer.content)

    async def by_typed(self, device_code: str) -> Proven:
        answer = await self._token({"grant_type": _TYPED, "device_code": device_code})
        if answer.status == 200:
            return await self._proven(answer, None)
        match answer.content.get("error"):
            case "authorization_pending":
                raise SignInPending("Nobody has typed the code yet.")
            case "slow_down":
                raise SignInPending("Nobody has typed the code yet.", retry_after=SLOWER)
            case "access_denied":
                raise SignInDeclined(
                    f"This sign-in was refused at the provider {self.name}; begin again."
                )
            case "expired_token":
                raise NotFound("This code is over; begin to sign in again.")
        raise self._refused(answer)

    async def _token(self, form: dict[str, str]) -> Answer:
        found = await self._metadata.get()
        return await self._post(found, found.token_endpoint, form)

    async def _post(self, found: Metadata, url: str, form: dict[str, str]) -> Answer:
        client, secret = self._is.client_id, self._is.client_secret
        if not secret:
            return await self._http.post(url, {**form, "client_id": client}, None)
        if found.posts_secret:
            body = {**form, "client_id": client, "client_secret": secret}
            return await self._http.post(url, body, None)
        return await self._http.post(url, form, (quote(client, safe=""), quote(secret, safe="")))

    async def _proven(self, answer: Answer, nonce: str | None) -> Proven:
        token = answer.content.get("id_token")
        if not isinstance(token, str):
            raise id_token.refused(self.name, "is not there: are its scopes without openid?")
        claims = await self._claims(token)
        expected = Expected(self.name, self.issuer, self._is.client_id, nonce)
        return id_token.check(claims, expected, from_us(self._date_us()))

    async def _claims(self, token: str) -> dict[str, Any]:
        allowed, came = (await self._metadata.get()).algorithms, self._clock.monotonic()
        try:
            return signatures.verified(self.name, token, await self._keys.get(), allowed)
        except signatures.KeyUnknown:
            pass
        try:
            keys = await self._keys.of(came)
            return signatures.verified(self.name, token, keys, allowed)
        except signatures.KeyUnknown:
            raise id_token.refused(self.name, "is signed by a key that it does not show") from None

    async def _read_metadata(self) -> Metadata:
        answer = await self._http.get(metadata.discovery_url(self.issuer))
        if answer.status != 200:
            raise unavailable(self.name, f"answers with the HTTP status {answer.status}")
        return metadata.read(self.name, self.issuer, answer.content)

    async def _read_keys(self) -> dict[str, Any]:
        answer = await self._http.get((await self._metadata.get()).jwks_uri)
        if answer.status != 200:
            raise unavailable(self.name, f"answers with the HTTP status {answer.status}")
        return answer.content

    def _typed(self, content: dict[str, Any]) -> TypedCode:
        texts = [content.get(key) for key in ("device_code", "user_code", "verification_uri")]
        whole = content.get("verification_uri_complete") or ""
        loopback = is_loopback(urlsplit(self.issuer).hostname)
        code, shown, url = (one if isinstance(one, str) else "" for one in texts)
        right = 0 < len(code) <= 2_048 and 0 < len(shown) <= 64 and shown.isprintable()
        for one in (url, whole or url):
            right = right and is_safe_url(one, loopback=loopback)
        if not right:
            raise unavailable(self.name, "gives codes that can not be read")
        holds = timedelta(seconds=_bounded(content.get("expires_in"), 600, *TYPED_FOR))
        every = timedelta(seconds=_bounded(content.get("interval"), 5, *INTERVAL))
        return TypedCode(code, shown, url, whole, holds, every)

    def _refused(self, answer: Answer) -> ProviderRefused:
        said = answer.content.get("error")
        word = said if isinstance(said, str) and _WORD.fullmatch(said) else "no reason"
        return ProviderRefused(
            f"The provider {self.name} refused this server ({word}); begin again, and if that does not help, tell "
            "its administrator.",
            provider=self.name,
            error=word,
        )


class _Remembered(Generic[_T]):
    """What was asked for once, for everybody who needs it meanwhile."""

    def __init__(self, ask: Callable[[], Awaitable[_T]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: tuple[float, _T] | None = None  # and when it was asked for
        self._down: tuple[float, KeypegError] | None = None

    async def get(self) -> _T:
        """What is known, or it is asked for."""
        return await self.of(self._clock.monotonic() - KNOWN_FOR)

    async def of(self, time: float) -> _T:
        """What was asked for at this time or after it."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._known is not None and self._known[0] >= time:
                return self._known[1]
            if self._down is not None and now - self._down[0] < DOWN_FOR:
                raise self._down[1].with_traceback(None)
            try:
                found = await self._ask()
            except (ProviderUnavailable, ProviderRefused) as error:
                self._down = (self._clock.monotonic(), error)
                raise
            self._known, self._down = (now, found), None
            return found


def _bounded(value: Any, default: int, low: int, high: int) -> int:
    """A whole number within limits, whatever came."""
    found = value if isinstance(value, int) and not isinstance(value, bool) else default
    return max(low, min(high, found))
