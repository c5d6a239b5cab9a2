"""`keypeg borrow`: what it asks, what it keeps, and what it says."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from keypeg import errors
from keypeg.borrow_shelf import Shelf
from keypeg.cli import asking
from keypeg.v1 import borrow_pb2, borrow_service_pb2_grpc
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine
from tests.client.cli.fake_borrows import Borrows, end_of

TAKE = ("borrow", "take", "acme/solver", "--for", "3d")


@pytest.fixture
def borrows() -> Borrows:
    return Borrows()


@pytest.fixture
def address(server: fakes.Server, borrows: Borrows, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The fake server, which lends seats too."""

    def add(grpc_server) -> None:
        borrow_service_pb2_grpc.add_BorrowServiceServicer_to_server(borrows, grpc_server)

    serving = fakes.serve(server, add)
    target, certificate = next(serving)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(certificate)
    yield target, ca_file
    serving.close()


@pytest.fixture
def shelf(keypeg: CommandLine) -> Shelf:
    return Shelf(Path(str(keypeg.environment["KEYPEG_CONFIG_DIR"])) / "borrows")


@pytest.fixture
def offline(keypeg: CommandLine) -> CommandLine:
    """The same computer without a connection."""
    return CommandLine({**keypeg.environment, "KEYPEG_SERVER": "127.0.0.1:1"})


def test_a_seat_is_taken_with_a_key_of_its_own(keypeg, borrows, shelf):
    made = keypeg.json(*TAKE, "--units", "2", "--feature", "render=2")
    (request,) = borrows.asked["CreateBorrow"]
    uuid.UUID(request.request_id)
    assert request.pool == fakes.POOL
    assert (request.units, request.duration.ToTimedelta()) == (2, timedelta(days=3))
    assert [(one.feature, one.units) for one in request.features] == [("render", 2)]
    assert (request.device.id, request.app.name) == ("dev-here-0001", "keypeg borrow")
    assert len(request.return_key.key) == 32
    (kept,) = shelf.kept()
    assert kept.name == made["name"]
    assert kept.return_key == request.return_key.key
    assert shelf.asked() == ()


def test_each_borrow_has_another_key(keypeg, borrows, shelf):
    keypeg.json(*TAKE)
    keypeg.json(*TAKE)
    assert len({one.return_key for one in shelf.kept()}) == 2


def test_a_refusal_leaves_nothing(keypeg, borrows, shelf):
    borrows.refuse("CreateBorrow", errors.PoolRule("No seat may be borrowed.", rule="borrow"))
    result = keypeg(*TAKE)
    assert (result.exit_code, result.stdout) == (5, "")
    assert "No seat may be borrowed" in result.stderr
    assert (shelf.asked(), shelf.kept()) == ((), ())


def test_an_answer_that_was_lost_is_asked_for_again(keypeg, borrows, shelf):
    borrows.forget_answers = 99
    result = keypeg(*TAKE)
    assert result.exit_code == 7
    assert "run the same command again" in result.stderr
    assert len(shelf.asked()) == 1
    borrows.forget_answers = 0
    made = keypeg(*TAKE)
    assert made.exit_code == 0
    assert "whose answer was lost" in made.stderr
    assert len(borrows.borrows) == 1
    assert len({one.request_id for one in borrows.asked["CreateBorrow"]}) == 1
    (kept,) = shelf.kept()
    assert kept.return_key


def test_what_is_refused_meanwhile_makes_room_for_a_new_request(keypeg, borrows, shelf):
    borrows.refuse("CreateBorrow", *[errors.Unreachable("lost")] * 8)
    assert keypeg(*TAKE).exit_code == 7
    borrows.refusals["CreateBorrow"] = [errors.PoolExhausted("All are held.")]
    assert keypeg(*TAKE).exit_code == 0
    assert len({one.request_id for one in borrows.asked["CreateBorrow"]}) == 2
    assert (len(shelf.kept()), shelf.asked()) == (1, ())


