"""Help, completion and documentation: quick, complete, and true."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from keypeg.cli.main import CHAPTERS, root
from tests.client.cli.conftest import CommandLine

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "cli.md"

LOADED = """
import sys
from keypeg.cli.main import root
try:
    root.main(args={arguments!r}, prog_name="keypeg")
except SystemExit as ended:
    assert ended.code == 0, ended.code
heavy = [name for name in ("grpc", "google.protobuf", "rich", "asyncio", "cryptography") if name in sys.modules]
sys.stderr.write(",".join(heavy))
"""


def commands(
    group: click.Group = root, path: tuple[str, ...] = ("keypeg",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that name it."""
    yield path, group
    context = click.Context(group, info_name=path[-1])
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


EVERY = list(commands())


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["license", "create", "--help"], ["run", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = run_python(LOADED.format(arguments=arguments))
    assert done.returncode == 0, done.stderr
    allowed = {"asyncio"} if arguments[0] == "run" else set()
    assert set(filter(None, done.stderr.split(","))) <= allowed


def test_completion_loads_nothing_heavy_and_knows_the_words() -> None:
    done = run_python(
        LOADED.format(arguments=[]),
        _KEYPEG_COMPLETE="bash_complete",
        COMP_WORDS="keypeg license ",
        COMP_CWORD="2",
    )
    assert done.stderr == ""
    assert {"plain,create", "plain,list", "plain,show"} <= set(done.stdout.split())


def test_completion_of_the_nouns_says_what_they_are() -> None:
    done = run_python(
        LOADED.format(arguments=[]),
        _KEYPEG_COMPLETE="zsh_complete",
        COMP_WORDS="keypeg lic",
        COMP_CWORD="1",
    )
    assert done.stdout.splitlines()[:3] == ["plain", "license", "What the account owns."]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_for_keypeg(nowhere: CommandLine, shell: str) -> None:
    result = nowhere("completion", shell)
    assert result.exit_code == 0
    assert "_KEYPEG_COMPLETE" in result.stdout
    assert f"{shell}_complete" in result.stdout


def test_bash_completes_with_the_script(nowhere: CommandLine, tmp_path: Path) -> None:
    script = tmp_path / "keypeg.bash"
    script.write_text(nowhere("completion", "bash").stdout)
    asked = (
        f'source "{script}"; COMP_WORDS=(keypeg seat re); COMP_CWORD=2; '
        '_keypeg_completion keypeg; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", asked],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["release", "renew"], done.stderr


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_every_help_text_has_an_example(path: tuple[str, ...], command: click.Command) -> None:
    text = inspect.cleandoc(command.help or "")
    assert re.search(r"^Examples?:\n(  .*\n?)+", text, re.MULTILINE), text
    assert "keypeg" in text.partition("Example")[2]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            plain = isinstance(parameter.type, click.Choice) or parameter.show_default
            assert parameter.help or plain, (path, parameter.name)


def test_the_list_of_commands_names_each_once() -> None:
    names = [name for _, chapter in CHAPTERS for name in chapter]
    assert len(names) == len(set(names))
    for _, chapter in CHAPTERS:
        for name, late in chapter.items():
            assert late.summary.endswith("."), name


def quoted(path: tuple[str, ...]) -> str:
    """A help text as docs/cli.md quotes it: that of a terminal with 80 columns."""
    result = CliRunner().invoke(
        root, [*path[1:], "--help"], prog_name="keypeg", terminal_width=78, env={"NO_COLOR": "1"}
    )
    assert result.exit_code == 0, result.output
    return f"```console\n$ {' '.join(path)} --help\n{result.output.rstrip()}\n```"


@pytest.mark.parametrize("path", [path for path, _ in EVERY], ids=" ".join)
def test_the_page_quotes_the_help_text(path: tuple[str, ...]) -> None:
    assert quoted(path) in PAGE.read_text(encoding="utf-8")
