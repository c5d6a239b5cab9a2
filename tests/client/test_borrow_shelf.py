"""Borrowed seats on a disk: kept, used under locks, and given up whatever interrupts it."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keypeg import borrow_shelf, borrowed, errors
from keypeg.borrow_place import Kept
from keypeg.borrow_shelf import Shelf
from keypeg.document import Ed25519Signer
from keypeg.testing import StandInPublisher

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DEVICE = "device-of-the-test"
PUBLISHER = StandInPublisher()


class Borrowing:
    """A shelf, and a publisher's site that lends to it."""

    def __init__(self, directory: Path) -> None:
        self.shelf = Shelf(directory)
        self.directory = directory

    def take(self, identity: str = "one", **terms) -> Kept:
        key = Ed25519Signer.generate()
        asked = self.shelf.begin(identity, b"what was asked", key)
        name = f"pools/p/borrows/{identity}"
        proof = PUBLISHER.borrow_proof(
            "demo", DEVICE, key.public_key, NOW, until=NOW + 3 * DAY, borrow=name, **terms
        )
        return self.shelf.keep(asked.directory, proof, NOW)


@pytest.fixture
def borrowing(tmp_path: Path) -> Borrowing:
    return Borrowing(tmp_path / "borrows")


def test_the_key_is_there_before_the_server_is_asked_and_only_its_owner_reads_it(borrowing):
    key = Ed25519Signer.generate()
    asked = borrowing.shelf.begin("one", b"what was asked", key)
    assert borrowing.shelf.asked() == (asked,)
    assert borrowing.shelf.kept() == ()
    for path in (asked.directory / "key", asked.directory / "request"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(asked.directory.stat().st_mode) == 0o700
    borrowing.shelf.refused(asked)
    assert borrowing.shelf.asked() == ()
    assert not asked.directory.exists()


def test_what_was_borrowed_is_kept_with_its_key(borrowing):
    kept = borrowing.take(units=2)
    assert borrowing.shelf.asked() == ()
    assert borrowing.shelf.kept() == (kept,)
    assert (kept.name, kept.pool) == ("pools/p/borrows/one", "pools/p")
    assert kept.return_key == kept.document.return_key.key
    assert borrowing.shelf.memory().seen["pools/p/borrows/one"] == 1


def test_a_renewed_document_takes_the_place_of_the_one_before(borrowing):
    kept = borrowing.take()
    proof = PUBLISHER.borrow_proof(
        "demo", DEVICE, kept.document.return_key, NOW, until=NOW + 9 * DAY, serial=2,
        borrow=kept.name,
    )  # fmt: skip
    after = borrowing.shelf.keep(kept.directory, proof, NOW)
    assert (after.document.serial, after.return_key) == (2, kept.return_key)
    assert borrowing.shelf.kept() == (after,)


def test_programs_together_use_no_more_than_was_borrowed(borrowing):
    kept = borrowing.take(units=2, features={"render": 1})
    first = borrowing.shelf.use(kept, 1, {"render": 1})
    with pytest.raises(errors.PoolExhausted, match="units of render"):
        borrowing.shelf.use(kept, 1, {"render": 1})
    second = borrowing.shelf.use(kept, 1, {})  # what failed has left nothing taken
    with pytest.raises(errors.PoolExhausted, match="2 units"):
        borrowing.shelf.use(kept, 1, {})
    first.end()
    borrowing.shelf.use(kept, 1, {"render": 1}).end()
    second.end()
    borrowing.shelf.use(kept, 2, {}).end()


HOLD = """
import sys
from pathlib import Path
from keypeg.borrow_shelf import Shelf
shelf = Shelf(Path(sys.argv[1]))
use = shelf.use(shelf.kept()[0], 1, {})
print("held", flush=True)
sys.stdin.read()
"""


def test_the_units_of_a_killed_program_are_free_at_once(borrowing):
    kept = borrowing.take()
    program = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(borrowing.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "held\n"
        with pytest.raises(errors.PoolExhausted):
            borrowing.shelf.use(kept, 1, {})
        with pytest.raises(errors.Busy, match="close it"):
            borrowing.shelf.give_up(kept, NOW)
    finally:
        program.kill()
        program.communicate()
    borrowing.shelf.use(kept, 1, {}).end()
    borrowing.shelf.give_up(kept, NOW)


def test_who_gives_up_has_a_statement_and_nothing_else(borrowing):
    kept = borrowing.take()
    given_up = borrowing.shelf.give_up(kept, NOW)
    statement = borrowed.verify_return(
        given_up.statement, kept.name, DEVICE, kept.document.return_key
    )
    assert statement.serial == 1
    assert given_up.name == kept.name
    assert borrowing.shelf.kept() == ()
    assert borrowing.shelf.given_up() == (given_up,)
    assert sorted(path.name for path in kept.directory.iterdir()) == ["in-use", "return.keypeg"]
    for refused in (
        lambda: borrowing.shelf.use(kept, 1, {}),
        lambda: borrowing.shelf.again(kept),
        lambda: borrowing.shelf.give_up(kept, NOW),
        lambda: borrowing.shelf.keep(kept.directory, kept.proof, NOW),
    ):
        with pytest.raises(errors.DocumentOtherDevice):
            refused()
    borrowing.shelf.handed_in(given_up)
    assert borrowing.shelf.given_up() == ()


def test_what_is_copied_back_after_giving_up_opens_nothing(borrowing, tmp_path):
    kept = borrowing.take()
    shutil.copytree(kept.directory, tmp_path / "copy")
    given_up = borrowing.shelf.give_up(kept, NOW)
    borrowing.shelf.handed_in(given_up)
    shutil.copytree(tmp_path / "copy", kept.directory)  # documents, key and all
    (copied,) = borrowing.shelf.kept()
    with pytest.raises(errors.DocumentOtherDevice, match="given back"):
        borrowing.shelf.again(copied)
    with pytest.raises(errors.DocumentOtherDevice):
        borrowing.shelf.use(copied, 1, {})


@pytest.mark.parametrize("survivors", ["both", "key", "documents"])
def test_giving_up_that_was_interrupted_is_finished(borrowing, tmp_path, survivors):
    kept = borrowing.take()
    shutil.copytree(kept.directory, tmp_path / "copy")
    memory = (borrowing.directory / "memory.json").read_bytes()
    borrowing.shelf.give_up(kept, NOW)
    # A crash right after the statement was written: nothing of what follows has happened.
    if survivors in ("both", "key"):
        shutil.copy(tmp_path / "copy" / "key", kept.directory)
    if survivors in ("both", "documents"):
        shutil.copy(tmp_path / "copy" / "borrow.keypeg", kept.directory)
        (borrowing.directory / "memory.json").write_bytes(memory)
    assert borrowing.shelf.kept() == ()
    with pytest.raises(errors.DocumentOtherDevice):
        borrowing.shelf.use(kept, 1, {})
    (given_up,) = borrowing.shelf.given_up()
    assert given_up.name == kept.name
    assert not (kept.directory / "key").exists()
    assert not (kept.directory / "borrow.keypeg").exists()
    assert borrowing.shelf.memory().is_given_up(kept.name)


def test_a_damaged_borrow_does_not_hide_the_others(borrowing):
    broken, whole = borrowing.take("broken"), borrowing.take("whole")
    (broken.directory / "borrow.keypeg").write_text("nonsense")
    refusals: list[errors.KeypegError] = []
    assert borrowing.shelf.kept(refusals) == (whole,)
    assert [type(one) for one in refusals] == [errors.DocumentMalformed]


def test_what_is_handed_in_while_it_is_read_was_given_back(borrowing, monkeypatch):
    kept, other = borrowing.take("gone"), borrowing.take("other")
    (kept.directory / "borrow.keypeg").unlink()
    monkeypatch.setattr(Path, "exists", lambda self: self.name != "return.keypeg")  # a moment ago
    refusals: list[errors.KeypegError] = []
    assert borrowing.shelf.kept(refusals) == (other,)
    with pytest.raises(errors.DocumentOtherDevice, match="given back"):
        borrowing.shelf.again(kept)
    assert [type(one) for one in refusals] == [errors.DocumentOtherDevice]


def test_a_lock_that_can_not_be_had_is_said(borrowing):
    kept = borrowing.take()
    (kept.directory / "unit-0").mkdir()
    with pytest.raises(errors.FieldInvalid, match="unit-0 can not be locked"):
        borrowing.shelf.use(kept, 1, {})
    borrowing.shelf.give_up(kept, NOW)  # what failed has left no lock


def test_a_damaged_key_is_said_without_showing_it(borrowing):
    kept = borrowing.take()
    (kept.directory / "key").write_text("5ecre7")
    refusals: list[errors.KeypegError] = []
    assert borrowing.shelf.kept(refusals) == ()
    assert "5ecre7" not in str(refusals[0])
    assert refusals[0].__cause__ is None


def test_a_damaged_memory_lets_nothing_run(borrowing):
    kept = borrowing.take()
    (borrowing.directory / "memory.json").write_text("{}")
    with pytest.raises(errors.DocumentMalformed, match=r"memory\.json is damaged"):
        borrowing.shelf.again(kept)


def test_what_has_ended_long_ago_is_swept(borrowing):
    kept = borrowing.take()
    borrowing.shelf.sweep(NOW + 4 * DAY)
    assert borrowing.shelf.kept() == (kept,)
    borrowing.shelf.sweep(NOW + 6 * DAY)
    assert borrowing.shelf.kept() == ()
    assert not kept.directory.exists()


def test_there_is_a_bound(borrowing, monkeypatch):
    monkeypatch.setattr(borrow_shelf, "BORROW_COUNT", 2)
    borrowing.take("one")
    borrowing.take("two")
    with pytest.raises(errors.AlreadyExists, match="2 borrowed seats"):
        borrowing.take("three")


def test_a_system_without_such_locks_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(borrow_shelf, "HAS_LOCKS", False)
    with pytest.raises(errors.ProtocolUnsupported, match="Linux or macOS"):
        Shelf(tmp_path)


def test_a_disk_that_can_not_be_written_is_said(tmp_path):
    (tmp_path / "borrows").write_text("a file where a directory should be")
    with pytest.raises(errors.FieldInvalid, match="can not be written"):
        Borrowing(tmp_path / "borrows").take()
