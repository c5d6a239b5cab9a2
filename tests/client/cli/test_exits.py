"""Exit codes: the table is complete, and each code reaches the shell."""

from __future__ import annotations

import pytest

from keypeg import errors
from keypeg.cli import main
from keypeg.cli.exits import EXITS, Exit
from keypeg.errors import Reason, error_class
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine


def test_every_reason_has_an_exit_code_other_than_ok() -> None:
    assert set(EXITS) == set(Reason)
    assert Exit.OK not in EXITS.values()


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.NOT_FOUND, 1),
        (Reason.FIELD_INVALID, 2),
        (Reason.TOKEN_EXPIRED, 4),
        (Reason.PERMISSION_DENIED, 5),
        (Reason.ACTIVATIONS_EXHAUSTED, 5),
        (Reason.POOL_EXHAUSTED, 6),
        (Reason.QUEUE_FULL, 6),
        (Reason.SERVER_DRAINING, 7),
        (Reason.STORAGE_UNAVAILABLE, 7),
        (Reason.LEASE_EXPIRED, 8),
        (Reason.LICENSE_EXPIRED, 8),
    ],
)
def test_a_refusal_of_the_server_becomes_its_exit_code(
    keypeg: CommandLine, server: fakes.Server, reason: Reason, code: int
) -> None:
    server.refuse("ListLicenses", *[error_class(reason)("No, and this is why.")] * 20)
    result = keypeg("-o", "json", "license", "list")
    assert result.exit_code == code
    assert result.stdout == ""
    assert "No, and this is why." in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_that_is_not_there_is_7_and_says_which(nowhere: CommandLine) -> None:
    nowhere.environment |= {"KEYPEG_SERVER": "127.0.0.1:1", "KEYPEG_TOKEN": "t"}
    result = nowhere("license", "list")
    assert result.exit_code == 7
    assert "127.0.0.1:1 can not be reached: nothing listens there" in result.stderr
    assert "keypeg doctor" in result.stderr


def test_without_a_token_nothing_is_asked_and_the_code_is_4(
    nowhere: CommandLine, address: tuple[str, object], server: fakes.Server
) -> None:
    nowhere.environment["KEYPEG_SERVER"] = address[0]
    assert nowhere("license", "list").exit_code == 4
    assert not server.asked


def test_a_wrong_option_is_2(nowhere: CommandLine) -> None:
    assert nowhere("license", "list", "--shiny").exit_code == 2
    assert nowhere("nothing").exit_code == 2


def test_no_server_at_all_is_2(nowhere: CommandLine) -> None:
    result = nowhere("license", "list")
    assert result.exit_code == 2
    assert "keypeg login" in result.stderr


def test_a_refusal_tells_who_holds_it_and_what_to_do_next(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    server.refuse("AcquireSeat", fakes.explained())
    result = keypeg("seat", "acquire", "acme/solver")
    assert result.exit_code == 6
    assert result.stderr.splitlines() == [
        "error: Every seat of acme/solver is held.",
        "Who holds it:",
        "  ada on atlas with solver (3 seats) since 2026-11-21 10:00 (2 h ago)",
        "It may work by itself in 5 min.",
        "What to do next:",
        "  - Wait in the queue.",
        "  - Ask a holder to close its app.",
        "  - See who holds the seats: keypeg seat list",
    ]


def test_the_code_of_an_interrupted_command_is_130() -> None:
    assert int(Exit.INTERRUPTED) == main.INTERRUPTED


def test_debug_adds_the_reason_and_the_traceback(keypeg: CommandLine, server: fakes.Server) -> None:
    server.refuse("ListLicenses", errors.NotFound("There is no such account."))
    result = keypeg("license", "list", "--debug")
    assert result.exit_code == 1
    assert "reason: NOT_FOUND" in result.stderr
    assert "Traceback" in result.stderr
    assert fakes.TOKEN not in result.output


def test_an_error_of_the_operating_system_is_a_sentence(keypeg: CommandLine) -> None:
    keypeg("activation", "create", "acme/cad", "--location", "cloud")
    result = keypeg("activation", "show", "x0", "--save", "/nowhere/x.keypeg")
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr
