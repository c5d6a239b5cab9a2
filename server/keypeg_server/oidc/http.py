"""One HTTP request to a provider, bounded in time and size.

Promises: a request takes `TIME` at most in all, an answer is `ANSWER_SIZE` at most, unpacked by nobody; redirects are not
followed, and cookies not kept. A provider that does not answer so is a ProviderUnavailable, whoever else calls goes on: nothing here waits but
the one call.

Leaves to others: what is asked, and what the answer means (client.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx2

from keypeg.errors import Busy, ProviderUnavailable

TIME: Final = 10.0  # seconds for all of a request: name, connection, TLS, answer
ANSWER_SIZE: Final = 262_144  # bytes; a key set of today's providers has up to 20,000
AT_ONCE: Final = (
    16  # requests to one provider: one that answers slowly takes no more of this server
)
_LOG: Final = logging.getLogger(__name__)
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}


@dataclass(frozen=True)
class Answer:
    """A JSON object, and the status that it came with."""

    status: int
    content: dict[str, Any]


class Http:
    """Asks one provider."""

    def __init__(
        self, provider: str, trusted: ssl.SSLContext, *, direct: bool, seconds: float = TIME
    ) -> None:
        """`direct`: without the proxy that the environment names."""
        logging.getLogger(httpx2.__name__).setLevel(logging.WARNING)  # it logs each request
        self._provider = provider
        self._seconds = seconds
        self._free = AT_ONCE
        # One client asks for all users: what a provider would have it remember of one is not for the next.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self._client = httpx2.AsyncClient(
            headers=_HEADERS,
            cookies=no_cookies,
            verify=trusted,
            trust_env=not direct,
            timeout=seconds,
            follow_redirects=False,
        )

    async def get(self, url: str) -> Answer:
        """What is there."""
        return await self._bounded(self._client.build_request("GET", url))

    async def post(
        self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None
    ) -> Answer:
        """The answer to a form; `basic` are user and password of the header."""
        request = self._client.build_request("POST", url, data=dict(form))
        if basic is not None:
            request = next(httpx2.BasicAuth(*basic).auth_flow(request))
        return await self._bounded(request)

    async def close(self) -> None:
        await self._client.aclose()

    async def _bounded(self, request: httpx2.Request) -> Answer:
        if not self._free:
            raise Busy(
                f"Too many sign-ins at the provider {self._provider} are under way; try again shortly.",
                retry_after=timedelta(seconds=1),
            )
        self._free -= 1
        try:
            async with asyncio.timeout(self._seconds):
                return await self._ask(request)
        except (httpx2.HTTPError, httpx2.StreamError, OSError, TimeoutError) as error:
            raise self._unavailable(f"does not answer ({type(error).__name__})") from error
        finally:
            self._free += 1

    async def _ask(self, request: httpx2.Request) -> Answer:
        response = await self._client.send(request, stream=True)
        try:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > ANSWER_SIZE:
                    raise self._unavailable(f"answers with more than {ANSWER_SIZE:,} bytes")
        finally:
            await response.aclose()
        try:
            read = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._unavailable(
                f"answers with the HTTP status {response.status_code} and no JSON"
            ) from error
        if not isinstance(read, dict) or response.status_code >= 500 or response.is_redirect:
            raise self._unavailable(f"answers with the HTTP status {response.status_code}")
        return Answer(response.status_code, read)

    def _unavailable(self, what: str) -> ProviderUnavailable:
        _LOG.warning("provider unavailable", extra={"provider": self._provider, "why": what})
        return unavailable(self._provider, what)


def unavailable(provider: str, what: str) -> ProviderUnavailable:
    """A provider can not be asked."""
    return ProviderUnavailable(
        f"The provider {provider} {what}; sign in with a password or a code, or try again later.",
        provider=provider,
    )
