"""docs/launch.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from keypeg import errors, launch_asking
from keypeg import launch_words as words
from keypeg.launch_state import TRANSITIONS
from keypeg.launch_steps import Step
from keypeg.launch_works import CodeShown
from tests.client.launch.cases import ELSEWHERE, KEY, owned, survey

TEXT = (Path(__file__).parents[3] / "docs" / "launch.md").read_text()


def test_the_table_of_states_is_the_one_in_the_code() -> None:
    printed = [
        f"| {state.value} | {happening.value} | {following.value} |"
        for (state, happening), following in TRANSITIONS.items()
    ]
    assert "\n".join(printed) in TEXT


def test_every_step_is_there_with_its_fields_and_choices() -> None:
    why = errors.LicenseMissing("There is none.")
    steps: list[Step] = [
        words.sign_in("CAD", "", "", None, why),
        words.offer("cloud", "CAD", "CAD", survey(owned()), why),
        words.choose(
            ("cloud", "put", "key", "host"),
            "CAD",
            "CAD",
            survey(owned(allowed="cloud key host"), keys=(KEY,)),
            why,
        ),
        words.file("", is_sealed=True, problem=None, why=why),
        words.code(CodeShown("BCDF-GHJK", "lan:7400"), errors.CodeRequired("Type it."), why),
        words.move(survey(owned("cloud"), cloud=ELSEWHERE), why),
        words.places("CAD", survey(), why, put=True),
        words.told("CAD", why),
    ]
    for step in steps:
        (row,) = re.findall(rf"^\| `{step.name}` \|(.*)$", TEXT, re.M)
        named = re.findall(r"`(\w+)`", row)
        names = [*(one.name for one in step.fields), *(one.name for one in step.choices)]
        assert set(names) <= set(named), step.name
        assert step.default
        assert step.leaving


def test_every_way_of_asking_is_there() -> None:
    for way in launch_asking.WAYS:
        assert f"| `{way}`" in TEXT
