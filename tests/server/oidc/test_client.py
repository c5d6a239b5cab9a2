"""Asking a provider that answers as it likes: over HTTP, from a server on loopback that says what the test wants."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from keypeg import errors
from keypeg_server.domain.identity import Derived, SecondFactor
from keypeg_server.oidc.client import KNOWN_FOR, OidcProvider, Registration
from keypeg_server.oidc.http import ANSWER_SIZE, AT_ONCE, Http
from tests.server.oidc.provider import claims, key_set, signed
from tests.server.service.office import HandClock

BACK, MADE = "http://127.0.0.1:7/callback", Derived.of("a secret")
JSON = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
BAD = JSON.replace("200 OK", "400 Bad Request")
METADATA, TOKEN, KEYS = "/.well-known/openid-configuration", "/token", "/jwks"


class Answers:
    """A server whose pages are what the test says; it keeps what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Callable[[], bytes]] = {}
        self.asked: list[tuple[str, str, str]] = []  # path, headers, body
        self.came: asyncio.Queue[str] = asyncio.Queue()
        self.hangs = asyncio.Event()
        self.issuer = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(head.lower().partition("content-length: ")[2].partition("\r")[0] or 0)
        body = (await reader.readexactly(size)).decode()
        path = urlsplit(head.split(" ")[1]).path
        self.asked.append((path, head, body))
        self.came.put_nowait(path)
        page = self.pages.get(path, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        if page == b"hang":
            await self.hangs.wait()
        writer.write(page() if callable(page) else page)
        writer.close()

    def says(self, path: str, content: object, head: str = JSON) -> None:
        self.pages[path] = (head + json.dumps(content)).encode()

    def metadata(self, **others: Any) -> None:
        right = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}{TOKEN}",
            "jwks_uri": f"{self.issuer}{KEYS}",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
        }
        said = {name: value for name, value in {**right, **others}.items() if value is not None}
        self.says(METADATA, said)

    def token(self, name: str = "one", **said: Any) -> None:
        now = round(HandClock().wall().timestamp())
        right = {"iss": self.issuer, "nonce": MADE.nonce, "iat": now, "exp": now + 60, **said}
        self.says(TOKEN, {"id_token": signed(claims(**right), name=name)})

    def count(self, path: str) -> int:
        return sum(one[0] == path for one in self.asked)


@pytest.fixture
async def answers() -> AsyncIterator[Answers]:
    made = Answers()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    made.metadata()
    made.says(KEYS, key_set("ES256"))
    made.token()
    yield made
    made.hangs.set()
    server.close()


def client(
    answers: Answers, clock: HandClock | None = None, secret: str = "s e/c", seconds: float = 10
) -> OidcProvider:
    registration = Registration(
        "work", answers.issuer, "keypeg", secret, ("openid",), SecondFactor.OURS
    )
    http = Http("work", ssl.create_default_context(), direct=True, seconds=seconds)
    clock = clock or HandClock()
    return OidcProvider(registration, http, clock, clock.date_us)


async def test_a_code_becomes_who_it_is(answers: Answers) -> None:
    proven = await client(answers).by_code("the code", BACK, MADE)
    assert proven.subject == "248289761001"
    _, head, body = next(one for one in answers.asked if one[0] == TOKEN)
    basic = base64.b64encode(b"keypeg:s%20e%2Fc").decode()
    assert f"Basic {basic}" in head
    assert parse_qs(body) == {
        "grant_type": ["authorization_code"],
        "code": ["the code"],
        "redirect_uri": [BACK],
        "code_verifier": [MADE.verifier],
    }


async def test_a_cookie_of_one_sign_in_is_not_sent_with_the_next(answers: Answers) -> None:
    answers.token()
    page = answers.pages[TOKEN]
    assert isinstance(page, bytes)
    kept = b"HTTP/1.1 200 OK\r\nset-cookie: who=ada; path=/\r\n"
    answers.pages[TOKEN] = page.replace(b"HTTP/1.1 200 OK\r\n", kept)
    asked = client(answers)
    for _ in range(2):
        await asked.by_code("the code", BACK, MADE)
    assert not any("cookie" in head.lower() for _, head, _ in answers.asked)


