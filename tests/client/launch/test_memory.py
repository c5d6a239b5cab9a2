"""What is remembered: who said always, for what; and which profile a launch signs in with."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from keypeg import launch_profile
from keypeg import profile as profiles
from keypeg.launch_memory import FILE, KEPT, Memory
from keypeg.profile import Profile
from tests.client.launch.cases import NOW
from tests.client.sdk_fixtures import computer

__all__ = ["computer"]
ADA, BEN = "accounts/studio/users/ada", "accounts/studio/users/ben"


def test_it_is_remembered_for_one_user_and_one_family(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "config")
    assert memory.all() == ()
    assert memory.reset() == 0
    memory.remember(ADA, "ada", "cad", NOW, "cloud")
    memory.remember(ADA, "ada", "cad", NOW, "cloud")
    again = Memory(tmp_path / "config")
    assert again.always(ADA, "cad") == "cloud"
    assert again.always(BEN, "cad") == ""
    assert again.always(ADA, "eq") == ""
    assert [one.time for one in again.all()] == ["2026-11-22T12:00:00+00:00"]


def test_the_place_is_kept_and_the_newest_answer_counts(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    for place in ("cloud", "host", "key"):
        memory.remember(ADA, "ada", "cad", NOW, place)
        assert Memory(tmp_path).always(ADA, "cad") == place
    assert len(memory.all()) == 1


def test_an_answer_of_before_there_were_places_means_the_cloud(tmp_path: Path) -> None:
    one = {"user": ADA, "login": "ada", "family": "cad", "time": "2026-11-22T12:00:00+00:00"}
    (tmp_path / FILE).write_text(json.dumps({"version": 1, "always": [one]}))
    assert Memory(tmp_path).always(ADA, "cad") == "cloud"


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    Memory(tmp_path).remember(ADA, "ada", "cad", NOW, "cloud")
    assert stat.S_IMODE(os.stat(tmp_path / FILE).st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_it_is_reset_for_a_user_a_family_or_all(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    for user in (ADA, BEN):
        for family in ("cad", "eq"):
            memory.remember(user, user[-3:], family, NOW, "key")
    assert memory.reset(user=ADA, family="eq") == 1
    assert memory.reset(user=ADA, family="eq") == 0
    assert memory.reset(family="cad") == 2
    assert memory.reset(user=ADA) == 0
    assert memory.always(BEN, "eq") == "key"
    assert memory.reset() == 1
    assert memory.all() == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"version": 2, "always": []}', b'{"version": 1, "always": [{"user": 1}]}',
     b'{"version": 1, "always": [{"user": 1, "login": "", "family": "", "time": ""}]}', b"\xff",
     b"[" * 5_000],
)  # fmt: skip
def test_a_damaged_file_means_that_a_person_is_asked(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    memory = Memory(tmp_path)
    assert memory.all() == ()
    memory.remember(ADA, "ada", "cad", NOW, "cloud")
    assert memory.always(ADA, "cad") == "cloud"


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory._write([])  # the file is there
    for number in (0, *range(KEPT - 2, KEPT + 1)):
        memory.remember(ADA, "ada", f"family-{number}", NOW, "cloud")
    assert len(memory.all()) <= KEPT


def test_an_app_with_another_server_does_not_get_the_token_of_the_persons_profile(
    computer: Path,
) -> None:
    profiles.save(Profile("default", server="lan.example:7400", token="t0ken"))
    own = profiles.given(None, None, None, None, None)
    assert launch_profile.settled(own) == own
    other = profiles.given(None, "acme.example:7400", None, None, None)
    settled = launch_profile.settled(other)
    assert (settled.token, settled.name) == ("", "acme.example")
    kept = launch_profile.kept(
        Profile(settled.name, server=settled.server, user=ADA, token="other")
    )
    again = launch_profile.settled(profiles.given(None, "acme.example:7400", None, None, None))
    assert (again.token, again.name) == (kept.token, "acme.example")
    assert profiles.load().token == "t0ken", "the default one is as it was"
    by_hand = profiles.given(None, "acme.example:7400", None, "by-hand", None)
    assert launch_profile.settled(by_hand).token == "by-hand"


def test_the_first_profile_becomes_the_default(computer: Path) -> None:
    launch_profile.kept(Profile("default", server="lan.example:7400", ca_file="ca.pem", token="t"))
    assert profiles.load().token == "t"
    assert Path(profiles.load().ca_file).is_absolute()
