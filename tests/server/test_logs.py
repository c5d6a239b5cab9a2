"""What the server's log shows, and what it never does."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from keypeg_server import logs

SECRET = "swordfish"


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    """Logging as it was, for the tests that come after."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def fail(password: str) -> None:
    """Fails with a secret in a local variable, as a handler of a request may."""
    raise RuntimeError(f"the disk is {'full'} after {len(password)} characters")


def log_a_failure() -> None:
    try:
        fail(SECRET)
    except RuntimeError:
        structlog.get_logger("test").exception("request failed", user="mia")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_shows_where_it_failed_and_no_variables(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", form)
    log_a_failure()
    shown = capsys.readouterr().err
    assert "request failed" in shown
    assert "RuntimeError: the disk is full after 9 characters" in shown
    assert "in fail" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("form", ["text", "json"])
def test_fields_named_for_secrets_are_blanked(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", form)
    structlog.get_logger("test").info("signed in", user="mia", bearer_token=SECRET)
    logging.getLogger("library").info("signed in too", extra={"password": SECRET})
    shown = capsys.readouterr().err
    assert shown.count(logs.BLANK) == 2
    assert SECRET not in shown


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.get_logger("test").info("signed in", user="mia")
    logging.getLogger("library").warning("slow")
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(event["event"], event["level"]) for event in events] == [
        ("signed in", "info"),
        ("slow", "warning"),
    ]


def test_what_is_below_the_level_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "text")
    structlog.get_logger("test").info("signed in")
    logging.getLogger("library").info("signed in too")
    assert capsys.readouterr().err == ""
