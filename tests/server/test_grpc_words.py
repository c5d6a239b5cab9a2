"""What is written on file 2 becomes records, and nothing is left of it; where that can not be, all stays as it was."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from keypeg_server import logs
from keypeg_server.grpc_words import AT_ONCE, FILE, GrpcWords

NAME = "GRPC_VERBOSITY"
PLAIN_TEXT = (
    b"I1122 14:58:39.732290    5603 ssl_transport_security.cc:2563] Handshake failed with error SSL_ERROR_SSL: "
    b"error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER: Invalid certificate verification context\n"
)


Begin = Callable[[Path], GrpcWords | None]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Begin]:
    """Begins as a program does whose standard error is file 2, and that logs there."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.setenv(NAME, "")
    monkeypatch.delenv(NAME)
    begun: list[GrpcWords] = []
    with open(2, "w", buffering=1, closefd=False) as error:

        def one(data: Path) -> GrpcWords | None:
            if sys.stderr is not None and not begun:  # what pytest has put there
                monkeypatch.setattr(sys, "stderr", error)
                logs.configure("info", "json")
            if words := GrpcWords.begin(data, lambda: 0.0):
                begun.append(words)
            return words

        yield one
        for words in reversed(begun):
            with contextlib.suppress(ValueError):  # the test has ended it
                words.end(tell=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def begun(begin: Begin, data: Path) -> GrpcWords:
    words = begin(data)
    assert words is not None
    return words


def logged(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What has come to the standard error that the process began with."""
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_lines_become_records_and_the_file_is_emptied(
    begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = begun(begin, tmp_path)
    assert os.environ[NAME] == "INFO"
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    os.write(2, PLAIN_TEXT * 3 + PLAIN_TEXT[:50])
    words.look()
    assert (tmp_path / FILE).stat().st_size == 0
    os.write(2, PLAIN_TEXT[50:])
    words.look()
    (record,) = logged(capfd)
    assert (record["event"], record["reason"]) == ("handshake failed", "WRONG_VERSION_NUMBER")
    assert record["times"] == 1, "the others are told in a minute"


def test_what_python_writes_goes_where_it_went(
    begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    begun(begin, tmp_path)
    print("a sentence", file=sys.stderr)
    assert capfd.readouterr().err == "a sentence\n"


def test_a_flood_is_read_in_part_and_its_rest_is_counted(
    begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = begun(begin, tmp_path)
    os.truncate(tmp_path / FILE, AT_ONCE + 5_000)
    words.look()
    more, others = logged(capfd)
    assert (more["event"], more["bytes"]) == ("gRPC says more than is read", "5000")
    assert others["event"] == "words on standard error"
    assert (tmp_path / FILE).stat().st_size == 0


def test_the_last_words_of_the_process_before_are_told_once(
    begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).write_bytes(PLAIN_TEXT + b"malloc(): corrupted\n")
    begun(begin, tmp_path).look()
    (record,) = logged(capfd)
    assert (record["event"], record["level"]) == ("last words of the process before", "warning")
    assert record["said"] == "malloc(): corrupted"


@pytest.mark.parametrize("tell", [True, False])
def test_the_end_gives_standard_error_back_and_leaves_nothing(
    tell: bool, begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = begun(begin, tmp_path)
    os.write(2, PLAIN_TEXT)
    words.end(tell=tell)
    assert sys.stderr.fileno() == 2
    assert os.listdir(tmp_path) == []
    assert len(logged(capfd)) == tell
    os.write(2, b"as before\n")
    logging.getLogger().warning("and this")
    assert capfd.readouterr().err.splitlines()[0] == "as before"


def test_another_process_of_the_directory_leaves_it_alone(begin: Begin, tmp_path: Path) -> None:
    begun(begin, tmp_path)
    (tmp_path / FILE).write_bytes(PLAIN_TEXT)
    del os.environ[NAME]
    assert begin(tmp_path) is None
    assert os.environ[NAME] == "NONE"
    assert (tmp_path / FILE).read_bytes() == PLAIN_TEXT


def test_where_there_can_be_no_file_all_stays_as_it_was(begin: Begin, tmp_path: Path) -> None:
    assert begin(tmp_path / "away") is None
    assert (sys.stderr.fileno(), os.environ[NAME]) == (2, "NONE")


def test_a_link_is_not_followed(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    assert begin(tmp_path) is None
    assert not (tmp_path / "elsewhere").exists()


def test_whoever_looks_for_a_fault_has_grpc_s_own_words(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, "DEBUG")
    assert begin(tmp_path) is None
    assert os.environ[NAME] == "DEBUG"


def test_a_standard_error_of_another_kind_stays(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert begin(tmp_path) is None
