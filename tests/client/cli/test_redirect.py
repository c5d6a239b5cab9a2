"""What a browser brings back, and what else may speak to the port that waits for it."""

from __future__ import annotations

import asyncio

import pytest

from keypeg.cli import redirect

STATE = "state-of-this-sign-in"


def line(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\n".encode()


def test_a_redirect_is_read() -> None:
    found = redirect.read(line(f"/callback?code=a%2Fb&state={STATE}&iss=https%3A%2F%2Fid"), STATE)
    assert found == redirect.Redirect("a/b", STATE, "https://id", "")
    assert "a/b" not in repr(found)
    refused = redirect.read(line(f"/callback?error=access_denied&state={STATE}"), STATE)
    assert refused == redirect.Redirect("", STATE, "", "access_denied")


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"\r\n",
        b"\xff\xfe\r\n",
        b"GET\r\n",
        line("/"),
        line("/favicon.ico"),
        line("/callback"),
        line("/callback?code=a"),
        line("/callback?code=a&state=other"),
        line(f"/callback?code=a&state={STATE}", "POST"),
        line(f"/other?code=a&state={STATE}"),
        line(f"/callback?state={STATE}"),
        line(f"/callback?code=a&error=b&state={STATE}"),
        line(f"/callback?code=a&code=b&state={STATE}"),
        line(f"/callback?code=a&state={STATE}&state=other"),
        line(f"/callback?code=a&state={STATE}" + "&x=1" * 40),
        line("http://[::1/callback"),
    ],
    ids=repr,
)
def test_what_is_not_the_answer_is_none(request_line: bytes) -> None:
    assert redirect.read(request_line, STATE) is None


async def test_the_port_goes_on_waiting_until_the_answer_comes() -> None:
    async with redirect.listening() as callback:
        waiting = asyncio.create_task(callback.answer(STATE, 20))
        await asyncio.sleep(0)  # it waits
        port = int(callback.uri.rpartition(":")[2].partition("/")[0])

        async def ask(sent: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(sent + b"\r\n")
                writer.write_eof()
                return await reader.read()
            except ConnectionError:
                return b""  # it hung up
            finally:
                writer.close()

        for sent in (line("/callback?code=x&state=guessed"), b"", b"x" * 20_000):
            assert b"close this window" not in await ask(sent)
        page = await ask(line(f"/callback?code=right&state={STATE}"))
        assert page.startswith(b"HTTP/1.1 200 OK")
        assert (await waiting).code == "right"


async def test_nobody_is_waited_for_without_end() -> None:
    async with redirect.listening() as callback:
        with pytest.raises(TimeoutError):
            await callback.answer(STATE, 0.01)


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://id.example/auth?state=x", True),
        ("http://127.0.0.1:8080/auth", True),
        ("http://[::1]:8080/auth", True),
        ("http://id.example/auth", False),
        ("file:///etc/passwd", False),
        ("vscode://run?what", False),
        ("javascript:alert(1)", False),
        ("--new-window", False),
        ("https://", False),
        ("https://[::1", False),
        ("https://id.example/\x1b[2J", False),
        ("https://id.example/ --profile x", False),
        ("", False),
    ],
)
def test_a_browser_is_sent_to_pages_alone(url: str, is_one: bool) -> None:
    assert redirect.is_page(url) is is_one
