"""What a home is made of: what is forgotten when it comes and goes, and what news do."""

from __future__ import annotations

from typing import Any

import pytest

from keypeg_server.domain.events import CatalogChanged, Event, TokenRevoked, UserRemoved
from keypeg_server.service import news
from keypeg_server.service.homes import News
from keypeg_server.service.household import ServerHousehold

A = "accounts/a"


class Everything:
    """Sessions, store, log, hub and tokens: says what it was told, in order."""

    def __init__(self) -> None:
        self.generation = 0
        self.said: list[str] = []
        self.published: list[Event] = []

    async def adopt(self, account: str) -> None:
        self.said.append(f"sessions {account}")

    def abandon(self, account: str) -> None:
        self.said.append(f"no sessions {account}")

    def disconnect(self) -> None:
        self.said.append("disconnect")

    async def begin(self, parent: str) -> None:
        self.said.append(f"log {parent}")

    def forget(self, parent: str) -> None:
        self.said.append(f"no log {parent}")

    def forget_tokens(self) -> None:
        self.said.append("no tokens")


@pytest.fixture
def all_of_it() -> Everything:
    return Everything()


@pytest.fixture
def household(all_of_it: Everything) -> ServerHousehold:
    parts: Any = all_of_it
    return ServerHousehold(parts, parts, parts, parts.published.append, parts.forget_tokens)


async def test_an_account_comes_with_its_log_and_sessions_and_nothing_remembered(
    household: ServerHousehold, all_of_it: Everything
) -> None:
    await household.adopt(A)
    assert all_of_it.generation == 1, "what was read of it before is not believed"
    assert all_of_it.said == [f"no log {A}", f"log {A}", f"sessions {A}"]


async def test_a_publisher_has_no_sessions(
    household: ServerHousehold, all_of_it: Everything
) -> None:
    await household.adopt("publishers/p")
    household.abandon("publishers/p")
    assert all_of_it.said == ["no log publishers/p", "log publishers/p", "no log publishers/p"]


def test_an_account_goes_with_all_it_had(household: ServerHousehold, all_of_it: Everything) -> None:
    household.abandon(A)
    household.suspend()
    assert all_of_it.said == [f"no log {A}", f"no sessions {A}", "disconnect"]


def test_news_are_told_to_whoever_is_here(
    household: ServerHousehold, all_of_it: Everything
) -> None:
    events: list[Event] = [UserRemoved("u"), TokenRevoked("t"), CatalogChanged("publishers/p")]
    told = [
        News("n", number, *(news.told(event) or ("", ""))) for number, event in enumerate(events)
    ]
    household.hear([*told, News("n", 9, "of_a_newer_server", "{}")])
    assert all_of_it.published == events
    assert all_of_it.said == []


def test_news_that_can_not_be_read_make_it_forget_everything(
    household: ServerHousehold, all_of_it: Everything
) -> None:
    household.hear([News("n", 1, "user_removed", "no JSON")])
    assert all_of_it.said == ["no tokens"]
    assert all_of_it.generation == 1