@pytest.mark.parametrize(
    "refusal",
    [
        errors.LimitExceeded("Too much at once.", limit="pending"),
        errors.TokenExpired("Sign in."),
        errors.LicenseMissing("None."),
        errors.NotFound("No such pool."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_nothing_of_the_first_time_keeps_the_key_of_a_seat_that_may_be_out(
    keypeg, borrows, shelf, refusal
):
    borrows.forget_answers = 99
    assert keypeg(*TAKE).exit_code == 7
    borrows.forget_answers = 0
    borrows.refusals["CreateBorrow"] = [refusal] * 99
    assert keypeg(*TAKE).exit_code != 0
    assert len(shelf.asked()) == 1
    borrows.refusals["CreateBorrow"] = []
    assert keypeg(*TAKE).exit_code == 0
    assert len(borrows.borrows) == len(shelf.kept()) == 1
    assert shelf.kept()[0].return_key


def test_a_refusal_in_passing_leaves_the_request(keypeg, borrows, shelf):
    borrows.refuse("CreateBorrow", *[errors.ServerDraining("It goes away.")] * 99)
    assert keypeg(*TAKE).exit_code != 0
    assert len(shelf.asked()) == 1
    borrows.refusals["CreateBorrow"] = []
    assert keypeg(*TAKE).exit_code == 0
    assert len({one.request_id for one in borrows.asked["CreateBorrow"]}) == 1


def test_what_was_asked_so_long_ago_that_only_its_key_is_known_is_kept(keypeg, borrows, shelf):
    borrows.forget_answers = 99
    assert keypeg(*TAKE).exit_code == 7
    borrows.forget_answers = 0
    borrows.answers.clear()  # a day later
    made = keypeg.json(*TAKE)
    assert list(borrows.borrows) == [made["name"]]
    (kept,) = shelf.kept()
    assert (kept.name, bool(kept.return_key)) == (made["name"], True)


def test_a_clock_that_is_wrong_takes_no_borrow_away(keypeg, borrows, shelf, monkeypatch):
    made = keypeg.json(*TAKE)
    far = fakes.NOW + timedelta(days=400)
    monkeypatch.setattr("keypeg.cli.context.Cli.now", lambda self: far)
    keypeg.json(*TAKE)
    assert made["name"] in {one.name for one in shelf.kept()}


def test_what_another_server_does_not_know_is_kept_to_be_handed_in(keypeg, offline, borrows, shelf):
    made = keypeg.json(*TAKE)
    assert offline("borrow", "return").exit_code == 7
    there = dict(borrows.borrows)
    borrows.borrows.clear()
    result = keypeg("borrow", "return")
    assert result.exit_code == 1
    assert "where it was borrowed" in result.stderr
    assert keypeg("borrow", "list").exit_code == 0
    borrows.borrows.update(there)
    assert keypeg("borrow", "return").exit_code == 0
    assert there[made["name"]].state == borrow_pb2.BORROW_STATE_RETURNED
    assert shelf.given_up() == ()


def test_after_its_end_nothing_is_kept_to_be_handed_in(
    keypeg, offline, borrows, shelf, monkeypatch
):
    keypeg.json(*TAKE)
    assert offline("borrow", "return").exit_code == 7
    borrows.borrows.clear()
    later = fakes.NOW + timedelta(days=6)
    monkeypatch.setattr("keypeg.cli.context.Cli.now", lambda self: later)
    assert keypeg("borrow", "return").exit_code == 0
    assert shelf.given_up() == ()


def test_a_list_shows_where_and_until_when(keypeg, borrows):
    made = keypeg.json(*TAKE)
    assert [one["name"] for one in keypeg.json("borrow", "list")] == [made["name"]]
    table = keypeg("-o", "csv", "borrow", "list").stdout.splitlines()
    assert table[0] == "borrow,product,units,user,computer,here,state,ends,free_at,features"
    assert ",true,out,2026-11-24T12:00:00Z,2026-11-24T13:00:00Z" in table[1]


def test_without_a_connection_it_lists_what_is_here_and_says_why_no_more(keypeg, offline):
    made = keypeg.json(*TAKE)
    result = offline("-o", "json", "borrow", "list")
    assert result.exit_code == 7
    assert [one["name"] for one in json.loads(result.stdout)] == [made["name"]]
    assert "can not be reached" in result.stderr
    assert offline("borrow", "list", "--here").exit_code == 0


def test_renewing_takes_the_place_of_the_document(keypeg, borrows, shelf):
    keypeg.json(*TAKE)
    renewed = keypeg.json("borrow", "renew", "--for", "5d")
    assert renewed["serial"] == "2"
    (kept,) = shelf.kept()
    assert kept.document.serial == 2
    assert kept.document.expire_time == end_stamp(borrows)


def end_stamp(borrows: Borrows):
    (one,) = borrows.borrows.values()
    assert end_of(one) == fakes.NOW + timedelta(days=5)
    return one.expire_time


def test_returning_hands_it_in_and_destroys_it_here(keypeg, borrows, shelf):
    made = keypeg.json(*TAKE)
    result = keypeg("borrow", "return")
    assert result.exit_code == 0, result.stderr
    assert "opens nothing here any more" in result.stderr
    assert "is given back" in result.stderr
    assert borrows.borrows[made["name"]].state == borrow_pb2.BORROW_STATE_RETURNED
    assert (shelf.kept(), shelf.given_up()) == ((), ())
    assert shelf.memory().is_given_up(made["name"])


def test_returning_without_a_connection_is_finished_by_the_next_command(
    keypeg, offline, borrows, shelf
):
    made = keypeg.json(*TAKE)
    assert offline("borrow", "return").exit_code == 7
    assert shelf.kept() == ()
    assert len(shelf.given_up()) == 1
    result = keypeg("borrow", "return")
    assert result.exit_code == 0
    assert borrows.borrows[made["name"]].state == borrow_pb2.BORROW_STATE_RETURNED


def test_what_waits_to_be_handed_in_does_not_give_up_another(keypeg, offline, borrows, shelf):
    first = keypeg.json(*TAKE)
    second = keypeg.json(*TAKE)
    assert offline("borrow", "return", first["name"]).exit_code == 7
    assert keypeg("borrow", "return").exit_code == 0
    assert [one.name for one in shelf.kept()] == [second["name"]]


def test_a_statement_goes_by_file(keypeg, offline, borrows, shelf, tmp_path):
    made = keypeg.json(*TAKE)
    path = tmp_path / "returned.keypeg"
    result = offline("borrow", "return", made["name"][-4:], "--to-file", str(path))
    assert result.exit_code == 0, result.stderr
    assert path.read_text().startswith("-----BEGIN KEYPEG RETURN-----\n")
    assert shelf.kept() == ()
    again = tmp_path / "again.keypeg"
    assert offline("borrow", "return", made["name"], "--to-file", str(again)).exit_code == 0
    assert again.read_text() == path.read_text()
    other = CommandLine({**keypeg.environment, "KEYPEG_DEVICE": "dev-there-0002"})
    (handed,) = other.json("borrow", "return", "--from-file", str(path))
    assert handed["state"] == "BORROW_STATE_RETURNED"
    assert other("borrow", "return", "--from-file", str(path)).exit_code == 0


def test_of_several_statements_in_a_file_one_that_is_over_keeps_no_other_back(
    keypeg, offline, borrows, tmp_path
):
    over, held = keypeg.json(*TAKE), keypeg.json(*TAKE)
    paths = [tmp_path / "over", tmp_path / "held"]
    for made, path in zip((over, held), paths, strict=True):
        assert offline("borrow", "return", made["name"], "--to-file", str(path)).exit_code == 0
    both = tmp_path / "both"
    both.write_text("".join(path.read_text() for path in paths))
    del borrows.borrows[over["name"]]
    result = keypeg("-o", "json", "borrow", "return", "--from-file", str(both))
    assert result.exit_code == 1
    assert over["name"] in result.stderr
    assert [one["name"] for one in json.loads(result.stdout)] == [held["name"]]
    assert borrows.borrows[held["name"]].state == borrow_pb2.BORROW_STATE_RETURNED


def test_a_file_without_a_statement_is_refused(keypeg, tmp_path):
    path = tmp_path / "other.keypeg"
    path.write_text("nothing")
    result = keypeg("borrow", "return", "--from-file", str(path))
    assert result.exit_code == 1
    assert "no statement of return" in result.stderr
    assert keypeg("borrow", "return", "one", "--from-file", str(path)).exit_code == 2


def test_what_is_not_borrowed_here_can_not_be_returned_here(keypeg, borrows):
    keypeg.json(*TAKE)
    result = keypeg("borrow", "return", "pools/p/borrows/elsewhere")
    assert result.exit_code == 1
    assert "no borrow on this computer" in result.stderr
    none = CommandLine({**keypeg.environment, "KEYPEG_CONFIG_DIR": "/nonexistent"})
    assert "No seat is borrowed on this computer" in none("borrow", "return").stderr


def test_a_program_that_uses_it_must_be_closed_first(keypeg, shelf):
    keypeg.json(*TAKE)
    (kept,) = shelf.kept()
    use = shelf.use(kept, 1, {})
    result = keypeg("borrow", "return")
    assert result.exit_code == 7
    assert "close it" in result.stderr
    use.end()
    assert keypeg("borrow", "return").exit_code == 0


def test_a_write_off_says_what_it_exposes_and_asks(keypeg, borrows, monkeypatch):
    made = keypeg.json(*TAKE)
    arguments = ("borrow", "write-off", made["name"], "--reason", "It was stolen.")
    dry = keypeg.json(*arguments, "--dry-run")
    assert dry["exposure"]["exposed_count"] == 1
    assert keypeg(*arguments).exit_code == 2  # nobody can be asked
    asked: list[str] = []

    def no(question: str) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr(asking, "confirmed", no)
    result = keypeg(*arguments)
    assert result.exit_code == 1
    assert "1 unit may be used twice" in result.stderr
    assert "1 of 2 units" in result.stderr
    assert asked == [f"Write {made['name']} off?"]
    assert borrows.borrows[made["name"]].state == borrow_pb2.BORROW_STATE_OUT
    done = keypeg.json(*arguments, "--yes")
    assert done["borrow"]["state"] == "BORROW_STATE_WRITTEN_OFF"
    assert borrows.asked["WriteOffBorrow"][-1].reason == "It was stolen."


def test_a_borrow_of_the_account_is_found_by_its_computer(keypeg, borrows):
    keypeg.json(*TAKE)
    (one,) = borrows.borrows.values()
    one.host_name = "laptop-7"
    answer = keypeg.json("borrow", "write-off", "laptop-7", "--reason", "Lost.", "--dry-run")
    assert answer["borrow"]["name"] == one.name
