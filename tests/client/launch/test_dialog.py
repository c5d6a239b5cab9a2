"""A launch in a window, on a virtual screen: what it shows, and that the keyboard alone is enough."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
import tkinter as tk
from collections.abc import Iterator
from tkinter import filedialog, ttk

import pytest

from keypeg import errors, launch_asking
from keypeg import launch_words as words
from keypeg.launch_dialog import Dialog, ask_in_dialog
from keypeg.launch_steps import Answer, Progress, Step
from keypeg.launch_waiting import Waiting
from keypeg.launch_works import CodeShown
from tests.client.launch.cases import ELSEWHERE, KEY, owned, survey
from tests.client.launch.screen import virtual_screen

WHY = errors.LicenseMissing("There is none.")
SIGN_IN = words.sign_in(
    "CAD", "lan:7400", "", errors.CredentialsInvalid("Login or password is wrong."), WHY
)
OFFER = words.offer("cloud", "CAD", "CAD", survey(owned(), keys=(KEY,)), WHY)
CHOOSE = words.choose(
    ("cloud", "key", "host"),
    "CAD",
    "CAD",
    survey(owned(allowed="cloud key host"), keys=(KEY,)),
    WHY,
)
FILE = words.file("~/studio.keypeg", is_sealed=True, problem=None, why=WHY)
CODE = words.code(CodeShown("BCDF-GHJK", "lan:7400"), errors.SignInPending("Not yet."), WHY)
MOVE = words.move(survey(owned("cloud"), cloud=ELSEWHERE), WHY)


@pytest.fixture(scope="module")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from virtual_screen(tmp_path_factory.mktemp("screen"))


@pytest.fixture(autouse=True)
def screen(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", display)


class Person:
    """Somebody who has a keyboard and no mouse."""

    def __init__(self, step: Step) -> None:
        self.dialog = Dialog(step)
        self.dialog.window.update()

    @property
    def at(self) -> str:
        """Where the focus is: the field or the choice."""
        found = self.dialog.window.focus_get()
        both = {**self.dialog.inputs, **self.dialog.buttons}
        return next(name for name, made in both.items() if made is found)

    def press(self, *keys: str) -> None:
        for key in keys:
            focused = self.dialog.window.focus_get()
            assert focused is not None
            focused.event_generate(f"<{key}>")
            self.dialog.window.update()

    def type(self, text: str) -> None:
        for character in text:
            self.press(f"Key-{character}")

    def answer(self) -> Answer:
        """What was answered; the window is gone then."""
        answer = self.dialog.run()
        with pytest.raises(tk.TclError):
            self.dialog.window.winfo_exists()
        return answer


def test_the_focus_goes_through_fields_and_choices_in_their_order_and_back() -> None:
    person = Person(SIGN_IN)
    order = [person.at]
    for _ in range(7):
        person.press("Tab")
        order.append(person.at)
    fields = ["login", "password", "remember"]
    assert order == [*fields, "sign_in", "by_code", "by_file", "leave", "login"]
    person.press("Shift-Tab")
    assert person.at == "leave"
    person.dialog.window.after_idle(person.press, "Return")
    assert person.answer() == Answer("leave")


def test_a_sign_in_is_typed_and_sent_by_the_enter_key_with_the_secret_as_dots() -> None:
    person = Person(SIGN_IN)
    person.type("ada")
    person.press("Tab")
    person.type("pw12")
    password = person.dialog.inputs["password"]
    assert isinstance(password, ttk.Entry)
    assert password.cget("show") == "\N{BULLET}"
    person.press("Tab", "space")  # not to be remembered
    person.dialog.window.after_idle(person.press, "Shift-Tab", "Return")
    answer = person.answer()
    assert (answer.choice, dict(answer.fields)) == (
        "sign_in",
        {"login": "ada", "password": "pw12", "remember": ""},
    )


@pytest.mark.parametrize(
    ("step", "keys", "choice"),
    [
        (OFFER, ("Return",), "yes"),
        (OFFER, ("Escape",), "no"),
        (OFFER, ("Tab", "Return"), "always"),
        (OFFER, ("Tab", "Tab", "space"), "no"),
        (OFFER, ("Alt-a",), "always"),
        (OFFER, ("Alt-n",), "no"),
        (MOVE, ("Return",), "leave"),
        (MOVE, ("Alt-m",), "move"),
        (SIGN_IN, ("Escape",), "leave"),
    ],
)
def test_keys_answer(step: Step, keys: tuple[str, ...], choice: str) -> None:
    person = Person(step)
    person.dialog.window.after_idle(person.press, *keys)
    assert person.answer() == Answer(choice)


def texts(widget: tk.Misc, right: int) -> list[str]:
    """What the widgets within say; none of them goes beyond the window."""
    found: list[str] = []
    for child in widget.winfo_children():
        if isinstance(child, ttk.Label | ttk.Button | ttk.Checkbutton):
            found.append(str(child.cget("text")))
            assert child.winfo_rootx() + child.winfo_width() <= right
        found += texts(child, right)
    return found


def test_everything_of_a_step_is_on_the_screen() -> None:
    for step in (
        SIGN_IN,
        OFFER,
        MOVE,
        CHOOSE,
        FILE,
        CODE,
        words.places("CAD", survey(owned()), WHY, put=True),
    ):
        person = Person(step)
        window = person.dialog.window
        shown = texts(window, window.winfo_rootx() + window.winfo_width())
        wanted = {step.title, step.sentence}
        wanted |= {one.label for one in step.fields} | {one.label for one in step.choices}
        assert wanted | {one.says for one in step.places} <= set(shown)
        assert not step.problem or step.problem in shown
        window.after_idle(window.event_generate, "<Escape>")
        person.answer()


def test_a_place_is_chosen_with_always_beside_it() -> None:
    person = Person(CHOOSE)
    assert person.at == "always"
    person.dialog.window.after_idle(person.press, "space", "Alt-n")  # Onto SmartKey 12
    answer = person.answer()
    assert (answer.choice, dict(answer.fields)) == ("key", {"always": "yes"})


def test_a_file_is_found_with_the_systems_own_dialog(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def found(*, parent: tk.Misc, title: str) -> str:
        asked.append(title)
        return "/media/studio.keypeg"

    monkeypatch.setattr(filedialog, "askopenfilename", found)
    person = Person(FILE)
    person.dialog.browse["path"].invoke()
    person.dialog.window.after_idle(person.press, "Return")
    answer = person.answer()
    assert (asked, answer.choice) == (["Credential file"], "use")
    assert answer.fields["path"] == "/media/studio.keypeg"


def test_what_is_told_while_a_person_waits_is_shown_until_it_is_over() -> None:
    waiting = Waiting()
    over: concurrent.futures.Future[None] = concurrent.futures.Future()
    shown: list[str] = []

    def look(window: tk.Tk) -> None:
        shown.extend(texts(window, window.winfo_rootx() + window.winfo_width()))
        assert waiting.shown is not None
        waiting.shown.event_generate("<Escape>")  # which does nothing
        over.set_result(None)

    waiting.tell(Progress("writing", "Writing to SmartKey 12", "Leave it plugged in."))
    waiting.until(over, look)
    assert shown == ["Writing to SmartKey 12", "Leave it plugged in."]
    assert waiting.shown is None
    quiet = Waiting()
    over = concurrent.futures.Future()
    over.set_result(None)
    quiet.until(over, look)  # nothing was told: no window


def test_closing_the_window_leaves() -> None:
    person = Person(MOVE)
    close = person.dialog.window.protocol("WM_DELETE_WINDOW")
    person.dialog.window.after_idle(person.dialog.window.tk.call, close)
    assert person.answer() == Answer("leave")


def test_it_is_asked_where_there_is_a_desktop_and_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch_asking, "is_terminal", lambda: False)
    monkeypatch.delenv(launch_asking.VARIABLE, raising=False)
    assert launch_asking.asker() is ask_in_dialog
    monkeypatch.setenv("DISPLAY", ":99999")
    with pytest.raises(errors.FieldInvalid, match="No window can be shown"):
        launch_asking.asker("dialog")(OFFER)


def test_without_a_screen_the_work_is_waited_for_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISPLAY", ":99999")
    waiting = Waiting()
    over: concurrent.futures.Future[None] = concurrent.futures.Future()
    for name in ("preparing", "writing"):
        waiting.tell(Progress(name, "Writing to SmartKey 12", "Leave it plugged in."))
    over.set_result(None)
    waiting.until(over)
    waiting.until(over)  # nothing is left over for the next work


def test_where_a_license_is_found_at_once_nothing_of_windows_is_loaded() -> None:
    code = (
        "import sys, concurrent.futures; from keypeg.launch_asking import Showing\n"
        "over = concurrent.futures.Future(); over.set_result(None)\n"
        "Showing('dialog').during(over); assert 'tkinter' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_the_whole_window_is_on_a_small_screen() -> None:
    """The window is drawn: it is as large as it asks to be, and on the screen."""
    providers = ("work", "the-university-of-somewhere", "lab")
    many = words.sign_in("CAD", "lan:7400", "", None, WHY, providers)
    for step in (SIGN_IN, OFFER, CHOOSE, FILE, CODE, many):
        person = Person(step)
        window = person.dialog.window
        assert window.winfo_viewable()
        assert window.winfo_width() >= window.winfo_reqwidth()
        assert window.winfo_rootx() + window.winfo_width() <= window.winfo_screenwidth()
        assert window.winfo_rooty() + window.winfo_height() <= window.winfo_screenheight()
        window.after_idle(window.event_generate, "<Escape>")
        person.answer()
