"""What is printed: tables for people, data for programs."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.cli import short, when
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine


def test_a_table_is_aligned_and_short(keypeg: CommandLine) -> None:
    result = keypeg("license", "list")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "LICENSE   PRODUCT      TYPE          STATE    ACTIVATIONS  USED  SEATS  WHERE       EXPIRES",
        "00000a11  acme/cad     perpetual     active             2     1      -  cloud, key  -",
        "00000b22  acme/solver  subscription  expired            1     0      3  site        "
        "2026-11-18 12:00 (3 d ago)",
    ]


def test_json_has_every_field_of_the_contract_in_its_order(keypeg: CommandLine) -> None:
    found = keypeg.json("license", "list")
    assert [one["name"] for one in found] == [fakes.CAD, fakes.SOLVER]
    assert list(found[0]) == [
        "name",
        "product",
        "product_display_name",
        "opens_products",
        "bundle",
        "type",
        "state",
        "allowed_locations",
        "activation_count",
        "activations_used_count",
        "seat_count",
        "features",
        "deposit_time",
        "expire_time",
        "term_days",
        "first_activate_time",
        "maintenance_end_time",
        "external_reference",
        "newest_version",
        "publisher",
        "state_reason",
        "waits_for",
        "next_change_time",
        "temporary_seat_count",
        "temporary_activation_count",
    ]
    assert found[0]["expire_time"] is None
    assert found[1]["expire_time"] == "2026-11-18T12:00:00Z"
    assert found[1]["state"] == "LICENSE_STATE_EXPIRED"


def test_the_output_option_may_stand_after_the_command(keypeg: CommandLine) -> None:
    after = keypeg("license", "list", "-o", "json")
    assert json.loads(after.stdout) == keypeg.json("license", "list")
    assert keypeg("-o", "csv", "license", "list", "-o", "json").stdout == after.stdout


def test_jsonl_is_one_object_a_line(keypeg: CommandLine) -> None:
    result = keypeg("license", "list", "-o", "jsonl")
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == [
        fakes.CAD,
        fakes.SOLVER,
    ]


def test_csv_has_whole_names_and_iso_times(keypeg: CommandLine) -> None:
    rows = list(csv.DictReader(io.StringIO(keypeg("license", "list", "-o", "csv").stdout)))
    assert rows[1]["license"] == fakes.SOLVER
    assert rows[1]["expires"] == "2026-11-18T12:00:00Z"
    assert rows[0]["where"] == "cloud key"


def test_the_output_may_be_chosen_in_the_environment(keypeg: CommandLine) -> None:
    keypeg.environment["KEYPEG_OUTPUT"] = "json"
    assert json.loads(keypeg("user", "list").stdout)[0]["login"] == "ada"


def test_nothing_there_is_said_on_standard_error_only(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    server.licenses.clear()
    table = keypeg("license", "list")
    assert (table.stdout, table.stderr) == ("", "The account has no licenses.\n")
    assert keypeg.json("license", "list") == []


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(milliseconds=250), "250 ms"),
        (timedelta(seconds=45), "45 s"),
        (timedelta(seconds=180), "3 min"),
        (timedelta(seconds=200), "3 min 20 s"),
        (timedelta(hours=26), "1 d 2 h"),
        (timedelta(days=1, seconds=5), "1 d"),
        (-timedelta(minutes=3), "-3 min"),
    ],
)
def test_a_duration_has_its_two_largest_units(length: timedelta, text: str) -> None:
    assert when.duration(length) == text


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (timedelta(seconds=2), "now"),
        (timedelta(seconds=-30), "30 s ago"),
        (timedelta(minutes=5), "in 5 min"),
        (timedelta(hours=30), "in 1 d"),
        (timedelta(hours=12) - timedelta(seconds=1), "in 12 h"),
        (timedelta(days=-400), "400 d ago"),
    ],
)
def test_a_hint_has_one_unit(away: timedelta, text: str) -> None:
    assert when.hint(fakes.NOW + away, fakes.NOW) == text


made_ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
chosen_ids = st.from_regex(r"[a-z][a-z0-9-]{2,20}", fullmatch=True)


@given(st.lists(made_ids | chosen_ids, max_size=20, unique=True))
def test_what_is_shown_means_that_one_name_again(ids: list[str]) -> None:
    names = [f"pools/{one}" for one in ids]
    for name, shown in short.shortened(names).items():
        assert short.match(shown, names) == [name]


def test_ids_that_end_alike_are_shown_longer() -> None:
    one, other = "pools/" + "a" * 32, "pools/" + "b" * 16 + "a" * 16
    shown = short.shortened([one, other])
    assert shown[one] != shown[other]
    assert short.match("aaaaaaaa", [one, other]) == [one, other]


TERMINAL = """
import os, pty, sys
def read(descriptor):
    return os.read(descriptor, 65536)
sys.exit(os.waitstatus_to_exitcode(pty.spawn(["sh", "-c", sys.argv[1]], read)))
"""


def on_a_terminal(keypeg: CommandLine, columns: int, *arguments: str, **more: str) -> str:
    """What a command prints on a real terminal of that width."""
    environment = {key: value for key, value in keypeg.environment.items() if value is not None}
    for name in ("COLUMNS", "NO_COLOR"):
        environment.pop(name)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("KEYPEG_", "NO_COLOR"))}
    line = f"stty cols {columns}; {sys.executable} -m keypeg.cli {' '.join(arguments)}"
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL, line],
        env=inherited | environment | {"TERM": "xterm"} | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.replace("\r\n", "\n")


def test_a_terminal_gets_color_unless_it_wants_none(keypeg: CommandLine) -> None:
    assert "\x1b[32mactive" in on_a_terminal(keypeg, 120, "license", "list")
    assert "\x1b" not in on_a_terminal(keypeg, 120, "status", NO_COLOR="1")
    plain = on_a_terminal(keypeg, 120, "license", "list", NO_COLOR="1")
    assert "\x1b[3" not in plain  # bold may stay, colors may not


@pytest.mark.parametrize("columns", [120, 90, 70, 40])
def test_a_table_keeps_within_its_terminal(keypeg: CommandLine, columns: int) -> None:
    shown = on_a_terminal(keypeg, columns, "license", "list", NO_COLOR="1", TERM="dumb")
    if columns > 40:  # there, names are whole: they can be copied
        assert max(map(len, shown.splitlines())) <= columns, shown
    assert "acme/cad" in shown
    assert "acme/solver" in shown
    assert " ago" in shown or "in " in shown
