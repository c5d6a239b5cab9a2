"""A launch at a terminal: what is read, what is typed, and when nobody is there."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from keypeg import errors, launch_asking
from keypeg import launch_words as words
from keypeg.launch_steps import Answer, Progress, Step
from keypeg.launch_terminal import Terminal
from tests.client.launch.cases import ELSEWHERE, KEY, owned, survey

MISSING = errors.LicenseMissing("There is none.", product="cad")
OFFER = words.offer("cloud", "CAD", "CAD", survey(owned(), keys=(KEY,)), MISSING)
SIGN_IN = words.sign_in("CAD", "lan:7400", "", None, MISSING)


def typed(step: Step, *lines: str) -> tuple[Answer, str]:
    """The answer to lines that are typed, and all that was shown."""
    out = io.StringIO()
    answers: Iterator[str] = iter(lines)

    def read() -> str:
        line = next(answers, None)
        if line is None:
            raise EOFError
        return line

    def read_secret(prompt: str) -> str:
        out.write(prompt)
        return read()

    return Terminal(out, read, read_secret).ask(step), out.getvalue()


@pytest.mark.parametrize(
    ("line", "choice"),
    [("", "yes"), ("1", "yes"), ("2", "always"), ("3", "no"), ("No", "no"), ("Always for CAD", "always")],
)  # fmt: skip
def test_a_number_a_word_or_an_empty_line_answers(line: str, choice: str) -> None:
    assert typed(OFFER, line)[0] == Answer(choice)


def test_what_is_none_of_the_choices_is_asked_again_and_the_end_of_the_input_leaves() -> None:
    answer, shown = typed(OFFER, "4", "perhaps", "2")
    assert answer == Answer("always")
    assert shown.count("is none of these") == 2
    assert typed(OFFER)[0] == Answer("no")
    assert typed(SIGN_IN, "1", "ada")[0] == Answer("leave")
    assert typed(OFFER, *["x"] * 1_000)[0] == Answer("no"), "it ends"


def test_everything_is_plain_lines_that_a_screen_reader_reads() -> None:
    _, shown = typed(OFFER, "1")
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert max(map(len, shown.splitlines())) <= 78
    for said in ("Open a cloud session?", "The cloud: yes", "A USB key: yes, SmartKey 12", "3) No"):
        assert said in shown
    assert "No leaves your licenses free" in shown


def test_what_another_computer_calls_itself_moves_no_cursor() -> None:
    evil = type(ELSEWHERE)(True, "automatic", "d", "\x1b[2Jstudio\r\n1", None)
    _, shown = typed(words.move(survey(owned("cloud"), cloud=evil), MISSING), "2")
    assert "\x1b" not in shown
    assert "\r" not in shown


def test_a_password_is_read_as_a_secret_and_shown_nowhere() -> None:
    answer, shown = typed(SIGN_IN, "1", "ada", "s3cret", "maybe", "no")
    assert answer.fields == {"login": "ada", "password": "s3cret", "remember": ""}
    assert "s3cret" not in shown + repr(answer)
    assert typed(SIGN_IN, "1", "ada", "s3cret", "")[0].fields["remember"] == "yes"


def test_a_choice_asks_for_what_goes_with_it_and_no_more() -> None:
    assert typed(SIGN_IN, "with a credential file")[0] == Answer("by_file")
    assert typed(SIGN_IN, "by_code")[0] == Answer("by_code")
    unknown = words.sign_in("CAD", "", "", None, MISSING)
    assert typed(unknown, "by_code", "lan:7400")[0] == Answer("by_code", {"server": "lan:7400"})
    file = words.file("", is_sealed=True, problem=None, why=MISSING)
    answer = typed(file, "1", "~/studio.keypeg", "s3cret", "no")[0]
    assert answer.fields == {"path": "~/studio.keypeg", "passphrase": "s3cret", "remember": ""}
    assert typed(file, "2")[0] == Answer("back")
    both = survey(owned(allowed="cloud key host"), keys=(KEY,))
    choose = words.choose(("cloud", "key", "host"), "CAD", "CAD", both, MISSING)
    answer, shown = typed(choose, "2", "yes")
    assert answer == Answer("key", {"always": "yes"})
    assert "2) Onto SmartKey 12" in shown
    assert typed(choose, "4")[0] == Answer("leave")


def test_what_is_done_meanwhile_is_one_line() -> None:
    out = io.StringIO()
    terminal = Terminal(out, lambda: "", lambda _: "")
    terminal.tell(Progress("writing", "Writing to SmartKey\x1b 12", "Leave the key plugged in."))
    assert out.getvalue() == "Writing to SmartKey? 12: leave the key plugged in.\n"


class Pipe(io.StringIO):
    def isatty(self) -> bool:
        return False


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_pipe_it_says_that_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Pipe("1\n"))
    for variable in ("DISPLAY", launch_asking.VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    for way in (None, "auto", "terminal", "dialog"):
        with pytest.raises(errors.LicenseMissing) as refused:
            launch_asking.asker(way)(OFFER)
        assert "Nobody can be asked here" in str(refused.value)
        assert "`keypeg session open`" in str(refused.value)
        assert refused.value.metadata["product"] == "cad"
    with pytest.raises(errors.LicenseMissing) as plain:
        launch_asking.asker("never")(OFFER)
    assert plain.value is MISSING


def test_a_terminal_is_where_a_person_is_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv(launch_asking.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "stdin", Tty("3\n"))
    monkeypatch.setattr(sys, "stderr", Tty())
    assert launch_asking.asker()(OFFER) == Answer("no")
    monkeypatch.setenv(launch_asking.VARIABLE, "never")
    with pytest.raises(errors.LicenseMissing):
        launch_asking.asker()(OFFER)
    monkeypatch.setenv(launch_asking.VARIABLE, "window")
    with pytest.raises(errors.FieldInvalid, match="KEYPEG_ASK is one of auto"):
        launch_asking.asker()
    monkeypatch.setattr(sys, "stderr", Pipe())
    assert not launch_asking.is_terminal()
    monkeypatch.setattr(sys, "stdin", None)
    assert not launch_asking.is_terminal()