async def test_a_token_is_of_now_where_the_server_s_clock_was_ahead_once(answers: Answers) -> None:
    clock = HandClock()
    clock.now += timedelta(days=1)
    clock.ahead = timedelta(days=1)
    assert await client(answers, clock).by_code("the code", BACK, MADE)


async def test_the_address_to_sign_in_at_binds_the_answer(answers: Answers) -> None:
    answers.metadata(authorization_endpoint=f"{answers.issuer}/auth?tenant=7")
    url = await client(answers).authorization_url(BACK, MADE)
    said = {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}
    assert (said["tenant"], said["state"], said["nonce"]) == ("7", MADE.state, MADE.nonce)
    assert (said["code_challenge"], said["code_challenge_method"]) == (MADE.challenge, "S256")
    assert MADE.verifier not in url


@pytest.mark.parametrize(
    ("ways", "secret", "inside"),
    [(["client_secret_post"], "s", True), (["client_secret_basic"], "s", False), (None, "", False)],
)
async def test_the_client_s_secret_goes_the_way_that_the_provider_takes(
    answers: Answers, ways: list[str] | None, secret: str, inside: bool
) -> None:
    answers.metadata(token_endpoint_auth_methods_supported=ways)
    await client(answers, secret=secret).by_code("code", BACK, MADE)
    _, head, body = next(one for one in answers.asked if one[0] == TOKEN)
    assert ("client_secret=s" in body) is inside
    assert ("authorization:" in head.lower()) is (bool(secret) and not inside)
    assert ("client_id=keypeg" in body) is (inside or not secret)


async def test_new_keys_are_found_and_made_up_ones_are_not(answers: Answers) -> None:
    clock = HandClock()
    provider = client(answers, clock)
    await provider.by_code("code", BACK, MADE)
    clock.now += timedelta(seconds=1)
    answers.token("two")
    with pytest.raises(errors.ProviderRefused, match="does not show"):
        await provider.by_code("code", BACK, MADE)
    clock.now += timedelta(seconds=1)
    answers.says(KEYS, key_set("ES256", name="two"))
    assert (await provider.by_code("code", BACK, MADE)).subject
    clock.now += timedelta(seconds=1)
    answers.token("one")
    with pytest.raises(errors.ProviderRefused, match="does not show"):  # the old one is gone
        await provider.by_code("code", BACK, MADE)


async def test_what_is_known_is_asked_for_again_after_a_while(answers: Answers) -> None:
    clock = HandClock()
    provider = client(answers, clock)
    for _ in range(3):
        await provider.authorization_url(BACK, MADE)
    assert answers.count(METADATA) == 1
    clock.now += timedelta(seconds=KNOWN_FOR + 1)
    await provider.authorization_url(BACK, MADE)
    assert answers.count(METADATA) == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"issuer": "https://other.example"}, "another issuer"),
        ({"token_endpoint": "http://id.example/token"}, "token_endpoint"),
        ({"token_endpoint": "ftp://127.0.0.1/token"}, "token_endpoint"),
        ({"token_endpoint": ["https://id.example"]}, "token_endpoint"),
        ({"token_endpoint": "https://user@id.example/"}, "token_endpoint"),
        ({"jwks_uri": None}, "jwks_uri"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint"),
        ({"authorization_endpoint": "https://id.example/\nx"}, "authorization_endpoint"),
        ({"id_token_signing_alg_values_supported": ["none", "HS256"]}, "no way to sign"),
    ],
    ids=str,
)
async def test_a_discovery_document_that_is_not_right_is_refused(
    answers: Answers, said: dict[str, Any], why: str
) -> None:
    answers.metadata(**said)
    with pytest.raises(errors.ProviderRefused, match=why):
        await client(answers).authorization_url(BACK, MADE)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (b"", "does not answer"),
        (b"hang", "does not answer"),
        (b"nonsense\r\n\r\n", "does not answer"),
        (JSON.encode() + b"[" * 100_000, "no JSON"),
        (JSON.encode() + b"[]", "status 200"),
        (JSON.encode() + b" " * (ANSWER_SIZE + 1), "bytes"),
        (JSON.replace("200 OK", "503 Busy").encode() + b"{}", "status 503"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n{}", "status 302"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n{}", "status 404"),
    ],
    ids=["cut", "silent", "no HTTP", "deep", "a list", "endless", "503", "redirect", "404"],
)
async def test_a_provider_that_does_not_answer_so_is_unavailable(
    answers: Answers, page: bytes, why: str
) -> None:
    answers.pages[METADATA] = page
    provider = client(answers, seconds=0.3 if page == b"hang" else 10)
    for _ in range(2):  # and not asked again at once
        with pytest.raises(errors.ProviderUnavailable, match=why):
            await provider.authorization_url(BACK, MADE)
    assert answers.count(METADATA) == 1


