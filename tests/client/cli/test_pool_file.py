"""Rules of a pool as a file: what is written is read, and what is wrong is refused by its key."""

from __future__ import annotations

import pytest

from keypeg.cli import pool_file
from keypeg.errors import FieldInvalid
from keypeg.v1 import pool_rules_pb2 as pb

LOGINS = {"accounts/a/users/u1": "mia", "accounts/a/users/u2": "tom"}
NAMES = {login: name for name, login in LOGINS.items()}
FILE = """
etag = "abc"
counting = "user-and-host"
linger = "10min"
overdraft = 1
ageing = "90s"
queue_length = 0
write_off = 2
allow = ["group:cad", "network:10.1.0.0/16"]

[[reserve]]
for = "group:cad"
units = 2

[[limit]]
for = "user:*"
units = 1

[[limit]]
for = "user:tom"
units = 0

[[deny]]
who = "host:kiosk"
cut = true

[borrow]
longest = "7d"
floor = 3
most = 5
allow = ["group:cad"]

[groups]
cad = ["user:mia", "host:atlas"]
"""


def read(text: str) -> pb.PoolRules:
    return pool_file.read(text, lambda login: NAMES[login])


def test_a_file_says_every_rule() -> None:
    rules = read(FILE)
    assert rules.counting == pb.SEAT_COUNTING_USER_AND_HOST
    assert (rules.linger.seconds, rules.ageing.seconds, rules.overdraft_units) == (600, 90, 1)
    assert rules.HasField("queue_length")
    assert [one.WhichOneof("subject") for one in rules.allowed] == ["group", "network"]
    assert [(one.subject.user, one.units) for one in rules.limits] == [
        ("*", 1),
        ("accounts/a/users/u2", 0),
    ]
    assert rules.denied[0].cut
    lent = rules.borrowing
    assert (lent.longest.seconds, lent.floor_units, lent.most_units) == (7 * 86_400, 3, 5)
    assert [one.group for one in lent.allowed] == ["cad"]
    assert rules.write_off_units == 2
    assert rules.groups[0].members[0].user == "accounts/a/users/u1"


@pytest.mark.parametrize("text", [FILE, "", 'counting = "user"'], ids=["all", "none", "one"])
def test_what_is_written_is_read_as_the_same(text: str) -> None:
    rules = read(text)
    assert read(pool_file.written(rules, LOGINS)) == rules


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("linger = 'soon'", "linger"),
        ("counting = 'head'", "counting"),
        ("overdraft = true", "overdraft"),
        ("overdraft = -1", "overdraft"),
        ("overdrafts = 1", "overdrafts"),
        ("allow = ['mia']", "allow"),
        ("allow = [1]", "allow"),
        ("[[limit]]\nfor = 'user:mia'", "limit.units"),
        ("[[deny]]\nwhom = 'user:mia'", "whom"),
        ("reserve = [1]", "reserve"),
        ("[groups]\ncad = 'user:mia'", "groups.cad"),
    ],
)
def test_what_is_wrong_is_refused_by_its_key(text: str, key: str) -> None:
    with pytest.raises(FieldInvalid) as caught:
        read(text)
    assert key in caught.value.fields


def test_what_is_no_toml_is_refused_with_its_place() -> None:
    with pytest.raises(FieldInvalid, match="line 2"):
        read("counting = 'user'\nlinger = x\n")