async def test_a_slow_provider_takes_so_many_requests_and_others_are_told(answers: Answers) -> None:
    answers.pages[TOKEN] = b"hang"
    provider = client(answers)
    await provider.authorization_url(BACK, MADE)
    waiting = [asyncio.create_task(provider.by_code("code", BACK, MADE)) for _ in range(AT_ONCE)]
    while answers.count(TOKEN) < AT_ONCE:
        await answers.came.get()
    with pytest.raises(errors.Busy):
        await provider.by_code("code", BACK, MADE)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    answers.token()
    assert (await provider.by_code("code", BACK, MADE)).subject


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("authorization_pending", errors.SignInPending),
        ("slow_down", errors.SignInPending),
        ("access_denied", errors.SignInDeclined),
        ("expired_token", errors.NotFound),
        ("invalid_grant", errors.ProviderRefused),
        ("<script>", errors.ProviderRefused),
        (7, errors.ProviderRefused),
    ],
)
async def test_what_a_provider_refuses_is_told(
    answers: Answers, error: object, kind: type[errors.KeypegError]
) -> None:
    answers.says(TOKEN, {"error": error}, BAD)
    with pytest.raises(kind) as refused:
        await client(answers).by_typed("device")
    assert "script" not in refused.value.sentence
    with pytest.raises(errors.ProviderRefused):
        await client(answers).by_code("code", BACK, MADE)


async def test_a_typed_code_is_bounded(answers: Answers) -> None:
    right = {"device_code": "d", "user_code": "ABCD", "verification_uri": f"{answers.issuer}/d"}
    answers.says("/device", {**right, "expires_in": 10**9, "interval": -5})
    typed = await client(answers).begin_typed()
    assert (typed.valid_for.total_seconds(), typed.interval.total_seconds()) == (1800, 1)
    for wrong in (
        {"user_code": "A\x1b[2J"},
        {"verification_uri": "file:///etc/passwd"},
        {"device_code": 7},
        {"verification_uri_complete": "javascript:1"},
    ):
        answers.says("/device", {**right, **wrong})
        with pytest.raises(errors.ProviderUnavailable):
            await client(answers).begin_typed()
    answers.metadata(device_authorization_endpoint=None)
    with pytest.raises(errors.NotFound, match="no codes to type"):
        await client(answers).begin_typed()


async def test_a_redirect_says_which_provider_it_is_of(answers: Answers) -> None:
    await client(answers).check_redirect("")
    await client(answers).check_redirect(answers.issuer)
    answers.metadata(authorization_response_iss_parameter_supported=True)
    for issuer in ("", "https://other.example"):
        with pytest.raises(errors.ProviderRefused):
            await client(answers).check_redirect(issuer)
